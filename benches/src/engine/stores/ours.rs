//! Our engine: one tenant, one collection, one tablet.

use super::super::plan;
use super::super::workload::{self, Row};
use super::{Scanned, Store};
use crate::Outcome;
use crate::clock::{self, Stopwatch, System};
use ::engine::catalog::SledCatalog;
use ::engine::clock::Clock;
use ::engine::compaction::retention::Policy;
use ::engine::disk::RealDisk;
use ::engine::ids::{
    ClusterId, CollectionId, KeyEpoch, LogIndex, NodeId, Owner, Purpose, TabletId, TenantId,
};
use ::engine::key::KeyRange;
use ::engine::sealed::{Keyring, Sealer, SecretKey};
use ::engine::tablet::Tablet;
use ::engine::tablet::batch::Batch;
use ::engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use ::engine::tablet::view::Scan;
use ::engine::{Error, Stamp};
use std::path::Path;
use std::sync::Arc;

const NODE: NodeId = NodeId(1);
const TABLET: TabletId = TabletId(1);
/// Milliseconds a writer waits for room before it asks again.
const ROOM_MS: u64 = 1_000;
/// Seconds after which a flush that does not come is a failure.
const FLUSH_S_MAX: f64 = 300.0;

/// Where the rows of a benchmark live.
pub struct Home;

impl Home {
    /// Whose they are.
    pub const TENANT: TenantId = TenantId(7);
    /// In which collection.
    pub const COLLECTION: CollectionId = CollectionId(1);
}

/// From now on this process seals nothing.
pub fn seal_nothing() -> Outcome<()> {
    #[cfg(feature = "null-cipher")]
    {
        ::engine::sealed::cipher::null::switch_on();
        Ok(())
    }
    #[cfg(not(feature = "null-cipher"))]
    Err("built without the feature null-cipher".into())
}

/// Keys for a benchmark only: a server unwraps random ones.
fn keyring() -> Outcome<Keyring> {
    let keys = Keyring::new();
    for (byte, owner, purpose) in [
        (1, Owner::Cluster, Purpose::Mac),
        (2, Owner::Node(NODE), Purpose::Catalog),
        (3, Owner::Tenant(Home::TENANT), Purpose::Data),
    ] {
        keys.insert(owner, purpose, KeyEpoch(1), SecretKey::new([byte; 32]))?;
        keys.activate(owner, purpose, KeyEpoch(1))?;
    }
    Ok(keys)
}

/// Opens a pool in `dir` with the settings it has by itself. No history is kept: peers keep none.
pub fn open_pool(dir: &Path) -> Outcome<Arc<Pool>> {
    let parts = Parts {
        disk: Arc::new(RealDisk),
        catalog: SledCatalog::opener(),
        sealer: Arc::new(Sealer::new(ClusterId([7; 16]), Arc::new(keyring()?), Arc::new(System))?),
        clock: Arc::new(System),
        node: NODE,
    };
    let config = PoolConfig {
        threads: 2,
        memtable_bytes: plan::MEMTABLE_BYTES,
        cache_bytes: plan::CACHE_BYTES,
        ..PoolConfig::new(dir)
    };
    let pool = Pool::open(config, parts)?;
    pool.set_policy(Policy { default_window_ms: 0, ..Policy::default() });
    Ok(pool)
}

/// Our engine.
pub struct Ours {
    pool: Arc<Pool>,
    tablet: Arc<Tablet>,
    index: LogIndex,
    stamp: Stamp,
    waited_s: f64,
}

impl Ours {
    /// Opens it in `dir`.
    pub fn open(dir: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        let pool = open_pool(dir)?;
        let tablet = match pool.tablet(TABLET) {
            Err(Error::NoSuchTablet(_)) => {
                pool.create(&[NewTablet::empty(TABLET, KeyRange::all())])?.remove(0)
            }
            found => found?,
        };
        let applied = tablet.applied();
        Ok(Self { pool, tablet, index: applied.index, stamp: applied.stamp, waited_s: 0.0 })
    }

    /// Applies a batch, and waits for room as often as it must.
    fn apply(&mut self, batch: &Batch) -> Outcome<()> {
        let mut waiting = None;
        loop {
            match self.tablet.apply(batch) {
                Err(Error::Overloaded { .. }) => {
                    waiting.get_or_insert_with(Stopwatch::start);
                    // Without room it is told so by the next try.
                    let _ = self.tablet.await_room(ROOM_MS);
                }
                done => {
                    self.waited_s += waiting.map_or(0.0, |watch| watch.seconds());
                    return Ok(done?);
                }
            }
        }
    }
}

impl Store for Ours {
    fn write(&mut self, rows: &[Row]) -> Outcome<()> {
        self.index = LogIndex(self.index.0 + 1);
        self.stamp = self.stamp.max(Stamp::new(System.now_ms(), 0));
        let mut batch = Batch::new(self.index);
        for row in rows {
            self.stamp = self.stamp.next();
            batch.put(Home::TENANT, Home::COLLECTION, &row.key, &row.value, self.stamp, 0)?;
        }
        self.apply(&batch)
    }

    fn make_durable(&mut self) -> Outcome<()> {
        self.tablet.freeze();
        let watch = Stopwatch::start();
        while self.tablet.durable().index < self.index {
            if watch.seconds() > FLUSH_S_MAX {
                return Err(format!("no flush: {:?}", self.tablet.health()).into());
            }
            clock::rest(1);
        }
        Ok(())
    }

    fn read(&mut self, key: &[u8]) -> Outcome<Option<u64>> {
        let view = self.tablet.view(System.now_ms())?;
        let found = view.get(Home::TENANT, Home::COLLECTION, key)?;
        Ok(found.map(|found| workload::head_of(&found.value)))
    }

    fn scan(&mut self, start: &[u8], limit: usize) -> Outcome<Scanned> {
        let view = self.tablet.view(System.now_ms())?;
        let scan = Scan { start: Some(start.to_vec()), limit, ..Scan::all(Home::TENANT, Home::COLLECTION) };
        let mut scanned = Scanned::default();
        for entry in view.scan(&scan, None)?.entries {
            scanned.count(&entry.key, &entry.found.value);
        }
        Ok(scanned)
    }

    fn is_idle(&self) -> bool {
        let stats = self.tablet.stats();
        stats.frozen_memtables == 0 && self.pool.stats().files_to_remove == 0
    }

    fn compact(&mut self) -> Outcome<()> {
        let before = self.pool.stats().counters.compactions;
        self.tablet.request_compaction();
        let watch = Stopwatch::start();
        while self.pool.stats().counters.compactions == before {
            if watch.seconds() > FLUSH_S_MAX {
                return Err(format!("no compaction: {:?}", self.tablet.health()).into());
            }
            clock::rest(5);
        }
        Ok(())
    }

    fn own_figures(&self) -> Vec<(&'static str, f64)> {
        let (pool, tablet) = (self.pool.stats(), self.tablet.stats());
        let counters = pool.counters;
        let tables: usize = tablet.tables_by_level.iter().sum();
        let level0 = tablet.tables_by_level.first().copied().unwrap_or_default();
        vec![
            ("waited_s", self.waited_s),
            ("flushed_bytes", counters.flushed_bytes as f64),
            ("compacted_bytes", counters.compaction_written_bytes as f64),
            ("compactions", counters.compactions as f64),
            ("tables", tables as f64),
            ("level0_tables", level0 as f64),
            ("cache_hits", pool.cache_hits as f64),
            ("cache_misses", pool.cache_misses as f64),
        ]
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.pool.close();
    }
}
