//! Pure: the word of a replica: what it says of itself when another node asks.

use crate::types::{LogId, ReplicaId};
use engine::Stamp;

/// What a replica says of itself: consensus asks none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Which replica.
    pub replica: ReplicaId,
    /// The last stamp given out by what it has applied.
    pub applied: Stamp,
    /// The last entry that is durable in its log.
    pub stored: Option<LogId>,
    /// Whether its clock agrees with its peers.
    pub is_clock_agreed: bool,
    /// Whether its start guard is open.
    pub is_guard_open: bool,
    /// Of a delayed one: whether its clamp is off and all that is proven is applied.
    pub is_lifted: bool,
}
