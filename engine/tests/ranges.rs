//! Deleted ranges in numbers: many in a batch, many on the same rows, nested ones, long bounds. A tenant that deletes ranges
//! all day stops nobody, and what its deletions cost grows with their number, not with its square.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::compaction::retention::Policy;
use engine::ids::LogIndex;
use engine::key::KeyRange;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::health::Health;
use engine::tablet::pool::{NewTablet, Pool};
use engine::tablet::view::Scan;
use engine::{Error, Stamp, limits};
use rig::{C, Rig, START_MS, T1, T2, TABLET};
use std::sync::Arc;

struct Store {
    rig: Rig,
    pool: Arc<Pool>,
    tablet: Arc<Tablet>,
    stamp: Stamp,
}

impl Store {
    fn new() -> Self {
        let mut rig = Rig::new(1);
        rig.config.memtable_bytes = 64 << 20;
        rig.config.memtable_bytes_per_tablet = 32 << 20;
        let pool = rig.open();
        let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
        Self { rig, pool, tablet, stamp: Stamp::new(START_MS, 0) }
    }

    fn apply(&mut self, fill: impl FnOnce(&mut Batch, &mut dyn FnMut() -> Stamp)) {
        let mut batch = Batch::new(LogIndex(self.tablet.applied().index.0 + 1));
        let stamp = &mut self.stamp;
        fill(&mut batch, &mut || {
            *stamp = stamp.next();
            *stamp
        });
        self.rig.clock.set(self.stamp.ms());
        while let Err(error) = self.tablet.apply(&batch) {
            assert!(matches!(error, Error::Overloaded { .. }), "{error}");
            self.pool.step();
        }
    }

    fn compact(&self) {
        self.tablet.freeze();
        self.pool.settle();
        assert_eq!(self.tablet.health(), Health::Serving);
        self.tablet.request_compaction();
        self.pool.settle();
        assert_eq!(self.tablet.health(), Health::Serving);
        assert_eq!(self.tablet.durable().index, self.tablet.applied().index);
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        let view = self.tablet.view(START_MS).unwrap();
        let page = view.scan(&Scan::all(T1, C), None).unwrap();
        for entry in &page.entries {
            assert!(view.get(T1, C, &entry.key).unwrap().is_some());
        }
        page.entries.into_iter().map(|entry| entry.key).collect()
    }

    fn bytes(&self) -> u64 {
        self.tablet.stats().bytes_by_level.iter().sum()
    }

    fn range_tombstones(&self) -> u32 {
        self.tablet.checkpoint().unwrap().levels().tables().map(|meta| meta.tombstones).sum()
    }
}

fn wide(n: u64, bytes: usize) -> Vec<u8> {
    let mut key = format!("q{n:08}").into_bytes();
    key.resize(bytes, b'x');
    key
}

#[test]
fn a_batch_of_nothing_but_deleted_ranges_is_flushed() {
    let mut store = Store::new();
    store.apply(|batch, stamp| {
        for n in 0..8_000 {
            batch.delete_range(T1, C, &wide(2 * n, 146), Some(&wide(2 * n + 1, 146)), stamp()).unwrap();
        }
        batch.put(T1, C, b"z", b"v", stamp(), 0).unwrap();
        batch.put(T2, C, b"z", b"v", stamp(), 0).unwrap();
    });
    store.compact();
    assert_eq!(store.keys(), [b"z".to_vec()]);
}

#[test]
fn one_range_with_the_longest_bounds_may_be_deleted_again_and_again() {
    let mut store = Store::new();
    let [start, end] = [0, 1].map(|n| wide(n, limits::KEY_BYTES_MAX));
    let inside = wide(0, limits::KEY_BYTES_MAX - 1);
    for _ in 0..10 {
        store.apply(|batch, stamp| {
            batch.put(T1, C, &start, b"v", stamp(), 0).unwrap();
            for _ in 0..100 {
                batch.delete_range(T1, C, &start, Some(&end), stamp()).unwrap();
            }
        });
        store.tablet.freeze();
        store.pool.settle();
    }
    store.apply(|batch, stamp| batch.put(T1, C, &start, b"last", stamp(), 0).unwrap());
    store.compact();
    assert_eq!(store.keys(), std::slice::from_ref(&start));
    let view = store.tablet.view(START_MS).unwrap();
    assert_eq!(
        view.history(T1, C, &start, 1_000).unwrap().events.len(),
        1_000,
        "every deletion is in the window"
    );
    assert!(view.get(T1, C, &inside).unwrap().is_none());
}

#[test]
fn a_short_range_deleted_forty_thousand_times_stops_nobody() {
    let mut store = Store::new();
    for n in 0..40 {
        store.apply(|batch, stamp| {
            batch.put(T1, C, b"counter", &[n], stamp(), 0).unwrap();
            for _ in 0..1_000 {
                batch.delete_range(T1, C, b"a", Some(b"b"), stamp()).unwrap();
            }
        });
    }
    store.compact();
    assert_eq!(store.keys(), [b"counter".to_vec()]);
}

/// The pattern of a queue that is trimmed from its head: every range holds all before it.
#[test]
fn nested_ranges_cost_their_number_not_its_square() {
    let mut store = Store::new();
    let count = 6_000;
    for tens in 0..count / 10 {
        store.apply(|batch, stamp| {
            for n in tens * 10..tens * 10 + 10 {
                batch.put(T1, C, &wide(n, 12), b"work", stamp(), 0).unwrap();
                batch.delete_range(T1, C, b"q", Some(&wide(n, 12)), stamp()).unwrap();
            }
        });
    }
    assert_eq!(store.keys(), [wide(count - 1, 12)]);
    store.compact();
    assert_eq!(store.keys(), [wide(count - 1, 12)]);
    assert!(store.bytes() < 4 << 20, "{} bytes for {count} puts and as many ranges", store.bytes());
}

#[test]
fn of_deletions_older_than_the_window_only_what_still_hides_something_is_kept() {
    let mut store = Store::new();
    store.pool.set_policy(Policy { default_window_ms: 0, ..Policy::default() });
    // A deeper level with rows that the ranges hide, and a view of nothing else.
    store.apply(|batch, stamp| {
        (0..400).for_each(|n| batch.put(T1, C, &wide(n, 20), &[7; 200], stamp(), 0).unwrap());
    });
    store.compact();
    for round in 0..6 {
        store.apply(|batch, stamp| {
            for n in 0..50 {
                batch.delete_range(T1, C, &wide(0, 20), Some(&wide(100 + n, 20)), stamp()).unwrap();
            }
            batch.put(T1, C, &wide(0, 20), &[round], stamp(), 0).unwrap();
        });
        store.tablet.freeze();
        store.pool.settle();
        // The oldest millisecond of the window is still inside it.
        store.stamp = Stamp::new(store.stamp.ms() + 10, 0);
    }
    assert!(store.range_tombstones() < 200, "{} of 300 are kept", store.range_tombstones());
    store.apply(|batch, stamp| batch.put(T1, C, b"z", b"", stamp(), 0).unwrap());
    store.compact();
    assert_eq!(store.range_tombstones(), 0);
    assert_eq!(store.keys().len(), 1 + (400 - 149) + 1);
}

#[test]
fn deleted_ranges_that_become_alike_where_files_are_cut_are_no_damage() {
    let mut store = Store::new();
    store.apply(|batch, stamp| {
        (0..200).for_each(|n| batch.put(T1, C, &wide(2 * n, 20), &[n as u8; 900], stamp(), 0).unwrap());
        let alike = stamp();
        for n in 0..4 {
            batch.delete_range(T1, C, &wide(2 * n + 1, 20), Some(&wide(300, 20)), alike).unwrap();
        }
    });
    store.compact();
    let checkpoint = store.tablet.checkpoint().unwrap();
    let covered = checkpoint.levels().tables().filter(|meta| meta.tombstones > 1).count();
    assert!(covered > 1, "in {covered} files");
    store.pool.request_scrub(true);
    while !store.pool.scrub_report().is_done {
        store.pool.step();
    }
    let report = store.pool.scrub_report();
    assert!(report.findings.is_empty() && report.unjudged.is_empty() && report.files > 1, "{report:?}");
}
