//! Finds out that the cluster is wrong before somebody's data does: one seed is one run, and judges who say what broke.
//!
//! A run has a [`seed`], from which its whole configuration is drawn; a [`trace`], whose hash two runs of one seed share; a
//! [`history`] of what clients asked and were told; and a [`report`]. The judges in [`check`] take plain values and say nothing
//! or a [`check::Violation`].
//!
//! ```
//! use chaos_tests::check::linearizable;
//! use chaos_tests::history::{Action, Answer, ClientId, History, Key, Outcome};
//! let mut history = History::default();
//! let write = history.invoke(ClientId(1), Action::Write { key: Key(7), value: Some(1) }, 10);
//! history.complete(write, Outcome::Ok(Answer::Stored), 12);
//! let read = history.invoke(ClientId(2), Action::Read { key: Key(7) }, 13);
//! history.complete(read, Outcome::Ok(Answer::Value(None)), 15);
//! let violation = linearizable::check(&history).expect_err("the write was acknowledged before the read began");
//! assert!(violation.is_broken());
//! ```
#![forbid(unsafe_code)]

pub mod aim;
pub mod canary;
pub mod check;
pub mod coverage;
pub mod disaster;
pub mod finals;
pub mod history;
pub mod limits;
mod looks;
pub mod mishap;
pub mod mover;
pub mod nemesis;
pub mod operator;
pub mod planted;
pub mod processes;
pub mod report;
pub mod run;
pub mod seed;
pub mod soak;
pub mod trace;
pub mod whole;
pub mod workload;
pub mod world;
