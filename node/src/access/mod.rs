//! Who may call what. Every call of every listener passes [`policy::decide`], and what is not allowed there is refused.

pub mod action;
pub mod policy;
