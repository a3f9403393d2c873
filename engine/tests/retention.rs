//! What is kept, for how long, and under which key: history windows, expiry, dropped tenants, new key epochs.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::compaction::retention::Policy;
use engine::ids::{KeyEpoch, LogIndex, Owner, Purpose, TenantId};
use engine::key::KeyRange;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::health::Health;
use engine::tablet::pool::{NewTablet, Pool};
use engine::tablet::view::Scan;
use engine::work::Done;
use engine::{Error, Kind, Stamp, limits};
use rig::{C, Dice, Rig, START_MS, T1, T2, TABLET};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

struct Store {
    rig: Rig,
    pool: Arc<Pool>,
    tablet: Arc<Tablet>,
}

impl Store {
    fn new() -> Self {
        let rig = Rig::new(4);
        let pool = rig.open();
        let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
        Self { rig, pool, tablet }
    }

    /// Applies one batch at `ms` milliseconds after the start.
    fn at(&self, ms: u64, fill: impl FnOnce(&mut Batch, Stamp)) -> Stamp {
        let mut batch = Batch::new(LogIndex(self.tablet.applied().index.0 + 1));
        let stamp = Stamp::new(START_MS + ms, 0);
        fill(&mut batch, stamp);
        self.rig.clock.set(START_MS + ms);
        self.tablet.apply(&batch).unwrap();
        stamp
    }

    fn put(&self, ms: u64, tenant: TenantId, key: &[u8], value: &[u8], expires_ms: u64) -> Stamp {
        self.at(ms, |batch, stamp| batch.put(tenant, C, key, value, stamp, expires_ms).unwrap())
    }

    fn flush(&self) {
        self.tablet.freeze();
        self.pool.settle();
    }

    fn compact(&self) {
        self.flush();
        self.tablet.request_compaction();
        self.pool.settle();
        assert_eq!(self.tablet.health(), Health::Serving);
    }

    fn get(&self, at: Stamp, key: &[u8]) -> engine::Result<Option<Vec<u8>>> {
        let view = self.tablet.view_as_of(at)?;
        Ok(view.get(T1, C, key)?.map(|found| found.value.to_vec()))
    }

    fn versions(&self, key: &[u8]) -> usize {
        self.tablet.view(START_MS).unwrap().history(T1, C, key, 1_000).unwrap().events.len()
    }

    fn entries(&self) -> u64 {
        self.tablet.checkpoint().unwrap().levels().tables().map(|meta| meta.entries).sum()
    }
}

fn fill_both(store: &Store, upto: u64) {
    let dice = Dice::new(1);
    for n in 0..upto {
        store.at(n + 1, |batch, stamp| {
            let key = format!("key{n:03}").into_bytes();
            batch.put(T1, C, &key, &dice.bytes(200), stamp, 0).unwrap();
            batch.put(T2, C, &key, &dice.bytes(200), stamp, 0).unwrap();
        });
        store.pool.step();
    }
}

#[test]
fn versions_are_kept_for_the_window_then_the_newest() {
    let store = Store::new();
    store.pool.set_policy(Policy { default_window_ms: 100, ..Policy::default() });
    let stamps: Vec<Stamp> = (0..10).map(|n| store.put(n * 50, T1, b"k", &[n as u8], 0)).collect();
    store.compact();
    // Now is 450: the window reaches back to 350, which the version of 350 answers.
    for (n, stamp) in stamps.iter().enumerate() {
        let got = store.get(*stamp, b"k");
        match n {
            0..7 => assert!(matches!(got, Err(Error::HistoryGone { oldest }) if oldest > *stamp), "{n}"),
            _ => assert_eq!(got.unwrap(), Some(vec![n as u8]), "{n}"),
        }
    }
    assert_eq!(store.versions(b"k"), 3);
    // Time passes, and one more write proves it: only the newest is left.
    store.put(10_000, T1, b"other", b"", 0);
    store.compact();
    assert_eq!(store.versions(b"k"), 1);
    assert_eq!(store.get(Stamp::new(START_MS + 10_000, 0), b"k").unwrap(), Some(vec![9]));
}

#[test]
fn windows_are_by_tenant_and_the_newest_stamp_is_always_readable() {
    let store = Store::new();
    let windows = BTreeMap::from([(T1, 1_000_000), (T2, 0)]);
    store.pool.set_policy(Policy { windows, ..Policy::default() });
    let mut last = Stamp::ZERO;
    for n in 0..5 {
        store.put(n * 10, T1, b"k", &[n as u8], 0);
        last = store.put(n * 10 + 1, T2, b"k", &[n as u8], 0);
    }
    store.compact();
    assert_eq!(store.versions(b"k"), 5);
    let view = store.tablet.view_as_of(last).unwrap();
    assert_eq!(view.history(T2, C, b"k", 10).unwrap().events.len(), 1);
    assert_eq!(view.get(T2, C, b"k").unwrap().unwrap().value[..], [4]);
    // Newer writes are only in memory; a crash takes them, and what is left can be read at its own newest stamp.
    let durable = store.tablet.durable();
    store.put(90_000, T2, b"k", b"lost", 0);
    store.compact_nothing_but_levels();
    let Store { rig, pool, tablet } = store;
    drop((pool, tablet));
    rig.disk.crash();
    rig.disk.restart();
    let pool = rig.open();
    let tablet = pool.tablet(TABLET).unwrap();
    assert_eq!(tablet.durable(), durable);
    let view = tablet.view_as_of(tablet.applied_stamp()).unwrap();
    assert_eq!(view.get(T2, C, b"k").unwrap().unwrap().value[..], [4]);
}

impl Store {
    /// Compacts what is durable; the memtable stays where it is.
    fn compact_nothing_but_levels(&self) {
        self.tablet.request_compaction();
        self.pool.settle();
    }
}

#[test]
fn values_expire_by_the_readers_time_and_then_leave_the_disk() {
    let store = Store::new();
    store.pool.set_policy(Policy { default_window_ms: 10, ..Policy::default() });
    let early = store.put(0, T1, b"k", b"older", 0);
    let stamp = store.put(5, T1, b"k", b"short-lived", START_MS + 50);
    store.flush();
    let get = |now_ms| store.tablet.view(now_ms).unwrap().get(T1, C, b"k").unwrap();
    let found = get(START_MS + 49).unwrap();
    assert_eq!(
        (&found.value[..], found.stamp, found.expires_ms),
        (&b"short-lived"[..], stamp, START_MS + 50)
    );
    assert_eq!(get(START_MS + 50), None, "expired, and it still hides the older one");
    assert_eq!(
        store.get(stamp, b"k").unwrap().as_deref(),
        Some(&b"short-lived"[..]),
        "the past is as it was"
    );
    assert_eq!(store.get(early, b"k").unwrap().as_deref(), Some(&b"older"[..]));
    store.put(1_000, T1, b"other", b"", 0);
    store.compact();
    assert_eq!(store.entries(), 1, "expired values are gone, and what they hid");
    assert_eq!(get(START_MS + 1), None);
}

#[test]
fn deleted_rows_and_ranges_leave_nothing_behind_once_the_window_has_passed() {
    let store = Store::new();
    store.pool.set_policy(Policy { default_window_ms: 10, ..Policy::default() });
    fill_both(&store, 60);
    store.at(100, |batch, stamp| {
        batch.delete_range(T1, C, b"key000", Some(b"key050"), stamp).unwrap();
        batch.delete(T1, C, b"key055", stamp.next()).unwrap();
    });
    store.compact();
    assert_eq!(store.tablet.view(START_MS).unwrap().scan(&Scan::all(T1, C), None).unwrap().entries.len(), 9);
    store.put(10_000, T1, b"zzz", b"", 0);
    store.compact();
    assert_eq!(store.entries(), 60 + 9 + 1);
    let left = store.tablet.checkpoint().unwrap().levels().tables().map(|meta| meta.tombstones).sum::<u32>();
    assert_eq!(left, 0);
}

#[test]
fn a_dropped_tenants_bytes_go_without_its_key_and_others_stay() {
    let store = Store::new();
    fill_both(&store, 80);
    store.compact();
    let bytes_of = |tenant| -> u64 {
        store.tablet.coverage().iter().filter(|((of, _), _)| *of == tenant).map(|(_, bytes)| *bytes).sum()
    };
    let (kept, dropped) = (bytes_of(T1), bytes_of(T2));
    assert!(dropped > 10_000 && kept > 10_000);
    // Shredded: the key is gone before anything is rewritten.
    store.rig.keys.forget_owner(Owner::Tenant(T2));
    let refused = store.tablet.view(START_MS).unwrap().get(T2, C, b"key001");
    assert!(refused.is_ok() || refused.unwrap_err().kind() == Kind::Key);
    store.pool.set_policy(Policy { dropped: BTreeSet::from([T2]), ..Policy::default() });
    assert!(store.pool.settle() < 1_000, "comes to rest");
    assert_eq!(store.tablet.health(), Health::Serving);
    assert_eq!(bytes_of(T2), 0);
    assert!(bytes_of(T1) > kept / 2);
    let view = store.tablet.view(START_MS).unwrap();
    assert_eq!(view.scan(&Scan::all(T1, C), None).unwrap().entries.len(), 80);
    assert_eq!(view.scan(&Scan::all(T2, C), None).unwrap().entries, []);
    assert_eq!(store.pool.step(), Done::Nothing, "nothing more to do");
}

#[test]
fn a_dropped_tenants_memtable_is_never_flushed() {
    let store = Store::new();
    fill_both(&store, 5);
    store.rig.keys.forget_owner(Owner::Tenant(T2));
    store.pool.set_policy(Policy { dropped: BTreeSet::from([T2]), ..Policy::default() });
    store.flush();
    assert_eq!(store.tablet.health(), Health::Serving);
    assert!(store.tablet.coverage().keys().all(|(tenant, _)| *tenant == T1));
}

#[test]
fn a_new_epoch_seals_new_files_and_reseal_reaches_the_old_ones() {
    let store = Store::new();
    fill_both(&store, 60);
    store.compact();
    let coverage = |epoch| -> u64 {
        let all = store.tablet.coverage();
        all.iter().filter(|((of, e), _)| *of == T1 && *e == KeyEpoch(epoch)).map(|(_, bytes)| *bytes).sum()
    };
    assert!(coverage(1) > 0);
    rig::add_key(&store.rig.keys, Owner::Tenant(T1), Purpose::Data, 2);
    store.put(500, T1, b"new", &[1; 300], 0);
    store.flush();
    assert!(coverage(1) > 0 && coverage(2) > 0, "new bytes under the new epoch only");
    store.pool.request_reseal().unwrap();
    assert!(store.pool.settle() < 1_000, "comes to rest");
    assert!(coverage(1) == 0 && coverage(2) > 0);
    // The old key is needed by nothing any more.
    store.rig.keys.forget(Owner::Tenant(T1), Purpose::Data, KeyEpoch(1));
    let Store { rig, pool, tablet } = store;
    drop((pool, tablet));
    let pool = rig.open();
    let view = pool.tablet(TABLET).unwrap().view(START_MS).unwrap();
    assert_eq!(view.scan(&Scan::all(T1, C), None).unwrap().entries.len(), 61);
    assert_eq!(view.scan(&Scan::all(T2, C), None).unwrap().entries.len(), 60);
}

#[test]
fn a_missing_key_is_named_and_stops_only_what_needs_it() {
    let store = Store::new();
    fill_both(&store, 30);
    store.compact();
    let Store { rig, pool, tablet } = store;
    drop((pool, tablet));
    rig.keys.forget_owner(Owner::Tenant(T2));
    let pool = rig.open();
    let tablet = pool.tablet(TABLET).unwrap();
    let view = tablet.view(START_MS).unwrap();
    assert_eq!(view.scan(&Scan::all(T1, C), None).unwrap().entries.len(), 30);
    for error in [
        view.get(T2, C, b"key001").unwrap_err(),
        view.scan(&Scan::all(T2, C), None).unwrap_err(),
        view.history(T2, C, b"key001", 9).unwrap_err(),
    ] {
        let want = (Owner::Tenant(T2), Purpose::Data, KeyEpoch(1));
        assert!(
            matches!(&error, Error::KeyMissing { owner, purpose, epoch } if (*owner, *purpose, *epoch) == want),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains(&T2.to_string()) && text.contains("data") && text.contains("e1"), "{text}");
    }
    // New bytes of that tenant cannot be sealed: writes stop, and go on when the key is back.
    let mut batch = Batch::new(LogIndex(tablet.applied().index.0 + 1));
    batch.put(T2, C, b"late", b"v", tablet.applied_stamp().next(), 0).unwrap();
    tablet.apply(&batch).unwrap();
    tablet.freeze();
    pool.settle();
    let Health::WritesStopped { cause, .. } = tablet.health() else { panic!("{:?}", tablet.health()) };
    assert!(cause.contains(&T2.to_string()), "{cause}");
    assert_eq!(view.scan(&Scan::all(T1, C), None).unwrap().entries.len(), 30);
    rig::add_key(&rig.keys, Owner::Tenant(T2), Purpose::Data, 1);
    rig.clock.advance(limits::RETRY_MS);
    pool.settle();
    assert_eq!(tablet.health(), Health::Serving);
    assert_eq!(tablet.view(START_MS).unwrap().scan(&Scan::all(T2, C), None).unwrap().entries.len(), 31);
}

#[test]
fn a_wrong_key_is_told_from_tampering() {
    let store = Store::new();
    fill_both(&store, 3);
    store.flush();
    let Store { rig, pool, tablet } = store;
    drop((pool, tablet));
    rig.keys.forget_owner(Owner::Tenant(T1));
    let other = rig::key_of(Owner::Tenant(T2), Purpose::Log, KeyEpoch(9));
    rig.keys.insert(Owner::Tenant(T1), Purpose::Data, KeyEpoch(1), other).unwrap();
    let pool = rig.open();
    let error = pool.tablet(TABLET).unwrap().view(START_MS).unwrap().get(T1, C, b"key001").unwrap_err();
    assert!(matches!(&error, Error::WrongKey { have, need, .. } if have != need), "{error}");
    assert_eq!(error.kind(), Kind::Key);
}

#[test]
fn a_reseal_waits_for_a_missing_key_and_then_goes_on_by_itself() {
    let store = Store::new();
    for (ms, tenant) in [(1, T1), (2, T2)] {
        store.put(ms, tenant, b"k", b"v", 0);
    }
    store.compact();
    let Store { rig, pool, tablet } = store;
    drop((pool, tablet));
    for tenant in [T1, T2] {
        rig::add_key(&rig.keys, Owner::Tenant(tenant), Purpose::Data, 2);
    }
    rig.keys.forget(Owner::Tenant(T2), Purpose::Data, KeyEpoch(1));
    let pool = rig.open();
    let tablet = pool.tablet(TABLET).unwrap();
    let is_resealed = || tablet.coverage().keys().all(|(_, epoch)| *epoch == KeyEpoch(2));
    let operations = rig.disk.operations();
    pool.request_reseal().unwrap();
    pool.settle();
    assert!(!is_resealed() && rig.disk.operations() == operations, "nothing is written for nothing");
    assert_eq!(tablet.health(), Health::Serving, "nobody else is held up");
    // A clock that goes back far keeps nobody waiting for ever, and nobody busy either.
    rig.clock.set(START_MS - 10 * limits::KEYLESS_RETRY_MS);
    assert!(pool.settle() < 10 && !is_resealed());
    let old = rig::key_of(Owner::Tenant(T2), Purpose::Data, KeyEpoch(1));
    rig.keys.insert(Owner::Tenant(T2), Purpose::Data, KeyEpoch(1), old).unwrap();
    assert_eq!(pool.step(), Done::Nothing, "not at once");
    pool.settle();
    assert!(!is_resealed());
    rig.clock.advance(limits::KEYLESS_RETRY_MS);
    pool.settle();
    assert!(is_resealed(), "{:?}", tablet.coverage());
    // The wish is fulfilled: the next rotation rewrites nothing unasked.
    rig::add_key(&rig.keys, Owner::Tenant(T1), Purpose::Data, 3);
    pool.set_policy(Policy::default());
    pool.settle();
    assert!(is_resealed(), "{:?}", tablet.coverage());
}

#[test]
fn a_compaction_that_fails_for_what_is_no_input_says_so_and_is_tried_again_after_a_pause() {
    let store = Store::new();
    fill_both(&store, 30);
    store.flush();
    // What ends every file is made with the cluster's key.
    store.rig.keys.forget(Owner::Cluster, Purpose::Mac, KeyEpoch(1));
    store.tablet.request_compaction();
    store.pool.settle();
    let Health::WritesStopped { cause, .. } = store.tablet.health() else {
        panic!("{:?}", store.tablet.health())
    };
    assert!(cause.contains("cluster") && cause.contains("mac"), "{cause}");
    assert_eq!(store.entries(), 60);
    rig::add_key(&store.rig.keys, Owner::Cluster, Purpose::Mac, 1);
    store.rig.clock.advance(limits::RETRY_MS);
    store.pool.settle();
    assert_eq!(store.tablet.health(), Health::Serving);
    assert_eq!(store.tablet.stats().bytes_by_level[0], 0, "and the request is not forgotten");
}
