//! Do the replicas of a group hold the same rows? One asks all of them, range by range, what stands there as of one stamp, and holds the
//! answers against each other. Nothing is mended: whoever differs is named.
//!
//! [`question`] is what is asked and said, [`tell`] how a replica answers, [`walk`] whoever asks, [`verdict`] who is the odd one.
//!
//! The protocol: `docs/protocols/comparison.md`. Format: peer_state, `docs/formats/peer_state.md`.

pub mod question;
pub mod tell;
pub mod verdict;
pub mod walk;
