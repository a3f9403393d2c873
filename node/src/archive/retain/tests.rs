//! The room's tests: a site that collects, beside a twin at which nothing ever goes.

mod history;
mod sites;

use super::keep::{Keep, LEGAL, PERSON};
use super::mark::Refusal;
use super::policy::Policy;
use super::sweep::{Known, Step, Sweeper};
use crate::archive::chain::Archive;
use crate::archive::load::load;
use crate::archive::manifest::keep::Pin;
use crate::archive::manifest::log::Gap;
use crate::archive::manifest::sha256;
use crate::archive::manifest::snapshot::{
    DataFile, Home, PartRow, Proof, SnapshotDone, SnapshotOpen, SnapshotPart,
};
use crate::archive::naming::{GapId, Name, SnapshotId, TickEnd, Word};
use crate::archive::site::faulty::Faulty;
use crate::archive::site::{Site, SiteParts};
use crate::archive::tests::{CLUSTER, Making, file, row};
use crate::archive::verify::verify;
use crate::archive::window::{Scope, Span, Window, window};
use bytes::Bytes;
use engine::Stamp;
use engine::entropy::Seeded;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// 1 January 2026.
const BEGIN: u64 = 1_767_225_600;
/// Seconds of a tick here.
const TICK: u64 = 600;
const HOUR: u64 = 3_600;

fn stamp(second: u64) -> Stamp {
    TickEnd(second).upto()
}

fn site(name: &str, store: Arc<Faulty>) -> Site {
    let clock = Arc::new(crate::clock::SystemClock::default());
    let (name, root) = (Word::parse(name).unwrap(), "dewpond/c1/".to_owned());
    Site::new(SiteParts { name, region: String::new(), store, root, rate_bytes_s: 0, clock })
}

/// An archive that grows, at a site that collects; `making` keeps everything.
struct World {
    making: Making,
    archive: Archive,
    store: Arc<Faulty>,
    site: Site,
    policy: Policy,
    entropy: Seeded,
    known: Known,
    now: u64,
    /// How far each group has come.
    come: [u64; 2],
    /// Contents of the last snapshot.
    data: Vec<Vec<u8>>,
    count: u64,
    put: BTreeSet<Name>,
    last: Option<(SnapshotId, [u8; 32])>,
}

impl World {
    async fn new(policy: &str) -> Self {
        let store = Arc::new(Faulty::memory());
        let making = Making::new();
        let mut world = Self {
            archive: making.archive(),
            making,
            site: site("home", store.clone()),
            store,
            policy: Policy::parse(policy).unwrap().with_grace("1h").unwrap(),
            entropy: Seeded::new(5),
            known: Known::default(),
            now: BEGIN,
            come: [0; 2],
            data: Vec::new(),
            count: 0,
            put: BTreeSet::new(),
            last: None,
        };
        world.publish().await;
        world
    }

    /// Puts what is new.
    async fn publish(&mut self) {
        for (name, bytes) in &self.making.objects {
            if self.put.insert(name.clone()) {
                self.site.put(&name.to_string(), Bytes::from(bytes.clone())).await.unwrap();
                if Archive::wants(name) {
                    self.archive.add(name, bytes);
                }
            }
        }
    }

    /// Closes a tick. A group that is late has no row in it; one behind a gap says so.
    async fn tick(&mut self, late: bool, gap: bool) {
        self.now += TICK;
        let (mut rows, mut files) = (Vec::new(), Vec::new());
        for group in [1, 2] {
            if late && group == 2 {
                continue;
            }
            let after = self.come[group as usize - 1];
            let from = if gap && group == 2 { self.now - TICK / 2 } else { after };
            let mut come = row(group, from, self.now);
            if gap && group == 2 && from > after {
                (come.is_behind_gap, come.gap_from) = (true, stamp(after).0);
                let id = GapId { from: TickEnd(after), group: GroupId(2), random: [0, 1] };
                let (after, upto) = (come.gap_from, come.after);
                let body = Gap { group: 2, after, upto, cause: 2, ..Gap::default() };
                self.making.put(Name::Gap(id), &body);
            }
            self.count += 1;
            let mut written = file(group, self.now, from.max(1), self.now);
            written.table = self.count.to_be_bytes().repeat(2);
            written.table.rotate_left(4);
            (written.bytes, written.sha256) = (1, sha256(b"x").to_vec());
            let name = Name::TickFile(written.name().unwrap());
            self.making.objects.insert(name.clone(), b"x".to_vec());
            files.push(written);
            rows.push(come);
            self.come[group as usize - 1] = self.now;
        }
        let contents: Vec<Name> = files.iter().map(|file| Name::TickFile(file.name().unwrap())).collect();
        self.making.marker(self.now, &rows, &files);
        for name in contents {
            self.making.objects.insert(name, b"x".to_vec());
        }
        self.publish().await;
    }

    /// Takes a snapshot at the last tick; of its files `new` are new, the others those of the one before.
    async fn snapshot(&mut self, new: usize, is_proven: bool, is_whole: bool) -> SnapshotId {
        self.count += 1;
        let random = (self.count as u32).to_be_bytes();
        let id = SnapshotId { cut: TickEnd(self.now), random };
        self.data.drain(..new.min(self.data.len()));
        for _ in 0..new {
            self.count += 1;
            self.data.push(self.count.to_be_bytes().to_vec());
        }
        let groups = vec![Home { group: 1, node: 1 }, Home { group: 2, node: 2 }];
        let open = SnapshotOpen { generation: 1, groups, made_ms: 1, is_digested: false };
        let open = self.making.put(Name::SnapshotOpen(id), &open);
        let mut parts = Vec::new();
        for group in [1, 2] {
            let mine = self.data.iter().skip(group as usize - 1).step_by(2);
            let mut files: Vec<DataFile> = mine
                .map(|bytes| DataFile {
                    sha256: sha256(bytes).to_vec(),
                    bytes: bytes.len() as u64,
                    table: vec![1; 16],
                    ..DataFile::default()
                })
                .collect();
            files.sort_by(|a, b| a.sha256.cmp(&b.sha256));
            let part = SnapshotPart {
                group,
                node: group,
                upto: stamp(self.now).0,
                files,
                ..SnapshotPart::default()
            };
            let name = Name::SnapshotPart(id, GroupId(group));
            let digest = self.making.put(name.clone(), &part);
            let bytes = self.making.objects[&name].len() as u64;
            parts.push(PartRow { group, bytes, sha256: digest.to_vec() });
        }
        for bytes in self.data.clone() {
            self.making.objects.insert(Name::Data(sha256(&bytes)), bytes);
        }
        if is_whole {
            let (previous, previous_sha256) =
                self.last.map(|(id, digest)| (id.to_string(), digest.to_vec())).unwrap_or_default();
            let done = SnapshotDone {
                generation: 1,
                open: open.to_vec(),
                parts,
                previous,
                previous_sha256,
                ..SnapshotDone::default()
            };
            let digest = self.making.put(Name::SnapshotDone(id), &done);
            self.last = Some((id, digest));
            if is_proven {
                let proof = Proof { is_passed: true, ..Proof::default() };
                self.making.put(Name::Proof(id, Word::parse("l3").unwrap()), &proof);
            }
        }
        // What went may come again: it is shipped like anything that is not there.
        let there = names(&self.site).await;
        for name in self.data.iter().map(|bytes| Name::Data(sha256(bytes))) {
            if !there.contains(&name) {
                self.put.remove(&name);
            }
        }
        self.publish().await;
        id
    }

    fn sweeper(&self) -> Sweeper<'_> {
        let (site, sealer) = (&self.site, &*self.making.sealer);
        Sweeper { site, sealer, entropy: &self.entropy, policy: self.policy }
    }

    async fn step(&self) -> crate::archive::Result<Step> {
        let guard = || -> futures_util::future::BoxFuture<'static, bool> { Box::pin(async { true }) };
        self.sweeper().step(&self.known, self.now * 1_000, &guard).await
    }

    async fn found(&self) -> Archive {
        load(&self.site, CLUSTER, Some(self.making.sealer.public_key().unwrap())).await.unwrap()
    }

    /// Ticks of an hour, a snapshot behind it.
    async fn hour(&mut self) -> SnapshotId {
        for _ in 0..HOUR / TICK {
            self.tick(false, false).await;
        }
        self.snapshot(1, false, true).await
    }

    fn pin(&mut self, id: u8, renewal: u32, until_s: u64, reason: u32, (after, upto): (u64, u64)) {
        let (after, upto) = (stamp(after).0, stamp(upto).0);
        let pin = Pin { until_ms: until_s.saturating_mul(1_000), reason, snapshots: Vec::new(), after, upto };
        self.known.pins.insert([id; 8], (renewal, pin));
    }
}

async fn names(site: &Site) -> BTreeSet<Name> {
    site.list("").await.unwrap().iter().filter_map(|one| Name::parse(&one.name)).collect()
}

/// What both can restore.
fn both(spans: &[Span], other: &[Span]) -> Vec<Span> {
    let mut all = Vec::new();
    for one in spans {
        for two in other {
            let span = Span { from: one.from.max(two.from), upto: one.upto.min(two.upto) };
            if span.from <= span.upto {
                all.push(span);
            }
        }
    }
    all
}

fn holds_all(window: &Window, spans: &[Span]) -> Option<Span> {
    spans
        .iter()
        .copied()
        .find(|span| !window.spans.iter().any(|one| one.from <= span.from && span.upto <= one.upto))
}

#[tokio::test]
async fn what_nobody_needs_goes_after_a_grace_and_what_is_promised_stays() {
    let mut world = World::new("6h,hourly:2,daily:2").await;
    assert!(matches!(world.step().await, Ok(Step::Refused(Refusal::Stale { .. }))));
    world.tick(false, false).await;
    assert_eq!(world.step().await.unwrap(), Step::Nothing);
    for _ in 0..30 {
        world.hour().await;
    }
    let before = names(&world.site).await;
    let Step::Tombed(count) = world.step().await.unwrap() else { panic!("there is something to collect") };
    let tombed = names(&world.site).await;
    assert_eq!(tombed.len(), before.len() + 1, "only the tomb is new");
    assert!(matches!(world.step().await.unwrap(), Step::Waits(_)));
    world.hour().await;
    assert_eq!(world.step().await.unwrap(), Step::Swept(count, 0));
    let found = world.found().await;
    assert_eq!(found.faults(), []);
    let window = window(&found, &Scope::default());
    assert_eq!(window.holes, []);
    let cuts: Vec<u64> = window.bases.iter().map(|id| (world.now - id.cut.0) / HOUR).collect();
    // The newest of the two days, those of the last six hours and the one that stands before them, one that was young.
    assert_eq!(cuts, [8, 7, 6, 5, 4, 3, 2, 1, 0]);
    let oldest = found.markers().keys().next().unwrap().1;
    assert_eq!((world.now - oldest.0) / TICK, 7 * HOUR / TICK - 1, "from the base on");
    let walked = verify(&world.site, CLUSTER, None, true).await.unwrap();
    assert_eq!(walked.archive.faults(), []);
    let data = names(&world.site).await.into_iter().filter(|name| matches!(name, Name::Data(_))).count();
    assert_eq!(data, 9, "each snapshot had one file of its own");
    assert!(matches!(world.step().await.unwrap(), Step::Tombed(_) | Step::Nothing));
}

/// Hours until something may go, and is written down.
async fn tombed(hours: u64) -> World {
    let mut world = World::new("6h,hourly:2,daily:2").await;
    for _ in 0..hours {
        world.hour().await;
    }
    assert!(matches!(world.step().await.unwrap(), Step::Tombed(_)));
    world
}

#[tokio::test]
async fn what_is_kept_meanwhile_is_not_deleted_and_goes_once_nobody_keeps_it() {
    let mut world = tombed(30).await;
    let all = window(&world.archive, &Scope::default());
    // An hour in the middle of what is written down.
    let (from, upto) = (BEGIN + 10 * HOUR + 700, BEGIN + 11 * HOUR + 100);
    world.pin(1, 1, u64::MAX, LEGAL, (from, upto));
    world.pin(2, 1, world.now + 3 * HOUR, PERSON, (from - 4 * HOUR, from - 4 * HOUR + 60));
    world.hour().await;
    let Step::Swept(deleted, kept) = world.step().await.unwrap() else { panic!("it is time") };
    assert!(deleted > 0 && kept > 0, "{deleted} {kept}");
    let spans = [
        Span { from: stamp(from), upto: stamp(upto) },
        Span { from: stamp(from - 4 * HOUR).next(), upto: stamp(from - 4 * HOUR + 60) },
    ];
    let found = world.found().await;
    assert_eq!(found.faults(), []);
    let now = window(&found, &Scope::default());
    assert_eq!((holds_all(&now, &spans), &now.holes[..]), (None, &[][..]));
    let base = all.bases.iter().rev().find(|id| id.cut.upto() <= stamp(from)).unwrap();
    assert!(now.bases.contains(base), "the snapshot from which it is restored stays with it");
    // A pin ends by itself, a hold does not.
    let rounds = async |world: &mut World| {
        for _ in 0..8 {
            world.hour().await;
            world.step().await.unwrap();
        }
    };
    rounds(&mut world).await;
    let now = window(&world.found().await, &Scope::default());
    assert_eq!(holds_all(&now, &spans), Some(spans[1]));
    let there = names(&world.site).await;
    assert!(
        there.contains(&Name::Pin([1; 8], 1)) && !there.contains(&Name::Pin([2; 8], 1)),
        "a site says what it keeps"
    );
    // An older cluster that knows nothing of the hold finds it at the site.
    let known = std::mem::take(&mut world.known);
    rounds(&mut world).await;
    assert_eq!(holds_all(&window(&world.found().await, &Scope::default()), &spans[..1]), None);
    // One that knows it as it was before it was released does not bring it back.
    world.known = known;
    world.pin(1, 2, world.now, LEGAL, (from, upto));
    rounds(&mut world).await;
    assert!(holds_all(&window(&world.found().await, &Scope::default()), &spans[..1]).is_some());
    assert_eq!(world.found().await.collected().len(), 1, "nothing is left between");
    world.pin(1, 1, u64::MAX, LEGAL, (from, upto));
    assert!(matches!(
        world.step().await,
        Ok(Step::Tombed(_) | Step::Waits(_) | Step::Swept(..) | Step::Nothing)
    ));
    assert_eq!(verify(&world.site, CLUSTER, None, true).await.unwrap().archive.faults(), []);
}

#[tokio::test]
async fn a_restore_and_a_snapshot_being_taken_keep_what_they_count_on() {
    let mut world = tombed(30).await;
    let all = window(&world.archive, &Scope::default());
    let (base, target) = (all.bases[4], stamp(all.bases[4].cut.0 + 1_000));
    let snapshots = BTreeSet::from([base]);
    world.known.restores = vec![Keep { snapshots, span: Some((base.cut.upto(), target)) }];
    world.tick(false, false).await;
    // A snapshot that begins now finds files of old ones, and will not ship them again.
    let half = world.snapshot(0, false, false).await;
    world.known.taking = Some(half);
    for _ in 0..6 {
        world.tick(false, false).await;
    }
    assert!(matches!(world.step().await.unwrap(), Step::Swept(..)));
    let there = names(&world.site).await;
    assert!(world.data.iter().all(|bytes| there.contains(&Name::Data(sha256(bytes)))));
    assert!(there.contains(&Name::SnapshotOpen(half)));
    let now = window(&world.found().await, &Scope::default());
    assert_eq!(holds_all(&now, &[Span { from: base.cut.upto(), upto: target }]), None);
    let files = |there: &BTreeSet<Name>| there.iter().filter(|name| matches!(name, Name::Data(_))).count();
    assert_eq!(files(&there), 30, "while one is taken no file goes: it may be its");
    world.known = Known::default();
    for _ in 0..6 {
        world.hour().await;
        world.step().await.unwrap();
    }
    let there = names(&world.site).await;
    assert!(!there.contains(&Name::SnapshotOpen(half)), "half a snapshot that nobody takes is nothing");
    assert!(files(&there) < 12, "{}", files(&there));
}

#[tokio::test]
async fn a_collector_that_dies_at_any_request_leaves_an_archive_and_another_one_finishes() {
    let mut world = tombed(12).await;
    world.hour().await;
    let mut objects = Vec::new();
    for name in names(&world.site).await {
        objects.push((name.to_string(), world.site.get(&name.to_string(), 1 << 20).await.unwrap()));
    }
    let promised = both(
        &window(&world.archive, &Scope::default()).spans,
        &[Span { from: stamp(world.now - 6 * HOUR), upto: Stamp::MAX }],
    );
    let before = world.store.requests();
    world.sweeper().look(&world.known, world.now * 1_000).await.unwrap();
    let reads = world.store.requests() - before;
    let before = world.store.requests();
    assert!(matches!(world.step().await.unwrap(), Step::Swept(..)));
    let all = world.store.requests() - before;
    let reference = names(&world.site).await;
    let is_tomb = |name: &Name| matches!(name, Name::Tomb(..) | Name::TombDone(..));
    let plain =
        |names: &BTreeSet<Name>| names.iter().filter(|name| !is_tomb(name)).cloned().collect::<Vec<_>>();
    // Every request of the sweep, some of those that only read.
    for nth in (0..reads).step_by(60).chain(reads - 1..all) {
        let store = Arc::new(Faulty::memory());
        world.site = site("home", store.clone());
        for (name, bytes) in &objects {
            world.site.put(name, bytes.clone()).await.unwrap();
        }
        store.away_after(nth);
        assert!(world.step().await.is_err(), "{nth}");
        store.set_away(false);
        let found = world.found().await;
        assert_eq!(found.faults(), [], "{nth}");
        let now = window(&found, &Scope::default());
        assert_eq!((holds_all(&now, &promised), &now.holes[..]), (None, &[][..]), "{nth}");
        let stepped = world.step().await.unwrap();
        let is_over = matches!(stepped, Step::Swept(..)) || nth == all - 1 && stepped == Step::Nothing;
        assert!(is_over, "{nth} of {all}: {stepped:?}");
        assert_eq!(plain(&names(&world.site).await), plain(&reference), "{nth}");
        assert_eq!(world.found().await.collected(), found_of(&reference, &world), "{nth}");
    }
    assert!(all - reads > 40, "{all} {reads}");
}

/// What is collected once the markers are these.
fn found_of(names: &BTreeSet<Name>, world: &World) -> Vec<crate::archive::manifest::keep::CollectedSpan> {
    let end = |name: &Name| match name {
        Name::Marker(end, _) => Some(*end),
        _ => None,
    };
    let first = names.iter().filter_map(end).min().unwrap();
    let before =
        world.archive.markers().keys().map(|(_, end)| *end).filter(|end| *end < first).max().unwrap();
    vec![crate::archive::manifest::keep::CollectedSpan { after: 0, upto: before.upto().0 }]
}
