//! The room's tests: names, manifests, tick files, the chain and what can be restored from it.

use super::chain::Archive;
use super::manifest::log::{CloseMarker, FileRow, Gap, GenerationRegister, Genesis, GroupRow};
use super::manifest::snapshot::{Home, PartRow, SnapshotDone, SnapshotOpen, SnapshotPart};
use super::manifest::{self, sha256};
use super::naming::{GapId, Generation, Name, SnapshotId, TickEnd};
use super::tick::{self, Collected, TickWriter};
use super::window::{self, NotRestorable, Scope, Span};
use bytes::Bytes;
use engine::Stamp;
use engine::disk::{Disk, SimDisk};
use engine::entropy::Seeded;
use engine::error::Nature;
use engine::ids::{ClusterId, CollectionId, KeyEpoch, NodeId, Owner, Purpose, TableId, TenantId};
use engine::range_tombstone::RangeTombstone;
use engine::read::OwnedSlot;
use engine::sealed::{Keyring, Sealer, SecretKey};
use engine::table::Reach;
use engine::{Error, key};
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

pub(super) const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

pub(super) fn sealer_of(cluster: ClusterId, seed: u8) -> Arc<Sealer> {
    let ring = Keyring::new();
    let add = |owner: Owner, purpose| {
        ring.insert(owner, purpose, KeyEpoch(1), SecretKey::new([seed ^ owner.id() as u8; 32])).unwrap();
        ring.activate(owner, purpose, KeyEpoch(1)).unwrap();
    };
    add(Owner::Cluster, Purpose::Sign);
    add(Owner::Cluster, Purpose::Mac);
    add(Owner::Cluster, Purpose::Data);
    add(Owner::Cluster, Purpose::Meta);
    add(Owner::Node(NodeId(1)), Purpose::Catalog);
    (1..4).for_each(|tenant| add(Owner::Tenant(TenantId(tenant)), Purpose::Data));
    Arc::new(Sealer::new(cluster, Arc::new(ring), Arc::new(Seeded::new(1))).unwrap())
}

fn sealer() -> Arc<Sealer> {
    sealer_of(CLUSTER, 7)
}

fn genesis(sealer: &Sealer) -> Vec<u8> {
    let public_key = sealer.public_key().unwrap().0.to_vec();
    let body = Genesis { format: 1, tick_s: 5, public_key, made_ms: 1 };
    manifest::seal(sealer, &Name::Genesis, &body).unwrap()
}

/// An archive that is being made: every object with its name.
pub(super) struct Making {
    pub(super) sealer: Arc<Sealer>,
    pub(super) objects: BTreeMap<Name, Vec<u8>>,
    last: Option<(TickEnd, [u8; 32])>,
    generation: u64,
    alive: Vec<u64>,
}

pub(super) fn row(group: u64, after: u64, upto: u64) -> GroupRow {
    GroupRow { group, after: s(after), upto: s(upto), node: group, ..GroupRow::default() }
}

/// The last stamp before a second; 0 is the beginning of everything.
fn s(second: u64) -> u64 {
    TickEnd(second).upto().0
}

pub(super) fn file(node: u64, end: u64, least: u64, greatest: u64) -> FileRow {
    FileRow {
        end_s: end,
        node,
        table: [[node as u8, end as u8], [least as u8; 2]].concat().repeat(4),
        bytes: 10,
        sha256: vec![9; 32],
        least: s(least),
        greatest: s(greatest),
        entries: 1,
        tenants: vec![node],
        ..FileRow::default()
    }
}

impl Making {
    pub(super) fn new() -> Self {
        let sealer = sealer();
        let objects = BTreeMap::from([(Name::Genesis, genesis(&sealer))]);
        Self { sealer, objects, last: None, generation: 1, alive: vec![1, 2] }
    }

    pub(super) fn put<B: manifest::Body>(&mut self, name: Name, body: &B) -> [u8; 32] {
        let bytes = manifest::seal(&self.sealer, &name, body).unwrap();
        let digest = sha256(&bytes);
        self.objects.insert(name, bytes);
        digest
    }

    pub(super) fn marker(&mut self, end: u64, groups: &[GroupRow], files: &[FileRow]) {
        let (previous_end, previous) = self.last.unwrap_or_default();
        let marker = CloseMarker {
            generation: self.generation,
            end_s: end,
            previous_end_s: previous_end.0,
            previous: if previous_end.0 == 0 { Vec::new() } else { previous.to_vec() },
            writer: 1,
            files: files.to_vec(),
            groups: groups.to_vec(),
            alive: self.alive.clone(),
            ..CloseMarker::default()
        };
        let name = Name::Marker(TickEnd(end), Generation(self.generation));
        let digest = self.put(name, &marker);
        self.last = Some((TickEnd(end), digest));
        for file in files {
            self.objects.insert(Name::TickFile(file.name().unwrap()), Vec::new());
        }
    }

    pub(super) fn snapshot(&mut self, cut: u64) -> SnapshotId {
        let id = SnapshotId { cut: TickEnd(cut), random: [1; 4] };
        let groups = vec![Home { group: 1, node: 1 }, Home { group: 2, node: 2 }];
        let generation = self.generation;
        let open = SnapshotOpen { generation, groups, made_ms: 1, is_digested: false };
        let open = self.put(Name::SnapshotOpen(id), &open);
        let mut parts = Vec::new();
        for group in [1, 2] {
            let part = SnapshotPart { group, node: group, upto: s(cut), ..SnapshotPart::default() };
            let name = Name::SnapshotPart(id, GroupId(group));
            let digest = self.put(name.clone(), &part);
            let bytes = self.objects[&name].len() as u64;
            parts.push(PartRow { group, bytes, sha256: digest.to_vec() });
        }
        let done = SnapshotDone { generation, open: open.to_vec(), parts, ..SnapshotDone::default() };
        self.put(Name::SnapshotDone(id), &done);
        id
    }

    pub(super) fn archive(&self) -> Archive {
        let key = self.sealer.public_key().unwrap();
        let mut archive = Archive::begin(CLUSTER, Some(key), &self.objects[&Name::Genesis]).unwrap();
        for (name, bytes) in self.objects.iter().filter(|(name, _)| Archive::wants(name)) {
            archive.add(name, bytes);
        }
        archive.listed(&self.objects.keys().cloned().collect());
        archive
    }

    fn window(&self) -> window::Window {
        window::window(&self.archive(), &Scope::default())
    }
}

fn span(from: u64, upto: u64) -> Span {
    Span { from: Stamp(s(from)), upto: Stamp(s(upto)) }
}

#[test]
fn a_whole_log_restores_every_instant_from_the_beginning_to_its_slowest_group() {
    let mut making = Making::new();
    making.marker(5, &[row(1, 0, 5), row(2, 0, 5)], &[file(1, 5, 1, 4)]);
    making.marker(10, &[row(1, 5, 10)], &[]);
    let window = making.window();
    assert_eq!(window.frontier, Some(Stamp(s(5))), "the second group is late");
    assert_eq!(window.spans, [span(0, 5)]);
    making.marker(15, &[row(1, 10, 15), row(2, 5, 15)], &[file(2, 15, 7, 14)]);
    assert_eq!(making.window().spans, [span(0, 15)], "what came late counts");
    assert_eq!(making.archive().faults(), []);
    let needed = window::objects_for(&making.archive(), &Scope::default(), None, Stamp(s(12))).unwrap();
    assert_eq!(needed.ticks.iter().map(|tick| tick.file.node).collect::<Vec<_>>(), [1, 2]);
    assert!(needed.ticks.iter().all(|tick| tick.upto == Stamp(s(12))));
    let of_two = Scope { tenants: Some(BTreeSet::from([TenantId(2)])), groups: None };
    assert_eq!(window::objects_for(&making.archive(), &of_two, None, Stamp(s(12))).unwrap().ticks.len(), 1);
    let early = window::objects_for(&making.archive(), &Scope::default(), None, Stamp(s(5))).unwrap();
    assert_eq!(early.ticks.len(), 1, "nothing behind the target");
    let late = window::base_for(&making.archive(), &Scope::default(), Stamp(s(16)));
    assert_eq!(late, Err(NotRestorable::NotYet { nearest: Some(Stamp(s(15))) }));
}

#[test]
fn a_log_that_begins_later_needs_a_snapshot_and_a_hole_needs_another() {
    let mut making = Making::new();
    let begins = |group| GroupRow { begins: true, ..row(group, 100, 105) };
    making.marker(105, &[begins(1), begins(2)], &[]);
    assert_eq!(making.window().spans, [], "of what was before 100 nothing is known");
    let first = making.snapshot(105);
    making.marker(110, &[row(1, 105, 110), row(2, 105, 110)], &[file(1, 110, 106, 109)]);
    making.marker(120, &[row(1, 110, 120), GroupRow { is_behind_gap: true, ..row(2, 115, 120) }], &[]);
    let window = making.window();
    assert_eq!(window.spans, [span(105, 110)]);
    assert_eq!(window.holes.len(), 1);
    let hole = window.holes[0];
    assert_eq!((hole.group, hole.after, hole.upto), (GroupId(2), Stamp(s(110)), Stamp(s(115))));
    assert_eq!(window.nearest(Stamp(s(112))), (Some(Stamp(s(110))), None));
    let second = making.snapshot(120);
    making.marker(125, &[row(1, 120, 125), row(2, 120, 125)], &[]);
    let window = making.window();
    assert_eq!(window.spans, [span(105, 110), span(120, 125)]);
    let (archive, scope) = (making.archive(), Scope::default());
    assert_eq!(window::base_for(&archive, &scope, Stamp(s(107))), Ok(Some(first)));
    assert_eq!(window::base_for(&archive, &scope, Stamp(s(123))), Ok(Some(second)));
    let between = window::base_for(&archive, &scope, Stamp(s(117)));
    let (before, behind) = (Some(Stamp(s(110))), Some(Stamp(s(120))));
    assert_eq!(between, Err(NotRestorable::InHole { before, behind }));
    let wrong = window::objects_for(&archive, &scope, Some(first), Stamp(s(123)));
    assert_eq!(wrong, Err(NotRestorable::NotFromThere));
    let groups = Some(BTreeSet::from([GroupId(1)]));
    let one = Scope { groups, tenants: None };
    assert!(window::objects_for(&archive, &one, Some(first), Stamp(s(123))).is_ok(), "its log has no hole");
}

#[test]
fn a_lost_file_or_marker_is_a_hole_that_is_named() {
    let mut making = Making::new();
    for end in [5, 10, 15, 20] {
        let rows = [row(1, end - 5, end), row(2, end - 5, end)];
        making.marker(end, &rows, &[file(1, end, end - 4, end - 1)]);
    }
    assert_eq!(making.window().spans, [span(0, 20)]);
    let lost = Name::TickFile(file(1, 10, 6, 9).name().unwrap());
    let kept = making.objects.remove(&lost).unwrap();
    assert_eq!(making.window().spans, [span(0, 5)], "behind the hole there is no base");
    let hole = making.window().holes[0];
    assert_eq!((hole.group, hole.after, hole.upto), (GroupId(1), Stamp(s(5)), Stamp(s(10))));
    let faults = making.archive().faults();
    assert_eq!(faults.len(), 1);
    assert_eq!((faults[0].nature, faults[0].place.clone()), (Nature::Missing, lost.to_string()));
    making.objects.insert(lost, kept);
    let marker = Name::Marker(TickEnd(15), Generation(1));
    let bytes = making.objects.remove(&marker).unwrap();
    assert_eq!(making.window().spans, [span(0, 10)]);
    let faults = making.archive().faults();
    assert_eq!((faults[0].nature, faults[0].place.clone()), (Nature::Missing, marker.to_string()));
    // Somebody else's marker of the same name, signed by the cluster: the next one names another.
    let before = &making.objects[&Name::Marker(TickEnd(10), Generation(1))];
    let mut other = Making { last: Some((TickEnd(10), sha256(before))), ..Making::new() };
    other.marker(15, &[row(1, 10, 15), row(2, 10, 15)], &[]);
    making.objects.insert(marker.clone(), other.objects[&marker].clone());
    assert_eq!(making.archive().faults()[0].nature, Nature::Tampered);
    making.objects.insert(marker, bytes);
    assert_eq!(making.archive().faults(), []);
}

#[test]
fn a_swapped_flipped_cut_or_foreign_manifest_is_found_and_named() {
    let mut making = Making::new();
    making.marker(5, &[row(1, 0, 5), row(2, 0, 5)], &[]);
    making.marker(10, &[row(1, 5, 10), row(2, 5, 10)], &[]);
    let names = [5, 10].map(|end| Name::Marker(TickEnd(end), Generation(1)));
    let found = |bytes: Vec<u8>| {
        let mut objects = making.objects.clone();
        objects.insert(names[1].clone(), bytes);
        let changed = Making { objects, ..Making::new() };
        let faults = changed.archive().faults();
        assert_eq!(changed.window().spans, [span(0, 5)]);
        assert_eq!(faults[0].place, names[1].to_string());
        faults[0].nature
    };
    let good = making.objects[&names[1]].clone();
    assert_eq!(found(making.objects[&names[0]].clone()), Nature::WrongPlace, "an older one replayed");
    assert_eq!(found(good[..good.len() - 1].to_vec()), Nature::Rot);
    assert_eq!(found(Vec::new()), Nature::Missing);
    let crc_agrees = |mut bytes: Vec<u8>| {
        let at = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..at]).to_be_bytes();
        bytes[at..].copy_from_slice(&crc);
        bytes
    };
    let mut flipped = good.clone();
    flipped[60] ^= 1;
    assert_eq!(found(flipped.clone()), Nature::Rot);
    assert_eq!(found(crc_agrees(flipped)), Nature::Tampered);
    for (cluster, seed, nature) in
        [(CLUSTER, 8, Nature::Tampered), (ClusterId([2; 16]), 7, Nature::WrongPlace)]
    {
        let mut other = Making { sealer: sealer_of(cluster, seed), ..Making::new() };
        other.marker(10, &[], &[]);
        assert_eq!(found(other.objects[&names[1]].clone()), nature);
    }
    let foreign = genesis(&sealer_of(CLUSTER, 8));
    let known = sealer().public_key().unwrap();
    assert_eq!(Archive::begin(CLUSTER, Some(known), &foreign).unwrap_err().nature, Nature::Tampered);
    assert!(Archive::begin(CLUSTER, None, &foreign).is_ok(), "nobody knows better");
}

#[test]
fn every_bit_of_a_manifest_counts() {
    let mut making = Making::new();
    making.marker(5, &[row(1, 0, 5)], &[file(1, 5, 1, 4)]);
    let name = Name::Marker(TickEnd(5), Generation(1));
    let (key, bytes) = (making.sealer.public_key().unwrap(), making.objects[&name].clone());
    let open = |bytes: &[u8]| manifest::open::<CloseMarker>(&key, CLUSTER, &name, bytes);
    assert!(open(&bytes).is_ok());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&flipped).is_err(), "bit {bit}");
        let at = flipped.len() - 4;
        let crc = crc32fast::hash(&flipped[..at]).to_be_bytes();
        flipped[at..].copy_from_slice(&crc);
        assert!(bit >= at * 8 || open(&flipped).is_err(), "bit {bit} under a right checksum");
    }
    assert!((0..bytes.len()).all(|cut| open(&bytes[..cut]).is_err()));
    let kind = manifest::open::<Gap>(&key, CLUSTER, &name, &bytes).unwrap_err();
    assert_eq!(kind.nature, Nature::WrongPlace, "a marker is no gap");
}

#[test]
fn a_new_life_line_keeps_its_parents_history_up_to_where_it_left() {
    let mut making = Making::new();
    making.marker(5, &[row(1, 0, 5), row(2, 0, 5)], &[file(1, 5, 1, 4)]);
    making.marker(10, &[row(1, 5, 10), row(2, 5, 10)], &[file(1, 10, 6, 9)]);
    let register = GenerationRegister {
        generation: 2,
        parent: 1,
        parent_upto: s(7),
        reason: 2,
        ..GenerationRegister::default()
    };
    making.put(Name::Generation(Generation(2)), &register);
    (making.generation, making.last) = (2, None);
    making.marker(20, &[row(1, 7, 20), row(2, 7, 20)], &[file(1, 20, 15, 19)]);
    let window = making.window();
    assert_eq!(window.spans, [span(0, 20)]);
    assert_eq!(window.generations, [(Generation(1), Stamp(s(7))), (Generation(2), Stamp::MAX)]);
    let needed = window::objects_for(&making.archive(), &Scope::default(), None, Stamp(s(20))).unwrap();
    let limits: Vec<Stamp> = needed.ticks.iter().map(|tick| tick.upto).collect();
    assert_eq!(limits, [Stamp(s(7)), Stamp(s(7)), Stamp(s(20))], "what was behind it is another history");
}

/// An archive of a cluster that was cut at 8 when the first group was archived up to 6, and whose former nodes went on.
fn cut_at_8() -> Making {
    let mut making = Making::new();
    making.marker(5, &[row(1, 0, 5), row(2, 0, 5)], &[file(1, 5, 1, 4)]);
    making.marker(10, &[row(1, 5, 6), row(2, 5, 10)], &[file(1, 10, 5, 6), file(2, 10, 6, 9)]);
    // What those that were cut off went on to do, with a group that was born since.
    making.alive = vec![1, 2, 3];
    let born = GroupRow { parents: vec![2], ..row(3, 20, 30) };
    making.marker(30, &[row(1, 6, 30), row(2, 10, 30), born], &[file(1, 30, 7, 29), file(3, 30, 21, 29)]);
    let register = GenerationRegister {
        generation: 2,
        parent: 1,
        parent_upto: s(8),
        reason: 3,
        ..GenerationRegister::default()
    };
    making.put(Name::Generation(Generation(2)), &register);
    (making.generation, making.last, making.alive) = (2, None, vec![4, 5]);
    making
}

#[test]
fn groups_that_go_on_as_others_go_on_in_the_archive() {
    let mut making = cut_at_8();
    let whole = window::Scope::default();
    let before = making.window();
    assert_eq!((before.spans.clone(), before.frontier), (vec![span(0, 8)], Some(Stamp(s(8)))));
    // What comes before the first row of each group takes nothing away.
    making.marker(25, &[], &[]);
    assert_eq!(making.window().spans, before.spans);
    assert_eq!(making.window().frontier, before.frontier);
    let goes_on = |group, after, upto, was| GroupRow { parents: vec![was], ..row(group, after, upto) };
    making.marker(40, &[goes_on(4, 6, 40, 1), goes_on(5, 8, 35, 2)], &[file(4, 40, 7, 39)]);
    making.marker(45, &[row(5, 35, 45)], &[file(5, 45, 36, 44)]);
    let window = making.window();
    assert_eq!(window.spans, [span(0, 40)]);
    assert_eq!((window.frontier, window.holes), (Some(Stamp(s(40))), vec![]));
    assert_eq!(making.archive().faults(), []);
    // A target before the cut takes what was there before the cut alone; one behind it nothing of what was cut off.
    let needed = |at| {
        let needed = window::objects_for(&making.archive(), &whole, None, Stamp(s(at))).unwrap();
        let of = |tick: &window::TickNeeded| (tick.file.node, tick.file.end_s, tick.upto);
        needed.ticks.iter().map(of).collect::<Vec<_>>()
    };
    let cut = Stamp(s(8));
    assert_eq!(needed(5), [(1, 5, Stamp(s(5))), (1, 10, Stamp(s(5)))]);
    let old = [(1, 5, cut), (1, 10, cut), (2, 10, cut), (1, 30, cut)];
    assert_eq!(needed(8), old);
    let now = Stamp(s(40));
    let mut found = needed(40);
    found.sort_unstable();
    let mut all = [&old[..], &[(4, 40, now), (5, 45, now)]].concat();
    all.sort_unstable();
    assert_eq!(found, all, "of what was cut off nothing behind the cut counts");
}

#[test]
fn snapshots_from_before_and_behind_a_cut_are_bases_and_those_of_what_was_cut_off_are_none() {
    let mut making = cut_at_8();
    (making.generation, making.last) = (1, None);
    let (old, lost) = (making.snapshot(7), making.snapshot(20));
    making.generation = 2;
    let goes_on = |group, after, upto, was| GroupRow { parents: vec![was], ..row(group, after, upto) };
    making.marker(40, &[goes_on(4, 6, 40, 1), goes_on(5, 8, 40, 2)], &[file(4, 40, 7, 39)]);
    let new = making.snapshot(30);
    let (archive, scope) = (making.archive(), Scope::default());
    assert_eq!(making.window().bases, [old, new]);
    assert!(!making.window().bases.contains(&lost));
    let base = |at| window::base_for(&archive, &scope, Stamp(s(at)));
    assert_eq!((base(8), base(20), base(35)), (Ok(Some(old)), Ok(Some(old)), Ok(Some(new))));
    let over = window::objects_for(&archive, &scope, Some(old), Stamp(s(20))).unwrap();
    assert!(over.ticks.iter().any(|tick| tick.file.node == 4), "the log leads over the cut");
}

#[test]
fn a_declared_gap_is_listed_until_and_after_somebody_knows_of_it() {
    let mut making = Making::new();
    let id = GapId { from: TickEnd(5), group: GroupId(1), random: [1, 2] };
    let gap = Gap { group: 1, after: s(5), upto: s(9), cause: 1, node: 1, made_ms: 9, generation: 1 };
    making.put(Name::Gap(id), &gap);
    assert_eq!(making.window().gaps[&id].accepted_by, None);
    let ack = super::manifest::log::GapAck { made_ms: 10, by: "ada".to_owned() };
    making.put(Name::GapAck(id), &ack);
    assert_eq!(making.window().gaps[&id].accepted_by.as_deref(), Some("ada"));
}

#[test]
fn a_snapshot_is_one_only_with_all_its_parts() {
    let mut making = Making::new();
    let id = making.snapshot(50);
    assert_eq!(making.window().spans, [span(50, 50)]);
    let name = Name::SnapshotPart(id, GroupId(2));
    let bytes = making.objects[&name].clone();
    assert!(making.archive().part(id, GroupId(2), &bytes).is_ok());
    let other = making.objects[&Name::SnapshotPart(id, GroupId(1))].clone();
    assert_eq!(making.archive().part(id, GroupId(2), &other).unwrap_err().nature, Nature::Tampered);
    assert_eq!(making.archive().part(id, GroupId(2), &bytes[1..]).unwrap_err().nature, Nature::Missing);
    making.objects.remove(&name);
    assert_eq!(making.window().spans, []);
    assert_eq!(making.archive().faults()[0].place, name.to_string());
    making.objects.insert(name, bytes);
    making.objects.remove(&Name::SnapshotDone(id));
    assert_eq!(making.window().spans, [], "without `done.man` there is no snapshot");
}

fn version(tenant: u64, user: &[u8], stamp: u64) -> Vec<u8> {
    key::version(&key::row(TenantId(tenant), CollectionId(1), user), Stamp(stamp))
}

#[test]
fn a_tick_file_gives_back_what_was_collected_and_only_to_who_has_the_keys() {
    let (disk, sealer) = (SimDisk::new(1), sealer());
    disk.create_dir(Path::new("/spool")).unwrap();
    let mut collected = Collected::default();
    let put = |n: u8| OwnedSlot::Put { value: vec![n; 3000].into(), expires_ms: 0 };
    let mut versions = BTreeMap::new();
    for n in 0..60_u8 {
        let (tenant, stamp) = (u64::from(n % 3) + 1, u64::from(n) + 1);
        let slot = if n % 7 == 0 { OwnedSlot::Delete } else { put(n) };
        versions.insert(version(tenant, &[n], stamp), slot.clone());
        collected.version(version(tenant, &[n], stamp), slot);
    }
    let start = key::row(TenantId(2), CollectionId(1), b"a");
    let one = RangeTombstone { end: key::after_row(&start), start, stamp: Stamp(99) };
    collected.range(one.clone());
    collected.range(one.clone());
    let writer = TickWriter {
        sealer: &sealer,
        disk: &disk,
        folder: Path::new("/spool"),
        end: TickEnd(5),
        node: NodeId(3),
    };
    let written = writer.write(&collected, &mut || TableId([4; 16])).unwrap();
    assert_eq!(written.len(), 1);
    let row = &written[0].row;
    assert_eq!((row.entries, row.stamps()), (60, (Stamp(1), Stamp(99))));
    assert_eq!(row.tenants, [1, 2, 3]);
    let stored = disk.open(&Path::new("/spool").join(&written[0].file)).unwrap();
    let mut bytes = vec![0; usize::try_from(stored.len().unwrap()).unwrap()];
    stored.read_exact_at(&mut bytes, 0).unwrap();
    let table = tick::open(sealer.clone(), row, Bytes::from(bytes.clone())).unwrap();
    let mut found = BTreeMap::new();
    tick::for_each(&table, Reach::All, |version, slot| {
        found.insert(version.to_vec(), slot.to_owned());
        Ok(())
    })
    .unwrap();
    assert!(found == versions);
    let ranges = table.all_tombstones(&BTreeSet::new()).unwrap();
    assert_eq!(ranges.iter().map(|found| RangeTombstone::clone(found)).collect::<Vec<_>>(), [one]);
    let mut of_one = 0;
    tick::for_each(&table, Reach::Only(Owner::Tenant(TenantId(1))), |_, _| {
        of_one += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(of_one, 20);
    let nature = |bytes: Vec<u8>| match tick::open(sealer.clone(), row, bytes.into()) {
        Err(Error::Damaged(damage)) => {
            assert_eq!(damage.place, Name::TickFile(row.name().unwrap()).to_string());
            damage.nature
        }
        _ => panic!("damaged bytes open"),
    };
    assert_eq!(nature(bytes[..bytes.len() - 1].to_vec()), Nature::Missing);
    bytes[500] ^= 1;
    assert_eq!(nature(bytes), Nature::Tampered);
}
