//! Groups and their life.

pub mod outcome;
pub mod settings;
