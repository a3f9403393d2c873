//! A node takes over: the cluster goes on from what one node has, because the others are gone or hold what nobody wants. People decide it; how
//! the groups begin again is the business of `raft::group::takeover`. The protocol: `docs/protocols/takeover.md`.
//!
//! * [`rules`] says what a delayed node can be promoted to, and refuses the rest with what can be;
//! * [`decision`] is what was decided, in the folder of the node: from the moment it is there, every start carries it out until it is done;
//! * [`carry`] does it before anything runs, and `recording` tells the meta group once it runs;
//! * [`tail`] keeps what was cut off, and lists it;
//! * [`generation`] is how nodes hear of it, and how those of before are fenced;
//! * [`order`] is what is asked and answered, [`service`] does it.
//!
//! What must hold: no two generations ever take each other's frames; a decision is carried out whole, or is not there; nothing behind the
//! cut is ever applied in the new generation; a fenced node serves nobody until it is wiped.

pub mod carry;
pub mod change;
pub mod decision;
pub mod generation;
pub mod offline;
pub mod order;
pub(crate) mod recording;
pub mod row;
pub mod rules;
pub mod service;
pub mod tail;
pub mod wire;
