//! Replicas at work: a few nodes in one process, and what becomes of their groups. One program, for each would build consensus anew.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod clock_guard;
#[path = "../cluster/mod.rs"]
mod cluster;
mod ending;
mod handover;
mod hearsay;
mod keys;
mod reads;
mod refusals;
mod rejoin;
#[path = "../rig/mod.rs"]
mod rig;
mod stats;
mod supervise;
mod takeover;
mod upkeep;
mod words;
