//! The machine of a group on a simulated disk: what it applies, what it keeps over crashes, and what a snapshot carries.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod apply;
mod birth;
mod compare;
mod consensus;
mod crash;
mod once;
mod overlay;
mod refused;
#[path = "../rig/mod.rs"]
mod rig;
mod rows;
mod spool;
mod stops;
// It plants a bug in the engine: that is built in where `chaos-tests` is, which asks for this feature as well.
#[cfg(feature = "planted")]
mod walk;
mod world;
