//! Whole nodes in one thread: not groups of consensus on an engine, as in [`crate::world`], but nodes as they are, with their interfaces,
//! access checks, meta group, sealing, archives and restores, over pretended clocks, network, disks, randomness and sites. One seed is
//! one run, to the byte.
//!
//! What is left out is what only carries: sockets, TLS and HTTP. A frame of a peer goes over [`crate::world::net`], a call of a client or
//! of another node over [`calls`], to what stands behind the doors of the node.

pub mod archive;
pub mod calls;
pub mod client;
pub mod cluster;
pub mod command;
pub mod finals;
pub mod nemesis;
pub mod node;
pub mod operator;
pub mod outside;
pub mod run;
pub mod stage;
pub mod watcher;
pub mod workload;
