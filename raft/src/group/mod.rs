//! One group on one node: its replica at work, how it comes to be, and the rules of its life: what it may do at which time, whether its
//! disk may be believed, and when it asks others to wait.

pub mod admission;
pub mod batcher;
mod beat;
pub mod birth;
pub mod clock_guard;
pub mod closer;
pub mod closing;
pub mod down;
mod dying;
pub mod ending;
pub mod handle;
pub mod handover;
pub mod hears;
pub mod life;
pub mod lifecycle;
pub mod outcome;
pub mod pause;
pub mod pressure;
pub mod registry;
pub mod rejoin;
pub mod restart;
#[cfg(feature = "planted")]
mod sabotage;
pub mod settings;
mod standing;
pub mod start;
pub mod start_fault;
pub mod start_guard;
pub mod supervise;
pub mod takeover;
pub mod upkeep;
pub mod word;
