//! Names and manifests of every kind, as they are stored.

#![allow(dead_code, reason = "each test uses a part of it")]

use super::{items, listed, stored};
use engine::Stamp;
use engine::entropy::Seeded;
use engine::ids::{ClusterId, KeyEpoch, LogIndex, NodeId, Owner, Purpose};
use engine::sealed::{Keyring, Sealer, SecretKey};
use node::archive::manifest::keep::{CollectedSpan, Pin, Tomb, TombDone};
use node::archive::manifest::log::{
    CloseMarker, FileRow, Gap, GapAck, GenerationRegister, Genesis, GroupRow, Receipt,
};
use node::archive::manifest::snapshot::{
    DataFile, Home, KeyNeeded, PartRow, Proof, SnapshotDone, SnapshotOpen, SnapshotPart, Stripe, TenantDigest,
};
use node::archive::manifest::{Body, open, seal};
use node::archive::naming::{
    GapId, Generation, Name, ResidencyClass, SnapshotId, TickEnd, TickFileName, Word,
};
use node::meta::archive_change::{ArchiveChange, PinEnd};
use node::meta::archive_row::{ArchivedRow, CloserRow, ReportRow, SnapshotRow, SnapshotState};
use node::meta::command::{Change, MetaCommand};
use node::meta::pin_row::{CarriedRow, PinRow, SweepRow};
use node::meta::rows::MetaRow;
use raft::types::GroupId;
use std::sync::{Arc, OnceLock};

/// The cluster whose archive it is.
pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
/// 2026-11-22 14:05:05, UTC.
pub const END: TickEnd = TickEnd(1_795_356_305);

const SNAPSHOT: SnapshotId = SnapshotId { cut: END, random: [0x3f, 0xa9, 0xc1, 0xd2] };
const GAP: GapId = GapId { from: END, group: GroupId(17), random: [0x5b, 0x1e] };

/// One name of every kind.
pub fn names() -> Vec<Name> {
    let (day, hour) = (TickEnd(1_795_305_600), TickEnd(1_795_356_000));
    let word = |text| Word::parse(text).unwrap();
    vec![
        Name::Genesis,
        Name::Generation(Generation(7)),
        Name::TickFile(TickFileName {
            end: END,
            node: NodeId(3),
            class: ResidencyClass(0),
            random: [0x9f, 0x31, 0xc2, 0xaa],
        }),
        Name::Marker(END, Generation(7)),
        Name::Roll(hour, Generation(7)),
        Name::Data([0x4f; 32]),
        Name::SnapshotOpen(SNAPSHOT),
        Name::SnapshotPart(SNAPSHOT, GroupId(17)),
        Name::SnapshotDone(SNAPSHOT),
        Name::Proof(SNAPSHOT, word("l3-1")),
        Name::Gap(GAP),
        Name::GapAck(GAP),
        Name::Pin([0xab; 8], 2),
        Name::Tomb(day, [0xcd; 8]),
        Name::TombDone(day, [0xcd; 8]),
        Name::Receipt(word("eu-b"), END, Generation(7)),
    ]
}

static SIGNER: OnceLock<Sealer> = OnceLock::new();

/// A sealer with a signing key.
pub fn signer() -> &'static Sealer {
    SIGNER.get_or_init(make_signer)
}

fn make_signer() -> Sealer {
    let ring = Keyring::new();
    ring.insert(Owner::Cluster, Purpose::Sign, KeyEpoch(1), SecretKey::new([7; 32])).unwrap();
    Sealer::new(CLUSTER, Arc::new(ring), Arc::new(Seeded::new(1))).unwrap()
}

fn file() -> FileRow {
    FileRow {
        end_s: END.0,
        node: 3,
        class: 0,
        table: vec![0x9f; 16],
        bytes: 4_096,
        sha256: vec![0x11; 32],
        least: 5,
        greatest: 9,
        entries: 12,
        tenants: vec![0, 7],
    }
}

fn marker() -> CloseMarker {
    let row =
        |group, after, upto| GroupRow { group, after, upto, last_index: 40, node: 3, ..GroupRow::default() };
    let born = GroupRow { parents: vec![17], begins: true, ..row(18, 0, 9) };
    let ended = GroupRow { ended: 1, is_behind_gap: true, ..row(19, 7, 8) };
    CloseMarker {
        generation: 7,
        end_s: END.0,
        previous_end_s: END.0 - 5,
        previous: vec![0x22; 32],
        writer: 3,
        planned_ms: END.ms() + 1_000,
        files: vec![file()],
        groups: vec![row(17, 4, 6), row(17, 6, 9), born, ended],
        data: vec![vec![0x4f; 32]],
        floor: 91_733,
        alive: vec![17, 18],
    }
}

fn digests() -> Vec<TenantDigest> {
    vec![TenantDigest { tenant: 7, keys: 3, sum: vec![0x33; 16], epoch: 0 }]
}

fn part() -> SnapshotPart {
    let stripe = Stripe { tenant: 7, epoch: 2, bytes: 1_000, entries: 12 };
    let (sha256, table) = (vec![0x4f; 32], vec![0x55; 16]);
    let data = DataFile { sha256, bytes: 4_096, table, least: 5, greatest: 9, stripes: vec![stripe] };
    SnapshotPart {
        group: 17,
        node: 3,
        applied: 40,
        upto: 9,
        listing: vec![1, 2, 3],
        files: vec![data],
        tenants: digests(),
        shipped_bytes: 4_096,
    }
}

fn done() -> SnapshotDone {
    let key = KeyNeeded { owner_kind: 3, owner: 7, purpose: 1, epoch: 2 };
    SnapshotDone {
        generation: 7,
        open: vec![0x66; 32],
        parts: vec![PartRow { group: 17, bytes: 300, sha256: vec![0x77; 32] }],
        previous: "20261122t130000-00000001".to_owned(),
        previous_sha256: vec![0x88; 32],
        tenants: digests(),
        keys: vec![key],
        floor: 91_733,
        bytes: 4_096,
        shipped_bytes: 4_096,
        done_ms: 9,
    }
}

/// A manifest of every kind, each with its name, sealed.
pub fn manifests() -> Vec<(Name, Vec<u8>)> {
    let (signer, names) = (signer(), names());
    let public_key = signer.public_key().unwrap().0.to_vec();
    let one = |at: usize, bytes: engine::Result<Vec<u8>>| (names[at].clone(), bytes.unwrap());
    let (approvals, reason) = (vec!["A-218".to_owned()], 2);
    let register =
        GenerationRegister { generation: 7, parent: 6, parent_upto: 9, reason, approvals, made_ms: 9 };
    let open = SnapshotOpen {
        generation: 7,
        groups: vec![Home { group: 17, node: 3 }],
        made_ms: 9,
        is_digested: true,
    };
    let proof = Proof {
        is_passed: false,
        target: 9,
        took_ms: 41_000,
        bytes: 4_096,
        tenants: digests(),
        made_ms: 9,
        build: "0.1.0".to_owned(),
        found: vec!["another digest".to_owned()],
    };
    let gap = Gap { group: 17, after: 5, upto: 9, cause: 1, node: 3, made_ms: 9, generation: 7 };
    let pin = Pin { until_ms: 9, reason: 1, snapshots: vec![SNAPSHOT.to_string()], after: 5, upto: 9 };
    let tomb = Tomb { made_ms: 9, names: vec![names[5].to_string()], ..Tomb::default() };
    vec![
        one(0, seal(signer, &names[0], &Genesis { format: 1, tick_s: 5, public_key, made_ms: 9 })),
        one(1, seal(signer, &names[1], &register)),
        one(3, seal(signer, &names[3], &marker())),
        one(6, seal(signer, &names[6], &open)),
        one(7, seal(signer, &names[7], &part())),
        one(8, seal(signer, &names[8], &done())),
        one(9, seal(signer, &names[9], &proof)),
        one(10, seal(signer, &names[10], &gap)),
        one(11, seal(signer, &names[11], &GapAck { made_ms: 9, by: "ada".to_owned() })),
        one(12, seal(signer, &names[12], &pin)),
        one(13, seal(signer, &names[13], &tomb)),
        one(
            14,
            seal(signer, &names[14], &TombDone { made_ms: 9, deleted: 1, kept: 2, ..TombDone::default() }),
        ),
        one(15, seal(signer, &names[15], &Receipt { marker: vec![0x99; 32], made_ms: 9 })),
    ]
}

/// Whether `bytes` open as the body that belongs to `name`.
pub fn opens(name: &Name, bytes: &[u8]) -> bool {
    fn one<B: Body>(name: &Name, bytes: &[u8]) -> bool {
        let (signer, key) = (signer(), signer().public_key().unwrap());
        let Ok(body) = open::<B>(&key, CLUSTER, name, bytes) else { return false };
        assert_eq!(seal(signer, name, &body).unwrap(), bytes, "what opens was written so");
        true
    }
    match name {
        Name::Genesis => one::<Genesis>(name, bytes),
        Name::Generation(_) => one::<GenerationRegister>(name, bytes),
        Name::Marker(..) => one::<CloseMarker>(name, bytes),
        Name::SnapshotOpen(_) => one::<SnapshotOpen>(name, bytes),
        Name::SnapshotPart(..) => one::<SnapshotPart>(name, bytes),
        Name::SnapshotDone(_) => one::<SnapshotDone>(name, bytes),
        Name::Proof(..) => one::<Proof>(name, bytes),
        Name::Gap(_) => one::<Gap>(name, bytes),
        Name::GapAck(_) => one::<GapAck>(name, bytes),
        Name::Pin(..) => one::<Pin>(name, bytes),
        Name::Tomb(..) => one::<Tomb>(name, bytes),
        Name::TombDone(..) => one::<TombDone>(name, bytes),
        Name::Receipt(..) => one::<Receipt>(name, bytes),
        Name::TickFile(_) | Name::Roll(..) | Name::Data(_) | Name::Keyring(..) => false,
    }
}

/// The items of the fixture `name`, which are what is written today.
pub fn same(name: &str, today: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let found = items(&stored(&format!("{name}.bin"), || listed(today)));
    assert_eq!(found, today, "{name}");
    found
}

fn report_row() -> ReportRow {
    let row = GroupRow { group: 17, after: 6, upto: 9, last_index: 40, node: 3, ..GroupRow::default() };
    ReportRow { node: NodeId(3), number: 12, files: vec![file()], groups: vec![row] }
}

fn closer_row() -> CloserRow {
    CloserRow {
        version: 4,
        generation: 7,
        end_s: END.0,
        previous_end_s: END.0 - 5,
        previous: [0x22; 32],
        writer: NodeId(3),
        planned_ms: END.ms() + 1_000,
        reports: vec![(NodeId(2), 9), (NodeId(3), 12)],
        alive: vec![GroupId(17), GroupId(18)],
    }
}

fn snapshot_row() -> SnapshotRow {
    SnapshotRow {
        version: 2,
        cut_s: END.0,
        random: [0x3f, 0xa9, 0xc1, 0xd2],
        state: SnapshotState::Running,
        is_digested: true,
        begun_ms: END.ms(),
        homes: vec![(GroupId(17), NodeId(3)), (GroupId(18), NodeId(1))],
        last: (END.0 - 3_600, [1; 4], [0x88; 32]),
    }
}

/// Rows of archiving.
pub fn archive_rows() -> Vec<MetaRow> {
    let archived = ArchivedRow {
        group: GroupId(17),
        holder: NodeId(3),
        until_ms: END.ms() + 10_000,
        upto: Stamp(9),
        index: LogIndex(40),
        has_begun: true,
    };
    vec![
        MetaRow::Archived(archived),
        MetaRow::Archived(ArchivedRow { group: GroupId(18), ..ArchivedRow::default() }),
        MetaRow::Report(report_row()),
        MetaRow::Closer(closer_row()),
        MetaRow::Snapshot(snapshot_row()),
    ]
}

/// Changes of archiving.
pub fn archive_commands() -> Vec<MetaCommand> {
    let changes = [
        ArchiveChange::Take(NodeId(3), END.ms() + 10_000, vec![GroupId(17), GroupId(18)]),
        ArchiveChange::Report(report_row(), END.ms() + 10_000),
        ArchiveChange::PlanMarker(closer_row()),
        ArchiveChange::PutSnapshot(snapshot_row()),
    ];
    vec![MetaCommand::new(changes.into_iter().map(Change::Archive).collect())]
}

/// Tombs that say what of the log is collected.
pub fn tombs() -> Vec<(Name, Vec<u8>)> {
    let (signer, names) = (signer(), names());
    let collected = vec![CollectedSpan { after: 0, upto: 9 }, CollectedSpan { after: 20, upto: 21 }];
    let tomb = Tomb { made_ms: 9, names: vec![names[3].to_string()], collected: collected.clone() };
    let done = TombDone { made_ms: 10, deleted: 1, kept: 0, collected };
    vec![
        (names[13].clone(), seal(signer, &names[13], &tomb).unwrap()),
        (names[14].clone(), seal(signer, &names[14], &done).unwrap()),
    ]
}

fn pin_row() -> PinRow {
    PinRow {
        id: [0xab; 8],
        renewal: 2,
        is_hold: false,
        made_ms: END.ms(),
        until_ms: END.ms() + 86_400_000,
        after: Stamp(5),
        upto: Stamp(9),
        snapshots: vec![SNAPSHOT],
        by: "ada".to_owned(),
        why: "CASE-7".to_owned(),
    }
}

/// Rows of retention.
pub fn retain_rows() -> Vec<MetaRow> {
    let hold =
        PinRow { id: [0xac; 8], is_hold: true, until_ms: u64::MAX, snapshots: Vec::new(), ..pin_row() };
    let sweep = SweepRow { node: NodeId(3), until_ms: END.ms() + 60_000 };
    let carried = CarriedRow { upto: END.upto() };
    vec![MetaRow::Pin(pin_row()), MetaRow::Pin(hold), MetaRow::Sweep(sweep), MetaRow::Carried(carried)]
}

/// Changes of retention.
pub fn retain_commands() -> Vec<MetaCommand> {
    let end = PinEnd { id: [0xac; 8], is_hold: true, by: "ada".to_owned(), why: "CASE-7 is over".to_owned() };
    let changes = [
        ArchiveChange::PutPin(pin_row()),
        ArchiveChange::EndPin(end),
        ArchiveChange::TakeSweep(SweepRow { node: NodeId(3), until_ms: END.ms() + 60_000 }),
        ArchiveChange::Carry(CarriedRow { upto: END.upto() }),
    ];
    vec![MetaCommand::new(changes.into_iter().map(Change::Archive).collect())]
}
