//! Replication: many Raft groups on a node, over one durable log that all of them share.
//!
//! What every group stores passes one queue and one writer, so that one sync makes it durable for all that wait, and what is durable
//! is always the beginning of what was said.
//!
//! The crate uses threads and callbacks, and the disk, keys, clock and randomness it is given; a simulator drives the same code
//! step by step.

#![forbid(unsafe_code)]

pub mod command;
pub mod compare;
pub mod delay;
pub mod error;
pub mod group;
pub mod limits;
pub mod log;
pub mod machine;
pub mod membership;
pub mod net;
#[cfg(feature = "sim")]
pub mod node_time;
#[cfg(feature = "sim")]
pub mod pause;
pub mod payload;
pub mod planted;
pub mod proposal;
pub mod read;
pub mod seal;
pub mod stats;
pub mod time;
pub mod type_config;
pub mod types;

pub use error::{Error, Result};
pub use types::{GroupId, LogId, ReplicaId, Vote};
