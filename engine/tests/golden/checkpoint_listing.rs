//! Format: checkpoint_listing. The listing of a picture with tables on three levels, of several owners, and floors.

use super::manifest_edit::{only_tombstones, wide};
use super::world::{C, CLUSTER, Same, T1, sealer};
use super::{assert_same, damaged, fixture, refusal, unplaced};
use engine::checkpoint::listing::{ListedFile, Listing, UnverifiedListing, seal};
use engine::ids::{KeyEpoch, LogIndex, Owner, TableId, TabletId};
use engine::key::{KeyRange, row};
use engine::manifest::edit::{Applied, Edit};
use engine::manifest::levels::Levels;
use engine::table::TableMeta;
use engine::{Nature, Stamp};
use std::collections::BTreeMap;

const TABLET: TabletId = TabletId(0x0a0b);

fn deep() -> TableMeta {
    TableMeta { id: TableId([0x0d; 16]), content: [0xdd; 32], ..wide() }
}

fn levels() -> Levels {
    let applied = Applied { index: LogIndex(77), stamp: Stamp::new(9, 1), note: b"term 3".to_vec() };
    let range = KeyRange { start: Vec::new(), end: Some(row(T1, C, b"~")) };
    let edit = Edit {
        added: vec![(0, only_tombstones()), (1, wide()), (6, deep())],
        floors: BTreeMap::from([(T1, Stamp::new(2, 0))]),
        ..Edit::birth(TABLET, range, applied)
    };
    Levels::default().apply(&edit).unwrap()
}

fn listed(meta: &TableMeta) -> ListedFile {
    let (content, stripes) = (meta.content, meta.stripes.clone());
    ListedFile { id: meta.id, bytes: meta.bytes, content, crc32: meta.crc32, stripes }
}

#[test]
fn version_1() {
    let made = seal(&sealer(Same(0x55)), TABLET, &levels()).unwrap();
    let stored = fixture("checkpoint_listing", &made);

    let clear = UnverifiedListing::decode(&stored).unwrap();
    assert_eq!((clear.cluster, clear.tablet), (CLUSTER, TABLET));
    assert_eq!((clear.index, clear.stamp), (LogIndex(77), Stamp::new(9, 1)));
    let files = [deep(), wide(), only_tombstones()].map(|meta| listed(&meta)).to_vec();
    assert_eq!(clear.files, files);
    assert_eq!(files[0].stripes[2].owner, Owner::Tenant(T1));
    assert_eq!(files[0].stripes[2].epoch, KeyEpoch(9));
    let listing = clear.verify(&sealer(Same(0))).unwrap();
    assert_eq!(listing, Listing { files, levels: levels() });
    assert_same("checkpoint_listing", &stored, &made);

    // A length in the clear part, and the checksum with it: only the seal can tell.
    let damaged = damaged("checkpoint_listing", &stored, |bytes| {
        bytes[52 + 16 + 7] ^= 1;
        let (body, crc) = bytes.split_last_chunk_mut::<4>().unwrap();
        *crc = crc32fast::hash(body).to_be_bytes();
    });
    let clear = UnverifiedListing::decode(&damaged).unwrap();
    assert_eq!(clear.files[0].bytes, deep().bytes ^ 1);
    assert_eq!(refusal(clear.verify(&sealer(Same(0))).unwrap_err()), unplaced(Nature::Tampered));
}
