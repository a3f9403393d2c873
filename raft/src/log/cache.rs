//! Pure: entries in memory: those that are not written yet, and as many of the newest others as fit.

use super::record::{Entry, entry_bytes};
use crate::types::{GroupId, LogId};
use std::collections::BTreeMap;

struct Held {
    entry: Entry,
    /// Which append it is of.
    ticket: u64,
    /// Its turn to go; `None` until it is written.
    turn: Option<u64>,
}

/// Entries in memory.
pub struct Cache {
    entries: BTreeMap<(GroupId, u64), Held>,
    /// Written ones by their turn, the oldest first.
    turns: BTreeMap<u64, (GroupId, u64)>,
    next_turn: u64,
    /// Bytes of written ones.
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    /// An empty cache that keeps at most `bytes_max` of what is written.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { entries: BTreeMap::new(), turns: BTreeMap::new(), next_turn: 0, bytes: 0, bytes_max }
    }

    /// Keeps an entry of append `ticket` that is not written yet; it stays until it is.
    pub fn insert(&mut self, group: GroupId, entry: Entry, ticket: u64) {
        self.remove(group, entry.log_id.index);
        self.entries.insert((group, entry.log_id.index), Held { entry, ticket, turn: None });
    }

    /// The entry of append `ticket` was written: it may go when room is needed.
    pub fn written(&mut self, group: GroupId, index: u64, ticket: u64) {
        if let Some(held) = self.entries.get_mut(&(group, index))
            && held.ticket == ticket
            && held.turn.is_none()
        {
            held.turn = Some(self.next_turn);
            self.turns.insert(self.next_turn, (group, index));
            self.next_turn += 1;
            self.bytes += entry_bytes(&held.entry);
        }
        while self.bytes > self.bytes_max {
            let Some((_, (group, index))) = self.turns.first_key_value() else { return };
            let (group, index) = (*group, *index);
            self.remove(group, index);
        }
    }

    fn remove(&mut self, group: GroupId, index: u64) {
        if let Some(Held { entry, turn: Some(turn), .. }) = self.entries.remove(&(group, index)) {
            self.turns.remove(&turn);
            self.bytes -= entry_bytes(&entry);
        }
    }

    /// The entry, if it is here.
    #[must_use]
    pub fn get(&self, group: GroupId, log_id: LogId) -> Option<&Entry> {
        let held = self.entries.get(&(group, log_id.index));
        held.map(|held| &held.entry).filter(|entry| entry.log_id == log_id)
    }

    /// Forgets the entries of `group` from index `from` to before `to`.
    pub fn forget(&mut self, group: GroupId, from: u64, to: u64) {
        let here = self.entries.range((group, from)..(group, to.max(from)));
        let gone: Vec<u64> = here.map(|((_, index), _)| *index).collect();
        gone.into_iter().for_each(|index| self.remove(group, index));
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
            cache.insert(g, entry(1, index), 1);
        }
        let is_here = |cache: &Cache, term, index| cache.get(g, entry(term, index).log_id).is_some();
        assert!((0..10).all(|index| is_here(&cache, 1, index)) && cache.bytes == 0);
        (0..8).for_each(|index| cache.written(g, index, 1));
        // 104 bytes each: four fit.
        let here: Vec<u64> = (0..10).filter(|index| is_here(&cache, 1, *index)).collect();
        assert_eq!((here, cache.bytes, cache.turns.len()), (vec![4, 5, 6, 7, 8, 9], 416, 4));
        // Replaced by another leader's.
        cache.insert(g, entry(2, 7), 2);
        assert!(!is_here(&cache, 1, 7) && is_here(&cache, 2, 7) && cache.bytes == 312);
        cache.written(g, 7, 1);
        assert_eq!(cache.bytes, 312, "not that one");
        cache.written(g, 7, 2);
        cache.forget(g, 5, 9);
        let here: Vec<u64> = (0..10).filter(|index| is_here(&cache, 1, *index)).collect();
        assert_eq!((here, cache.bytes, cache.turns.len()), (vec![4, 9], 104, 1));
        cache.forget(GroupId(2), 0, u64::MAX);
        assert_eq!(cache.bytes, 104);
    }

    #[test]
    fn the_same_entry_appended_again_stays_until_that_is_written() {
        let (g, mut cache) = (GroupId(1), Cache::new(100));
        cache.insert(g, entry(1, 5), 1);
        cache.forget(g, 0, u64::MAX);
        cache.insert(g, entry(1, 5), 2);
        cache.written(g, 5, 1);
        for index in 10..20 {
            cache.insert(g, entry(1, index), 3);
            cache.written(g, index, 3);
        }
        assert!(cache.get(g, entry(1, 5).log_id).is_some() && cache.turns.is_empty());
    }
}
