//! Figures, as plain values. No exporter here: whoever serves metrics reads these.

use crate::manifest::edit::Applied;
use crate::tablet::health::Health;
use crate::work::stall::Pressure;
use std::sync::atomic::{AtomicU64, Ordering};

/// A figure that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of a pool, while it runs.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter,)* }

        /// What a pool has done since it was opened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            pub(crate) fn read(&self) -> Counts {
                Counts { $($name: self.$name.read(),)* }
            }
        }
    };
}

counters! {
    /// Batches applied.
    batches,
    /// Batches refused because memory or level 0 was full.
    writes_refused,
    /// Memtables flushed.
    flushes,
    /// Bytes of tables that flushes wrote.
    flushed_bytes,
    /// Compactions that changed something.
    compactions,
    /// Bytes of tables that compactions read.
    compaction_read_bytes,
    /// Bytes of tables that compactions wrote.
    compaction_written_bytes,
    /// Files removed.
    files_removed,
    /// Units of background work that failed.
    work_failed,
    /// Tablets fenced.
    fenced,
    /// Tables that background work or scrub found damaged.
    damaged_tables,
}

/// Figures of one tablet at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TabletStats {
    /// Bytes in the memtable that takes writes.
    pub memtable_bytes: usize,
    /// Memtables that wait to be flushed.
    pub frozen_memtables: usize,
    /// Bytes in them.
    pub frozen_bytes: usize,
    /// Tables, by level.
    pub tables_by_level: Vec<usize>,
    /// Bytes of tables, by level.
    pub bytes_by_level: Vec<u64>,
    /// Position applied last.
    pub applied: Applied,
    /// Position that a crash leaves.
    pub durable: Applied,
    /// Whether writers should slow down.
    pub pressure: Pressure,
    /// What the tablet can do.
    pub health: Health,
}

/// Figures of a pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Tablets that are open.
    pub tablets: usize,
    /// Tablets whose manifest could not be read.
    pub unreadable_tablets: usize,
    /// Bytes in all memtables that take writes or wait to be flushed.
    pub memtable_bytes: usize,
    /// Bytes in memtables that are in tables already and still held by readers.
    pub pinned_memtable_bytes: usize,
    /// Bytes of opened blocks in memory.
    pub cache_bytes: u64,
    /// Look-ups that found their block in memory.
    pub cache_hits: u64,
    /// Look-ups that did not.
    pub cache_misses: u64,
    /// Table files open now.
    pub open_files: usize,
    /// Files nobody needs that are still there.
    pub files_to_remove: usize,
    /// What happened since the pool was opened.
    pub counters: Counts,
}
