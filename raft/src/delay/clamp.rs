//! Pure: which commit may the delayed replica of one group be told?
//!
//! The **proven** entry is the greatest by index that a leader has proved to be committed and that is stored here. It rises when an
//! append has been accepted: to the leader's commit, or to the end of what the append covers, whichever has the smaller index. Both
//! are log ids of that one leader's log, which agrees with ours up to there. Never is it the lesser of two log ids of different
//! leaders: an id of an earlier leader is less and may yet have the greater index, and name an entry that was never committed.
//!
//! Told is the last entry that is not behind the proven one and whose last stamp is not behind the gate. It only rises. What was
//! told is durable in the log's committed marker, so a start begins with that; what is proven is unknown until the first accepted
//! append.

use super::stamp_index::{StampIndex, Stamped};
use crate::error::{Error, Last, Result};
use crate::types::{LogId, Vote};
use engine::Stamp;

/// An append that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The leader's vote.
    pub vote: Vote,
    /// What the leader said is committed, as it said it.
    pub leader_commit: Option<LogId>,
    /// The last entry the append covers: all up to it is stored here, as the leader has it.
    pub matched: Option<LogId>,
}

/// What becomes of a snapshot that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It lies at or below the gate: take it.
    Take,
    /// It is newer than the gate, and nothing is here yet, or a person accepted it: take it. Nothing is late before the gate has
    /// passed this stamp.
    TakeVoid(Stamp),
    /// It is newer than the gate: refused before a byte. The group is parked: its cut stays good, and the gate stands.
    Park,
}

/// An append without entries, to be handed on when no leader drives the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nudge {
    /// The vote of the last leader that was heard.
    pub vote: Vote,
    /// The entry before, which is here; and what is committed.
    pub told: LogId,
}

/// What one delayed replica knows of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clamp {
    stamps: StampIndex,
    proven: Option<LogId>,
    told: Option<LogId>,
    /// The gate at which was told all that may be.
    told_at: Option<Stamp>,
    /// Vote of the last leader whose append was accepted.
    leader: Option<Vote>,
    is_parked: bool,
    is_lifted: bool,
}

fn index(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

impl Clamp {
    /// As a start finds it: the stamps of the stored log, and the committed marker, which is what was last told.
    #[must_use]
    pub fn new(stamps: StampIndex, told: Option<LogId>) -> Self {
        Self { stamps, told, ..Self::default() }
    }

    /// The greatest entry proven to be committed and stored here; `None` until an append has been accepted since the start.
    #[must_use]
    pub fn proven(&self) -> Option<LogId> {
        self.proven
    }

    /// What the replica was last told is committed.
    #[must_use]
    pub fn told(&self) -> Option<LogId> {
        self.told
    }

    /// The gate at which the replica was told all that it may be told; `None` if more is proven since.
    #[must_use]
    pub fn told_at(&self) -> Option<Stamp> {
        self.told_at
    }

    /// Whether a snapshot newer than the gate was refused and no entry has come since.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.is_parked
    }

    /// Stamps of the stored log.
    #[must_use]
    pub fn stamps(&self) -> &StampIndex {
        &self.stamps
    }

    /// An entry was stored. Whoever was parked is not any more: the log goes on without a hole.
    ///
    /// # Errors
    /// `StampOrder`: it does not follow. Nothing changed.
    pub fn push(&mut self, entry: Stamped) -> Result<()> {
        self.stamps.push(entry)?;
        self.is_parked = false;
        Ok(())
    }

    /// The last entry that is known to be committed: proven here, or told before.
    #[must_use]
    pub fn committed(&self) -> Option<LogId> {
        [self.proven, self.told].into_iter().flatten().max_by_key(|id| id.index)
    }

    /// Entries behind `after`, as the log has it, are dropped.
    ///
    /// # Errors
    /// `AgainstCommitted`: one of them is committed. Nothing changed; the group must be fenced.
    pub fn truncate(&mut self, after: Option<Stamped>) -> Result<()> {
        let after_id = after.map(|after| after.log_id);
        if let Some(proven) = self.committed().filter(|id| Some(id.index) > index(after_id)) {
            return Err(Error::AgainstCommitted { what: "truncated", said: Last(after_id), proven });
        }
        self.stamps.truncate(after);
        Ok(())
    }

    /// Entries up to `upto` are purged.
    pub fn purge(&mut self, upto: LogId) {
        self.stamps.purge(upto);
    }

    /// An append was accepted; its entries were pushed before.
    ///
    /// # Errors
    /// `AgainstCommitted`: it proves another entry at the same place. Nothing changed; the group must be fenced.
    pub fn accepted(&mut self, append: &Accepted) -> Result<()> {
        let stored = self.stamps.last().map(|last| last.log_id.index);
        let Some((commit, matched)) = append.leader_commit.zip(append.matched) else {
            self.leader = Some(append.vote);
            return Ok(());
        };
        let proven = if commit.index < matched.index { commit } else { matched };
        for known in [self.proven, self.told].into_iter().flatten() {
            if known.index == proven.index && known != proven {
                let (what, said) = ("committed by a leader", Last(Some(proven)));
                return Err(Error::AgainstCommitted { what, said, proven: known });
            }
        }
        self.leader = Some(append.vote);
        if Some(proven.index) <= stored && Some(proven.index) > index(self.proven) {
            (self.proven, self.told_at) = (Some(proven), None);
        }
        Ok(())
    }

    /// What the replica may be told is committed while the gate stands at `gate`. `look` gives entries of the log.
    ///
    /// # Errors
    /// `StampUnknown`: the log does not give an entry. What was told stands.
    pub fn deliver(
        &mut self,
        gate: Stamp,
        look: impl FnMut(u64) -> Option<Stamped>,
    ) -> Result<Option<LogId>> {
        let Some(proven) = self.proven else { return Ok(self.told) };
        let may = match self.is_lifted {
            true => Some(proven),
            false => self.stamps.greatest_at_most(gate, proven.index, look)?,
        };
        if index(may) > index(self.told) {
            self.told = may;
        }
        self.told_at = Some(gate);
        Ok(self.told)
    }

    /// The clamp is off: the replica is told all that is proven. For a gate that says so ([`super::Gate::may_lift`]).
    pub fn lift(&mut self) {
        self.is_lifted = true;
    }

    /// A leader offers a snapshot whose last stamp is `stamp`. `is_accepted`: a person takes it, and knows what that costs.
    pub fn offer(&mut self, stamp: Stamp, gate: Stamp, is_accepted: bool) -> Offer {
        if stamp <= gate || self.is_lifted {
            return Offer::Take;
        }
        if self.told.is_none() || is_accepted {
            return Offer::TakeVoid(stamp);
        }
        self.is_parked = true;
        Offer::Park
    }

    /// A snapshot that was taken is installed; `last` is the entry it ends with. What it holds is committed.
    ///
    /// # Errors
    /// `AgainstCommitted`: it ends before what was told. Nothing changed.
    pub fn installed(&mut self, last: Stamped) -> Result<()> {
        if let Some(proven) = self.told.filter(|told| told.index > last.log_id.index) {
            let said = Last(Some(last.log_id));
            return Err(Error::AgainstCommitted { what: "a snapshot ends", said, proven });
        }
        if self.stamps.last().is_none_or(|stored| stored.log_id.index <= last.log_id.index) {
            self.stamps = StampIndex::after(last);
        } else {
            self.stamps.purge(last.log_id);
        }
        if index(self.proven) < Some(last.log_id.index) {
            self.proven = Some(last.log_id);
        }
        (self.told, self.told_at, self.is_parked) = (Some(last.log_id), None, false);
        Ok(())
    }

    /// What to hand on when no leader drives the replica: an append of the last leader, without entries. `None` if none was heard
    /// since the start, or nothing was ever told.
    #[must_use]
    pub fn nudge(&self) -> Option<Nudge> {
        Some(Nudge { vote: self.leader?, told: self.told? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ReplicaId;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, replica: ReplicaId(term), index }
    }

    fn stamped(term: u64, index: u64) -> Stamped {
        Stamped { log_id: id(term, index), stamp: Stamp(index * 10) }
    }

    fn look(index: u64) -> Option<Stamped> {
        Some(stamped(1, index))
    }

    fn append(term: u64, commit: Option<LogId>, matched: Option<LogId>) -> Accepted {
        let vote = Vote { term, replica: ReplicaId(term), is_committed: true };
        Accepted { vote, leader_commit: commit, matched }
    }

    /// Entries 0 to 19 of leader 1 are stored.
    fn clamp() -> Clamp {
        let mut clamp = Clamp::default();
        (0..20).for_each(|index| clamp.push(stamped(1, index)).unwrap());
        clamp
    }

    #[test]
    fn proven_is_the_smaller_by_index_and_only_rises() {
        for (commit, matched, wanted) in [
            (None, Some(id(1, 9)), None),
            (Some(id(1, 9)), None, None),
            (Some(id(1, 9)), Some(id(1, 5)), Some(id(1, 5))),
            (Some(id(1, 5)), Some(id(1, 9)), Some(id(1, 5))),
            // The leader's commit has the later term and the greater index.
            (Some(id(3, 30)), Some(id(1, 12)), Some(id(1, 12))),
            // The matched entry is of a later leader and is not committed yet: less by index is the commit.
            (Some(id(1, 8)), Some(id(2, 10)), Some(id(1, 8))),
            // No leader has such a log, and if one says so the shorter holds.
            (Some(id(1, 15)), Some(id(3, 12)), Some(id(3, 12))),
            // Not stored here: nobody may say so.
            (Some(id(1, 30)), Some(id(1, 30)), None),
        ] {
            let mut clamp = clamp();
            clamp.accepted(&append(1, commit, matched)).unwrap();
            assert_eq!(clamp.proven(), wanted, "{commit:?} {matched:?}");
            clamp.accepted(&append(1, Some(id(1, 2)), Some(id(1, 2)))).unwrap();
            assert_eq!(clamp.proven(), wanted.or(Some(id(1, 2))), "lowered");
        }
    }

    #[test]
    fn nothing_behind_gate_or_proof_is_told() {
        let mut clamp = clamp();
        assert_eq!(clamp.deliver(Stamp::MAX, look).unwrap(), None, "nothing is proven");
        clamp.accepted(&append(1, Some(id(1, 12)), Some(id(1, 19)))).unwrap();
        for (gate, wanted) in [(0, 0), (49, 4), (50, 5), (9, 5), (u64::MAX, 12), (0, 12)] {
            assert_eq!(clamp.deliver(Stamp(gate), look).unwrap(), Some(id(1, wanted)), "{gate}");
        }
    }

    #[test]
    fn what_is_not_readable_leaves_what_was_told() {
        let mut clamp = clamp();
        clamp.accepted(&append(1, Some(id(1, 12)), Some(id(1, 19)))).unwrap();
        clamp.deliver(Stamp(30), look).unwrap();
        assert!(matches!(clamp.deliver(Stamp(90), |_| None), Err(Error::StampUnknown { .. })));
        assert_eq!((clamp.told(), clamp.told_at()), (Some(id(1, 3)), Some(Stamp(30))));
        clamp.accepted(&append(1, Some(id(1, 12)), Some(id(1, 19)))).unwrap();
        assert_eq!(clamp.told_at(), Some(Stamp(30)), "no more is proven");
        clamp.accepted(&append(1, Some(id(1, 13)), Some(id(1, 19)))).unwrap();
        assert_eq!(clamp.told_at(), None);
    }

    #[test]
    fn after_a_start_only_the_marker_is_known() {
        let mut clamp = Clamp::new(clamp().stamps, Some(id(1, 6)));
        assert_eq!(clamp.deliver(Stamp::MAX, look).unwrap(), Some(id(1, 6)));
        assert_eq!(clamp.nudge(), None, "no leader was heard");
        clamp.accepted(&append(4, Some(id(1, 9)), Some(id(1, 9)))).unwrap();
        assert_eq!(clamp.deliver(Stamp::MAX, look).unwrap(), Some(id(1, 9)));
        let vote = append(4, None, None).vote;
        assert_eq!(clamp.nudge(), Some(Nudge { vote, told: id(1, 9) }));
    }

    #[test]
    fn what_is_committed_is_neither_cut_off_nor_another() {
        let mut clamp = clamp();
        clamp.accepted(&append(1, Some(id(1, 12)), Some(id(1, 19)))).unwrap();
        for after in [None, Some(stamped(1, 11))] {
            assert!(matches!(clamp.truncate(after), Err(Error::AgainstCommitted { .. })));
        }
        let other = clamp.accepted(&append(2, Some(id(2, 12)), Some(id(2, 12))));
        assert!(matches!(other, Err(Error::AgainstCommitted { .. })));
        clamp.truncate(Some(stamped(1, 12))).unwrap();
        clamp.push(stamped(2, 13)).unwrap();
        let mut started = Clamp::new(StampIndex::after(stamped(1, 5)), Some(id(1, 5)));
        assert!(started.truncate(None).is_err(), "the marker holds too");
        assert!(started.accepted(&append(2, Some(id(2, 5)), Some(id(2, 5)))).is_err());
    }

    #[test]
    fn a_snapshot_newer_than_the_gate_parks() {
        let mut clamp = clamp();
        assert_eq!(
            clamp.offer(Stamp(500), Stamp(100), false),
            Offer::TakeVoid(Stamp(500)),
            "nothing is here"
        );
        clamp.accepted(&append(1, Some(id(1, 12)), Some(id(1, 19)))).unwrap();
        clamp.deliver(Stamp(100), look).unwrap();
        assert_eq!(clamp.offer(Stamp(100), Stamp(100), false), Offer::Take);
        assert_eq!(clamp.offer(Stamp(500), Stamp(100), true), Offer::TakeVoid(Stamp(500)));
        assert!(!clamp.is_parked());
        assert_eq!(clamp.offer(Stamp(101), Stamp(100), false), Offer::Park);
        assert!(clamp.is_parked());
        // A heartbeat that proves more does not mend the hole, an entry does.
        clamp.accepted(&append(1, Some(id(1, 15)), Some(id(1, 15)))).unwrap();
        assert!(clamp.is_parked());
        clamp.push(stamped(1, 20)).unwrap();
        assert!(!clamp.is_parked());
    }

    #[test]
    fn a_snapshot_is_committed_and_never_goes_back() {
        let mut clamp = clamp();
        clamp.installed(stamped(1, 9)).unwrap();
        assert_eq!((clamp.told(), clamp.proven()), (Some(id(1, 9)), Some(id(1, 9))));
        assert_eq!(clamp.stamps().last(), Some(stamped(1, 19)), "what is behind it stays");
        assert!(matches!(clamp.installed(stamped(1, 8)), Err(Error::AgainstCommitted { .. })));
        clamp.installed(stamped(3, 40)).unwrap();
        assert_eq!(clamp.stamps().last(), Some(stamped(3, 40)));
        clamp.push(stamped(3, 41)).unwrap();
    }

    #[test]
    fn lifted_it_tells_all_that_is_proven_and_no_more() {
        let mut clamp = clamp();
        clamp.accepted(&append(1, Some(id(1, 12)), Some(id(1, 19)))).unwrap();
        clamp.lift();
        assert_eq!(clamp.deliver(Stamp::ZERO, look).unwrap(), Some(id(1, 12)));
    }
}
