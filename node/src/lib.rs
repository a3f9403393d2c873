//! The server: everything with a network, a clock or a person in it.

#![forbid(unsafe_code)]

pub mod host;
pub mod peer;
pub mod work;
