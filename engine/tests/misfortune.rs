//! Bad luck of the disk: full, failing, failing once at any operation. The tablet says what it cannot do, goes on reading, and
//! loses nothing.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::disk::sim::Faults;
use engine::disk::{DirLock, Disk, DiskFile, SimDisk};
use engine::ids::{LogIndex, TabletId};
use engine::key::KeyRange;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::health::{Health, Work};
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use engine::tablet::view::Scan;
use engine::work::Done;
use engine::{Error, Kind, Stamp, limits};
use rig::{C, Rig, START_MS, T1, T2, TABLET};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn key(n: u64) -> Vec<u8> {
    format!("key{n:04}").into_bytes()
}

fn batch(n: u64) -> Batch {
    let mut batch = Batch::new(LogIndex(n));
    let stamp = Stamp::new(START_MS + n, 0);
    for (counter, tenant) in (0..).zip([T1, T2]) {
        let stamp = Stamp::new(stamp.ms(), counter);
        batch.put(tenant, C, &key(n), &[n as u8; 300], stamp, 0).unwrap();
    }
    batch
}

/// Everything applied is there, for both tenants.
fn check(tablet: &Arc<Tablet>, upto: u64, context: &str) {
    let view = tablet.view(START_MS).unwrap();
    for tenant in [T1, T2] {
        let mut scan = Scan::all(tenant, C);
        scan.limit = limits::SCAN_ENTRIES_MAX;
        // An injected error may meet the read; the next one is right.
        let page = (0..4).find_map(|_| view.scan(&scan, None).ok()).unwrap();
        let got: Vec<_> = page.entries.into_iter().map(|e| (e.key, e.found.value.to_vec())).collect();
        let want: Vec<_> = (1..=upto).map(|n| (key(n), vec![n as u8; 300])).collect();
        assert!(got == want, "{context}: {} of {} rows", got.len(), want.len());
    }
}

fn opened(rig: &Rig) -> (Arc<Pool>, Arc<Tablet>) {
    let pool = rig.open();
    let tablet = match pool.tablet(TABLET) {
        Ok(tablet) => tablet,
        Err(_) => pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0),
    };
    (pool, tablet)
}

/// Fills and works; returns the last index applied. Stops early when writes are stopped.
fn fill(pool: &Pool, tablet: &Tablet, from: u64, upto: u64) -> u64 {
    let mut n = from;
    while n < upto {
        match tablet.apply(&batch(n + 1)) {
            Ok(()) => n += 1,
            Err(Error::Overloaded { .. }) => {}
            Err(Error::WritesStopped { .. }) => return n,
            Err(other) => panic!("{other}"),
        }
        pool.step();
    }
    n
}

fn outlasts(faults: Faults, words: &str) {
    let rig = Rig::new(1);
    let (pool, tablet) = opened(&rig);
    let before = fill(&pool, &tablet, 0, 40);
    assert_eq!(before, 40);
    rig.disk.set_faults(faults);
    let last = fill(&pool, &tablet, before, 200);
    assert!(last < 200, "writes stop");
    let Health::WritesStopped { cause, .. } = tablet.health() else { panic!("{:?}", tablet.health()) };
    assert!(cause.contains(words), "{cause}");
    let refused = tablet.apply(&batch(last + 1)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
    assert!(refused.to_string().contains(words), "the caller is told why: {refused}");
    check(&tablet, last, "while stopped");
    for _ in 0..5 {
        rig.clock.advance(limits::RETRY_MS << limits::RETRY_DOUBLINGS_MAX);
        while !matches!(pool.step(), Done::Failed(_) | Done::Nothing) {}
        check(&tablet, last, "while stopped");
    }
    rig.disk.set_faults(Faults::default());
    rig.clock.advance(limits::RETRY_MS << limits::RETRY_DOUBLINGS_MAX);
    pool.settle();
    assert_eq!(tablet.health(), Health::Serving);
    let last = fill(&pool, &tablet, last, 260);
    assert_eq!(last, 260);
    tablet.freeze();
    pool.settle();
    check(&tablet, last, "afterwards");
    drop((tablet, pool));
    rig.disk.crash();
    rig.disk.restart();
    let (_pool, tablet) = opened(&rig);
    assert_eq!(tablet.durable().index, LogIndex(last));
    check(&tablet, last, "after a crash");
}

#[test]
fn a_full_disk_stops_writes_until_there_is_room() {
    outlasts(Faults { capacity_bytes: Some(1), ..Faults::default() }, "full disk");
}

#[test]
fn a_failing_disk_stops_writes_until_it_writes_again() {
    outlasts(Faults { fail_writes: true, ..Faults::default() }, "I/O error");
}

#[test]
fn failing_syncs_stop_writes_and_are_never_believed() {
    outlasts(Faults { fail_syncs: true, ..Faults::default() }, "I/O error");
}

/// One run with an I/O error at each operation of `failing`.
fn survives(failing: BTreeSet<u64>) -> u64 {
    let context = format!("errors at operations {failing:?}");
    let rig = Rig::new(2);
    rig.disk.set_faults(Faults { fail_at: failing, ..Faults::default() });
    let opened_at_last = |rig: &Rig| {
        let pool = rig.try_open().ok()?;
        let there = pool.tablet(TABLET).ok();
        let tablet = there.or_else(|| {
            pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).ok().map(|mut all| all.remove(0))
        })?;
        Some((pool, tablet))
    };
    let (pool, tablet) = (0..4).find_map(|_| opened_at_last(&rig)).unwrap();
    let mut last = 0;
    while last < 60 {
        last = fill(&pool, &tablet, last, 60);
        // An error of a read reaches the reader; the next read is right.
        let view = tablet.view(START_MS).unwrap();
        let read = (0..4).find_map(|_| view.get(T1, C, &key(last)).ok()).unwrap();
        assert_eq!(read.unwrap().value[..], [last as u8; 300], "{context}");
        rig.clock.advance(limits::RETRY_MS << limits::RETRY_DOUBLINGS_MAX);
        pool.step();
    }
    tablet.freeze();
    tablet.request_compaction();
    for _ in 0..4 {
        rig.clock.advance(limits::RETRY_MS << limits::RETRY_DOUBLINGS_MAX);
        pool.settle();
    }
    assert_eq!(tablet.health(), Health::Serving, "{context}");
    let operations = rig.disk.operations();
    check(&tablet, last, &context);
    assert_eq!(tablet.durable().index, LogIndex(last), "{context}");
    let tables: usize = tablet.stats().tables_by_level.iter().sum();
    let names = rig.disk.files();
    let files = names.keys().filter(|path| path.starts_with("/pool/tables")).count();
    assert_eq!((files, pool.stats().files_to_remove), (tables, 0), "{context}");
    drop((tablet, pool));
    let (_pool, tablet) = opened(&rig);
    check(&tablet, last, &context);
    operations
}

#[test]
fn one_io_error_at_any_operation_is_outlived() {
    let operations = survives(BTreeSet::new());
    assert!(operations > 200, "{operations}");
    for operation in 1..=operations {
        survives(BTreeSet::from([operation]));
    }
    for operation in (1..=operations).step_by(5) {
        survives(BTreeSet::from([operation, operation + 1, operation + 7]));
    }
}

#[test]
fn the_success_of_other_work_does_not_hide_a_failure() {
    let rig = Rig::new(3);
    let (pool, tablet) = opened(&rig);
    fill(&pool, &tablet, 0, 20);
    pool.settle();
    rig.disk.set_faults(Faults { fail_writes: true, ..Faults::default() });
    tablet.apply(&batch(21)).unwrap();
    tablet.freeze();
    assert!(matches!(pool.step(), Done::Failed(_)));
    assert!(matches!(tablet.health(), Health::WritesStopped { work: Work::Flush, .. }));
    assert_eq!(pool.stats().counters.work_failed, 1);
    assert_eq!(pool.step(), Done::Nothing, "tried again only after a while");
}

/// A disk whose next file kills the thread that creates it.
struct Deadly {
    disk: SimDisk,
    is_armed: AtomicBool,
}

impl Disk for Deadly {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        assert!(!self.is_armed.load(Ordering::SeqCst), "armed");
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, dir: &Path, holder: &str) -> io::Result<Box<dyn DirLock>> {
        self.disk.lock(dir, holder)
    }
}

#[test]
fn a_worker_that_dies_fences_its_tablet_and_no_other() {
    for threads in [0, 2] {
        let rig = Rig::new(4);
        let disk = Arc::new(Deadly { disk: rig.disk.clone(), is_armed: AtomicBool::new(false) });
        let parts = Parts {
            disk: disk.clone(),
            catalog: rig.catalog.opener(),
            sealer: rig.sealer(),
            clock: rig.clock.clone(),
            node: rig::NODE,
        };
        let pool = Pool::open(PoolConfig { threads, ..rig.config.clone() }, parts).unwrap();
        let [first, second] = [1, 2].map(|n| {
            let range = KeyRange::tenant(if n == 1 { T1 } else { T2 });
            pool.create(&[NewTablet::empty(TabletId(n), range)]).unwrap().remove(0)
        });
        let write = |tablet: &Tablet, tenant| {
            let mut batch = Batch::new(LogIndex(tablet.applied().index.0 + 1));
            let stamp = tablet.applied_stamp().max(Stamp::new(START_MS, 0)).next();
            batch.put(tenant, C, b"k", b"v", stamp, 0).unwrap();
            tablet.apply(&batch)
        };
        write(&first, T1).unwrap();
        disk.is_armed.store(true, Ordering::SeqCst);
        first.freeze();
        // With threads the worker comes by itself.
        for _ in 0..50_000_000 {
            if threads == 0 {
                pool.step();
            }
            if matches!(first.health(), Health::Fenced { .. }) {
                break;
            }
            std::thread::yield_now();
        }
        disk.is_armed.store(false, Ordering::SeqCst);
        let Health::Fenced { cause } = first.health() else { panic!("{:?}", first.health()) };
        assert!(cause.contains("panicked") && cause.contains("armed"), "{cause}");
        let error = write(&first, T1).unwrap_err();
        assert!(error.kind() == Kind::Stop && error.to_string().contains("armed"), "{error}");
        assert!(first.view(START_MS).is_err());
        assert_eq!(pool.stats().counters.fenced, 1);
        write(&second, T2).unwrap();
        assert!(second.view(START_MS).unwrap().get(T2, C, b"k").unwrap().is_some());
    }
}
