//! A whole node behind its real doors: who is let in, what nonsense does, and what the node tells of itself.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod certificate;
mod crowd;
mod disk;
mod health;
mod hostile;
mod metrics;
mod old_words;
mod rig;
mod sealed;
mod stop;
