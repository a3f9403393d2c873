//! The server: everything with a network, a clock or a person in it.

#![forbid(unsafe_code)]

pub mod boot;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod host;
pub mod keys;
pub mod limits;
pub mod tls;
