//! The outside, pretended: time, network, disks, keys; and the nodes that live in it. Everything follows from the seed.

pub mod chores;
pub mod clock;
pub mod diary;
mod door;
pub mod hardware;
pub mod keys;
pub mod late;
pub mod net;
pub mod node;
pub mod operations;
pub mod overseer;
pub mod rejoin;
pub mod replace;
pub mod running;
pub mod sizes;
pub mod supervise;
