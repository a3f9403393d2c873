//! Groups and their life.

pub mod birth;
pub mod handle;
pub mod outcome;
pub mod registry;
pub mod settings;
pub mod start_guard;
