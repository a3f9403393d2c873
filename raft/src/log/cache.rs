//! Pure: entries in memory: those that are not written yet, and as many of the newest others as fit.

use super::record::{Entry, entry_bytes};
use crate::types::{GroupId, LogId};
use std::collections::{BTreeMap, VecDeque};

struct Held {
    entry: Entry,
    is_written: bool,
}

/// Entries in memory.
pub struct Cache {
    entries: BTreeMap<(GroupId, u64), Held>,
    /// Written ones, oldest first; some may be gone or replaced since.
    order: VecDeque<(GroupId, LogId)>,
    /// Bytes of written ones.
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    /// An empty cache that keeps at most `bytes_max` of what is written.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Keeps an entry that is not written yet; it stays until it is.
    pub fn insert(&mut self, group: GroupId, entry: Entry) {
        self.remove(group, entry.log_id.index);
        self.entries.insert((group, entry.log_id.index), Held { entry, is_written: false });
    }

    /// The entry was written: it may go when room is needed.
    pub fn written(&mut self, group: GroupId, log_id: LogId) {
        if let Some(held) = self.entries.get_mut(&(group, log_id.index))
            && held.entry.log_id == log_id
            && !held.is_written
        {
            held.is_written = true;
            self.bytes += entry_bytes(&held.entry);
            self.order.push_back((group, log_id));
        }
        while self.bytes > self.bytes_max {
            let Some((group, log_id)) = self.order.pop_front() else { return };
            if self.entries.get(&(group, log_id.index)).is_some_and(|held| held.entry.log_id == log_id) {
                self.remove(group, log_id.index);
            }
        }
    }

    fn remove(&mut self, group: GroupId, index: u64) {
        if let Some(held) = self.entries.remove(&(group, index))
            && held.is_written
        {
            self.bytes -= entry_bytes(&held.entry);
        }
    }

    /// The entry, if it is here.
    #[must_use]
    pub fn get(&self, group: GroupId, log_id: LogId) -> Option<&Entry> {
        self.entries
            .get(&(group, log_id.index))
            .map(|held| &held.entry)
            .filter(|entry| entry.log_id == log_id)
    }

    /// Forgets the entries of `group` from index `from` to before `to`.
    pub fn forget(&mut self, group: GroupId, from: u64, to: u64) {
        let gone: Vec<u64> =
            self.entries.range((group, from)..(group, to)).map(|((_, index), _)| *index).collect();
        gone.into_iter().for_each(|index| self.remove(group, index));
    }

    /// Bytes of written entries that are kept.
    #[must_use]
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ReplicaId;

    fn entry(term: u64, index: u64) -> Entry {
        let log_id = LogId { term, replica: ReplicaId(1), index };
        Entry { log_id, kind: 0, stamp: 0, payload: vec![0; 28].into() }
    }

    #[test]
    fn what_is_not_written_stays_and_the_oldest_of_the_rest_goes() {
        let (g, mut cache) = (GroupId(1), Cache::new(500));
        for index in 0..10 {
            cache.insert(g, entry(1, index));
        }
        let is_here = |cache: &Cache, term, index| cache.get(g, entry(term, index).log_id).is_some();
        assert!((0..10).all(|index| is_here(&cache, 1, index)) && cache.bytes() == 0);
        (0..8).for_each(|index| cache.written(g, entry(1, index).log_id));
        // 104 bytes each: four fit.
        let here: Vec<u64> = (0..10).filter(|index| is_here(&cache, 1, *index)).collect();
        assert_eq!((here, cache.bytes()), (vec![4, 5, 6, 7, 8, 9], 416));
        // Replaced by another leader's.
        cache.insert(g, entry(2, 7));
        assert!(!is_here(&cache, 1, 7) && is_here(&cache, 2, 7) && cache.bytes() == 312);
        cache.written(g, entry(1, 7).log_id);
        assert_eq!(cache.bytes(), 312, "not that one");
        cache.written(g, entry(2, 7).log_id);
        cache.forget(g, 5, 9);
        let here: Vec<u64> = (0..10).filter(|index| is_here(&cache, 1, *index)).collect();
        assert_eq!((here, cache.bytes()), (vec![4, 9], 104));
        cache.forget(GroupId(2), 0, u64::MAX);
        assert_eq!(cache.bytes(), 104);
    }
}
