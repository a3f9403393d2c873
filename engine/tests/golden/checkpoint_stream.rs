//! Format: checkpoint_stream. A real export: the tablet of three tables that its import makes again, and exports again.

use super::plain;
use super::tables::{AT_MS, put, range, small};
use super::world::{C, CLUSTER, NOW_MS, Same, T1, T2, open_pool, sealer};
use super::{Refusal, assert_same, damaged, fixture, refusal};
use engine::catalog::MemoryCatalog;
use engine::checkpoint::export::LISTING_NAME;
use engine::checkpoint::listing::{UnverifiedListing, seal};
use engine::disk::{Disk, SimDisk};
use engine::ids::{LogIndex, TableId, TabletId};
use engine::key::KeyRange;
use engine::manifest::edit::{Applied, Edit};
use engine::manifest::levels::Levels;
use engine::read::OwnedSlot;
use engine::table::TableMeta;
use engine::tablet::Tablet;
use engine::tablet::pool::Pool;
use engine::tablet::view::Scan;
use engine::{Error, Kind, Nature, Stamp, key};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const TABLET: TabletId = TabletId(4);
const CREATED: Stamp = Stamp(AT_MS << 16);
/// The levels of the three tables: the newer, the higher.
const LEVELS: [u8; 3] = [6, 1, 0];

fn pool() -> Arc<Pool> {
    open_pool(&SimDisk::new(1), &MemoryCatalog::new(), sealer(Same(0x55)))
}

fn levels() -> Levels {
    let meta = |n: u8| {
        let (id, content) = small(n);
        // What version 1 of a manifest edit has no room for had not been counted yet.
        TableMeta { superseded: 0, first_expiry_ms: 0, ..plain::write(id, CREATED, &content, Same(0xa5)).0 }
    };
    let applied = Applied { index: LogIndex(9), stamp: Stamp::new(AT_MS, 200), note: b"term 3".to_vec() };
    let edit = Edit {
        added: (0..3).map(|n| (LEVELS[usize::from(n)], meta(n))).collect(),
        floors: BTreeMap::from([(T1, Stamp::new(AT_MS, 7))]),
        ..Edit::birth(TABLET, KeyRange::all(), applied)
    };
    Levels::default().apply(&edit).unwrap()
}

/// Lays the tables and their listing in a folder, imports it, and exports the tablet.
fn made() -> Vec<u8> {
    let (disk, dir) = (SimDisk::new(2), Path::new("/in"));
    disk.create_dir(dir).unwrap();
    let write =
        |name: &str, bytes: &[u8]| disk.create(&dir.join(name)).unwrap().write_all_at(bytes, 0).unwrap();
    for n in 0..3 {
        let (id, content) = small(n);
        write(&format!("{id}.dpb"), &plain::write(id, CREATED, &content, Same(0xa5)).1);
    }
    write(LISTING_NAME, &seal(&sealer(Same(0x55)), TABLET, &levels()).unwrap());
    let pool = pool();
    export(&pool.import_from_dir(&disk, dir, TABLET).unwrap().tablet, &BTreeSet::new())
}

fn export(tablet: &Tablet, present: &BTreeSet<TableId>) -> Vec<u8> {
    let mut out = Vec::new();
    tablet.checkpoint().unwrap().export_to_stream(&mut out, present).unwrap();
    out
}

/// Where the listing ends.
fn listing_end(stream: &[u8]) -> usize {
    12 + u32::from_be_bytes(stream[8..12].try_into().unwrap()) as usize
}

fn check_bytes(stream: &[u8]) {
    assert_eq!(stream[..8], *b"DPCS\0\x01\0\0");
    let clear = UnverifiedListing::decode(&stream[12..listing_end(stream)]).unwrap();
    assert_eq!((clear.cluster, clear.tablet, clear.index), (CLUSTER, TABLET, LogIndex(9)));
    let mut rest = &stream[listing_end(stream)..];
    for (file, n) in clear.files.iter().zip(0..) {
        let (id, content) = small(n);
        let bytes = plain::write(id, CREATED, &content, Same(0xa5)).1;
        assert_eq!((file.id, file.bytes), (id, bytes.len() as u64));
        let want = [&[1][..], &id.0, &file.bytes.to_be_bytes(), &bytes].concat();
        rest = rest.strip_prefix(&want[..]).unwrap();
    }
    assert_eq!(rest, [0]);
}

/// What the tablet must hold: the rows of the tables, newest first, the range tombstone over those below it.
fn check_rows(tablet: &Arc<Tablet>) {
    let view = tablet.view(NOW_MS).unwrap();
    let [old, new] = [0, 1].map(|n| small(n).1.entries);
    let deleted = range(T1, b"k10", b"k25", 200);
    let mut want: BTreeMap<Vec<u8>, OwnedSlot> = BTreeMap::new();
    for (version, slot) in old.into_iter().chain(new) {
        want.insert(key::split(&version).0.to_vec(), slot);
    }
    want.retain(|row, slot| *slot != OwnedSlot::Delete && !(deleted.start <= *row && *row < deleted.end));
    let mut got = BTreeMap::new();
    for tenant in [T1, T2] {
        for entry in view.scan(&Scan::all(tenant, C), None).unwrap().entries {
            got.insert(key::row(tenant, C, &entry.key), put(&entry.found.value, entry.found.expires_ms));
        }
    }
    assert_eq!(got, want);
    assert_eq!(got.len(), 30 - 15 - 1 + 1);
}

#[test]
fn version_1() {
    let made = made();
    let stored = fixture("checkpoint_stream", &made);

    check_bytes(&stored);
    let pool = pool();
    let mut source = &stored[..];
    let imported = pool.import_from_stream(&mut source, TABLET).unwrap();
    assert_eq!((source.len(), imported.skipped_files), (0, 0));
    let tablet = imported.tablet;
    assert_eq!(tablet.durable(), levels().applied);
    assert_eq!(*tablet.checkpoint().unwrap().levels(), levels());
    check_rows(&tablet);
    let pruned = Stamp::new(AT_MS, 6);
    let gone = tablet.view_as_of(pruned).unwrap().get(T1, C, b"k00");
    assert!(matches!(gone, Err(Error::HistoryGone { oldest }) if oldest == Stamp::new(AT_MS, 7)), "{gone:?}");
    assert_same("checkpoint_stream", &stored, &made);
    assert_same("checkpoint_stream, imported and exported", &stored, &export(&tablet, &BTreeSet::new()));
    // A receiver that has all files gets the listing alone.
    let short = export(&tablet, &pool.tables_present());
    assert_same("checkpoint_stream without files", &short, &[&stored[..listing_end(&stored)], &[0]].concat());
    let imported = pool.import_from_stream(&mut &short[..], TabletId(5)).unwrap();
    assert_eq!((imported.copied_bytes, imported.skipped_files), (0, 3));
    check_rows(&imported.tablet);
    check_damaged(&stored);
}

/// A bit of the first file.
fn check_damaged(stored: &[u8]) {
    let at = listing_end(stored) + 25 + 300;
    let rotten = damaged("checkpoint_stream", stored, |bytes| bytes[at] ^= 0x20);
    let pool = pool();
    let error = pool.import_from_stream(&mut &rotten[..], TABLET).err().unwrap();
    let place = format!("tables/{}.dpb", small(0).0);
    assert_eq!(
        refusal(error),
        Refusal { kind: Kind::Damaged, nature: Some(Nature::Rot), place, block: None }
    );
    assert!(
        matches!(pool.tablet(TABLET), Err(Error::NoSuchTablet(TABLET))),
        "nothing of a failed import stays"
    );
    assert_eq!(pool.tables_present(), BTreeSet::new());
    assert!(pool.import_from_stream(&mut &*stored, TABLET).is_ok(), "the whole one is taken afterwards");
}
