//! May a read be answered here and now? Of a leader from its lease, of any replica that can prove how fresh it is.

pub mod bounded;
pub mod lease;
