//! Pure: what a read has to know of how its replica stands, and nothing more: it is asked for at every read.

use crate::types::{ReplicaId, Role, Seat};

/// How a replica stands, to a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bearing {
    /// Whether it leads, as far as it knows.
    pub is_leader: bool,
    /// What it is in its group; nothing if it has no seat.
    pub role: Option<Role>,
    /// Who leads, as far as it knows, and where that one sits.
    pub leader: Option<(ReplicaId, Seat)>,
}
