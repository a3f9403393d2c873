//! The ground all tablets of a pool stand on: disk, catalog, keys, clock, cache and budgets.

use super::files::Files;
use super::pool::PoolConfig;
use crate::clock::{Clock, Passed};
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
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// What every tablet of a pool uses and none owns.
pub(crate) struct Ground {
    pub(crate) config: PoolConfig,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) passed: Passed,
    pub(crate) journal: Journal,
    pub(crate) files: Arc<Files>,
    pub(crate) cache: Arc<BlockCache<Opened>>,
    pub(crate) blocks: Arc<dyn OpenedBlocks>,
    pub(crate) memtables: Arc<MemtableBudget>,
    pub(crate) policy: RwLock<Arc<Policy>>,
    pub(crate) bucket: Mutex<Bucket>,
    /// Of scrubs, which nobody waits for.
    pub(crate) scrub_bucket: Mutex<Bucket>,
    pub(crate) bell: Bell,
    /// Tablets that somebody wants looked at for compaction.
    pub(crate) attention: Mutex<BTreeSet<TabletId>>,
    pub(crate) counters: Counters,
}

/// Bytes held by the memtables of all tablets: live ones, which take writes or wait to be flushed, and pinned ones, which are
/// in tables already and only held by readers.
#[derive(Debug, Default)]
pub(crate) struct MemtableBudget {
    /// Signed: a batch under way is in its memtable before it is counted here.
    live: AtomicIsize,
    pinned: AtomicUsize,
}

impl MemtableBudget {
    pub(crate) fn live_bytes(&self) -> usize {
        usize::try_from(self.live.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn pinned_bytes(&self) -> usize {
        self.pinned.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.live.fetch_add(bytes.cast_signed(), Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.live.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
    }
}

/// A memtable whose bytes are counted while anybody holds it.
pub(crate) struct Counted {
    pub(crate) memtable: Arc<Memtable>,
    budget: Arc<MemtableBudget>,
    /// Bytes that count as pinned; 0 while it is live.
    pinned: AtomicUsize,
}

impl Counted {
    pub(crate) fn new(budget: &Arc<MemtableBudget>) -> Arc<Self> {
        let (memtable, budget) = (Arc::new(Memtable::new()), budget.clone());
        Arc::new(Self { memtable, budget, pinned: AtomicUsize::new(0) })
    }

    /// It takes no more writes and waits for no flush: from now on it counts as pinned.
    pub(crate) fn retire(&self) {
        let bytes = self.memtable.bytes();
        if bytes > 0 && self.pinned.compare_exchange(0, bytes, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.budget.pinned.fetch_add(bytes, Ordering::Relaxed);
            self.budget.sub(bytes);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let pinned = self.pinned.load(Ordering::Acquire);
        self.budget.pinned.fetch_sub(pinned, Ordering::Relaxed);
        self.budget.sub(self.memtable.bytes().saturating_sub(pinned));
    }
}

impl Ground {
    /// The retention policy as of now, for work whose result is durable together with the position `applied`, after which
    /// `rested_ms` have passed. History is never cut above it: a reader at the newest stamp is right whatever the clock says,
    /// after a crash too.
    pub(crate) fn policy(&self, applied: Stamp, rested_ms: u64) -> Policy {
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner).clone();
        let now_ms = self.clock.now_ms().min(applied.ms().saturating_add(rested_ms));
        Policy { now_ms, applied, ..(*policy).clone() }
    }

    /// Charges background work for `bytes` moved, and waits if it moves too many.
    pub(crate) fn charge(&self, bytes: u64) {
        let wait_ms = self.charge_ahead(bytes);
        if wait_ms > 0 && self.config.threads > 0 {
            self.bell.rest(wait_ms);
        }
    }

    /// Charges a scrub for `bytes` that it has read: as all background work, and by its own rate beside.
    pub(crate) fn charge_scrub(&self, bytes: u64) {
        self.charge(bytes);
        let mut bucket = self.scrub_bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let wait_ms = bucket.take(bytes, self.clock.now_ms());
        drop(bucket);
        if wait_ms > 0 && self.config.threads > 0 {
            self.bell.rest(wait_ms);
        }
    }

    /// Charges for `bytes` moved without waiting; tells how many milliseconds others should.
    pub(crate) fn charge_ahead(&self, bytes: u64) -> u64 {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(bytes, self.clock.now_ms())
    }
}

/// The cache under the name by which tables know it.
pub(crate) struct CachedBlocks(pub(crate) Arc<BlockCache<Opened>>);

impl OpenedBlocks for CachedBlocks {
    fn get(&self, table: u64, block: u32) -> Option<Opened> {
        self.0.get(table, block)
    }

    fn number_table(&self) -> u64 {
        self.0.number_table()
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

    /// Waits until it has rung more than `heard` times, at most `ms` milliseconds. Tells whether it has.
    pub(crate) fn wait(&self, heard: u64, ms: u64) -> bool {
        let is_quiet = |rings: &mut u64| *rings == heard && !self.is_closing();
        let waited = self.heard.wait_timeout_while(self.rings(), Duration::from_millis(ms), is_quiet);
        waited.is_ok_and(|(_, result)| !result.timed_out())
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
