//! The server: everything with a network, a clock or a person in it.

#![forbid(unsafe_code)]

pub mod access;
pub mod api;
pub mod archive;
pub mod boot;
pub mod clock;
#[cfg(feature = "clock-offset")]
pub mod clock_offset;
pub mod cmd;
pub mod config;
pub mod delayed;
pub mod dial;
#[cfg(feature = "memory")]
pub mod double;
pub mod drill;
pub mod entropy;
pub mod finding;
pub mod keys;
pub mod limits;
pub mod meta;
pub mod peer;
pub mod refused;
pub mod restore;
pub mod running;
pub mod server;
pub mod shard;
#[cfg(feature = "simulated")]
pub mod simulated;
mod surroundings;
pub mod takeover;
pub mod telemetry;
pub mod tenants;
pub mod tls;
pub mod work;
