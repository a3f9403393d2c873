//! Pure: what the log holds of each group, and where each entry stands. One picture, changed by records in their order: by the
//! live log when they are enqueued, by recovery when they are read.

use super::record::{Entry, GroupState, Record};
use crate::error::{Error, Last, Result};
use crate::planted::{self, Planted};
use crate::types::{GroupId, LogId, ReplicaId};
use std::collections::BTreeMap;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub log_id: LogId,
    /// The last stamp it gives out; 0 if it is not known.
    pub stamp: u64,
    /// Log position of its record; `None` until it is written.
    pub position: Option<u64>,
    /// Bytes of its record.
    pub bytes: u32,
    /// Which append of this process it is of: the same entry may be appended again, by a replica born anew.
    pub ticket: u64,
}

/// How an entry is, or will be, written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writing {
    /// Bytes of its record.
    pub bytes: u32,
    /// Which append of this process it is of.
    pub ticket: u64,
    /// Log position of its record; `None` until it is written.
    pub position: Option<u64>,
}

/// What the log holds of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupLog {
    state: GroupState,
    /// By index. Without gap, but while recovery has not yet come to where some were written again.
    places: BTreeMap<u64, Place>,
    /// Bytes of their records.
    bytes: u64,
}

/// How much of a group's log there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Index of the first entry that is here, or would be.
    pub first: u64,
    /// Index after the last.
    pub end: u64,
    /// Bytes of the records of all of them.
    pub bytes: u64,
}

impl Extent {
    /// About how many bytes the entries `from..to` take, of those that are here: each as many as the mean.
    #[must_use]
    pub fn bytes_between(&self, from: u64, to: u64) -> u64 {
        let entries = to.min(self.end).saturating_sub(from.max(self.first));
        let all = (self.end - self.first).max(1);
        u64::try_from(u128::from(self.bytes) * u128::from(entries) / u128::from(all)).unwrap_or(u64::MAX)
    }

    /// About how many entries take `bytes`.
    #[must_use]
    pub fn entries_in(&self, bytes: u64) -> u64 {
        let all = u128::from(self.end - self.first) * u128::from(bytes);
        u64::try_from(all / u128::from(self.bytes.max(1))).unwrap_or(u64::MAX)
    }
}

impl GroupLog {
    /// A group as the state record of a segment has it; its entries are still to be told.
    #[must_use]
    pub fn new(state: GroupState) -> Self {
        Self { state, ..Self::default() }
    }

    /// What is known without its entries.
    #[must_use]
    pub fn state(&self) -> &GroupState {
        &self.state
    }

    /// Index of the first entry that is here, or would be. Where nothing ever was, 0.
    #[must_use]
    pub fn first(&self) -> u64 {
        let here = self.places.first_key_value().map(|(index, _)| *index);
        here.unwrap_or_else(|| self.state.purged.map_or(0, |purged| purged.index + 1))
    }

    /// Index after the last entry that is here.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.places.last_key_value().map_or_else(|| self.first(), |(index, _)| index + 1)
    }

    /// How much of it there is.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent { first: self.first(), end: self.end(), bytes: self.bytes }
    }

    /// The place of entry `index`.
    #[must_use]
    pub fn place(&self, index: u64) -> Option<&Place> {
        self.places.get(&index)
    }

    /// Where the entry `log_id` of append `ticket` was written, if it is still here.
    pub fn written(&mut self, log_id: LogId, ticket: u64, position: u64) {
        let is_it = |place: &&mut Place| (place.log_id, place.ticket) == (log_id, ticket);
        if let Some(place) = self.places.get_mut(&log_id.index).filter(is_it) {
            place.position = Some(position);
        }
    }

    /// The last entry that was written, which is when it is durable; without any, the last that was purged.
    #[must_use]
    pub fn stored(&self) -> Option<LogId> {
        let written = self.places.values().rev().find(|place| place.position.is_some());
        written.map(|place| place.log_id).or(self.state.purged)
    }

    /// Places of all entries that are here, in order.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.values()
    }

    /// An entry follows. The log of a group that was born empty begins where its first entry stands.
    ///
    /// # Errors
    /// `Gap`: it does not follow the last. Nothing changed.
    pub fn push(&mut self, group: GroupId, entry: &Entry, how: Writing) -> Result<()> {
        let last = self.state.last;
        let follows = |last: LogId| entry.log_id.index == last.index + 1 && entry.log_id.term >= last.term;
        if !last.is_none_or(follows) {
            return Err(Error::Gap { group, entry: entry.log_id, last: Last(last) });
        }
        let Writing { bytes, ticket, position } = how;
        let place = Place { log_id: entry.log_id, stamp: entry.stamp, position, bytes, ticket };
        self.place_at(entry.log_id.index, place);
        self.state.last = Some(entry.log_id);
        Ok(())
    }

    fn place_at(&mut self, index: u64, place: Place) {
        let before = self.places.insert(index, place).map_or(0, |place| u64::from(place.bytes));
        self.bytes = self.bytes + u64::from(place.bytes) - before;
    }

    /// Forgets the bytes of entries that are here no more.
    fn drop_bytes(&mut self, gone: &BTreeMap<u64, Place>) {
        self.bytes -= gone.values().map(|place| u64::from(place.bytes)).sum::<u64>();
    }

    /// Whether every entry after `purged` up to the last is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let GroupState { purged, last, .. } = self.state;
        let first = purged.map_or(self.first(), |purged| purged.index + 1);
        let end = last.map_or(0, |last| last.index + 1).max(first);
        self.first() == first && self.places.len() as u64 == end - first
    }

    /// Drops all entries behind `after`, which is here, purged, or none.
    pub fn truncate(&mut self, after: Option<LogId>) {
        let keep = after.map_or(0, |after| after.index.saturating_add(1));
        let gone = self.places.split_off(&keep);
        self.drop_bytes(&gone);
        let purged = self.state.purged;
        self.state.last = if after.map(|id| id.index) > purged.map(|id| id.index) { after } else { purged };
    }

    /// Drops all entries up to `upto`, whether they are here or not.
    pub fn purge(&mut self, upto: LogId) {
        if self.state.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        let kept = self.places.split_off(&upto.index.saturating_add(1));
        let gone = std::mem::replace(&mut self.places, kept);
        self.drop_bytes(&gone);
        self.state.purged = Some(upto);
        // Entries before the first segment that is left are known by the last of them alone, until they are purged.
        if self.state.last.is_none_or(|last| last.index <= upto.index) {
            self.state.last = Some(upto);
        }
    }

    /// What a record says of the group, unless it is an entry.
    ///
    /// # Errors
    /// `ReplicaLives`, `ReplicaUsed`. Nothing changed.
    pub fn apply(&mut self, group: GroupId, record: &Record) -> Result<()> {
        match record {
            Record::Vote(_, vote) => self.state.vote = Some(*vote),
            Record::Committed(_, upto) => self.state.committed = *upto,
            Record::Truncate(_, after) => self.truncate(*after),
            Record::Purge(_, upto) => self.purge(*upto),
            Record::Open(_, replica) => return self.open(group, *replica),
            Record::Close(..) => self.close(),
            _ => {}
        }
        Ok(())
    }

    /// A replica is born.
    ///
    /// # Errors
    /// `ReplicaLives`, `ReplicaUsed`. Nothing changed.
    fn open(&mut self, group: GroupId, replica: ReplicaId) -> Result<()> {
        if self.state.replica != ReplicaId(0) {
            return Err(Error::ReplicaLives { group, replica: self.state.replica });
        }
        if replica <= self.state.replica_max && !planted::is(Planted::ReuseReplica) {
            return Err(Error::ReplicaUsed { group, replica, greatest: self.state.replica_max });
        }
        *self = Self::new(GroupState { replica, replica_max: replica, ..GroupState::default() });
        Ok(())
    }

    /// The replica is gone for ever; only its id is remembered.
    fn close(&mut self) {
        let replica_max = self.state.replica_max;
        *self = Self::new(GroupState { replica_max, ..GroupState::default() });
    }

    /// An entry was written again: only its place changes. Where the segment it first stood in is gone it is new here.
    pub fn moved(&mut self, entry: &Entry, bytes: u32, position: u64) {
        let GroupState { purged, last, .. } = self.state;
        let index = entry.log_id.index;
        let is_live =
            purged.is_none_or(|purged| purged.index < index) && last.is_some_and(|last| index <= last.index);
        if is_live {
            let (log_id, stamp, position) = (entry.log_id, entry.stamp, Some(position));
            self.place_at(index, Place { log_id, stamp, position, bytes, ticket: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Vote;
    use proptest::prelude::*;

    const G: GroupId = GroupId(1);

    fn entry(term: u64, index: u64) -> Entry {
        let log_id = LogId { term, replica: ReplicaId(1), index };
        Entry { log_id, kind: 1, stamp: 10 * index, payload: bytes::Bytes::new() }
    }

    fn id(term: u64, index: u64) -> LogId {
        entry(term, index).log_id
    }

    #[test]
    fn only_what_was_written_is_stored() {
        let mut log = GroupLog::default();
        assert_eq!(log.stored(), None);
        for index in 0..4 {
            let how = Writing { ticket: 7, ..Writing::default() };
            log.push(G, &entry(1, index), how).unwrap();
        }
        assert_eq!(log.stored(), None);
        log.written(id(1, 0), 7, 100);
        log.written(id(1, 1), 7, 200);
        assert_eq!(log.stored(), Some(id(1, 1)));
        // What takes the place of a tail that was stored is not stored yet.
        log.truncate(Some(id(1, 0)));
        log.push(G, &entry(2, 1), Writing { ticket: 8, ..Writing::default() }).unwrap();
        assert_eq!(log.stored(), Some(id(1, 0)));
        log.purge(id(2, 1));
        assert_eq!(log.stored(), Some(id(2, 1)));
    }

    proptest! {
        #[test]
        fn holds_what_a_map_of_entries_holds(steps in proptest::collection::vec((0u8..5, 0u64..12), 1..60)) {
            let (mut log, mut model) = (GroupLog::default(), BTreeMap::new());
            let (mut purged, mut term) = (None::<LogId>, 1);
            for (what, n) in steps {
                let end = model.keys().next_back().copied().or(purged.map(|id| id.index)).map_or(0, |last| last + 1);
                match what {
                    0 | 1 => {
                        for index in end..end + n {
                            let how = Writing { position: Some(index * 100), bytes: u32::try_from(index).unwrap() + 7, ..Writing::default() };
                            log.push(G, &entry(term, index), how).unwrap();
                            model.insert(index, id(term, index));
                        }
                    }
                    2 => {
                        let after = end.saturating_sub(n).max(purged.map_or(0, |id| id.index + 1));
                        let keep = model.range(..after).next_back().map(|(_, id)| *id).or(purged);
                        model.retain(|index, _| *index < after);
                        log.truncate(keep);
                        term += 1;
                    }
                    3 => {
                        let upto = end.saturating_sub(1).saturating_sub(n);
                        if let Some(upto) = model.get(&upto).copied() {
                            model.retain(|index, _| *index > upto.index);
                            purged = Some(upto);
                            log.purge(upto);
                        }
                    }
                    _ => {
                        // Behind a snapshot that reaches further than the log.
                        let upto = id(term, end + n);
                        model.clear();
                        purged = Some(upto);
                        log.purge(upto);
                    }
                }
                let last = model.values().next_back().copied().or(purged);
                prop_assert_eq!((log.state().last, log.state().purged), (last, purged));
                prop_assert!(log.places().map(|place| place.log_id).eq(model.values().copied()));
                let end = last.map_or(0, |last| last.index + 1);
                prop_assert_eq!(log.end(), end);
                let bytes = model.keys().map(|index| index + 7).sum::<u64>();
                prop_assert_eq!(log.extent(), Extent { first: log.first(), end, bytes });
                for index in 0..end + 3 {
                    prop_assert_eq!(log.place(index).map(|place| place.log_id), model.get(&index).copied());
                }
                if last.is_some() {
                    prop_assert!(log.push(G, &entry(term, end + 1), Writing::default()).is_err(), "a gap");
                    prop_assert!(log.push(G, &entry(0, end), Writing::default()).is_err(), "an older term");
                }
            }
        }
    }

    #[test]
    fn a_part_of_the_entries_takes_its_part_of_the_bytes() {
        let extent = Extent { first: 10, end: 30, bytes: 2_000 };
        for (from, to, bytes) in [(10, 30, 2_000), (0, 20, 1_000), (25, 99, 500), (30, 31, 0), (20, 10, 0)] {
            assert_eq!(extent.bytes_between(from, to), bytes, "{from}..{to}");
        }
        assert_eq!((extent.entries_in(500), extent.entries_in(0)), (5, 0));
        let whole = Extent { first: 0, end: u64::MAX, bytes: u64::MAX };
        assert_eq!((whole.bytes_between(0, u64::MAX), whole.entries_in(u64::MAX)), (u64::MAX, u64::MAX));
        assert_eq!((Extent::default().bytes_between(0, 9), Extent::default().entries_in(9)), (0, 0));
    }

    #[test]
    fn an_entry_that_was_written_again_counts_once() {
        let mut log = GroupLog::default();
        log.push(G, &entry(1, 0), Writing { bytes: 50, ..Writing::default() }).unwrap();
        log.moved(&entry(1, 0), 50, 640);
        assert_eq!(log.extent().bytes, 50);
        log.open(G, ReplicaId(1)).unwrap();
        assert_eq!(log.extent(), Extent::default());
    }

    #[test]
    fn a_write_of_an_earlier_append_says_nothing_of_a_later_one() {
        let mut log = GroupLog::default();
        log.push(G, &entry(1, 0), Writing { ticket: 2, ..Writing::default() }).unwrap();
        log.written(id(1, 0), 1, 64);
        assert_eq!(log.place(0).unwrap().position, None);
        log.written(id(1, 0), 2, 128);
        assert_eq!(log.place(0).unwrap().position, Some(128));
    }

    #[test]
    fn a_replica_lives_once() {
        let mut log = GroupLog::default();
        log.open(G, ReplicaId(3)).unwrap();
        assert!(matches!(log.open(G, ReplicaId(4)), Err(Error::ReplicaLives { .. })));
        let vote = Vote { term: 1, replica: ReplicaId(3), is_committed: true };
        log.apply(G, &Record::Vote(G, vote)).unwrap();
        log.push(G, &entry(1, 0), Writing::default()).unwrap();
        log.close();
        assert_eq!(log.state().vote, None);
        for used in [1, 3] {
            assert!(matches!(log.open(G, ReplicaId(used)), Err(Error::ReplicaUsed { .. })));
        }
        log.open(G, ReplicaId(4)).unwrap();
        assert_eq!((log.first(), log.end()), (0, 0));
    }
}
