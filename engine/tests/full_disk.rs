//! A real file system that fills up, with sled as the catalog: writes stop with a clear state, reads go on, and writes resume by
//! themselves when there is room again. Nothing that was applied is lost.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::catalog::SledCatalog;
use engine::clock::ManualClock;
use engine::disk::RealDisk;
use engine::entropy::Seeded;
use engine::ids::LogIndex;
use engine::key::KeyRange;
use engine::sealed::Sealer;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::health::Health;
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use engine::{Error, Stamp};
use rig::{C, CLUSTER, Dice, NODE, START_MS, T1, TABLET, keyring};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A small file system of its own; `None` where this process may not mount one.
struct Small(PathBuf);

impl Small {
    fn mount(dir: &Path) -> Option<Self> {
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(dir).output();
        done.is_ok_and(|output| output.status.success()).then(|| Self(dir.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn open(dir: &Path, clock: &Arc<ManualClock>, seed: u64) -> Arc<Pool> {
    let parts = Parts {
        disk: Arc::new(RealDisk),
        catalog: SledCatalog::opener(),
        sealer: Arc::new(Sealer::new(CLUSTER, keyring(), Arc::new(Seeded::new(seed))).unwrap()),
        clock: clock.clone(),
        node: NODE,
    };
    Pool::open(PoolConfig { dir: dir.join("pool"), ..rig::small_config() }, parts).unwrap()
}

fn key(n: u64) -> Vec<u8> {
    format!("key{n:05}").into_bytes()
}

fn check(tablet: &Arc<Tablet>, upto: u64) {
    let view = tablet.view(START_MS).unwrap();
    for n in 1..=upto {
        let found = view.get(T1, C, &key(n)).unwrap();
        assert_eq!(found.map(|found| found.value.len()), Some(700), "key {n} of {upto}");
    }
}

/// Writes and works until writes are refused for another reason than pressure, or `most` batches are in.
fn write(pool: &Pool, tablet: &Tablet, dice: &Dice, from: u64, most: u64) -> u64 {
    let mut n = from;
    while n < from + most {
        let mut batch = Batch::new(LogIndex(n + 1));
        batch.put(T1, C, &key(n + 1), &dice.bytes(700), Stamp::new(START_MS, 0).next_by(n), 0).unwrap();
        match tablet.apply(&batch) {
            Ok(()) => n += 1,
            Err(Error::Overloaded { .. }) => {}
            Err(Error::WritesStopped { .. }) => return n,
            Err(other) => panic!("{other}"),
        }
        pool.step();
    }
    n
}

trait NextBy {
    fn next_by(self, n: u64) -> Stamp;
}

impl NextBy for Stamp {
    fn next_by(self, n: u64) -> Stamp {
        Stamp(self.0 + n + 1)
    }
}

#[test]
fn a_full_disk_stops_writes_and_room_lets_them_in_again() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(dir.path()) else {
        println!("skipped: this process may not mount a file system");
        return;
    };
    let clock = Arc::new(ManualClock::new(START_MS));
    let dice = Dice::new(5);
    let pool = open(&small.0, &clock, 1);
    let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
    let mut last = write(&pool, &tablet, &dice, 0, 500);
    assert_eq!(last, 500, "{:?}", tablet.health());
    for round in 0..3 {
        // All the room that is left, but for a few kilobytes, which differ from round to round.
        let ballast = small.0.join("ballast");
        let mut free = 64 << 20;
        while std::fs::write(&ballast, vec![0; free]).is_err() {
            free = free * 7 / 8;
        }
        let keep = std::fs::metadata(&ballast).unwrap().len().saturating_sub(9_000 * (round + 1));
        std::fs::OpenOptions::new().write(true).open(&ballast).unwrap().set_len(keep).unwrap();
        last = write(&pool, &tablet, &dice, last, 4_000);
        assert!(matches!(tablet.health(), Health::WritesStopped { .. }), "{:?}", tablet.health());
        check(&tablet, last);
        clock.advance(40_000);
        // Tried again; in vain, unless leftovers that went have made room.
        pool.step();
        std::fs::remove_file(&ballast).unwrap();
        clock.advance(40_000);
        pool.settle();
        assert_eq!(tablet.health(), Health::Serving, "round {round}");
        last = write(&pool, &tablet, &dice, last, 50);
        check(&tablet, last);
    }
    tablet.freeze();
    pool.settle();
    assert_eq!(tablet.durable().index, LogIndex(last));
    drop((tablet, pool));
    let pool = open(&small.0, &clock, 2);
    check(&pool.tablet(TABLET).unwrap(), last);
}
