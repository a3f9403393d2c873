//! Many tablets share one memory, one cache, one budget of handles; split tablets share files; the folder has one user; and
//! requests over a limit change nothing.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::catalog::MemoryCatalog;
use engine::disk::RealDisk;
use engine::ids::{CollectionId, LogIndex, TabletId};
use engine::key::{self, KeyRange};
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::health::Health;
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use engine::tablet::view::Scan;
use engine::work::Done;
use engine::work::stall::Pressure;
use engine::{Error, Kind, Stamp, limits};
use rig::{C, NODE, Rig, START_MS, T1, T2, TABLET};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Tablet `n` holds the rows of collection `n`.
fn range(n: u32) -> KeyRange {
    KeyRange::prefix(T1, CollectionId(n), b"")
}

fn write(tablet: &Tablet, n: u32, index: u64, bytes: usize) -> engine::Result<()> {
    let mut batch = Batch::new(LogIndex(index));
    let stamp = Stamp::new(START_MS + index, 0);
    batch.put(T1, CollectionId(n), &index.to_be_bytes(), &vec![n as u8; bytes], stamp, 0)?;
    tablet.apply(&batch)
}

fn open_files(rig: &Rig) -> usize {
    rig.disk.files().keys().filter(|path| path.starts_with("/pool/tables")).count()
}

#[test]
fn a_thousand_tablets_share_budgets() {
    let mut rig = Rig::new(1);
    rig.config.memtable_bytes = 256 << 10;
    rig.config.handles_max = 20;
    let pool = rig.open();
    let wanted: Vec<_> = (1..=1_000).map(|n| NewTablet::empty(TabletId(n), range(n as u32))).collect();
    let tablets = pool.create(&wanted).unwrap();
    for index in 1..=3 {
        for (n, tablet) in (1..).zip(&tablets) {
            while let Err(error) = write(tablet, n, index, 200) {
                assert!(matches!(error, Error::Overloaded { .. }), "{error}");
                assert_ne!(pool.step(), Done::Nothing);
            }
            assert!(pool.stats().memtable_bytes <= rig.config.memtable_bytes + 1_000);
        }
    }
    tablets.iter().for_each(|tablet| tablet.freeze());
    pool.settle();
    drop((tablets, pool));
    let pool = rig.open();
    for n in 1..=1_000 {
        let view = pool.tablet(TabletId(n)).unwrap().view(START_MS).unwrap();
        let page = view.scan(&Scan::all(T1, CollectionId(n as u32)), None).unwrap();
        assert_eq!(page.entries.len(), 3, "tablet {n}");
    }
    let stats = pool.stats();
    assert_eq!((stats.tablets, stats.unreadable_tablets, stats.memtable_bytes), (1_000, 0, 0));
    assert!(stats.open_files <= 20, "{} handles", stats.open_files);
    assert!(stats.cache_bytes <= rig.config.cache_bytes as u64);
}

#[test]
fn pressure_slows_then_stops_and_lets_go() {
    let rig = Rig::new(2);
    let pool = rig.open();
    let tablet = pool.create(&[NewTablet::empty(TABLET, range(1))]).unwrap().remove(0);
    let mut seen = vec![tablet.pressure()];
    let mut index = 0;
    let refused = loop {
        match write(&tablet, 1, index + 1, 500) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
        if seen.last() != Some(&tablet.pressure()) {
            seen.push(tablet.pressure());
        }
    };
    assert_eq!(seen, [Pressure::None, Pressure::Slow, Pressure::Stop]);
    assert!(matches!(refused, Error::Overloaded { retry_ms: 1.., .. }), "{refused}");
    assert_eq!(tablet.applied().index, LogIndex(index), "a refused batch changes nothing");
    pool.settle();
    assert_eq!(tablet.pressure(), Pressure::None);
    write(&tablet, 1, index + 1, 500).unwrap();
}

#[test]
fn children_share_the_parents_files_until_nobody_needs_them() {
    let rig = Rig::new(3);
    let pool = rig.open();
    let tablet = pool.create(&[NewTablet::empty(TABLET, range(1))]).unwrap().remove(0);
    for index in 1..=60 {
        write(&tablet, 1, index, 300).unwrap();
        pool.step();
    }
    tablet.freeze();
    pool.settle();
    let files: BTreeSet<_> = rig.disk.files().into_keys().collect();
    let view = tablet.view(START_MS).unwrap();
    let at = key::row(T1, CollectionId(1), &31_u64.to_be_bytes());
    let [left, right] = pool.split(TABLET, &at, TabletId(2), TabletId(3)).unwrap();
    assert_eq!(rig.disk.files().into_keys().collect::<BTreeSet<_>>(), files, "nothing was rewritten");
    let count = |tablet: &Arc<Tablet>| {
        let view = tablet.view(START_MS).unwrap();
        view.scan(&Scan::all(T1, CollectionId(1)), None).unwrap().entries.len()
    };
    assert_eq!((count(&left), count(&right)), (30, 30));
    assert_eq!(view.scan(&Scan::all(T1, CollectionId(1)), None).unwrap().entries.len(), 60, "an older view");
    assert!(matches!(pool.tablet(TABLET), Err(Error::NoSuchTablet(_))));
    assert!(matches!(write(&left, 1, 61, 1), Err(Error::OutsideRange { .. })), "61 belongs to the right");
    write(&right, 1, 61, 1).unwrap();
    pool.drop_tablet(TabletId(2)).unwrap();
    pool.settle();
    assert_eq!(count(&right), 31);
    drop((view, left, tablet));
    right.request_compaction();
    pool.settle();
    let named = right.stats().tables_by_level.iter().sum::<usize>();
    assert_eq!((open_files(&rig), count(&right)), (named, 31));
    pool.drop_tablet(TabletId(3)).unwrap();
    drop(right);
    pool.settle();
    assert_eq!(open_files(&rig), 0);
}

#[test]
fn a_folder_has_one_user() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let rig = Rig::new(4);
        let parts = Parts {
            disk: Arc::new(RealDisk),
            catalog: MemoryCatalog::new().opener(),
            sealer: rig.sealer(),
            clock: rig.clock.clone(),
            node: NODE,
        };
        Pool::open(PoolConfig { threads: 0, ..PoolConfig::new(dir.path()) }, parts)
    };
    let pool = open().unwrap();
    let error = open().err().unwrap();
    let Error::InUse { path, holder } = &error else { panic!("{error}") };
    assert_eq!((path.as_path(), &holder[..]), (dir.path(), &format!("process {}", std::process::id())[..]));
    assert_eq!(error.kind(), Kind::Stop);
    drop(pool);
    open().unwrap();
}

#[test]
fn what_is_too_large_is_refused_before_anything_changes() {
    let rig = Rig::new(5);
    let pool = rig.open();
    let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
    let (stamp, long) = (Stamp::new(START_MS, 0), vec![7; limits::KEY_BYTES_MAX + 1]);
    let mut batch = Batch::new(LogIndex(1));
    let before = batch.clone();
    let big = vec![0; limits::VALUE_BYTES_MAX + 1];
    for error in [
        batch.put(T1, C, &long, b"", stamp, 0).unwrap_err(),
        batch.put(T1, C, b"k", &big, stamp, 0).unwrap_err(),
        batch.delete(T1, C, &long, stamp).unwrap_err(),
        batch.delete_range(T1, C, &long, None, stamp).unwrap_err(),
        batch.delete_range(T1, C, b"a", Some(&long), stamp).unwrap_err(),
        batch.set_note(&vec![0; limits::NOTE_BYTES_MAX + 1]).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::TooLarge { got, max, .. } if got == &(max + 1)), "{error}");
        assert_eq!(error.kind(), Kind::Invalid);
    }
    assert!(batch.delete_range(T1, C, b"b", Some(b"a"), stamp).is_err());
    assert_eq!(batch, before);
    // The largest key, value, and batch there can be.
    let mut n = 0_u64;
    let full = loop {
        let key = [&n.to_be_bytes()[..], &long[8 + 1..]].concat();
        match batch.put(T2, C, &key, &big[1..], Stamp::new(START_MS, n as u16), 0) {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(n == 7 && matches!(full, Error::TooLarge { what: "batch bytes", .. }), "{n} {full}");
    let mut many = Batch::new(LogIndex(2));
    for n in 0..limits::BATCH_OPERATIONS_MAX as u64 {
        many.put(T1, C, &n.to_be_bytes(), b"", Stamp(Stamp::new(START_MS + 1, 0).0 + n), 0).unwrap();
    }
    let error = many.delete(T1, C, b"k", Stamp::MAX).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "batch operations", .. }), "{error}");
    let view = tablet.view(START_MS).unwrap();
    assert!(matches!(view.get(T1, C, &long), Err(Error::TooLarge { .. })));
    let keys = vec![&b"k"[..]; limits::MULTI_GET_KEYS_MAX + 1];
    assert!(matches!(view.multi_get(T1, C, &keys), Err(Error::TooLarge { .. })));
    drop(pool);
    // A pool with room for it takes the largest batch, and reads it back from disk.
    let mut rig = Rig::new(6);
    (rig.config.memtable_bytes, rig.config.block_bytes) = (64 << 20, 16 << 10);
    let pool = rig.open();
    let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
    tablet.apply(&batch).unwrap();
    tablet.apply(&many).unwrap();
    tablet.freeze();
    pool.settle();
    assert_eq!(tablet.health(), Health::Serving);
    let view = tablet.view(START_MS).unwrap();
    let last = [&6_u64.to_be_bytes()[..], &long[8 + 1..]].concat();
    assert_eq!(view.get(T2, C, &last).unwrap().unwrap().value.len(), limits::VALUE_BYTES_MAX);
    let page = view.scan(&Scan::all(T1, C), None).unwrap();
    assert_eq!(page.entries.len(), limits::SCAN_ENTRIES_MAX);
}

#[test]
fn a_batch_that_does_not_come_after_the_last_or_repeats_a_row_is_refused() {
    let rig = Rig::new(7);
    let pool = rig.open();
    let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
    write(&tablet, 1, 5, 10).unwrap();
    for index in [4, 5] {
        assert!(matches!(write(&tablet, 1, index, 10), Err(Error::NotRising { .. })));
    }
    let mut older = Batch::new(LogIndex(6));
    older.put(T1, C, b"k", b"v", Stamp::new(START_MS + 5, 0), 0).unwrap();
    assert!(matches!(tablet.apply(&older), Err(Error::NotRising { .. })));
    let mut twice = Batch::new(LogIndex(6));
    twice.put(T1, C, b"k", b"1", Stamp::new(START_MS + 6, 0), 0).unwrap();
    twice.delete(T1, C, b"k", Stamp::new(START_MS + 6, 0)).unwrap();
    assert!(matches!(tablet.apply(&twice), Err(Error::Invalid(_))));
    assert_eq!(tablet.applied().index, LogIndex(5));
    assert!(tablet.view(START_MS).unwrap().get(T1, C, b"k").unwrap().is_none());
    // An empty entry (a leader's first, a membership) moves the position alone.
    tablet.apply(&Batch::new(LogIndex(7))).unwrap();
    assert_eq!(tablet.applied().index, LogIndex(7));
    tablet.freeze();
    pool.settle();
    assert_eq!(tablet.durable().index, LogIndex(7));
}

#[test]
fn no_position_becomes_durable_before_the_callers_log() {
    let rig = Rig::new(8);
    let pool = rig.open();
    let tablet = pool.create(&[NewTablet::empty(TABLET, range(1))]).unwrap().remove(0);
    tablet.set_log_durable(LogIndex(0));
    for index in 1..=3 {
        write(&tablet, 1, index, 10).unwrap();
        tablet.freeze();
    }
    pool.settle();
    assert_eq!(tablet.durable().index, LogIndex(0));
    tablet.set_log_durable(LogIndex(2));
    pool.settle();
    assert_eq!(tablet.durable().index, LogIndex(2));
    let at = key::row(T1, CollectionId(1), &2_u64.to_be_bytes());
    let error = pool.split(TABLET, &at, TabletId(2), TabletId(3)).err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    tablet.set_log_durable(LogIndex(3));
    pool.split(TABLET, &at, TabletId(2), TabletId(3)).unwrap();
}

#[test]
fn one_seed_is_one_run_with_a_cache_that_forgets_too() {
    let run = || {
        let mut rig = Rig::new(9);
        rig.config.cache_bytes = 1 << 20;
        rig.config.memtable_bytes_per_tablet = 64 << 10;
        rig.config.memtable_bytes = 1 << 20;
        let pool = rig.open();
        let tablet = pool.create(&[NewTablet::empty(TABLET, range(1))]).unwrap().remove(0);
        let dice = rig::Dice::new(3);
        for index in 1..=6_000 {
            let mut batch = Batch::new(LogIndex(index));
            let stamp = Stamp::new(START_MS + index, 0);
            batch.put(T1, CollectionId(1), &index.to_be_bytes(), &dice.bytes(500), stamp, 0).unwrap();
            tablet.apply(&batch).unwrap();
            pool.settle();
        }
        let view = tablet.view(START_MS).unwrap();
        for _ in 0..6_000 {
            let key = (1 + dice.below(6_000)).to_be_bytes();
            assert!(view.get(T1, CollectionId(1), &key).unwrap().is_some());
        }
        (rig.disk.operations(), pool.stats().cache_hits)
    };
    let first = run();
    assert!(first.1 > 100);
    assert_eq!(first, run());
}

/// Name and niceness of a thread, from its `stat` file in `/proc`.
#[cfg(target_os = "linux")]
fn name_and_niceness(stat: &std::path::Path) -> Option<(String, i32)> {
    let stat = std::fs::read_to_string(stat).ok()?;
    let (head, rest) = stat.rsplit_once(") ")?;
    // proc_pid_stat(5): niceness is field 19, and `rest` begins with field 3.
    Some((head.split_once('(')?.1.to_owned(), rest.split(' ').nth(16)?.parse().ok()?))
}

/// The niceness of this process's threads of that name.
#[cfg(target_os = "linux")]
fn niceness_of(name: &str) -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let all = tasks.filter_map(|task| name_and_niceness(&task.ok()?.path().join("stat")));
    all.filter_map(|(its, niceness)| (its == name).then_some(niceness)).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn compaction_gives_way_to_flushes_and_callers() {
    let rig = Rig::new(7);
    let dir = tempfile::tempdir().unwrap();
    let parts = Parts {
        disk: Arc::new(RealDisk),
        catalog: MemoryCatalog::new().opener(),
        sealer: rig.sealer(),
        clock: rig.clock.clone(),
        node: NODE,
    };
    let pool = Pool::open(PoolConfig { threads: 5, ..PoolConfig::new(dir.path()) }, parts).unwrap();
    // A thread gives itself its name and niceness, once it runs.
    let is_so = |name: &str, want: i32| {
        let tries = std::iter::repeat_with(|| niceness_of(name) == [want]).take(1_000);
        tries.inspect(|_| std::thread::park_timeout(Duration::from_millis(10))).any(|is_so| is_so)
    };
    let (_, own) = name_and_niceness("/proc/thread-self/stat".as_ref()).unwrap();
    assert!(is_so("engine-work-0", own) && is_so("engine-work-1", own));
    for patient in ["engine-work-2", "engine-work-3", "engine-work-4"] {
        assert!(is_so(patient, own.max(10)), "{patient}: {:?}", niceness_of(patient));
    }
    pool.close();
}
