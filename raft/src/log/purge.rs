//! Pure: up to where may a group's log be purged, and when is it worth a snapshot and a purge?
//!
//! The floor is the least of what still needs the log: what is not applied and durable here, what a required site has not archived,
//! what a delayed replica has not stored, and the base of a snapshot that is being sent. A delayed replica that was away for longer
//! than its outage budget holds nothing back any more, and that is told.

use crate::limits;
use crate::types::ReplicaId;

/// What a delayed replica needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayedNeed {
    /// The replica.
    pub replica: ReplicaId,
    /// It has stored every entry up to this index; `None`: none.
    pub stored: Option<u64>,
    /// Since how many ms it has not been heard.
    pub away_ms: u64,
}

/// What still needs a group's log. Each number is the last index that is not needed any more; `None`: all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Applied, and durable in the manifest.
    pub applied: Option<u64>,
    /// Archived, of each required site.
    pub archived: Vec<Option<u64>>,
    /// Of each delayed replica.
    pub delayed: Vec<DelayedNeed>,
    /// Bases of snapshots that are being sent.
    pub sent: Vec<u64>,
}

/// Who decides how far a log may be purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// This replica itself.
    Applied,
    /// The required site at this place of the list.
    Archive(usize),
    /// A delayed replica.
    Delayed(ReplicaId),
    /// A snapshot that is being sent.
    Snapshot,
}

/// How far a log may be purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Entries up to this index may go; `None`: none.
    pub upto: Option<u64>,
    /// Who needs the next one.
    pub holder: Holder,
    /// Delayed replicas that were away for too long and are given up: a finding each.
    pub given_up: Vec<ReplicaId>,
}

/// How far the log may be purged, and who stops it there.
#[must_use]
pub fn floor(needs: &Needs) -> Floor {
    let is_lost = |need: &&DelayedNeed| need.away_ms > limits::OUTAGE_BUDGET_MS;
    let archived = (0..).zip(&needs.archived).map(|(site, upto)| (*upto, Holder::Archive(site)));
    let kept = needs.delayed.iter().filter(|need| !is_lost(need));
    let delayed = kept.map(|need| (need.stored, Holder::Delayed(need.replica)));
    let sent = needs.sent.iter().map(|base| (Some(*base), Holder::Snapshot));
    let (upto, holder) = archived
        .chain(delayed)
        .chain(sent)
        .fold((needs.applied, Holder::Applied), |least, one| least.min(one));
    let given_up = needs.delayed.iter().filter(is_lost).map(|need| need.replica).collect();
    Floor { upto, holder, given_up }
}

/// How much of a group's log there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// First index that is here.
    pub first: u64,
    /// Bytes from there to the floor.
    pub bytes: u64,
    /// Since how many ms nothing was purged.
    pub idle_ms: u64,
}

/// Whether to make a snapshot and purge up to `upto` now: there is much to gain, or something and it is long ago.
#[must_use]
pub fn is_due(backlog: Backlog, upto: Option<u64>) -> bool {
    let has_entries = upto.is_some_and(|upto| upto >= backlog.first);
    has_entries && (backlog.bytes >= limits::PURGE_BYTES || backlog.idle_ms >= limits::PURGE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delayed(replica: u64, stored: Option<u64>, away_ms: u64) -> DelayedNeed {
        DelayedNeed { replica: ReplicaId(replica), stored, away_ms }
    }

    #[test]
    fn the_least_decides_and_is_named() {
        let all = Needs {
            applied: Some(100),
            archived: vec![Some(90), Some(95)],
            delayed: vec![delayed(7, Some(80), 0), delayed(8, Some(85), 0)],
            sent: vec![70, 75],
        };
        let with = |change: &dyn Fn(&mut Needs)| {
            let mut needs = all.clone();
            change(&mut needs);
            let floor = floor(&needs);
            (floor.upto, floor.holder)
        };
        assert_eq!(with(&|_| {}), (Some(70), Holder::Snapshot));
        assert_eq!(with(&|n| n.sent.clear()), (Some(80), Holder::Delayed(ReplicaId(7))));
        let (none, lost) = (vec![], limits::OUTAGE_BUDGET_MS + 1);
        assert_eq!(with(&|n| (n.sent, n.delayed) = (none.clone(), vec![])), (Some(90), Holder::Archive(0)));
        assert_eq!(with(&|n| n.applied = Some(3)), (Some(3), Holder::Applied));
        assert_eq!(with(&|n| n.applied = None), (None, Holder::Applied));
        assert_eq!(with(&|n| n.archived[1] = None), (None, Holder::Archive(1)));
        assert_eq!(with(&|n| n.delayed[1].stored = None), (None, Holder::Delayed(ReplicaId(8))));
        let mut needs = Needs { sent: vec![], ..all.clone() };
        needs.delayed[0].away_ms = lost - 1;
        assert_eq!((floor(&needs).upto, floor(&needs).given_up), (Some(80), vec![]));
        needs.delayed[0].away_ms = lost;
        assert_eq!((floor(&needs).upto, floor(&needs).given_up), (Some(85), vec![ReplicaId(7)]));
    }

    #[test]
    fn a_purge_is_due_by_size_or_by_time_and_never_for_nothing() {
        let (bytes, ms) = (limits::PURGE_BYTES, limits::PURGE_MS);
        for (first, upto, bytes, idle_ms, wanted) in [
            (10, Some(20), bytes, 0, true),
            (10, Some(20), bytes - 1, ms - 1, false),
            (10, Some(20), 0, ms, true),
            (10, Some(10), 0, ms, true),
            (10, Some(9), bytes, ms, false),
            (10, None, bytes, ms, false),
        ] {
            assert_eq!(is_due(Backlog { first, bytes, idle_ms }, upto), wanted, "{upto:?} {bytes} {idle_ms}");
        }
    }

    proptest! {
        #[test]
        fn nobody_loses_an_entry_that_is_needed(
            applied in proptest::option::of(0u64..50),
            archived in proptest::collection::vec(proptest::option::of(0u64..50), 0..4),
            stored in proptest::collection::vec((proptest::option::of(0u64..50), any::<bool>()), 0..4),
            sent in proptest::collection::vec(0u64..50, 0..3),
        ) {
            let away = |is_away| if is_away { limits::OUTAGE_BUDGET_MS + 1 } else { 0 };
            let delayed = (1..).zip(&stored).map(|(n, (stored, is_away))| delayed(n, *stored, away(*is_away))).collect();
            let floor = floor(&Needs { applied, archived: archived.clone(), delayed, sent: sent.clone() });
            prop_assert!(floor.upto <= applied);
            prop_assert!(archived.iter().all(|upto| floor.upto <= *upto));
            prop_assert!(sent.iter().all(|upto| floor.upto <= Some(*upto)));
            prop_assert!(stored.iter().all(|(upto, is_away)| *is_away || floor.upto <= *upto));
            prop_assert_eq!(floor.given_up.len(), stored.iter().filter(|(_, is_away)| *is_away).count());
        }
    }
}
