//! Between peers: who carries frames, and what is in them.

pub mod link;
