//! What an archive has of the past, brought here and read: against a map, from a snapshot or from the beginning, with objects that are damaged
//! or gone at one site, and at all of them.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use bytes::Bytes;
use engine::Stamp;
use engine::disk::{Disk, SimDisk};
use engine::entropy::Seeded;
use engine::ids::{ClusterId, CollectionId, KeyEpoch, NodeId, Owner, Purpose, TableId, TenantId};
use engine::key;
use engine::range_tombstone::RangeTombstone;
use engine::read::OwnedSlot;
use engine::sealed::{Keyring, Sealer, SecretKey};
use node::archive::load::load;
use node::archive::manifest::log::{CloseMarker, Genesis, GroupRow};
use node::archive::manifest::snapshot::{
    DataFile, Home, PartRow, SnapshotDone, SnapshotOpen, SnapshotPart, Stripe,
};
use node::archive::manifest::{self, sha256};
use node::archive::naming::{Generation, Name, SnapshotId, TickEnd, Word, root};
use node::archive::site::objects::Objects;
use node::archive::site::{Site, SiteParts};
use node::archive::tick::{Collected, TickWriter};
use node::clock::SystemClock;
use node::meta::rows::MetaRow;
use node::meta::tenant_row::CollectionRow;
use node::restore::fetch::{FetchError, Reading, Sources, Workshop};
use node::restore::past::{KeyRange, Past};
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
const ACME: TenantId = TenantId(3);
const ORDERS: CollectionId = CollectionId(7);
const TICK_S: u64 = 5;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

enum Write {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

fn sealer() -> Arc<Sealer> {
    let ring = Keyring::new();
    for (owner, purpose) in [
        (Owner::Cluster, Purpose::Sign),
        (Owner::Cluster, Purpose::Mac),
        (Owner::Cluster, Purpose::Data),
        (Owner::Tenant(ACME), Purpose::Data),
    ] {
        ring.insert(owner, purpose, KeyEpoch(1), SecretKey::new([7 ^ owner.id() as u8; 32])).unwrap();
        ring.activate(owner, purpose, KeyEpoch(1)).unwrap();
    }
    Arc::new(Sealer::new(CLUSTER, Arc::new(ring), Arc::new(Seeded::new(1))).unwrap())
}

fn site(name: &str) -> Arc<Site> {
    Arc::new(Site::new(SiteParts {
        name: Word::parse(name).unwrap(),
        region: "here".to_owned(),
        store: Arc::new(Objects::memory()),
        root: root(CLUSTER),
        rate_bytes_s: 0,
        clock: Arc::new(SystemClock::default()),
    }))
}

/// An archive that is made, and what was acknowledged.
struct Bench {
    sealer: Arc<Sealer>,
    disk: SimDisk,
    objects: BTreeMap<Name, Bytes>,
    log: Vec<(Stamp, Write)>,
    last: Option<(TickEnd, [u8; 32])>,
    tables: u64,
}

impl Bench {
    fn new() -> Self {
        let sealer = sealer();
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/spool")).unwrap();
        let mut bench =
            Self { sealer, disk, objects: BTreeMap::new(), log: Vec::new(), last: None, tables: 0 };
        let public_key = bench.sealer.public_key().unwrap().0.to_vec();
        bench.put(Name::Genesis, &Genesis { format: 1, tick_s: TICK_S, public_key, made_ms: 1 });
        bench
    }

    fn put<B: manifest::Body>(&mut self, name: Name, body: &B) -> [u8; 32] {
        let bytes = manifest::seal(&self.sealer, &name, body).unwrap();
        let digest = sha256(&bytes);
        self.objects.insert(name, bytes.into());
        digest
    }

    /// Writes of a tick, at random; what was written goes into one file, and its marker follows.
    fn tick(&mut self, end_s: u64, dice: &mut u64) {
        let mut roll = |n: u64| {
            *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*dice >> 33) % n
        };
        let mut collected = Collected::default();
        if self.log.is_empty() {
            let row = MetaRow::Collection(CollectionRow { tenant: ACME, name: "orders".into(), id: ORDERS });
            let version = key::version(&key::row(TenantId(0), row.collection(), &row.key()), Stamp(1));
            collected.version(version, OwnedSlot::Put { value: row.value().into(), expires_ms: 0 });
        }
        for n in 0..20 {
            let stamp = Stamp::new((end_s - TICK_S) * 1_000 + 1 + n * 200, (n % 3) as u16);
            let user = |n: u64| format!("k{n:02}").into_bytes();
            let version = |user: &[u8]| key::version(&key::row(ACME, ORDERS, user), stamp);
            let write = match roll(10) {
                0 | 1 => {
                    let user = user(roll(30));
                    collected.version(version(&user), OwnedSlot::Delete);
                    Write::Delete(user)
                }
                2 => {
                    let from = roll(30);
                    let (start, end) = (user(from), user(from + 1 + roll(5)));
                    let row = |user: &[u8]| key::row(ACME, ORDERS, user);
                    collected.range(RangeTombstone { start: row(&start), end: row(&end), stamp });
                    Write::DeleteRange(start, end)
                }
                _ => {
                    let (user, value) = (user(roll(30)), format!("v{}", roll(1_000)).into_bytes());
                    let slot = OwnedSlot::Put { value: value.clone().into(), expires_ms: 0 };
                    collected.version(version(&user), slot);
                    Write::Put(user, value)
                }
            };
            self.log.push((stamp, write));
        }
        let end = TickEnd(end_s);
        let (disk, folder) = (self.disk.clone(), PathBuf::from("/spool"));
        let writer = TickWriter { sealer: &self.sealer, disk: &disk, folder: &folder, end, node: NodeId(1) };
        let tables = &mut self.tables;
        let mut table = || {
            *tables += 1;
            TableId([tables.to_be_bytes(), tables.to_be_bytes()].concat().try_into().unwrap())
        };
        let written = writer.write(&collected, &mut table).unwrap();
        let mut files = Vec::new();
        for one in written {
            let bytes = self.read(&folder.join(&one.file));
            self.objects.insert(Name::TickFile(one.row.name().unwrap()), bytes);
            files.push(one.row);
        }
        let (previous_end, previous) = self.last.unwrap_or_default();
        let after = if previous_end.0 == 0 { 0 } else { previous_end.upto().0 };
        let row = |group| GroupRow { group, after, upto: end.upto().0, node: 1, ..GroupRow::default() };
        let marker = CloseMarker {
            generation: 1,
            end_s,
            previous_end_s: previous_end.0,
            previous: if previous_end.0 == 0 { Vec::new() } else { previous.to_vec() },
            writer: 1,
            files,
            groups: vec![row(1), row(2)],
            alive: vec![1, 2],
            ..CloseMarker::default()
        };
        let digest = self.put(Name::Marker(end, Generation(1)), &marker);
        self.last = Some((end, digest));
    }

    fn read(&self, path: &Path) -> Bytes {
        let file = self.disk.open(path).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes.into()
    }

    /// A snapshot at a cut: one file with all that was written before, and a little of what came behind.
    fn snapshot(&mut self, cut_s: u64) {
        let (cut, mut collected) = (TickEnd(cut_s), Collected::default());
        let upto = Stamp::new(cut_s * 1_000 + 900, 0);
        let row = MetaRow::Collection(CollectionRow { tenant: ACME, name: "orders".into(), id: ORDERS });
        let version = key::version(&key::row(TenantId(0), row.collection(), &row.key()), Stamp(1));
        collected.version(version, OwnedSlot::Put { value: row.value().into(), expires_ms: 0 });
        for (stamp, write) in self.log.iter().filter(|(stamp, _)| *stamp <= upto) {
            let row = |user: &[u8]| key::row(ACME, ORDERS, user);
            match write {
                Write::Put(user, value) => {
                    let slot = OwnedSlot::Put { value: value.clone().into(), expires_ms: 0 };
                    collected.version(key::version(&row(user), *stamp), slot);
                }
                Write::Delete(user) => collected.version(key::version(&row(user), *stamp), OwnedSlot::Delete),
                Write::DeleteRange(start, end) => {
                    collected.range(RangeTombstone { start: row(start), end: row(end), stamp: *stamp });
                }
            }
        }
        let (disk, folder) = (self.disk.clone(), PathBuf::from("/spool"));
        let writer =
            TickWriter { sealer: &self.sealer, disk: &disk, folder: &folder, end: cut, node: NodeId(1) };
        let mut table = || TableId([0xda; 16]);
        let written = writer.write(&collected, &mut table).unwrap().remove(0);
        let bytes = self.read(&folder.join(&written.file));
        let digest = sha256(&bytes);
        let stripe = |tenant| Stripe { tenant, epoch: 1, bytes: 1, entries: 1 };
        let data = DataFile {
            sha256: digest.to_vec(),
            bytes: bytes.len() as u64,
            table: vec![0xda; 16],
            least: 1,
            greatest: upto.0,
            stripes: vec![stripe(0), stripe(ACME.0)],
        };
        self.objects.insert(Name::Data(digest), bytes);
        let id = SnapshotId { cut, random: [1; 4] };
        let groups = vec![Home { group: 1, node: 1 }, Home { group: 2, node: 1 }];
        let open = SnapshotOpen { generation: 1, groups, made_ms: 1, is_digested: false };
        let open = self.put(Name::SnapshotOpen(id), &open);
        let mut parts = Vec::new();
        for group in [1, 2] {
            let files = if group == 2 { vec![data.clone()] } else { Vec::new() };
            let part = SnapshotPart { group, node: 1, upto: upto.0, files, ..SnapshotPart::default() };
            let name = Name::SnapshotPart(id, GroupId(group));
            let digest = self.put(name.clone(), &part);
            parts.push(PartRow { group, bytes: self.objects[&name].len() as u64, sha256: digest.to_vec() });
        }
        let done = SnapshotDone { generation: 1, open: open.to_vec(), parts, ..SnapshotDone::default() };
        self.put(Name::SnapshotDone(id), &done);
    }

    fn at(&self, upto: Stamp) -> Rows {
        let mut rows = Rows::new();
        for (_, write) in self.log.iter().filter(|(stamp, _)| *stamp <= upto) {
            match write {
                Write::Put(user, value) => drop(rows.insert(user.clone(), value.clone())),
                Write::Delete(user) => drop(rows.remove(user)),
                Write::DeleteRange(start, end) => rows.retain(|user, _| user < start || user >= end),
            }
        }
        rows
    }

    async fn shipped(&self, site: &Site) {
        for (name, bytes) in &self.objects {
            site.put(&name.to_string(), bytes.clone()).await.unwrap();
        }
    }

    async fn sources(&self, sites: Vec<Arc<Site>>) -> Sources {
        let key = self.sealer.public_key().unwrap();
        let archive = Arc::new(load(&sites[0], CLUSTER, Some(key)).await.unwrap());
        Sources { sites, archive }
    }

    async fn rows(&self, sources: &Sources, at: Stamp, folder: &str) -> Result<Rows, FetchError> {
        let shop = Workshop {
            disk: Arc::new(self.disk.clone()),
            folder: PathBuf::from(folder),
            sealer: self.sealer.clone(),
        };
        let gathered = sources.gather(&shop, &BTreeSet::from([TenantId(0), ACME]), at).await?;
        assert_eq!(gathered.collections(ACME, at)?, [("orders".to_owned(), ORDERS)]);
        let past = Past::Archive(Arc::new(Reading::new(Arc::new(gathered), ACME, at)));
        let mut found = Rows::new();
        let mut rows = past.rows(KeyRange::all(ORDERS), None);
        while let Some(row) = rows.next().await.unwrap() {
            found.insert(row.key.to_vec(), row.value.to_vec());
        }
        Ok(found)
    }
}

fn bench() -> Bench {
    let (mut bench, mut dice) = (Bench::new(), 5);
    for tick in 1..=12 {
        bench.tick(tick * TICK_S, &mut dice);
    }
    bench
}

#[tokio::test]
async fn every_instant_is_seen_as_it_was_from_a_snapshot_and_from_the_beginning() {
    let mut bench = bench();
    for has_snapshot in [false, true] {
        if has_snapshot {
            bench.snapshot(30);
        }
        let home = site("home");
        bench.shipped(&home).await;
        let sources = bench.sources(vec![home]).await;
        let stamps: Vec<Stamp> = bench.log.iter().step_by(7).map(|(stamp, _)| *stamp).collect();
        for (number, stamp) in stamps.into_iter().enumerate() {
            for at in [Stamp(stamp.0 - 1), stamp] {
                let folder = format!("/scratch-{has_snapshot}-{number}-{}", at.0);
                assert_eq!(bench.rows(&sources, at, &folder).await.unwrap(), bench.at(at), "{at}");
            }
        }
        let needed = sources.needed(&BTreeSet::from([ACME]), TickEnd(50).upto()).unwrap();
        assert_eq!(
            (needed.base.is_some(), needed.ticks.len()),
            (has_snapshot, if has_snapshot { 4 } else { 10 })
        );
        let late = bench.rows(&sources, Stamp::new(61_000, 0), "/late").await.unwrap_err();
        assert!(matches!(late, FetchError::NotRestorable(_)), "{late}");
    }
}

#[tokio::test]
async fn what_is_damaged_at_one_site_comes_from_another_and_what_is_lost_is_named() {
    let mut bench = bench();
    bench.snapshot(30);
    let at = TickEnd(50).upto();
    let wanted: Vec<Name> = bench
        .objects
        .keys()
        .filter(|name| match name {
            Name::TickFile(file) => (35..=50).contains(&file.end.0),
            Name::Data(_) | Name::SnapshotPart(..) => true,
            _ => false,
        })
        .cloned()
        .collect();
    assert_eq!(wanted.len(), 7);
    let copy = site("copy");
    bench.shipped(&copy).await;
    for (number, name) in wanted.iter().enumerate() {
        for wrong in [Some(0_usize), Some(1), None] {
            let home = site("home");
            bench.shipped(&home).await;
            let sources = bench.sources(vec![home.clone(), copy.clone()]).await;
            let alone = bench.sources(vec![home.clone()]).await;
            home.delete(&name.to_string()).await.unwrap();
            if let Some(wrong) = wrong {
                let mut bytes = bench.objects[name].to_vec();
                if wrong == 0 {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 4;
                } else {
                    bytes.pop();
                }
                home.put(&name.to_string(), bytes.into()).await.unwrap();
            }
            let folder = format!("/damaged-{number}-{wrong:?}");
            let found = bench.rows(&sources, at, &folder).await.unwrap();
            assert_eq!(found, bench.at(at), "{name} {wrong:?}");
            let lost = bench.rows(&alone, at, &format!("{folder}-alone")).await.unwrap_err();
            match &lost {
                FetchError::Lost { lost } => {
                    assert!(lost.len() == 1 && lost[0].contains(&name.to_string()), "{lost:?}")
                }
                other => panic!("{other}"),
            }
            assert!(!lost.is_passing());
        }
    }
}

#[tokio::test]
async fn what_was_fetched_is_not_fetched_twice_and_not_believed_either() {
    let bench = bench();
    let at = TickEnd(20).upto();
    let home = site("home");
    bench.shipped(&home).await;
    let sources = bench.sources(vec![home.clone()]).await;
    assert_eq!(bench.rows(&sources, at, "/kept").await.unwrap(), bench.at(at));
    // The site has lost all of it meanwhile, but for one that is not whole in the folder.
    let names = bench.disk.list(Path::new("/kept")).unwrap();
    assert_eq!(names.len(), 4);
    let torn = bench.disk.open(&Path::new("/kept").join(&names[1])).unwrap();
    torn.write_all_at(&[1], 200).unwrap();
    let is_torn = |name: &Name| name.to_string().replace('/', "_") == names[1];
    for name in bench.objects.keys().filter(|name| matches!(name, Name::TickFile(_)) && !is_torn(name)) {
        home.delete(&name.to_string()).await.unwrap();
    }
    assert_eq!(bench.rows(&sources, at, "/kept").await.unwrap(), bench.at(at));
    node::restore::fetch::clear(&bench.disk, Path::new("/kept")).unwrap();
    assert_eq!(bench.disk.list(Path::new("/kept")).unwrap().len(), 0);
}
