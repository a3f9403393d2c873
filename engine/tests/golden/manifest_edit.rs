//! Format: manifest_edit. Version 1, a list: a change of everything, a whole picture, a change of nothing, a birth, and one of a
//! narrow range. Version 2, the two of them that have tables, of which more is said.

use super::world::{C, NODE, T1, T3, join, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::ids::{CollectionId, KeyEpoch, LogIndex, Owner, TableId, TabletId, TenantId};
use engine::key::{KeyRange, after_row, row, version};
use engine::manifest::edit::{Applied, Edit};
use engine::manifest::levels::Levels;
use engine::table::{StripeMeta, TableMeta};
use engine::{Nature, Stamp};
use std::collections::BTreeMap;

fn stripe(owner: Owner, epoch: u32, bytes: u64, entries: u64) -> StripeMeta {
    StripeMeta { owner, epoch: KeyEpoch(epoch), bytes, entries }
}

/// A table of several owners.
pub fn wide() -> TableMeta {
    TableMeta {
        id: TableId([0xa1; 16]),
        bytes: 0xf102_0304,
        content: [0xcc; 32],
        crc32: 0xdead_beef,
        ends: [0xee; 32],
        least: version(&row(TenantId(0), C, b""), Stamp::new(9, 1)),
        greatest: version(&row(T1, CollectionId(3), b"z\0"), Stamp::new(8, 2)),
        span: KeyRange {
            start: row(TenantId(0), C, b""),
            end: Some(after_row(&row(T1, CollectionId(3), b"z\0"))),
        },
        entries: 30,
        deletes: 7,
        tombstones: 2,
        least_stamp: Stamp::new(1, 0),
        greatest_stamp: Stamp::new(9, 1),
        stripes: vec![
            stripe(Owner::Cluster, 1, 1_000, 4),
            stripe(Owner::Node(NODE), 2, 100, 0),
            stripe(Owner::Tenant(T1), 9, 0xf000_0000, 26),
        ],
        superseded: 0,
        first_expiry_ms: 0,
    }
}

/// A table of nothing but a range tombstone, which reaches to the end of its tenant.
pub fn only_tombstones() -> TableMeta {
    TableMeta {
        id: TableId([0xa2; 16]),
        bytes: 400,
        content: [2; 32],
        crc32: 0,
        ends: [0; 32],
        least: Vec::new(),
        greatest: Vec::new(),
        span: KeyRange { start: row(T3, C, b"a"), end: None },
        entries: 0,
        deletes: 0,
        tombstones: 1,
        least_stamp: Stamp::new(5, 5),
        greatest_stamp: Stamp::new(5, 5),
        stripes: vec![stripe(Owner::Tenant(T3), 1, 80, 0)],
        superseded: 0,
        first_expiry_ms: 0,
    }
}

fn edits() -> [Edit; 5] {
    let applied = Applied { index: LogIndex(77), stamp: Stamp::new(9, 1), note: b"term 3".to_vec() };
    let change = Edit {
        sequence: 12,
        applied: Some(applied.clone()),
        added: vec![(6, wide()), (0, only_tombstones())],
        removed: vec![TableId([0xb1; 16]), TableId([0xb2; 16])],
        moved: vec![(TableId([0xc1; 16]), 1), (TableId([0xc2; 16]), 5)],
        floors: BTreeMap::from([(TenantId(0), Stamp::ZERO), (T1, Stamp::new(3, 3)), (T3, Stamp::MAX)]),
        ..Edit::empty(TabletId(0x0a0b))
    };
    let whole = Edit {
        sequence: u64::MAX,
        added: vec![(1, wide()), (0, only_tombstones())],
        floors: BTreeMap::from([(T1, Stamp::new(2, 0))]),
        ..Edit::birth(TabletId(3), KeyRange { start: row(T1, C, b""), end: None }, applied)
    };
    let birth = Edit { sequence: 1, ..Edit::birth(TabletId(3), KeyRange::all(), Applied::default()) };
    let narrow = Edit { range: Some(KeyRange::prefix(T1, C, b"p\0")), ..birth.clone() };
    [change, whole, Edit::empty(TabletId(1)), birth, narrow]
}

#[test]
fn version_1() {
    let made = join(edits().map(|edit| edit.encode()));
    let stored = fixture("manifest_edit", &made);

    let items = split(&stored);
    assert_eq!(items.len(), 5);
    for (item, edit) in items.iter().zip(edits()) {
        assert_eq!(Edit::decode(item).unwrap(), edit);
    }
    let levels = Levels::default().apply(&Edit::decode(&items[1]).unwrap()).unwrap();
    assert_eq!(levels.range, KeyRange { start: row(T1, C, b""), end: None });
    assert_eq!(levels.applied.index, LogIndex(77));
    assert_eq!(levels.tables().map(|meta| (**meta).clone()).collect::<Vec<_>>(), [only_tombstones(), wide()]);
    assert_eq!(
        items[3],
        b"\0\x01\x07\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01"
            .iter()
            .chain(&[0; 45])
            .copied()
            .collect::<Vec<u8>>()
    );
    assert_same("manifest_edit", &stored, &made);

    // The level a table goes to: the last byte of the list of moves, before the count and three floors of 16 bytes.
    let items = damaged_item("manifest_edit", &stored, 0, |item| {
        let level = item.len() - 4 - 3 * 16 - 1;
        item[level] = 7;
    });
    assert_eq!(refusal(Edit::decode(&items[0]).unwrap_err()), unplaced(Nature::Malformed));
}

/// Of the first table all is said that version 2 has room for, of the other nothing.
fn edits_2() -> [Edit; 2] {
    let [change, whole, ..] = edits();
    [change, whole].map(|edit| {
        let more = |(level, meta): (u8, TableMeta)| match meta.entries {
            0 => (level, meta),
            _ => (level, TableMeta { superseded: 29, first_expiry_ms: 0x0001_0203_0405_0607, ..meta }),
        };
        Edit { added: edit.added.into_iter().map(more).collect(), ..edit }
    })
}

#[test]
fn version_2() {
    let made = join(edits_2().map(|edit| edit.encode()));
    let stored = fixture("../v2/manifest_edit", &made);
    let items = split(&stored);
    assert_eq!(items.len(), 2);
    for (item, edit) in items.iter().zip(edits_2()) {
        assert_eq!((&item[..2], Edit::decode(item).unwrap()), (&[0, 2][..], edit));
    }
    assert_same("manifest_edit", &stored, &made);
    // What version 1 has room for is written as version 1: in every other way the two are the same.
    let older = Edit { added: edits()[0].added.clone(), ..Edit::decode(&items[0]).unwrap() };
    assert_eq!(older.encode(), edits()[0].encode());
    assert_eq!(items[0].len(), older.encode().len() + 2 * 16);

    // As many versions without use as there are versions: the table, 16 bytes from the end of which that count begins, is the
    // first of two. Behind it stand the other one, and the lists of ids, moves and floors.
    let other = 1 + 16 + 8 + 32 + 4 + 32 + 4 + 4 + (4 + 15 + 1 + 4) + 8 + 8 + 4 + 8 + 8 + (4 + 29) + 16;
    let items = damaged_item("../v2/manifest_edit", &stored, 0, |item| {
        let lists = (4 + 2 * 16) + (4 + 2 * 17) + (4 + 3 * 16);
        let at = item.len() - lists - other - 16;
        assert_eq!(item[at..at + 8], 29_u64.to_be_bytes());
        item[at + 7] = 30;
    });
    assert_eq!(refusal(Edit::decode(&items[0]).unwrap_err()), unplaced(Nature::Malformed));
    // And without anything that version 1 has no room for, it is none.
    let mut plain = edits()[3].encode();
    plain[1] = 2;
    assert_eq!(refusal(Edit::decode(&plain).unwrap_err()), unplaced(Nature::Malformed));
}
