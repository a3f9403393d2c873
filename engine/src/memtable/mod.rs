//! The memtable: what has been applied and not yet flushed. One writer, any number of readers, no lock between them.

pub mod budget;
mod cursor;
mod headed_key;

pub use cursor::MemtableCursor;

use crate::key;
use crate::limits;
use crate::range_tombstone::{RangeTombstone, Tombstones};
use crate::read::OwnedSlot;
use crate::stamp::Stamp;
use crate::tablet::batch::{Batch, Op, ops_of};
use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use headed_key::HeadedKey;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Versions and range tombstones in memory, sorted.
#[derive(Default)]
pub struct Memtable {
    entries: SkipMap<HeadedKey, OwnedSlot>,
    /// Replaced whole by the writer: readers take it and let go of the lock.
    tombstones: RwLock<Arc<Tombstones>>,
    bytes: AtomicUsize,
}

impl Memtable {
    /// An empty memtable.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a batch. Readers at a stamp before the batch see none of it; the caller tells them when they may see all.
    pub fn apply(&self, batch: &Batch) {
        // One copy of the whole batch; keys and values of the entries are slices of it.
        let bytes = Bytes::copy_from_slice(batch.operations());
        let mut added = 0;
        let mut ranges = Vec::new();
        for op in ops_of(&bytes) {
            match op {
                Op::Put { version, value, expires_ms } => {
                    added += version.len() + value.len() + limits::MEMTABLE_ENTRY_OVERHEAD_BYTES;
                    let slot = OwnedSlot::Put { value: bytes.slice_ref(value), expires_ms };
                    self.entries.insert(HeadedKey::new(bytes.slice_ref(version)), slot);
                }
                Op::Delete { version } => {
                    added += version.len() + limits::MEMTABLE_ENTRY_OVERHEAD_BYTES;
                    self.entries.insert(HeadedKey::new(bytes.slice_ref(version)), OwnedSlot::Delete);
                }
                Op::DeleteRange { start, end, stamp } => {
                    added += 2 * (start.len() + end.len()) + limits::MEMTABLE_ENTRY_OVERHEAD_BYTES;
                    let (start, end) = (start.to_vec(), end.to_vec());
                    ranges.push(Arc::new(RangeTombstone { start, end, stamp }));
                }
            }
        }
        if !ranges.is_empty() {
            let mut guard = self.tombstones.write().unwrap_or_else(PoisonError::into_inner);
            ranges.extend(guard.all().iter().cloned());
            *guard = Arc::new(Tombstones::new(ranges));
        }
        self.bytes.fetch_add(added, Ordering::Relaxed);
    }

    /// The newest version of `row` at or before `at`.
    #[must_use]
    pub fn get(&self, row: &[u8], at: Stamp) -> Option<(Stamp, OwnedSlot)> {
        let target = HeadedKey::new(key::version(row, at).into());
        let entry = self.entries.lower_bound(Bound::Included(&target))?;
        let (found, stamp) = key::split(entry.key().bytes());
        (found == row).then(|| (stamp, entry.value().clone()))
    }

    /// Its range tombstones, as of now.
    #[must_use]
    pub fn tombstones(&self) -> Arc<Tombstones> {
        self.tombstones.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many range tombstones it has.
    #[must_use]
    pub fn tombstones_len(&self) -> usize {
        self.tombstones.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A walk over its versions. It may or may not meet versions added meanwhile; those are above its reader's stamp.
    #[must_use]
    pub fn cursor(self: &Arc<Self>) -> MemtableCursor {
        MemtableCursor::new(self.clone())
    }

    /// Bytes it holds, overhead included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tombstones_len() == 0
    }
}
