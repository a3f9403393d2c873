//! A walk over a memtable that owns what it needs: entries are taken in chunks, so a step is a step in a list.

use super::Memtable;
use super::headed_key::HeadedKey;
use crate::error::Result;
use crate::read::{Cursor, OwnedSlot, Slot};
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

/// Entries of the first chunk after a seek: a short scan should not copy many.
const CHUNK_MIN: usize = 4;
/// Entries of a chunk at most.
const CHUNK_MAX: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Backward,
}

/// A walk over a memtable.
pub struct MemtableCursor {
    memtable: Arc<Memtable>,
    /// In the order of `way`.
    chunk: Vec<(HeadedKey, OwnedSlot)>,
    at: usize,
    way: Way,
    next_len: usize,
}

impl MemtableCursor {
    pub(super) fn new(memtable: Arc<Memtable>) -> Self {
        Self { memtable, chunk: Vec::new(), at: 0, way: Way::Forward, next_len: CHUNK_MIN }
    }

    fn fill(&mut self, from: Bound<HeadedKey>, way: Way) {
        if self.way != way {
            self.next_len = CHUNK_MIN;
        }
        self.way = way;
        self.chunk.clear();
        self.at = 0;
        let entries = &self.memtable.entries;
        let copy = |entry: crossbeam_skiplist::map::Entry<'_, HeadedKey, OwnedSlot>| {
            (entry.key().clone(), entry.value().clone())
        };
        match way {
            Way::Forward => {
                let range = entries.range((from, Bound::<HeadedKey>::Unbounded));
                self.chunk.extend(range.take(self.next_len).map(copy));
            }
            Way::Backward => {
                let range = entries.range((Bound::<HeadedKey>::Unbounded, from)).rev();
                self.chunk.extend(range.take(self.next_len).map(copy));
            }
        }
        self.next_len = (self.next_len * 2).min(CHUNK_MAX);
    }

    fn go(&mut self, way: Way) {
        if self.way == way && self.at + 1 < self.chunk.len() {
            self.at += 1;
            return;
        }
        if self.way != way && self.at > 0 {
            // The chunk just walked holds the way back; turning keeps the walk inside it.
            self.chunk.truncate(self.at + 1);
            self.chunk.reverse();
            self.way = way;
            self.at = 1;
            return;
        }
        let Some((key, _)) = self.chunk.get(self.at) else { return };
        self.fill(Bound::Excluded(key.clone()), way);
    }
}

fn owned(target: &[u8]) -> HeadedKey {
    HeadedKey::new(Bytes::copy_from_slice(target))
}

impl Cursor for MemtableCursor {
    fn seek(&mut self, target: &[u8]) -> Result<()> {
        self.next_len = CHUNK_MIN;
        self.fill(Bound::Included(owned(target)), Way::Forward);
        Ok(())
    }

    fn seek_before(&mut self, target: Option<&[u8]>) -> Result<()> {
        self.next_len = CHUNK_MIN;
        let from = target.map_or(Bound::Unbounded, |target| Bound::Excluded(owned(target)));
        self.fill(from, Way::Backward);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.go(Way::Forward);
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        self.go(Way::Backward);
        Ok(())
    }

    fn key(&self) -> Option<&[u8]> {
        self.chunk.get(self.at).map(|(key, _)| key.bytes())
    }

    fn slot(&self) -> Slot<'_> {
        self.chunk.get(self.at).map_or(Slot::Delete, |(_, slot)| slot.as_slot())
    }
}
