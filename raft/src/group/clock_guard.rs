//! Pure: a leader whose wall clock is wrong stamps what it writes with times that others have not reached. Whoever is to store such an
//! entry refuses it, and a leader that so many refuse that the rest is no quorum leads no more: its heartbeats alone would keep it so.

use crate::command::Command;
use crate::limits;
use crate::log::Entry;
use crate::payload;
use crate::types::{LogId, Membership, ReplicaId};
use engine::Stamp;
use std::collections::BTreeSet;

/// Whether one of `entries` was stamped, or closes the time, further ahead of `wall_ms`, milliseconds since 1970, than clocks may part.
/// What is `committed` is so whatever its stamp: nobody is helped by refusing it.
#[must_use]
pub fn is_ahead(entries: &[Entry], committed: Option<LogId>, wall_ms: u64) -> bool {
    let limit_ms = wall_ms.saturating_add(limits::CLOCK_PART_MS_MAX);
    let committed = committed.map(|id| id.index);
    let is_open = |entry: &&Entry| entry.kind == payload::COMMAND && Some(entry.log_id.index) > committed;
    entries.iter().filter(is_open).any(|entry| {
        // What cannot be read is refused for that.
        let stamps = Command::stamps(&entry.payload).ok();
        stamps.is_some_and(|(stamp, closed, _)| stamp.max(closed).ms() > limit_ms)
    })
}

/// Whether a wall clock at `wall_ms` is further behind the last stamp of its replica's log than clocks may part. It could stamp nothing but
/// times that it has not reached, one after the other: somebody else knows better what time it is, or everybody waits for it.
#[must_use]
pub fn is_behind(last: Option<Stamp>, wall_ms: u64) -> bool {
    last.is_some_and(|last| last.ms() > wall_ms.saturating_add(limits::CLOCK_PART_MS_MAX))
}

/// Whether one replica alone votes: nobody could lead in its place, so it goes on whatever its clock says.
#[must_use]
pub fn is_alone(membership: &Membership) -> bool {
    membership.voters.iter().all(|voters| voters.len() <= 1)
}

/// Whether those of the voters that have not refused are no quorum, of one of the sets.
#[must_use]
pub fn is_refused(membership: &Membership, refused: &BTreeSet<ReplicaId>) -> bool {
    membership.voters.iter().any(|voters| {
        let willing = voters.iter().filter(|voter| !refused.contains(voter)).count();
        willing * 2 <= voters.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn a_clock_may_be_behind_its_log_by_as_much_as_clocks_may_part() {
        let at = |ms| Some(Stamp::end_of_ms(ms));
        assert!(!is_behind(None, 0) && !is_behind(at(10_250), 10_000) && !is_behind(at(5), u64::MAX));
        assert!(is_behind(at(10_251), 10_000));
        let of = |voters: &[&[u64]]| {
            let voters = voters.iter().map(|set| ids(set)).collect();
            is_alone(&Membership { voters, ..Membership::default() })
        };
        assert!(of(&[&[1]]) && !of(&[&[1, 2]]) && !of(&[&[1], &[1, 2]]));
    }

    #[test]
    fn a_leader_needs_a_quorum_that_takes_its_stamps_in_every_set() {
        let of = |voters: &[&[u64]]| {
            let voters = voters.iter().map(|set| ids(set)).collect();
            Membership { voters, ..Membership::default() }
        };
        for (voters, refused, wanted) in [
            (vec![&[1, 2, 3][..]], &[][..], false),
            (vec![&[1, 2, 3]], &[2], false),
            (vec![&[1, 2, 3]], &[2, 3], true),
            (vec![&[1, 2, 3]], &[2, 9], false),
            (vec![&[1, 2, 3, 4]], &[2], false),
            (vec![&[1, 2, 3, 4]], &[2, 3], true),
            (vec![&[1]], &[2, 3], false),
            (vec![&[1, 2, 3], &[1, 4, 5]], &[4, 5], true),
            (vec![&[1, 2, 3], &[1, 4, 5]], &[3, 5], false),
        ] {
            assert_eq!(is_refused(&of(&voters), &ids(refused)), wanted, "{voters:?} {refused:?}");
        }
    }
}
