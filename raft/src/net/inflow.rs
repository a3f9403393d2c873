//! Entries are let in only as fast as they are stored and applied. Every append that commits something hands consensus a piece to apply;
//! if too many of them waited, consensus would stand still: it would answer no heartbeat and give no vote. So an append with entries is
//! told that the replica is overloaded, and comes again after a pause. Heartbeats pass. It is told at once: would it wait here, the next
//! one of its stream would overtake it, conflict, and the leader would take that for a log that went back.

use crate::group::handle::Group;
use crate::group::pressure::{Load, Pressure, pressure};
use crate::types::LogId;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Pieces that were handed to consensus, and are not applied: the last index of each.
#[derive(Debug, Default)]
pub struct Inflow {
    pieces: Mutex<VecDeque<u64>>,
}

impl Inflow {
    /// An append said that every entry up to index `committed` is, and all those are here.
    pub fn handed_on(&self, committed: Option<u64>) {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = committed
            && pieces.back().is_none_or(|last| *last < index)
        {
            pieces.push_back(index);
        }
    }

    /// How many pieces wait, if everything up to `applied` is applied.
    #[must_use]
    pub fn waiting(&self, applied: Option<LogId>) -> usize {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let done = |piece: &u64| applied.is_some_and(|applied| *piece <= applied.index);
        while pieces.front().is_some_and(done) {
            pieces.pop_front();
        }
        pieces.len()
    }

    /// Whether `group` may take entries now. Those that are stored and may not be applied yet hold nobody up: a delayed replica has many.
    #[must_use]
    pub fn has_room(&self, group: &Group) -> bool {
        if group.log.is_short_of_space() {
            return false;
        }
        let applied = group.machine().applied().applied;
        let has_pieces = (self.waiting(applied) as u64) < (group.pace().apply_pieces / 2).max(1);
        let load = Load { unapplied: 0, unapplied_bytes: 0, ..group.load() };
        has_pieces && !matches!(pressure(&load), Pressure::Refuse { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ReplicaId;

    #[test]
    fn a_piece_waits_until_its_last_entry_is_applied() {
        let id = |index| Some(LogId { term: 1, replica: ReplicaId(1), index });
        let inflow = Inflow::default();
        assert_eq!(inflow.waiting(None), 0);
        for index in [None, Some(3), Some(3), Some(2), Some(7), Some(9)] {
            inflow.handed_on(index);
        }
        for (applied, waiting) in [(None, 3), (id(2), 3), (id(3), 2), (id(8), 1), (id(9), 0), (id(9), 0)] {
            assert_eq!(inflow.waiting(applied), waiting, "{applied:?}");
        }
    }
}
