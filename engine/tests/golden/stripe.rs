//! Format: stripe. A list: three stripe ends (with everything, without range tombstones, with nothing else), then two solo
//! stripes (with everything, with nothing but a range tombstone).

use super::world::{C, T1, join, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::key::{row, version};
use engine::range_tombstone::RangeTombstone;
use engine::read::Slot;
use engine::sealed::{BlockPlace, SecretBytes};
use engine::table::block::{Block, BlockBuilder, BlockCursor};
use engine::table::stripe::{Solo, StripeEnd, decode_solo, encode_solo};
use engine::{Nature, Stamp};
use std::sync::Arc;

fn ends() -> [StripeEnd; 3] {
    let place = |number, offset, bytes| Some(BlockPlace { number, offset, bytes });
    let full = StripeEnd {
        entries: 40,
        deletes: 3,
        tombstones: 2,
        data_blocks: 5,
        index: place(5, 0xf000_0001, 300),
        filter: place(6, 0xf000_012d, 110),
        tombstone_blocks: 2,
        tombstones_at: place(7, 0xf000_019b, 90),
        digest: [0xd1; 32],
    };
    let plain =
        StripeEnd { deletes: 40, tombstones: 0, tombstone_blocks: 0, tombstones_at: None, ..full.clone() };
    let hollow = StripeEnd {
        tombstones: 70_000,
        tombstone_blocks: 9,
        tombstones_at: place(1, 96, 2_000_000),
        ..StripeEnd::default()
    };
    [full, plain, hollow]
}

fn range() -> RangeTombstone {
    RangeTombstone { start: row(T1, C, b"x"), end: row(T1, C, b"y"), stamp: Stamp::new(5, 0) }
}

fn entries() -> [(Vec<u8>, Slot<'static>); 3] {
    let at = |user: &[u8], counter| version(&row(T1, C, user), Stamp::new(4, counter));
    [
        (at(b"a", 2), Slot::Delete),
        (at(b"a", 1), Slot::Put { value: b"hi", expires_ms: 0 }),
        (at(b"b", 1), Slot::Put { value: b"!", expires_ms: 60_000 }),
    ]
}

fn solos() -> [Vec<u8>; 2] {
    let mut builder = BlockBuilder::default();
    entries().iter().for_each(|(key, slot)| builder.add(key, *slot));
    let full = encode_solo(3, 1, &[range(), range()], builder.finish());
    [full, encode_solo(0, 0, &[range()], BlockBuilder::default().finish())]
}

fn open(bytes: &[u8]) -> Solo {
    decode_solo(SecretBytes::from(bytes.to_vec())).unwrap()
}

fn walk(block: Block) -> BlockCursor {
    let mut walk = BlockCursor::new(Arc::new(block));
    walk.seek_first().unwrap();
    walk
}

#[test]
fn version_1() {
    let made = join(ends().map(|end| end.encode()).into_iter().chain(solos()));
    let stored = fixture("stripe", &made);

    let items = split(&stored);
    for (item, end) in items.iter().zip(ends()) {
        assert_eq!(item.len(), 108);
        assert_eq!(StripeEnd::decode(item), Ok(end));
    }
    let Solo { entries: count, deletes, tombstones, block } = open(&items[3]);
    assert_eq!((count, deletes, tombstones), (3, 1, vec![range(), range()]));
    let mut at = walk(block);
    for (key, slot) in entries() {
        assert_eq!((at.key(), at.slot()), (Some(&key[..]), slot));
        at.step().unwrap();
    }
    assert_eq!(at.key(), None);
    let hollow = open(&items[4]);
    assert_eq!((hollow.entries, hollow.deletes, hollow.tombstones), (0, 0, vec![range()]));
    assert_eq!(walk(hollow.block).key(), None);
    assert_same("stripe", &stored, &made);

    // More deletes than entries.
    let items = damaged_item("stripe", &stored, 0, |item| item[15] = 41);
    assert_eq!(refusal(StripeEnd::decode(&items[0]).unwrap_err()), unplaced(Nature::Malformed));
    // A solo stripe is not taken for a stripe end, nor the other way round.
    assert_eq!(refusal(StripeEnd::decode(&items[3]).unwrap_err()), unplaced(Nature::Malformed));
    let end = decode_solo(SecretBytes::from(items[1].clone()));
    assert_eq!(refusal(end.err().unwrap()), unplaced(Nature::Malformed));
}
