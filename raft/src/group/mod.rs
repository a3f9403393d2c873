//! Groups and their life.

pub mod birth;
pub mod handle;
pub mod outcome;
pub mod registry;
pub mod settings;
//! One group on one node, as rules: what a replica may do at which time of its life, whether its disk may be believed, and when it
//! asks others to wait. They decide and do nothing.

pub mod closer;
pub mod lifecycle;
pub mod pressure;
pub mod rejoin;
pub mod restart;
pub mod start_guard;
