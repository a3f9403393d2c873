//! Drills: what is archived is restored into a scratch folder of a node, and what a delayed node holds is looked at as a takeover would, and both
//! are compared with the cluster as of the same stamp. Nobody else notices: nothing is written but a certificate beside the snapshot.
//!
//! * [`rules`] says what a drill has proved, when one is due, and when the newest proof is too old;
//! * `run` does one, [`scratch`] is the folder it is done in;
//! * [`schedule`] begins them, and tells of them; `service` is what administrators ask.
//!
//! What must hold: a drill that could not compare everything it set out to has failed, and its certificate says why; nothing of a drill
//! stays on the disk; no drill fences, holds or moves anything.

pub mod rules;
mod run;
pub mod schedule;
pub mod scratch;
mod service;
