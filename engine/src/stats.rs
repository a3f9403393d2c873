//! Figures, as plain values. No exporter here: whoever serves metrics reads these.

use crate::manifest::edit::Applied;
use crate::tablet::health::Health;
use crate::work::stall::Pressure;
use std::sync::atomic::{AtomicU64, Ordering};

/// A figure that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Raises it by `n`. Cheap, and ordered with nothing.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What it has come to.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A figure that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Makes it `n`. Cheap, and ordered with nothing.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a figure moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FigureKind {
    /// It only rises, from 0 at a start.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// A figure under the name that whoever serves metrics gives it; `docs/metrics.md` says what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// `dewpond_<room>_<noun>_<unit>`.
    pub name: &'static str,
    /// How it moves.
    pub kind: FigureKind,
    /// What it is.
    pub value: u64,
}

fn gauge(name: &'static str, value: u64) -> Figure {
    Figure { name, kind: FigureKind::Gauge, value }
}

fn counter(name: &'static str, value: u64) -> Figure {
    Figure { name, kind: FigureKind::Counter, value }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $metric:literal,)*) => {
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

        impl Counts {
            fn rows(&self) -> impl Iterator<Item = Figure> + use<> {
                [$(counter($metric, self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Batches applied.
    batches: "dewpond_pool_applied_batches",
    /// Batches refused because memory or level 0 was full.
    writes_refused: "dewpond_pool_refused_batches",
    /// Memtables flushed.
    flushes: "dewpond_pool_flushed_memtables",
    /// Bytes of tables that flushes wrote.
    flushed_bytes: "dewpond_pool_flushed_bytes",
    /// Compactions that changed something.
    compactions: "dewpond_pool_done_compactions",
    /// Bytes of tables that compactions read.
    compaction_read_bytes: "dewpond_pool_compaction_read_bytes",
    /// Bytes of tables that compactions wrote.
    compaction_written_bytes: "dewpond_pool_compaction_written_bytes",
    /// Files removed.
    files_removed: "dewpond_pool_removed_files",
    /// Units of background work that failed.
    work_failed: "dewpond_pool_failed_tasks",
    /// Tablets fenced.
    fenced: "dewpond_pool_fenced_tablets",
    /// Tables that background work or scrub found damaged.
    damaged_tables: "dewpond_pool_damaged_tables",
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
    /// Look-ups that did not find it there.
    pub cache_misses: u64,
    /// Table files open now.
    pub open_files: usize,
    /// Files nobody needs that are still there.
    pub files_to_remove: usize,
    /// What happened since the pool was opened.
    pub counters: Counts,
}

impl PoolStats {
    /// Every figure of it under its name.
    pub fn rows(&self) -> impl Iterator<Item = Figure> + use<> {
        // All of them, so that a new one asks for its name.
        let Self {
            tablets,
            unreadable_tablets,
            memtable_bytes,
            pinned_memtable_bytes,
            cache_bytes,
            cache_hits,
            cache_misses,
            open_files,
            files_to_remove,
            counters,
        } = *self;
        let now = [
            gauge("dewpond_pool_open_tablets", tablets as u64),
            gauge("dewpond_pool_unreadable_tablets", unreadable_tablets as u64),
            gauge("dewpond_pool_memtable_bytes", memtable_bytes as u64),
            gauge("dewpond_pool_pinned_memtable_bytes", pinned_memtable_bytes as u64),
            gauge("dewpond_pool_cache_bytes", cache_bytes),
            counter("dewpond_pool_cache_hit_blocks", cache_hits),
            counter("dewpond_pool_cache_missed_blocks", cache_misses),
            gauge("dewpond_pool_open_files", open_files as u64),
            gauge("dewpond_pool_doomed_files", files_to_remove as u64),
        ];
        now.into_iter().chain(counters.rows())
    }
}
