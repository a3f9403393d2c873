//! A process that writes, with threads in the background, on the real disk and sled, and is killed at any moment, again and again
//! on one folder: what it had told to be durable is there, whole, and nothing is left over. And two processes never share a folder.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::catalog::SledCatalog;
use engine::clock::ManualClock;
use engine::compaction::retention::Policy;
use engine::disk::RealDisk;
use engine::entropy::Seeded;
use engine::ids::{LogIndex, TenantId};
use engine::key::KeyRange;
use engine::sealed::Sealer;
use engine::tablet::Tablet;
use engine::tablet::health::Health;
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use engine::tablet::view::Scan;
use engine::{Error, Kind, Stamp};
use rig::oracle::{LogEntry, Write};
use rig::{C, CLUSTER, Dice, NODE, START_MS, T1, T2, TABLET, keyring};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

/// Tells the test binary that it is the process to be killed: a seed of its own, then the folder.
const ORDERS: &str = "DEWPOND_KILLED";
/// What the process to be killed says: that it opens the folder, then where it stands.
const OPENING: &str = "opening ";
const APPLIED: &str = "applied ";
const DURABLE: &str = "durable ";
const WINDOW_MS: u64 = 100;

struct Opened {
    pool: Arc<Pool>,
    clock: Arc<ManualClock>,
}

/// Opens the pool in `dir`. No two openings share a `seed`: they would give their files the same names.
fn open(dir: &Path, seed: u64, threads: usize) -> engine::Result<Opened> {
    let clock = Arc::new(ManualClock::new(START_MS));
    let parts = Parts {
        disk: Arc::new(RealDisk),
        catalog: SledCatalog::opener(),
        sealer: Arc::new(Sealer::new(CLUSTER, keyring(), Arc::new(Seeded::new(seed))).unwrap()),
        clock: clock.clone(),
        node: NODE,
    };
    let config = PoolConfig { dir: dir.to_owned(), threads, handles_max: 16, ..rig::small_config() };
    let pool = Pool::open(config, parts)?;
    pool.set_policy(Policy { default_window_ms: WINDOW_MS, ..Policy::default() });
    Ok(Opened { pool, clock })
}

fn key(n: u64) -> Vec<u8> {
    format!("key{n:03}").into_bytes()
}

fn ms(index: u64) -> u64 {
    START_MS + index
}

/// The entry at `index` of the log: what it holds follows from the index alone.
fn entry(index: u64) -> LogEntry {
    let dice = Dice::new(index);
    let mut writes = Vec::new();
    for tenant in [T1, T2] {
        let from = dice.below(290);
        writes.push(match dice.below(10) {
            0 => Write::DeleteRange { tenant, start: key(from), end: Some(key(from + 10)) },
            1 => Write::Delete { tenant, key: key(from) },
            _ => Write::Put { tenant, key: key(from), value: dice.bytes(dice.below(600)), expires_ms: 0 },
        });
    }
    let stamped = (0..).zip(writes).map(|(counter, write)| (Stamp::new(ms(index), counter), write));
    LogEntry { index: LogIndex(index), writes: stamped.collect() }
}

type Rows = BTreeMap<Vec<u8>, (Stamp, Vec<u8>)>;

/// What each tenant has after the entries up to `index`.
fn rows_after(index: u64) -> BTreeMap<TenantId, Rows> {
    let mut all = BTreeMap::from([(T1, Rows::new()), (T2, Rows::new())]);
    for (stamp, write) in (1..=index).flat_map(|index| entry(index).writes) {
        match write {
            Write::Put { tenant, key, value, .. } => {
                all.get_mut(&tenant).unwrap().insert(key, (stamp, value));
            }
            Write::Delete { tenant, key } => {
                all.get_mut(&tenant).unwrap().remove(&key);
            }
            Write::DeleteRange { tenant, start, end } => {
                let end = end.unwrap();
                all.get_mut(&tenant).unwrap().retain(|key, _| *key < start || *key >= end);
            }
        }
    }
    all
}

/// Not a test: the process to be killed. Without orders it has nothing to do.
#[test]
fn writes_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "orders come from the test that starts this process")]
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let (seed, dir) = orders.split_once(' ').unwrap();
    println!("{OPENING}{seed}");
    let Opened { pool, clock } = open(Path::new(dir), seed.parse().unwrap(), 2).unwrap();
    let tablet = pool.tablet(TABLET).unwrap();
    let mut told = tablet.durable().index;
    println!("{DURABLE}{}", told.0);
    for index in told.0 + 1.. {
        clock.set(ms(index));
        let batch = entry(index).batch();
        loop {
            match tablet.apply(&batch) {
                Ok(()) => break,
                Err(Error::Overloaded { .. }) => {
                    let _ = tablet.await_room(1_000);
                }
                Err(other) => panic!("{other}"),
            }
        }
        // Once nobody listens any more this panics, and the process ends.
        println!("{APPLIED}{index}");
        let durable = tablet.durable().index;
        if durable > told {
            told = durable;
            println!("{DURABLE}{}", told.0);
        }
    }
}

/// A process that writes. It is killed at the latest when this is dropped.
struct Writer {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// The last durable position that it told.
    told: Option<u64>,
}

impl Writer {
    fn start(dir: &Path, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(ORDERS, format!("{seed} {}", dir.to_str().unwrap()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, told: None }
    }

    /// Hears the next thing it says of itself; false when it is dead and has said all.
    fn hears(&mut self) -> bool {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some((_, index)) = line.split_once(DURABLE) {
                self.told = Some(index.trim().parse().unwrap());
                return true;
            }
            if line.contains(APPLIED) || line.contains(OPENING) {
                return true;
            }
            line.clear();
        }
        false
    }

    /// Hears that much, which it must live for.
    fn hear(&mut self, lines: u64) {
        (0..lines).for_each(|_| assert!(self.hears(), "it writes until it is killed"));
    }

    /// The next durable position that it tells.
    fn durable(&mut self) -> u64 {
        let before = self.told;
        while self.told == before {
            self.hear(1);
        }
        self.told.unwrap()
    }

    /// Kills it without a warning. Returns the last durable position that it told, heard before or not.
    fn kill(mut self) -> Option<u64> {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}");
        while self.hears() {}
        self.told
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every row of both tenants is that of the log up to `index`, by scan and one by one.
fn check_rows(tablet: &Arc<Tablet>, index: u64, context: &str) {
    let view = tablet.view(ms(index)).unwrap();
    for (tenant, want) in rows_after(index) {
        let mut got = Rows::new();
        let mut page = view.scan(&Scan::all(tenant, C), None).unwrap();
        loop {
            got.extend(page.entries.into_iter().map(|e| (e.key, (e.found.stamp, e.found.value.to_vec()))));
            let Some(next) = page.next else { break };
            page = view.scan(&Scan::all(tenant, C), Some(&next)).unwrap();
        }
        assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{context}: {tenant}");
        assert!(got == want, "{context}: {tenant}: another value");
        for n in 0..300 {
            let found = view.get(tenant, C, &key(n)).unwrap();
            let found = found.map(|found| (found.stamp, found.value.to_vec()));
            assert_eq!(found.as_ref(), want.get(&key(n)), "{context}: {tenant} key {n}");
        }
    }
}

/// Names in the folder of tables, and those that the manifest names.
fn files(dir: &Path, tablet: &Tablet) -> (BTreeSet<String>, BTreeSet<String>) {
    let entries = std::fs::read_dir(dir.join("tables")).unwrap();
    let there = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let checkpoint = tablet.checkpoint().unwrap();
    (there, checkpoint.levels().tables().map(|meta| format!("{}.dpb", meta.id)).collect())
}

/// Opens the folder that a killed process has left, and checks everything it must hold. Returns its durable position, and how
/// many files were left over.
fn check(dir: &Path, seed: u64, told: u64) -> (u64, usize) {
    let Opened { pool, clock } = open(dir, seed, 0).unwrap();
    assert_eq!(pool.unreadable(), BTreeMap::new());
    let tablet = pool.tablet(TABLET).unwrap();
    let durable = tablet.durable();
    let index = durable.index.0;
    assert!(index >= told, "it had told {told}, and stands at {index}");
    assert_eq!((tablet.health(), tablet.damaged()), (Health::Serving, Vec::new()));
    assert_eq!(tablet.applied(), durable);
    assert!(index == 0 || durable.note == index.to_be_bytes(), "the note of its own entry");
    clock.set(ms(index));
    let (there, named) = files(dir, &tablet);
    assert!(there.is_superset(&named), "every table of the manifest is there");
    check_rows(&tablet, index, "as it was left");
    pool.request_scrub(true);
    pool.settle();
    let report = pool.scrub_report();
    assert!(report.is_done && report.findings.is_empty() && report.unjudged.is_empty(), "{report:?}");
    assert_eq!((tablet.health(), pool.removal_failure()), (Health::Serving, None));
    let (left, named_now) = files(dir, &tablet);
    assert_eq!(left, named_now, "nothing is left over");
    check_rows(&tablet, index, "settled");
    assert_eq!(tablet.durable().index.0, index);
    (index, there.difference(&named).count())
}

/// A new pool with an empty tablet.
fn new_folder() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("pool");
    let opened = open(&dir, 1, 0).unwrap();
    opened.pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap();
    (root, dir)
}

#[test]
fn a_process_killed_again_and_again_keeps_what_it_told_to_be_durable() {
    let (_root, dir) = new_folder();
    let mut stands_at = 0;
    // How many durable positions each process tells, and how many lines of any kind after them, before it is killed.
    let rounds =
        [(2, 0), (1, 3), (5, 1), (9, 7), (0, 0), (3, 2), (30, 5), (1, 0), (14, 11), (60, 4), (0, 1), (7, 20)];
    for (round, (durable, more)) in (0..).zip(rounds) {
        // Before every third, one that is killed while it opens the folder.
        if round % 3 == 1 {
            let mut writer = Writer::start(&dir, 100 + round);
            writer.hear(1);
            let told = writer.kill();
            assert!(told.is_none_or(|told| told >= stands_at), "{told:?}");
        }
        let mut writer = Writer::start(&dir, 200 + round);
        let first = writer.durable();
        assert!(first >= stands_at, "it begins at {first}, and stood at {stands_at}");
        (0..durable).for_each(|_| assert!(writer.durable() > first));
        writer.hear(more);
        let told = writer.kill().unwrap();
        let (index, left_over) = check(&dir, 300 + round, told);
        println!("round {round}: told {told}, stands at {index}, {left_over} files left over");
        assert!(durable == 0 || index > stands_at, "round {round} wrote something");
        stands_at = index;
    }
    let Opened { pool, clock } = open(&dir, 400, 0).unwrap();
    let tablet = pool.tablet(TABLET).unwrap();
    clock.set(ms(stands_at));
    tablet.request_compaction();
    pool.settle();
    check_rows(&tablet, stands_at, "merged");
    let (left, named) = files(&dir, &tablet);
    assert_eq!(left, named, "nothing is left over");
}

#[test]
fn a_folder_of_a_living_process_is_refused_with_the_name_of_its_holder() {
    let (_root, dir) = new_folder();
    let mut writer = Writer::start(&dir, 2);
    let first = writer.durable();
    for seed in 3..6 {
        let error = open(&dir, seed, 0).err().unwrap();
        let Error::InUse { path, holder } = &error else { panic!("{error}") };
        assert_eq!((path, holder), (&dir, &format!("process {}", writer.child.id())));
        assert_eq!(error.kind(), Kind::Stop);
    }
    // It has not noticed, and goes on.
    assert!(writer.durable() > first);
    let told = writer.kill().unwrap();
    let (index, _) = check(&dir, 6, told);
    // Free again, also for another process.
    assert_eq!(Writer::start(&dir, 7).durable(), index);
}
