//! What a shard is and does: what its commands mean, which tenants it holds, and where its replicas live.

pub mod command;
pub mod door;
pub mod feed;
pub mod map;
pub mod operations;
pub mod outcome;
pub mod placement;
pub mod placing;
pub mod reply;
pub mod watch;
