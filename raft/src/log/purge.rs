//! Pure: up to where may a group's log be purged, and when is it worth a flush, or a snapshot and a purge?
//!
//! The floor is the least of what still needs the log: what is not applied and durable here, what a required site has not archived,
//! what a delayed replica has not stored, and the base of a snapshot that is being sent. A delayed replica that was away for longer
//! than its outage budget holds nothing back any more, and that is told.

use super::index::Extent;
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

/// Who needs a group's log, beside the replica itself. Each number is the last index that is not needed any more; `None`: all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
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

/// How far the log may be purged of a replica that needs nothing up to `applied`, and who stops it there.
#[must_use]
pub fn floor(applied: Option<u64>, needs: &Needs) -> Floor {
    let is_lost = |need: &&DelayedNeed| need.away_ms > limits::OUTAGE_BUDGET_MS;
    let archived = (0..).zip(&needs.archived).map(|(site, upto)| (*upto, Holder::Archive(site)));
    let kept = needs.delayed.iter().filter(|need| !is_lost(need));
    let delayed = kept.map(|need| (need.stored, Holder::Delayed(need.replica)));
    let sent = needs.sent.iter().map(|base| (Some(*base), Holder::Snapshot));
    let (upto, holder) =
        archived.chain(delayed).chain(sent).fold((applied, Holder::Applied), |least, one| least.min(one));
    let given_up = needs.delayed.iter().filter(is_lost).map(|need| need.replica).collect();
    Floor { upto, holder, given_up }
}

/// When a purge is worth its while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// Bytes of a group's log that may go.
    pub bytes: u64,
    /// Milliseconds after which less may go too.
    pub ms: u64,
}

impl Worth {
    /// For production.
    pub const PRODUCTION: Self = Self { bytes: limits::PURGE_BYTES, ms: limits::PURGE_MS };
}

/// How a replica stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What its log holds.
    pub extent: Extent,
    /// It has applied every entry up to this index.
    pub applied: Option<u64>,
    /// So far its manifest has them.
    pub durable: Option<u64>,
    /// So far it was asked to make them durable.
    pub flushing: Option<u64>,
    /// Since how many ms nothing was purged.
    pub idle_ms: u64,
}

/// What to do for a group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing now.
    Rest,
    /// Make durable what is applied: without that too little may go.
    Flush,
    /// A snapshot, and a purge up to this index.
    Purge(u64),
}

/// Up to where to purge now, of a log that may be up to `upto`. By time all of it goes. By size half of it stays, so that a follower who
/// is a little behind finds what it lacks, and needs no snapshot.
fn due(standing: &Standing, upto: Option<u64>, worth: Worth) -> Option<u64> {
    let (extent, upto) = (&standing.extent, upto.filter(|upto| *upto >= standing.extent.first)?);
    let bytes = extent.bytes_between(extent.first, upto.saturating_add(1));
    if standing.idle_ms >= worth.ms {
        return Some(upto);
    }
    let half = upto.saturating_sub(extent.entries_in(worth.bytes / 2));
    (bytes >= worth.bytes).then_some(half).filter(|half| *half >= extent.first)
}

/// What to do now, and who holds the log where it is.
#[must_use]
pub fn step(standing: &Standing, needs: &Needs, worth: Worth) -> (Step, Floor) {
    let floor_now = floor(standing.durable, needs);
    if let Some(upto) = due(standing, floor_now.upto, worth) {
        return (Step::Purge(upto), floor_now);
    }
    let is_behind = standing.durable < standing.applied && standing.durable >= standing.flushing;
    let would_gain = || due(standing, floor(standing.applied, needs).upto, worth).is_some();
    let step = if is_behind && would_gain() { Step::Flush } else { Step::Rest };
    (step, floor_now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WORTH: Worth = Worth::PRODUCTION;

    fn delayed(replica: u64, stored: Option<u64>, away_ms: u64) -> DelayedNeed {
        DelayedNeed { replica: ReplicaId(replica), stored, away_ms }
    }

    #[test]
    fn the_least_decides_and_is_named() {
        let all = Needs {
            archived: vec![Some(90), Some(95)],
            delayed: vec![delayed(7, Some(80), 0), delayed(8, Some(85), 0)],
            sent: vec![70, 75],
        };
        let with = |applied: Option<u64>, change: &dyn Fn(&mut Needs)| {
            let mut needs = all.clone();
            change(&mut needs);
            let floor = floor(applied, &needs);
            (floor.upto, floor.holder)
        };
        let applied = Some(100);
        assert_eq!(with(applied, &|_| {}), (Some(70), Holder::Snapshot));
        assert_eq!(with(applied, &|n| n.sent.clear()), (Some(80), Holder::Delayed(ReplicaId(7))));
        let archived = with(applied, &|n| (n.sent, n.delayed) = (vec![], vec![]));
        assert_eq!(archived, (Some(90), Holder::Archive(0)));
        assert_eq!(with(Some(3), &|_| {}), (Some(3), Holder::Applied));
        assert_eq!(with(None, &|_| {}), (None, Holder::Applied));
        assert_eq!(with(applied, &|n| n.archived[1] = None), (None, Holder::Archive(1)));
        let unstored = with(applied, &|n| n.delayed[1].stored = None);
        assert_eq!(unstored, (None, Holder::Delayed(ReplicaId(8))));
        let (mut needs, lost) = (Needs { sent: vec![], ..all.clone() }, limits::OUTAGE_BUDGET_MS + 1);
        for (away_ms, wanted) in [(lost - 1, (Some(80), vec![])), (lost, (Some(85), vec![ReplicaId(7)]))] {
            needs.delayed[0].away_ms = away_ms;
            let floor = floor(applied, &needs);
            assert_eq!((floor.upto, floor.given_up), wanted);
        }
    }

    /// Entries 10 to 29, of which so many bytes are here.
    fn standing(bytes: u64, durable: u64, idle_ms: u64) -> Standing {
        let extent = Extent { first: 10, end: 30, bytes };
        Standing { extent, applied: Some(29), durable: Some(durable), flushing: None, idle_ms }
    }

    #[test]
    fn a_purge_is_due_by_size_or_by_time_and_never_for_nothing() {
        let (bytes, ms) = (WORTH.bytes, WORTH.ms);
        for (standing, wanted) in [
            // By size half a purge stays.
            (standing(bytes, 29, 0), Step::Purge(19)),
            (standing(2 * bytes, 29, 0), Step::Purge(24)),
            (standing(2 * bytes, 19, 0), Step::Purge(14)),
            (standing(bytes - 1, 29, ms - 1), Step::Rest),
            // By time nothing does.
            (standing(bytes - 1, 29, ms), Step::Purge(29)),
            (standing(2 * bytes, 19, ms), Step::Purge(19)),
            (standing(0, 10, ms), Step::Purge(10)),
            // What is not durable stays, and is made so if that is worth it.
            (standing(bytes, 28, 0), Step::Flush),
            (standing(bytes - 1, 28, 0), Step::Rest),
            (standing(0, 9, ms), Step::Flush),
            (Standing { durable: None, ..standing(bytes, 0, 0) }, Step::Flush),
            // One is under way; it is over; there was another since.
            (Standing { flushing: Some(29), ..standing(bytes, 28, 0) }, Step::Rest),
            (Standing { flushing: Some(28), ..standing(bytes, 28, 0) }, Step::Flush),
            (Standing { applied: None, durable: None, ..standing(bytes, 0, ms) }, Step::Rest),
        ] {
            assert_eq!(step(&standing, &Needs::default(), WORTH).0, wanted, "{standing:?}");
        }
        let held = Needs { sent: vec![9], ..Needs::default() };
        let (nothing, floor) = step(&standing(bytes, 29, ms), &held, WORTH);
        assert_eq!((nothing, floor.upto, floor.holder), (Step::Rest, Some(9), Holder::Snapshot));
        let flush = step(&standing(bytes, 9, ms), &held, WORTH).0;
        assert_eq!(flush, Step::Rest, "what a flush would free is needed by another");
    }

    proptest! {
        #[test]
        fn nobody_loses_an_entry_that_is_needed(
            applied in proptest::option::of(0u64..50),
            durable in proptest::option::of(0u64..50),
            archived in proptest::collection::vec(proptest::option::of(0u64..50), 0..4),
            stored in proptest::collection::vec((proptest::option::of(0u64..50), any::<bool>()), 0..4),
            sent in proptest::collection::vec(0u64..50, 0..3),
            (first, bytes, idle_ms) in (0u64..50, 0u64..400, 0u64..20),
        ) {
            let durable = durable.min(applied);
            let away = |is_away| if is_away { limits::OUTAGE_BUDGET_MS + 1 } else { 0 };
            let delayed = (1..).zip(&stored).map(|(n, (stored, is_away))| delayed(n, *stored, away(*is_away))).collect();
            let needs = Needs { archived: archived.clone(), delayed, sent: sent.clone() };
            let extent = Extent { first, end: 50.max(first), bytes };
            let standing = Standing { extent, applied, durable, flushing: None, idle_ms };
            let (step, floor) = step(&standing, &needs, Worth { bytes: 100, ms: 10 });
            prop_assert!(floor.upto <= durable);
            prop_assert!(archived.iter().all(|upto| floor.upto <= *upto));
            prop_assert!(sent.iter().all(|upto| floor.upto <= Some(*upto)));
            prop_assert!(stored.iter().all(|(upto, is_away)| *is_away || floor.upto <= *upto));
            prop_assert_eq!(floor.given_up.len(), stored.iter().filter(|(_, is_away)| *is_away).count());
            if let Step::Purge(upto) = step {
                prop_assert!(Some(upto) <= floor.upto && upto >= first);
            }
        }
    }
}
