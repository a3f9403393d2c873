//! The ground all tablets of a pool stand on: disk, catalog, keys, clock, cache and budgets.

use super::files::Files;
use super::pool::PoolConfig;
use crate::clock::Clock;
use crate::compaction::retention::Policy;
use crate::ids::TabletId;
use crate::manifest::journal::Journal;
use crate::memtable::Memtable;
use crate::read::block_cache::BlockCache;
use crate::sealed::Sealer;
use crate::stamp::Stamp;
use crate::stats::Counters;
use crate::table::{Opened, OpenedBlocks};
use crate::work::throttle::Bucket;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// What every tablet of a pool uses and none owns.
pub(crate) struct Ground {
    pub(crate) config: PoolConfig,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Journal,
    pub(crate) files: Arc<Files>,
    pub(crate) cache: Arc<BlockCache<Opened>>,
    pub(crate) blocks: Arc<dyn OpenedBlocks>,
    pub(crate) memtables: Arc<MemtableBudget>,
    pub(crate) policy: RwLock<Arc<Policy>>,
    pub(crate) bucket: Mutex<Bucket>,
    pub(crate) bell: Bell,
    /// Tablets that somebody wants looked at for compaction.
    pub(crate) attention: Mutex<BTreeSet<TabletId>>,
    pub(crate) counters: Counters,
}

/// Bytes held by the memtables of all tablets, until the last reader lets go of them.
#[derive(Debug, Default)]
pub(crate) struct MemtableBudget(AtomicUsize);

impl MemtableBudget {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A memtable whose bytes are counted while anybody holds it.
pub(crate) struct Counted {
    pub(crate) memtable: Arc<Memtable>,
    budget: Arc<MemtableBudget>,
}

impl Counted {
    pub(crate) fn new(budget: &Arc<MemtableBudget>) -> Arc<Self> {
        Arc::new(Self { memtable: Arc::new(Memtable::new()), budget: budget.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.memtable.bytes(), Ordering::Relaxed);
    }
}

impl Ground {
    /// The retention policy as of now, for work whose result is durable together with the position `applied`. History is
    /// never cut above that: a reader at the newest stamp is right whatever the clock says, after a crash too.
    pub(crate) fn policy(&self, applied: Stamp) -> Policy {
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner).clone();
        Policy { now_ms: self.clock.now_ms().min(applied.ms()), ..(*policy).clone() }
    }

    /// Charges background work for `bytes` moved, and waits if it moves too many.
    pub(crate) fn charge(&self, bytes: u64) {
        let wait_ms = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(bytes, self.clock.now_ms())
        };
        if wait_ms > 0 && self.config.threads > 0 {
            self.bell.rest(wait_ms);
        }
    }
}

/// The cache under the name by which tables know it.
pub(crate) struct CachedBlocks(pub(crate) Arc<BlockCache<Opened>>);

impl OpenedBlocks for CachedBlocks {
    fn get(&self, table: u64, block: u32) -> Option<Opened> {
        self.0.get(table, block)
    }

    fn put(&self, table: u64, block: u32, opened: Opened) {
        self.0.insert(table, block, opened);
    }
}

/// Wakes workers when there is work, and waiting writers when there is room.
#[derive(Default)]
pub(crate) struct Bell {
    rings: Mutex<u64>,
    heard: Condvar,
    closing: AtomicBool,
    /// Sleepers of [`Bell::rest`] have their own: a ring must not cut their rest short.
    resting: Mutex<()>,
    rested: Condvar,
}

impl Bell {
    fn rings(&self) -> MutexGuard<'_, u64> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it has rung.
    pub(crate) fn heard(&self) -> u64 {
        *self.rings()
    }

    pub(crate) fn ring(&self) {
        *self.rings() += 1;
        self.heard.notify_all();
    }

    /// Waits until it has rung more than `heard` times, at most `ms` milliseconds.
    pub(crate) fn wait(&self, heard: u64, ms: u64) {
        let rings = self.rings();
        let _ = self.heard.wait_timeout_while(rings, Duration::from_millis(ms), |rings| {
            *rings == heard && !self.is_closing()
        });
    }

    /// Does nothing for `ms` milliseconds, or until the pool closes.
    pub(crate) fn rest(&self, ms: u64) {
        let guard = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.rested.wait_timeout_while(guard, Duration::from_millis(ms), |()| !self.is_closing());
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.ring();
        drop(self.resting.lock());
        self.rested.notify_all();
    }
}
