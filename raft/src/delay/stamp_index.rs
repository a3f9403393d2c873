//! Pure: from a stamp to the last entry of a group's log at or below it.
//!
//! A delayed node keeps hours of log, so an exact index beside that of the log would double what it costs. This one is sparse: it
//! remembers an **anchor** every so many entries, and asks the log for the few entries between two anchors, by halving. When there
//! are too many anchors every second one goes and they stand twice as far apart: the memory of a group is bounded, and a log twice
//! as long costs one question more. The answer is exact all the same, or it is an error: an answer that is too low would leave a
//! hole in the cut, one that is too high would be early.
//!
//! Invariants: anchors rise by index and never fall by stamp; all lie behind what is purged and not behind the last entry.

use crate::error::{Error, Last, Result};
use crate::limits;
use crate::types::LogId;
use engine::Stamp;
use std::collections::VecDeque;

/// An entry and its last stamp. One that gives out none has that of the entry before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamped {
    /// The entry.
    pub log_id: LogId,
    /// Its last stamp.
    pub stamp: Stamp,
}

/// Where the stamps of one group's log stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampIndex {
    anchors: VecDeque<Stamped>,
    /// Entries from one anchor to the next.
    spacing: u64,
    /// The first index that may be here.
    first: u64,
    /// The last entry, which may be purged.
    last: Option<Stamped>,
}

impl Default for StampIndex {
    fn default() -> Self {
        Self { anchors: VecDeque::new(), spacing: limits::STAMP_SPACING, first: 0, last: None }
    }
}

impl StampIndex {
    /// The index of a log whose head, up to `last`, is purged or was never here.
    #[must_use]
    pub fn after(last: Stamped) -> Self {
        Self { first: last.log_id.index.saturating_add(1), last: Some(last), ..Self::default() }
    }

    /// The last entry, which may be purged.
    #[must_use]
    pub fn last(&self) -> Option<Stamped> {
        self.last
    }

    /// How many anchors it remembers.
    #[must_use]
    pub fn anchors(&self) -> usize {
        self.anchors.len()
    }

    /// An entry was stored.
    ///
    /// # Errors
    /// `StampOrder`: it does not follow the last, or its stamp is below. Nothing changed.
    pub fn push(&mut self, entry: Stamped) -> Result<()> {
        let index = entry.log_id.index;
        let follows = self.last.is_none_or(|last| {
            let LogId { term, index: before, .. } = last.log_id;
            index.checked_sub(1) == Some(before) && entry.log_id.term >= term && entry.stamp >= last.stamp
        });
        if !follows || (self.last.is_none() && index != self.first) {
            return Err(Error::StampOrder {
                entry: entry.log_id,
                stamp: entry.stamp,
                last: Last(self.last.map(|last| last.log_id)),
            });
        }
        if self.anchors.back().is_none_or(|newest| index - newest.log_id.index >= self.spacing) {
            self.anchors.push_back(entry);
            if self.anchors.len() > limits::STAMP_ANCHORS_MAX {
                self.spread();
            }
        }
        self.last = Some(entry);
        Ok(())
    }

    /// Lets every second anchor go.
    fn spread(&mut self) {
        let mut is_kept = false;
        self.anchors.retain(|_| {
            is_kept = !is_kept;
            is_kept
        });
        self.spacing = self.spacing.saturating_mul(2);
    }

    /// All entries behind `after`, as the log has it, are dropped; `None` drops all of a log that was born empty.
    pub fn truncate(&mut self, after: Option<Stamped>) {
        let keep = after.map_or(0, |after| after.log_id.index.saturating_add(1));
        self.anchors.truncate(self.anchors.partition_point(|anchor| anchor.log_id.index < keep));
        if self.last.is_some_and(|last| last.log_id.index >= keep) {
            self.last = after;
        }
    }

    /// All entries up to `upto` are dropped. The stamp of what reaches further than the log is not known here: a log that begins
    /// behind a snapshot begins with [`StampIndex::after`].
    pub fn purge(&mut self, upto: LogId) {
        let first = upto.index.saturating_add(1);
        if first <= self.first {
            return;
        }
        self.first = first;
        self.anchors.drain(..self.anchors.partition_point(|anchor| anchor.log_id.index < first));
        if self.last.is_none_or(|last| last.log_id.index < upto.index) {
            self.last =
                Some(Stamped { log_id: upto, stamp: self.last.map_or(Stamp::ZERO, |last| last.stamp) });
        }
    }

    /// The last entry that is here with an index up to `upto` and a last stamp up to `stamp`. `look` gives entries of the log as
    /// they were pushed; it is asked a few times, between two anchors only.
    ///
    /// # Errors
    /// `StampUnknown`: the log does not give an entry it was asked for.
    pub fn greatest_at_most(
        &self,
        stamp: Stamp,
        upto: u64,
        mut look: impl FnMut(u64) -> Option<Stamped>,
    ) -> Result<Option<LogId>> {
        let Some(last) = self.last.filter(|last| last.log_id.index >= self.first) else { return Ok(None) };
        if last.log_id.index <= upto && last.stamp <= stamp {
            return Ok(Some(last.log_id));
        }
        let is_in = |anchor: &Stamped| anchor.log_id.index <= upto && anchor.stamp <= stamp;
        let behind = self.anchors.partition_point(is_in);
        let anchor = behind.checked_sub(1).and_then(|before| self.anchors.get(before));
        let mut best = anchor.map(|anchor| anchor.log_id);
        let mut from = best.map_or(self.first, |id| id.index.saturating_add(1));
        let behind = self.anchors.get(behind).map_or(u64::MAX, |anchor| anchor.log_id.index);
        // Entries before `from` are at or below the stamp, entries from `to` on are not, or are not asked for.
        let mut to = behind.min(upto.saturating_add(1)).min(last.log_id.index.saturating_add(1));
        while from < to {
            let middle = from + (to - from) / 2;
            let entry = look(middle).filter(|entry| entry.log_id.index == middle);
            let entry = entry.ok_or(Error::StampUnknown { index: middle })?;
            if entry.stamp <= stamp {
                best = Some(entry.log_id);
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ReplicaId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn stamped(term: u64, index: u64, stamp: u64) -> Stamped {
        Stamped { log_id: LogId { term, replica: ReplicaId(term), index }, stamp: Stamp(stamp) }
    }

    fn naive(log: &BTreeMap<u64, Stamped>, stamp: u64, upto: u64) -> Option<LogId> {
        let is_in = |entry: &&Stamped| entry.stamp <= Stamp(stamp) && entry.log_id.index <= upto;
        log.values().rfind(is_in).map(|entry| entry.log_id)
    }

    proptest! {
        #[test]
        fn answers_what_a_walk_over_the_log_answers(
            steps in proptest::collection::vec((0u8..6, 0u64..300, 0u64..4), 1..30),
            asked in proptest::collection::vec((0u64..900, 0u64..1_500), 20),
        ) {
            let (mut index, mut log) = (StampIndex { spacing: 7, ..StampIndex::default() }, BTreeMap::new());
            let (mut term, mut purged) = (1, None::<Stamped>);
            for (what, n, rise) in steps {
                let last = log.values().next_back().copied().or(purged);
                let end = last.map_or(0, |last: Stamped| last.log_id.index + 1);
                match what {
                    0..=3 => for i in end..end + n {
                        let stamp = log.values().next_back().copied().or(purged).map_or(0, |last| last.stamp.0);
                        let entry = stamped(term, i, stamp + if i % 3 == 0 { rise } else { 0 });
                        index.push(entry).unwrap();
                        log.insert(i, entry);
                    },
                    4 => {
                        let keep = end.saturating_sub(n).max(purged.map_or(0, |p| p.log_id.index + 1));
                        log.split_off(&keep);
                        index.truncate(log.values().next_back().copied().or(purged));
                        term += 1;
                    }
                    _ => if let Some(upto) = log.get(&(end.saturating_sub(n))).copied() {
                        log = log.split_off(&(upto.log_id.index + 1));
                        purged = Some(upto);
                        index.purge(upto.log_id);
                    }
                }
                prop_assert_eq!(index.last(), log.values().next_back().copied().or(purged));
                for (stamp, upto) in &asked {
                    let found = index.greatest_at_most(Stamp(*stamp), *upto, |i| log.get(&i).copied()).unwrap();
                    prop_assert_eq!(found, naive(&log, *stamp, *upto));
                }
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_few_entries_are_looked_at() {
        let mut index = StampIndex::default();
        let count = limits::STAMP_SPACING * limits::STAMP_ANCHORS_MAX as u64 * 5;
        (0..count).for_each(|i| index.push(stamped(1, i, i * 10)).unwrap());
        assert!(index.anchors() <= limits::STAMP_ANCHORS_MAX);
        let mut looks = 0;
        let look = |i| {
            looks += 1;
            Some(stamped(1, i, i * 10))
        };
        let found = index.greatest_at_most(Stamp(123_459), u64::MAX, look).unwrap();
        assert_eq!(found, Some(stamped(1, 12_345, 0).log_id));
        assert!(looks <= 9, "{looks}");
    }

    #[test]
    fn what_the_log_does_not_give_is_an_error_and_no_guess() {
        let mut index = StampIndex::default();
        (0..50).for_each(|i| index.push(stamped(1, i, i)).unwrap());
        let asked = index.greatest_at_most(Stamp(20), 50, |_| None);
        assert!(matches!(asked, Err(Error::StampUnknown { .. })));
        let wrong = index.greatest_at_most(Stamp(20), 50, |i| Some(stamped(1, i + 1, 0)));
        assert!(matches!(wrong, Err(Error::StampUnknown { .. })));
    }

    #[test]
    fn stamps_and_indexes_never_fall() {
        let mut index = StampIndex::after(stamped(2, 9, 100));
        assert_eq!(index.greatest_at_most(Stamp::MAX, u64::MAX, |_| None).unwrap(), None, "it is purged");
        for bad in [stamped(2, 9, 200), stamped(2, 11, 200), stamped(1, 10, 200), stamped(2, 10, 99)] {
            assert!(matches!(index.push(bad), Err(Error::StampOrder { .. })), "{bad:?}");
        }
        index.push(stamped(2, 10, 100)).unwrap();
        assert!(StampIndex::default().push(stamped(1, 1, 5)).is_err(), "a log born empty begins at 0");
    }
}
