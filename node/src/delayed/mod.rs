//! The delayed node: it stores everything at once and applies it an hour later, so that a mistake can be undone by whoever has not made it
//! yet. How that is done is the business of `raft::delay`; here is what drives it and what people say to it.
//!
//! * [`gate`] drives the gate of the node, and [`receive`] reads the clear heads of what comes in before the gate comes near it;
//! * [`suspects`] remembers who wrote and deleted how much, and [`hold`] decides when that holds the gate by itself; [`note`] is who held it;
//! * [`state`] is how the node stands, for people, figures and findings;
//! * [`order`] is what may be asked, [`service`] does it;
//! * [`donate`] decides which rows of a cut go back into the live cluster, [`donating`] brings them there.
//!
//! What must hold: nothing is applied before its time but by an explicit forward; the gate passes nothing whose head was not read; a hold is
//! never released by the node; nothing goes back into the cluster but by the write path of everybody, as new versions.

mod digesting;
pub mod donate;
pub mod donating;
pub mod gate;
pub mod hold;
pub mod note;
pub mod order;
pub mod receive;
pub mod service;
pub mod state;
pub mod suspects;
pub mod wire;
