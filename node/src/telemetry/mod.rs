//! What a node tells of itself: its log.

pub mod logs;
