//! A tablet that rests: what has left the history window, and what has expired, leaves the disk by time alone; once, and no
//! clock that jumps can hurry it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::compaction::retention::Policy;
use engine::ids::{LogIndex, Owner, TenantId};
use engine::key::KeyRange;
use engine::limits::{CLOCK_STEP_MS_MAX, TIDY_LOOK_MS, TIDY_MS, TIDY_SPREAD_PART};
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::health::Health;
use engine::tablet::pool::{NewTablet, Pool};
use engine::tablet::view::Scan;
use engine::{Error, Stamp};
use rig::{C, Dice, Rig, START_MS, T1, T2, TABLET};
use std::collections::BTreeMap;
use std::sync::Arc;

const WINDOW_MS: u64 = 100_000;

struct Store {
    rig: Rig,
    pool: Arc<Pool>,
    tablet: Arc<Tablet>,
}

impl Store {
    fn new(window_ms: u64) -> Self {
        let rig = Rig::new(6);
        let pool = rig.open();
        let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
        let store = Self { rig, pool, tablet };
        store.keep(window_ms);
        store
    }

    fn keep(&self, window_ms: u64) {
        self.pool.set_policy(Policy { default_window_ms: window_ms, ..Policy::default() });
    }

    /// Applies one batch, a millisecond after the one before.
    fn write(&self, fill: impl FnOnce(&mut Batch, Stamp)) -> Stamp {
        let mut batch = Batch::new(LogIndex(self.tablet.applied().index.0 + 1));
        let stamp = Stamp::new(self.tablet.applied_stamp().ms().max(START_MS) + 1, 0);
        fill(&mut batch, stamp);
        self.rig.clock.set(stamp.ms());
        self.tablet.apply(&batch).unwrap();
        stamp
    }

    fn put(&self, tenant: TenantId, key: &[u8], value: &[u8], expires_ms: u64) -> Stamp {
        self.write(|batch, stamp| batch.put(tenant, C, key, value, stamp, expires_ms).unwrap())
    }

    fn flush(&self) {
        self.tablet.freeze();
        self.pool.settle();
    }

    /// Nobody writes for `ms` milliseconds.
    fn rest(&self, ms: u64) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(CLOCK_STEP_MS_MAX);
            self.rig.clock.advance(step);
            assert!(self.pool.settle() < 1_000, "comes to rest");
            left -= step;
        }
        assert_eq!(self.tablet.health(), Health::Serving);
    }

    /// Versions, and range tombstones, in tables.
    fn held(&self) -> (u64, u32) {
        let checkpoint = self.tablet.checkpoint().unwrap();
        let tables = checkpoint.levels().tables();
        tables.fold((0, 0), |sum, meta| (sum.0 + meta.entries, sum.1 + meta.tombstones))
    }

    fn get_at(&self, at: Stamp, key: &[u8]) -> engine::Result<Option<Vec<u8>>> {
        let view = self.tablet.view_as_of(at)?;
        Ok(view.get(T1, C, key)?.map(|found| found.value.to_vec()))
    }

    /// What a reader sees now of both tenants.
    fn rows(&self) -> BTreeMap<(TenantId, Vec<u8>), Vec<u8>> {
        let view = self.tablet.view(self.rig.clock_ms()).unwrap();
        let of = |tenant| {
            view.scan(&Scan::all(tenant, C), None)
                .unwrap()
                .entries
                .into_iter()
                .map(move |e| ((tenant, e.key), e.found.value.to_vec()))
        };
        of(T1).chain(of(T2)).collect()
    }

    fn open_again(self) -> Self {
        let Self { rig, pool, tablet } = self;
        drop((pool, tablet));
        rig.disk.crash();
        rig.disk.restart();
        let pool = rig.open();
        let tablet = pool.tablet(TABLET).unwrap();
        Self { rig, pool, tablet }
    }
}

trait Shows {
    fn clock_ms(&self) -> u64;
}

impl Shows for Rig {
    fn clock_ms(&self) -> u64 {
        engine::clock::Clock::now_ms(&*self.clock)
    }
}

#[test]
fn what_has_left_the_window_goes_by_time_alone_and_once() {
    let store = Store::new(WINDOW_MS);
    let first = store.put(T1, b"k", b"1", 0);
    store.put(T1, b"gone", b"v", 0);
    store.put(T1, b"range", b"v", 0);
    store.flush();
    let second = store.put(T1, b"k", b"2", 0);
    store.write(|batch, stamp| {
        batch.delete(T1, C, b"gone", stamp).unwrap();
        batch.delete_range(T1, C, b"r", Some(b"s"), stamp.next()).unwrap();
    });
    store.flush();
    let last = store.put(T1, b"k", b"3", 0);
    store.flush();
    assert_eq!(store.held(), (6, 1));
    store.rest(WINDOW_MS + TIDY_MS / 2);
    assert_eq!(store.held(), (6, 1), "a compaction for something else may come first");
    assert_eq!(store.get_at(first, b"k").unwrap(), Some(b"1".to_vec()));
    store.rest(TIDY_MS);
    assert_eq!(store.held(), (1, 0), "the newest version of the one row there is");
    for at in [first, second] {
        assert!(matches!(store.get_at(at, b"k"), Err(Error::HistoryGone { oldest }) if oldest <= last));
    }
    let operations = store.rig.disk.operations();
    store.rest(WINDOW_MS + 10 * TIDY_MS);
    assert_eq!(store.rig.disk.operations(), operations, "nothing is done again for nothing");
    // The newest stamp can be read, also where a crash has left it.
    let store = store.open_again();
    assert_eq!(store.get_at(store.tablet.applied_stamp(), b"k").unwrap(), Some(b"3".to_vec()));
}

#[test]
fn what_is_hidden_by_tables_above_goes_from_every_level() {
    let store = Store::new(WINDOW_MS);
    let dice = Dice::new(3);
    for round in 0..4_u64 {
        for n in 0..150_u64 {
            let at = (n * 7 + round) % 150;
            let (tenant, key) = (if at % 2 == 0 { T1 } else { T2 }, format!("key{at:03}"));
            store.put(tenant, key.as_bytes(), &dice.bytes(100 + round), 0);
            store.pool.settle();
        }
    }
    store.flush();
    let levels = store.tablet.stats().tables_by_level;
    assert!(levels.iter().filter(|tables| **tables > 0).count() > 2, "{levels:?}");
    let rows = store.rows();
    assert!(store.held().0 > rows.len() as u64, "{:?}", store.held());
    store.rest(WINDOW_MS + TIDY_MS + 1_000_000);
    assert_eq!(store.held(), (rows.len() as u64, 0));
    assert_eq!(store.rows(), rows);
    let operations = store.rig.disk.operations();
    store.rest(4 * TIDY_MS);
    assert_eq!(store.rig.disk.operations(), operations, "nothing is done again for nothing");
}

#[test]
fn what_has_expired_goes_by_time_alone_also_after_a_reopen() {
    let life_ms = 8 * TIDY_MS;
    let store = Store::new(WINDOW_MS);
    store.put(T1, b"stays", b"v", 0);
    store.put(T1, b"short", b"v", START_MS + 50);
    store.put(T1, b"long", b"v", START_MS + life_ms);
    // Expired when it was written: it stays for the window all the same, and nobody is busy with it meanwhile.
    store.put(T1, b"stillborn", b"v", 1);
    store.flush();
    store.tablet.request_compaction();
    store.pool.settle();
    let store = store.open_again();
    store.keep(WINDOW_MS);
    // Another tenant goes on writing: its stamps prove that time passes. None of its tables has the rows of this one.
    let of_t1 = || -> u64 {
        let checkpoint = store.tablet.checkpoint().unwrap();
        let stripes = checkpoint.levels().tables().flat_map(|meta| &meta.stripes);
        stripes.filter(|stripe| stripe.owner == Owner::Tenant(T1)).map(|stripe| stripe.entries).sum()
    };
    let pass = |ms: u64| {
        store.rest(ms);
        let stamp = Stamp::new(store.rig.clock_ms(), 0);
        let mut batch = Batch::new(LogIndex(store.tablet.applied().index.0 + 1));
        batch.put(T2, C, b"k", b"v", stamp, 0).unwrap();
        store.tablet.apply(&batch).unwrap();
        store.flush();
        // What it was looked at for comes a minute later at most.
        store.rest(TIDY_LOOK_MS);
    };
    pass(WINDOW_MS + TIDY_MS / 2);
    assert_eq!(of_t1(), 4);
    pass(TIDY_MS);
    assert_eq!(of_t1(), 2, "the short one, and the one that never lived");
    pass(life_ms);
    assert_eq!(of_t1(), 2, "what lives long may also lie longer");
    pass(life_ms / TIDY_SPREAD_PART);
    assert_eq!(of_t1(), 1);
    assert_eq!(store.rows().len(), 2);
}

#[test]
fn a_clock_that_jumps_drops_no_history() {
    let store = Store::new(WINDOW_MS);
    let first = store.put(T1, b"k", b"1", 0);
    store.put(T1, b"k", b"2", 0);
    store.flush();
    for _ in 0..3 {
        store.rig.clock.advance(1_000 * TIDY_MS);
        store.pool.settle();
        store.rig.clock.set(START_MS);
        store.pool.settle();
    }
    store.tablet.request_compaction();
    store.pool.settle();
    assert_eq!(store.held(), (2, 0));
    assert_eq!(store.get_at(first, b"k").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn where_everything_is_kept_time_takes_nothing() {
    let store = Store::new(u64::MAX);
    let first = store.put(T1, b"k", b"1", START_MS + 100);
    store.put(T1, b"k", b"2", START_MS + 100);
    store.flush();
    let operations = store.rig.disk.operations();
    store.rest(100 * TIDY_MS);
    assert_eq!((store.held(), store.rig.disk.operations()), ((2, 0), operations));
    assert_eq!(store.get_at(first, b"k").unwrap(), Some(b"1".to_vec()));
}
