//! Compaction: tables are merged downwards, and what nobody may read any more is left behind.
//!
//! [`pick`] decides what to do, [`retention`] what to keep, [`run`] writes it.

pub mod pick;
pub mod retention;
pub mod run;
