//! Whoever archives dies at every single put of ticks, markers, gaps, a snapshot and the copy at a further site, before the put and after it, and
//! begins again with nothing but the rows of the meta group and what the sites have.

mod damage;

use super::{Shipment, Shipper, ShipperParts, is_away};
use crate::archive::collect::Come;
use crate::archive::manifest::log::GapAck;
use crate::archive::manifest::snapshot::{Home, SnapshotOpen};
use crate::archive::manifest::{self};
use crate::archive::naming::{Generation, Name, SnapshotId, TickEnd, Word};
use crate::archive::pull::Puller;
use crate::archive::site::faulty::{Fault, Faulty};
use crate::archive::site::{AtOnce, Site, SiteError, SiteParts};
use crate::archive::tests::sealer_of;
use crate::archive::tick::Collected;
use crate::archive::verify::verify;
use crate::archive::window::{Scope, window};
use crate::archive::{Result, closed, closing, snapshot};
use crate::meta::archive_row::{CloserRow, ReportRow};
use crate::shard::feed::Feeds;
use bytes::Bytes;
use engine::catalog::MemoryCatalog;
use engine::checkpoint::Checkpoint;
use engine::clock::ManualClock;
use engine::disk::SimDisk;
use engine::entropy::Seeded;
use engine::ids::{ClusterId, CollectionId, LogIndex, NodeId, TabletId, TenantId};
use engine::key::KeyRange;
use engine::read::OwnedSlot;
use engine::sealed::Sealer;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Parts, Pool, PoolConfig};
use engine::{Stamp, key};
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NODE: NodeId = NodeId(1);
const BEGIN: u64 = 1_000;
const TICK: u64 = 5;
/// Group 2 leaves a gap in the second; the snapshot behind it is the base of what follows.
const TICKS: u64 = 3;
const SNAPSHOT: SnapshotId = SnapshotId { cut: TickEnd(BEGIN + 2 * TICK), random: [1; 4] };
/// The cluster of these tests, and the root of its keys.
const OURS: (ClusterId, u8) = (ClusterId([0xc1; 16]), 7);

fn end_of(tick: u64) -> TickEnd {
    TickEnd(BEGIN + tick * TICK)
}

/// What group `group` has written in a tick: a tenant of the same number each.
fn written(tick: u64, group: u64) -> (Vec<u8>, Vec<u8>, Stamp) {
    let stamp = Stamp::new(end_of(tick).0 * 1_000 - 500, u16::try_from(group).unwrap());
    (format!("tick-{tick}").into_bytes(), format!("of {group} in {tick}").repeat(40).into_bytes(), stamp)
}

fn site(name: &str, store: &Arc<Faulty>) -> Site {
    let clock = Arc::new(crate::clock::SystemClock::default());
    let (name, root, store) = (Word::parse(name).unwrap(), String::new(), store.clone());
    Site::new(SiteParts { name, region: String::new(), store, root, rate_bytes_s: 0, clock })
}

/// What a cluster still has when whoever archives has died.
struct Cluster {
    sealer: Arc<Sealer>,
    files: BTreeMap<u64, Arc<Checkpoint>>,
    entropy: Arc<Seeded>,
    home: Arc<Faulty>,
    far: Arc<Faulty>,
    archived: Stamp,
    reports: BTreeMap<(NodeId, u64), ReportRow>,
    number: u64,
    closer: Option<CloserRow>,
    snapshot: Option<[u8; 32]>,
    deaths: u64,
    /// Every object that was ever there, by site and name.
    seen: BTreeMap<(&'static str, String), Bytes>,
    frontier: BTreeMap<&'static str, Stamp>,
}

/// The tables of both groups, as a home replica has them.
fn tables(sealer: &Arc<Sealer>) -> BTreeMap<u64, Arc<Checkpoint>> {
    let disk = SimDisk::new(3);
    let parts = Parts {
        disk: Arc::new(disk.clone()),
        catalog: MemoryCatalog::on(disk).opener(),
        sealer: sealer.clone(),
        clock: Arc::new(ManualClock::new(end_of(TICKS).ms())),
        node: NODE,
    };
    let pool = Pool::open(PoolConfig { threads: 0, ..PoolConfig::new("/pool") }, parts).unwrap();
    let ranges = [1, 2].map(|group| NewTablet::empty(TabletId(group), KeyRange::tenant(TenantId(group))));
    let tablets = pool.create(&ranges).unwrap();
    let mut files = BTreeMap::new();
    for (group, tablet) in (1..).zip(tablets) {
        for tick in 1..=TICKS {
            let (key, value, stamp) = written(tick, group);
            let mut batch = Batch::new(LogIndex(tick));
            batch.put(TenantId(group), CollectionId(1), &key, &value, stamp, 0).unwrap();
            tablet.apply(&batch).unwrap();
            tablet.set_log_durable(LogIndex(tick));
            tablet.freeze();
            pool.settle();
        }
        let checkpoint = tablet.checkpoint().unwrap();
        assert!(!checkpoint.files().is_empty());
        files.insert(group, Arc::new(checkpoint));
    }
    files
}

impl Cluster {
    fn new((id, seed): (ClusterId, u8)) -> Self {
        let sealer = sealer_of(id, seed);
        Self {
            files: tables(&sealer),
            sealer,
            entropy: Arc::new(Seeded::new(u64::from(seed))),
            home: Arc::new(Faulty::memory()),
            far: Arc::new(Faulty::memory()),
            archived: Stamp::ZERO,
            reports: BTreeMap::new(),
            number: 0,
            closer: None,
            snapshot: None,
            deaths: 0,
            seen: BTreeMap::new(),
            frontier: BTreeMap::new(),
        }
    }

    fn sites(&self) -> [(&'static str, Arc<Faulty>); 2] {
        [("home", self.home.clone()), ("far", self.far.clone())]
    }

    /// A node starts, archives all there is, closes every tick, takes the snapshot, and lets the further site follow.
    async fn run(&mut self) -> Result<()> {
        let (home, far) = (site("home", &self.home), site("far", &self.far));
        closed::begin(&home, &self.sealer, TICK, Generation(1)).await?;
        let parts = ShipperParts {
            node: NODE,
            sealer: self.sealer.clone(),
            entropy: self.entropy.clone(),
            disk: Arc::new(SimDisk::new(1)),
            spool: "/spool".into(),
            feeds: Feeds::default(),
        };
        drop(Shipper::open(parts.clone())?);
        let mut put = None;
        for tick in 1..=TICKS {
            self.ship(&parts, &home, tick).await?;
            self.close(&home, tick, &mut put).await?;
            if tick == 2 {
                self.take_snapshot(&home).await?;
            }
        }
        self.accept(&home).await?;
        Puller::default().pull(&home, &far, &self.sealer).await
    }

    async fn ship(&mut self, parts: &ShipperParts, home: &Site, tick: u64) -> Result<()> {
        let end = end_of(tick);
        if self.archived >= end.upto() {
            return Ok(());
        }
        let (mut collected, mut come) = (Collected::default(), Vec::new());
        for group in [1, 2] {
            let (key, value, stamp) = written(tick, group);
            let (after, upto) = (end_of(tick - 1).upto(), end.upto());
            let is_gap = (tick, group) == (2, 2);
            if !is_gap {
                let row = key::row(TenantId(group), CollectionId(1), &key);
                let slot = OwnedSlot::Put { value: value.into(), expires_ms: 0 };
                collected.version(key::version(&row, stamp), slot);
            }
            come.push(Come {
                group: GroupId(group),
                after: if is_gap {
                    upto
                } else if tick == 1 {
                    Stamp::ZERO
                } else {
                    after
                },
                upto,
                index: tick,
                begins: false,
                gap_from: is_gap.then_some(after),
            });
        }
        let unput = parts.write(&collected, end)?;
        let mut shipment = Shipment { unput, put: Vec::new(), come, number: None };
        Shipper::put(parts, home, &mut shipment).await?;
        self.number += 1;
        self.reports.insert((NODE, self.number), shipment.report(NODE, self.number));
        self.archived = end.upto();
        Ok(())
    }

    /// As `put` says, this process has put the marker of that version.
    async fn close(&mut self, home: &Site, tick: u64, put: &mut Option<(u64, [u8; 32])>) -> Result<()> {
        loop {
            if let Some(row) =
                self.closer.as_ref().filter(|row| put.is_none_or(|(put, _)| put != row.version))
            {
                let digest = closed::put_marker(home, &self.sealer, row, &self.reports).await?;
                *put = Some((row.version, digest));
            }
            if self.closer.as_ref().is_some_and(|row| row.end_s >= end_of(tick).0) {
                return Ok(());
            }
            let before = self.closer.as_ref().zip(put.map(|(_, digest)| digest));
            let alive = BTreeSet::from([GroupId(1), GroupId(2)]);
            let at = (1, end_of(tick), NODE, end_of(tick).ms() + 1_000);
            let next = closing::next(before, &self.reports, &alive, at);
            if let Some(row) = &self.closer {
                self.reports.retain(|key, _| !row.reports.contains(key));
            }
            self.closer = Some(next);
        }
    }

    async fn take_snapshot(&mut self, home: &Site) -> Result<()> {
        if self.snapshot.is_some() {
            return Ok(());
        }
        for (group, checkpoint) in &self.files {
            let name = Name::SnapshotPart(SNAPSHOT, GroupId(*group)).to_string();
            match home.size(&name).await {
                Err(SiteError::NotFound { .. }) => {}
                found => {
                    found?;
                    continue;
                }
            }
            let shipped = snapshot::put_files(home, checkpoint, &AtOnce).await?.expect("it is moved at once");
            let upto = end_of(TICKS).upto();
            let part = snapshot::part(GroupId(*group), NODE, checkpoint, upto, (Vec::new(), shipped));
            snapshot::put_part(home, &self.sealer, SNAPSHOT, &part).await?;
        }
        let groups = self.files.keys().map(|group| Home { group: *group, node: NODE.0 }).collect();
        let open = SnapshotOpen { generation: 1, groups, made_ms: 1, is_digested: false };
        let name = Name::SnapshotOpen(SNAPSHOT);
        home.put(&name.to_string(), manifest::seal(&self.sealer, &name, &open)?.into()).await?;
        let done = snapshot::finish(home, &self.sealer, SNAPSHOT, (&open, None, 2)).await?;
        self.snapshot = Some(done.expect("all parts are there"));
        Ok(())
    }

    /// Somebody knows of the gap.
    async fn accept(&self, home: &Site) -> Result<()> {
        let found = home.list("gap/").await?;
        let gap = found.iter().find_map(|one| match Name::parse(&one.name) {
            Some(Name::Gap(id)) => Some(Name::GapAck(id)),
            _ => None,
        });
        let name = gap.expect("the gap is told before the marker that names it");
        let ack = GapAck { made_ms: 3, by: "ada".to_owned() };
        Ok(home.put(&name.to_string(), manifest::seal(&self.sealer, &name, &ack)?.into()).await?)
    }

    /// What is there is whole, is what it was, and reaches as far as before.
    async fn check(&mut self) {
        for (name, store) in self.sites() {
            store.set_away(false);
            let site = site(name, &store);
            let mut there = BTreeSet::new();
            for one in site.list("").await.unwrap() {
                let bytes = site.get(&one.name, u64::MAX).await.unwrap();
                let before = self.seen.entry((name, one.name.clone())).or_insert(bytes.clone());
                assert_eq!(*before, bytes, "{} at {name} is overwritten", one.name);
                there.insert(one.name);
            }
            let gone = self.seen.keys().find(|(of, object)| *of == name && !there.contains(object));
            assert_eq!(gone, None);
            if !there.contains("genesis.man") {
                continue;
            }
            let walked = verify(&site, self.sealer.cluster(), None, true).await.unwrap();
            assert_eq!(walked.archive.faults(), [], "at {name} after {} deaths", self.deaths);
            let frontier = window(&walked.archive, &Scope::default()).frontier.unwrap_or_default();
            let before = self.frontier.insert(name, frontier).unwrap_or_default();
            assert!(frontier >= before, "{frontier} at {name} after {before}");
        }
    }

    /// Goes on until everything is archived, however often whoever does it dies.
    async fn finish(&mut self) {
        while let Err(error) = self.run().await {
            assert!(is_away(&error), "{error}");
            self.deaths += 1;
            assert!(self.deaths < 3, "it goes on");
            self.check().await;
        }
        self.check().await;
    }

    /// Nothing is shipped twice: a table file comes to a site once, and of ticks one file at most that nobody names.
    async fn count(&self) {
        for (name, store) in self.sites() {
            let came = store.came();
            let large = |object: &&String| object.starts_with("data/") || object.starts_with("log/");
            for object in came.keys().filter(large) {
                assert_eq!(came[object], 1, "{object} came to {name} again after {} deaths", self.deaths);
            }
            for (object, times) in &came {
                assert!(*times <= self.deaths + 1, "{object} came to {name} {times} times");
            }
            let walked = verify(&site(name, &store), self.sealer.cluster(), None, true).await.unwrap();
            let markers = walked.archive.markers().values();
            let named: usize = markers.map(|marked| marked.marker.files.len()).sum();
            let files = came.keys().filter(|object| object.starts_with("log/")).count();
            assert_eq!(named as u64, TICKS, "a file a tick");
            let may_be_nobodys = self.deaths > 0 && name == "home";
            assert!(files == named || may_be_nobodys && files == named + 1, "{files} files at {name}");
            let window = window(&walked.archive, &Scope::default());
            let spans: Vec<(Stamp, Stamp)> = window.spans.iter().map(|span| (span.from, span.upto)).collect();
            let [first, second, third] = [1, 2, 3].map(|tick| end_of(tick).upto());
            assert_eq!(spans, [(Stamp::ZERO, first), (second, third)], "at {name}");
            assert_eq!(
                window.gaps.values().map(|gap| gap.accepted_by.as_deref()).collect::<Vec<_>>(),
                [Some("ada")]
            );
        }
        let receipts = site("home", &self.home).list("rcpt/").await.unwrap();
        assert_eq!(receipts.len() as u64, TICKS, "after {} deaths", self.deaths);
    }
}

#[tokio::test]
async fn whichever_put_an_archiver_dies_at_nothing_is_shipped_twice_and_what_is_there_is_whole() {
    for (at_home, fault) in
        [(true, Fault::Refused), (true, Fault::ReplyLost), (false, Fault::Refused), (false, Fault::ReplyLost)]
    {
        let mut deaths = 0;
        for nth in 1.. {
            let mut cluster = Cluster::new(OURS);
            let store = if at_home { cluster.home.clone() } else { cluster.far.clone() };
            store.die_at_put(nth, fault);
            cluster.finish().await;
            cluster.count().await;
            deaths += cluster.deaths;
            // The last run has died nowhere: there are no more puts.
            if !store.has_died() {
                break;
            }
            assert_eq!(cluster.deaths, 1, "put {nth} at home: {at_home}, {fault:?}");
        }
        // Beginning, ticks, markers, a gap and who knows of it, a snapshot; at home the receipts too.
        assert!(deaths >= if at_home { 22 } else { 17 }, "{deaths}");
    }
}
