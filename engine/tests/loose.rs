//! Table files outside tablets, read together: against a map, whatever overlaps, and under however many keys they are sealed.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::disk::{Disk, SimDisk};
use engine::entropy::Seeded;
use engine::ids::{CollectionId, KeyEpoch, Owner, Purpose, TableId, TenantId};
use engine::key;
use engine::loose::{Loose, LooseFile, LooseRange};
use engine::range_tombstone::RangeTombstone;
use engine::read::OwnedSlot;
use engine::sealed::{Keyring, Sealer};
use engine::table::TableWriter;
use engine::tablet::history::Event;
use engine::tablet::view::Scan;
use engine::{Kind, Stamp};
use proptest::prelude::*;
use rig::{C, CLUSTER, T1, T2, add_key, key_of};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One write, with its stamp.
#[derive(Clone, Debug)]
enum Write {
    Put { tenant: TenantId, collection: CollectionId, key: Vec<u8>, value: Vec<u8>, expires_ms: u64 },
    Delete { tenant: TenantId, collection: CollectionId, key: Vec<u8> },
    DeleteRange { tenant: TenantId, collection: CollectionId, start: Vec<u8>, end: Vec<u8> },
}

type Log = Vec<(Stamp, Write)>;
type Rows = BTreeMap<Vec<u8>, (Stamp, Vec<u8>)>;

/// What a reader at `at` sees, told write by write.
fn told(log: &Log, tenant: TenantId, collection: CollectionId, at: Stamp) -> Rows {
    let mut rows: BTreeMap<Vec<u8>, (Stamp, Vec<u8>, u64)> = BTreeMap::new();
    for (stamp, write) in log.iter().filter(|(stamp, _)| *stamp <= at) {
        match write {
            Write::Put { tenant: t, collection: c, key, value, expires_ms }
                if (*t, *c) == (tenant, collection) =>
            {
                rows.insert(key.clone(), (*stamp, value.clone(), *expires_ms));
            }
            Write::Delete { tenant: t, collection: c, key } if (*t, *c) == (tenant, collection) => {
                rows.remove(key);
            }
            Write::DeleteRange { tenant: t, collection: c, start, end }
                if (*t, *c) == (tenant, collection) =>
            {
                rows.retain(|key, _| key < start || key >= end);
            }
            _ => {}
        }
    }
    let lives = |(_, _, expires_ms): &(Stamp, Vec<u8>, u64)| *expires_ms == 0 || *expires_ms > at.ms();
    rows.into_iter().filter(|(_, row)| lives(row)).map(|(key, row)| (key, (row.0, row.1))).collect()
}

type Events = Vec<(Stamp, Option<Vec<u8>>)>;

/// The life of a key up to `at`, newest first, told write by write.
fn life(log: &Log, tenant: TenantId, collection: CollectionId, key: &[u8], at: Stamp) -> Events {
    let event = |(stamp, write): &(Stamp, Write)| match write {
        Write::Put { tenant: t, collection: c, key: k, value, .. } => {
            ((*t, *c, &k[..]) == (tenant, collection, key)).then(|| (*stamp, Some(value.clone())))
        }
        Write::Delete { tenant: t, collection: c, key: k } => {
            ((*t, *c, &k[..]) == (tenant, collection, key)).then_some((*stamp, None))
        }
        Write::DeleteRange { tenant: t, collection: c, start, end } => {
            let is_in = (*t, *c) == (tenant, collection) && &start[..] <= key && key < &end[..];
            is_in.then_some((*stamp, None))
        }
    };
    let mut events: Events = log.iter().filter(|(stamp, _)| *stamp <= at).filter_map(event).collect();
    events.reverse();
    events
}

fn history_of(loose: &Loose, place: (TenantId, CollectionId), key: &[u8], at: Stamp, limit: usize) -> Events {
    let (mut events, mut at) = (Events::new(), Some(at));
    while let Some(upto) = at {
        let page = loose.history(place, key, (upto, limit)).unwrap();
        let told = |event: Event| (event.stamp, event.value.map(|(value, _)| value.to_vec()));
        events.extend(page.events.into_iter().map(told));
        at = page.next;
    }
    events
}

/// A scan, page by page, as a tablet is scanned.
fn scanned(loose: &Loose, scan: &Scan, at: Stamp) -> Rows {
    let (mut rows, mut cursor) = (Rows::new(), None);
    loop {
        let page = loose.scan(scan, cursor.as_ref(), at).unwrap();
        for entry in page.entries {
            let before = rows.insert(entry.key, (entry.found.stamp, entry.found.value.to_vec()));
            assert!(before.is_none(), "a row came twice");
        }
        cursor = page.next;
        if cursor.is_none() {
            return rows;
        }
    }
}

struct Bench {
    disk: SimDisk,
    keys: Arc<Keyring>,
    sealer: Arc<Sealer>,
    epoch: u32,
}

impl Bench {
    fn new() -> Self {
        let keys = Arc::new(Keyring::new());
        add_key(&keys, Owner::Cluster, Purpose::Mac, 1);
        for tenant in [T1, T2] {
            add_key(&keys, Owner::Tenant(tenant), Purpose::Data, 1);
        }
        let sealer = Arc::new(Sealer::new(CLUSTER, keys.clone(), Arc::new(Seeded::new(7))).unwrap());
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/archive")).unwrap();
        Self { disk, keys, sealer, epoch: 1 }
    }

    /// From now on files are sealed under another key.
    fn rotate(&mut self) {
        self.epoch += 1;
        for tenant in [T1, T2] {
            add_key(&self.keys, Owner::Tenant(tenant), Purpose::Data, self.epoch);
        }
    }

    /// Writes what of the log is `taken` into one file.
    fn file(&self, number: usize, log: &Log, taken: impl Fn(usize) -> bool) -> PathBuf {
        let mut versions: BTreeMap<Vec<u8>, OwnedSlot> = BTreeMap::new();
        let mut ranges: BTreeSet<RangeTombstone> = BTreeSet::new();
        for (_, (stamp, write)) in log.iter().enumerate().filter(|(at, _)| taken(*at)) {
            match write {
                Write::Put { tenant, collection, key, value, expires_ms } => {
                    let slot = OwnedSlot::Put { value: value.clone().into(), expires_ms: *expires_ms };
                    versions.insert(key::version(&key::row(*tenant, *collection, key), *stamp), slot);
                }
                Write::Delete { tenant, collection, key } => {
                    versions.insert(
                        key::version(&key::row(*tenant, *collection, key), *stamp),
                        OwnedSlot::Delete,
                    );
                }
                Write::DeleteRange { tenant, collection, start, end } => {
                    let row = |user: &[u8]| key::row(*tenant, *collection, user);
                    ranges.insert(RangeTombstone { start: row(start), end: row(end), stamp: *stamp });
                }
            }
        }
        let path = PathBuf::from(format!("/archive/{number}.blk"));
        let mut id = [0; 16];
        id[15] = number as u8;
        let file = self.disk.create(&path).unwrap();
        let mut writer = TableWriter::create(self.sealer.clone(), TableId(id), Stamp(1), file, 300).unwrap();
        for tenant in [T1, T2] {
            for range in ranges.iter().filter(|range| key::tenant_of(&range.start) == tenant) {
                writer.tombstone(range.clone()).unwrap();
            }
            for (version, slot) in versions.iter().filter(|(version, _)| key::tenant_of(version) == tenant) {
                writer.add(version, slot.as_slot()).unwrap();
            }
        }
        writer.finish().unwrap();
        path
    }

    fn open(&self, files: &[LooseFile]) -> engine::Result<Loose> {
        Loose::open(Arc::new(self.disk.clone()), &self.sealer, files)
    }
}

fn whole(path: &Path) -> LooseFile {
    LooseFile { path: path.to_owned(), after: Stamp::ZERO, upto: Stamp::MAX }
}

fn all_of(loose: &Loose, asked: &LooseRange, at: Stamp, page: (usize, usize)) -> Rows {
    let mut walk = loose.walk(asked, at).unwrap();
    let mut rows = Rows::new();
    loop {
        let page = walk.page(page.0, page.1).unwrap();
        for entry in page.entries {
            assert!(rows.last_key_value().is_none_or(|(last, _)| *last < entry.key), "out of order");
            rows.insert(entry.key, (entry.found.stamp, entry.found.value.to_vec()));
        }
        if page.is_last {
            return rows;
        }
    }
}

fn some_write() -> impl Strategy<Value = Write> {
    let place =
        || (prop_oneof![Just(T1), Just(T2)], prop_oneof![3 => Just(C), 1 => Just(CollectionId(C.0 + 1))]);
    let key = || proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(7), Just(255)], 0..4);
    let put = (
        place(),
        key(),
        proptest::collection::vec(any::<u8>(), 0..60),
        prop_oneof![3 => Just(0u64), 1 => 1u64..90],
    )
        .prop_map(|((tenant, collection), key, value, expires_ms)| Write::Put {
            tenant,
            collection,
            key,
            value,
            expires_ms,
        });
    let delete =
        (place(), key()).prop_map(|((tenant, collection), key)| Write::Delete { tenant, collection, key });
    let range = (place(), key(), key()).prop_filter("a range", |(_, a, b)| a != b).prop_map(
        |((tenant, collection), a, b)| {
            let (start, end) = if a < b { (a, b) } else { (b, a) };
            Write::DeleteRange { tenant, collection, start, end }
        },
    );
    prop_oneof![6 => put, 2 => delete, 1 => range]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn many_files_answer_as_one_map(
        writes in proptest::collection::vec(some_write(), 1..80),
        // Of each write, in which files it stands: in one at least.
        places in proptest::collection::vec(1u8..32, 80),
        rotations in proptest::collection::vec(any::<bool>(), 5),
        asks in proptest::collection::vec((0u64..90, 0usize..4, 1usize..40, proptest::option::of((0u8..9, 0u8..9))), 8),
    ) {
        // Two writes a millisecond: counters count too.
        let log: Log = writes.into_iter().enumerate().map(|(at, write)| (Stamp::new(at as u64 / 2 + 1, (at % 2) as u16), write)).collect();
        let mut bench = Bench::new();
        let mut files = Vec::new();
        for (number, is_rotated) in rotations.into_iter().enumerate() {
            if is_rotated { bench.rotate(); }
            files.push(whole(&bench.file(number, &log, |at| places[at] & (1 << number) != 0)));
        }
        let loose = bench.open(&files).unwrap();
        for (ms, place, page, bounds) in asks {
            let (tenant, collection) = [(T1, C), (T2, C), (T1, CollectionId(C.0 + 1)), (T2, CollectionId(C.0 + 1))][place];
            let at = Stamp::new(ms, (ms % 3) as u16);
            let mut want = told(&log, tenant, collection, at);
            let (start, end) = match bounds {
                Some((a, b)) => (Some(vec![a]), Some(vec![a.max(b) + 1])),
                None => (None, None),
            };
            want.retain(|key, _| start.as_ref().is_none_or(|start| key >= start) && end.as_ref().is_none_or(|end| key < end));
            let scan = Scan { start: start.clone(), end: end.clone(), limit: page, ..Scan::all(tenant, collection) };
            prop_assert_eq!(scanned(&loose, &scan, at), want.clone());
            let asked = LooseRange { tenant, collection, start, end };
            prop_assert_eq!(all_of(&loose, &asked, at, (page, page * 16)), want.clone());
            for key in [&b""[..], &[0], &[1], &[7, 0]] {
                let events = history_of(&loose, (tenant, collection), key, at, page);
                prop_assert_eq!(events, life(&log, tenant, collection, key, at));
            }
            for key in [&b""[..], &[0], &[1], &[7, 0]] {
                let found = loose.get((tenant, collection), key, at).unwrap().map(|found| (found.stamp, found.value.to_vec()));
                prop_assert_eq!(found, told(&log, tenant, collection, at).get(key).cloned());
            }
        }
    }

    #[test]
    fn what_is_old_is_passed_over_where_another_file_has_it(
        writes in proptest::collection::vec(some_write(), 2..60),
        cut in any::<prop::sample::Index>(),
        ms in 0u64..40,
    ) {
        let log: Log = writes.into_iter().enumerate().map(|(at, write)| (Stamp::new(at as u64 + 1, 0), write)).collect();
        let cut = cut.index(log.len());
        let after = log[cut].0;
        let bench = Bench::new();
        // The base has all up to the cut; the rest has everything, and what is old in it does not count.
        let base = bench.file(0, &log, |at| at <= cut);
        let rest = bench.file(1, &log, |_| true);
        let old = LooseFile { path: rest.clone(), after, upto: Stamp::MAX };
        let alone = bench.open(std::slice::from_ref(&old)).unwrap();
        let both = bench.open(&[whole(&base), old]).unwrap();
        // Another history has gone on behind the cut.
        let forked = bench.open(&[LooseFile { path: rest, after: Stamp::ZERO, upto: after }]).unwrap();
        let older: Log = log.iter().filter(|(stamp, _)| *stamp <= after).cloned().collect();
        let newer: Log = log.iter().filter(|(stamp, _)| *stamp > after).cloned().collect();
        for (tenant, collection) in [(T1, C), (T2, C)] {
            let asked = LooseRange { tenant, collection, start: None, end: None };
            for at in [Stamp::new(ms, 0), Stamp::MAX] {
                prop_assert_eq!(all_of(&both, &asked, at, (7, 1 << 20)), told(&log, tenant, collection, at));
                prop_assert_eq!(all_of(&alone, &asked, at, (7, 1 << 20)), told(&newer, tenant, collection, at));
                prop_assert_eq!(all_of(&forked, &asked, at, (7, 1 << 20)), told(&older, tenant, collection, at));
            }
        }
    }
}

fn put(key: &str, stamp: u64) -> (Stamp, Write) {
    let write =
        Write::Put { tenant: T1, collection: C, key: key.into(), value: vec![b'v'; 100], expires_ms: 0 };
    (Stamp::new(stamp, 0), write)
}

#[test]
fn what_cannot_be_opened_is_an_error_and_never_a_shorter_answer() {
    let log: Log = (1..60).map(|n| put(&format!("k{n:02}"), n)).collect();
    let mut bench = Bench::new();
    let first = bench.file(0, &log, |at| at < 30);
    bench.rotate();
    let second = bench.file(1, &log, |at| at >= 30);
    let asked = LooseRange { tenant: T1, collection: C, start: None, end: None };
    let loose = bench.open(&[whole(&first), whole(&second)]).unwrap();
    let epochs: BTreeSet<_> =
        loose.owners().into_iter().filter(|(owner, _)| *owner == Owner::Tenant(T1)).collect();
    assert_eq!(epochs, [1, 2].map(|epoch| (Owner::Tenant(T1), KeyEpoch(epoch))).into());
    assert!(loose.bytes_of(T1) > 0 && loose.bytes_of(T2) == 0);
    assert_eq!(all_of(&loose, &asked, Stamp::MAX, (9, 1 << 20)).len(), 59);
    // Without the younger key.
    let keys = Arc::new(Keyring::new());
    add_key(&keys, Owner::Cluster, Purpose::Mac, 1);
    keys.insert(
        Owner::Tenant(T1),
        Purpose::Data,
        KeyEpoch(1),
        key_of(Owner::Tenant(T1), Purpose::Data, KeyEpoch(1)),
    )
    .unwrap();
    let poor = Arc::new(Sealer::new(CLUSTER, keys, Arc::new(Seeded::new(8))).unwrap());
    let half = Loose::open(Arc::new(bench.disk.clone()), &poor, &[whole(&first), whole(&second)]).unwrap();
    let read = half.walk(&asked, Stamp::MAX).and_then(|mut walk| walk.page(1_000, 1 << 20));
    assert_eq!(read.unwrap_err().kind(), Kind::Key);
    // A file that is not there, and one of which a byte is another.
    let gone = bench.open(&[whole(Path::new("/archive/9.blk"))]).err().unwrap();
    assert_eq!(gone.kind(), Kind::Damaged);
    let file = bench.disk.open(&first).unwrap();
    let mut flipped = 0;
    for at in (0..file.len().unwrap()).step_by(97) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        let read = bench.open(&[whole(&first), whole(&second)]).and_then(|loose| {
            let mut walk = loose.walk(&asked, Stamp::MAX)?;
            walk.page(1_000, 1 << 20)
        });
        // A flip in a filter does no harm: no walk asks it.
        match read {
            Err(error) => flipped += usize::from(error.kind() == Kind::Damaged),
            Ok(page) => assert_eq!(page.entries.len(), 59, "at {at}"),
        }
        file.write_all_at(&byte, at).unwrap();
    }
    assert!(flipped > 10, "{flipped}");
}

#[test]
fn a_scan_goes_on_behind_the_longest_key_there_can_be() {
    let longest = |last: u8| [vec![b'k'; engine::limits::KEY_BYTES_MAX - 1], vec![last]].concat();
    let write = |key: Vec<u8>| Write::Put { tenant: T1, collection: C, key, value: vec![1], expires_ms: 0 };
    let keys = [b"a".to_vec(), longest(1), longest(2), b"z".to_vec()];
    let log: Log =
        keys.iter().enumerate().map(|(n, key)| (Stamp::new(n as u64 + 1, 0), write(key.clone()))).collect();
    let bench = Bench::new();
    let loose = bench.open(&[whole(&bench.file(0, &log, |_| true))]).unwrap();
    for (limit, bytes_max) in [(1, 1), (2, 1), (3, 9_000), (4, 1 << 20)] {
        let rows = scanned(&loose, &Scan { limit, bytes_max, ..Scan::all(T1, C) }, Stamp::MAX);
        assert_eq!(rows.into_keys().collect::<Vec<_>>(), keys, "{limit}");
    }
    let backward = Scan { is_reverse: true, ..Scan::all(T1, C) };
    assert_eq!(loose.scan(&backward, None, Stamp::MAX).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn far_more_files_than_handles_are_read_together() {
    let bench = Bench::new();
    let count = engine::limits::LOOSE_HANDLES_MAX + 44;
    let log: Log = (0..count as u64).map(|n| put(&format!("k{:03}", n % 50), n + 1)).collect();
    let files: Vec<_> = (0..count).map(|number| whole(&bench.one(number, &log))).collect();
    let loose = bench.open(&files).unwrap();
    let asked = LooseRange { tenant: T1, collection: C, start: None, end: None };
    for at in [10, 49, 50, 51, 200, count as u64] {
        let at = Stamp::new(at, 0);
        assert_eq!(all_of(&loose, &asked, at, (17, 1 << 20)), told(&log, T1, C, at));
    }
}

impl Bench {
    /// A file with one write.
    fn one(&self, number: usize, log: &Log) -> PathBuf {
        let Write::Put { tenant, collection, key, value, .. } = &log[number].1 else { panic!("a put") };
        let path = PathBuf::from(format!("/archive/{number}.blk"));
        let mut id = [0; 16];
        id[8..].copy_from_slice(&(number as u64).to_be_bytes());
        let file = self.disk.create(&path).unwrap();
        let mut writer = TableWriter::create(self.sealer.clone(), TableId(id), Stamp(1), file, 300).unwrap();
        let slot = OwnedSlot::Put { value: value.clone().into(), expires_ms: 0 };
        writer
            .add(&key::version(&key::row(*tenant, *collection, key), log[number].0), slot.as_slot())
            .unwrap();
        writer.finish().unwrap();
        path
    }
}
