//! Tenants: their lives, what they may use, and what they may be called.

pub mod purged;
pub mod rules;
