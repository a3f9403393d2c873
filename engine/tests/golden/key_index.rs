//! Format: key_index. A list: an index of twenty data blocks, and one of a single block.

use super::world::{C, T1, join, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::key::{row, version};
use engine::sealed::{BlockPlace, SecretBytes};
use engine::table::block::{Block, BlockBuilder, BlockCursor};
use engine::table::index::{add, decode_place, encode_place, place_at};
use engine::{Nature, Stamp};
use std::sync::Arc;

fn places(n: u32) -> Vec<(Vec<u8>, BlockPlace)> {
    let place = |n: u32| BlockPlace { number: n, offset: 96 + u64::from(n) * 0x0100_0001, bytes: 300 + n };
    let last = |n: u32| version(&row(T1, C, format!("key {n:03}").as_bytes()), Stamp::new(7, 1));
    (0..n).map(|n| (last(n), place(n))).collect()
}

fn made(n: u32) -> Vec<u8> {
    let mut builder = BlockBuilder::default();
    places(n).iter().for_each(|(last, place)| add(&mut builder, last, *place));
    builder.finish().to_vec()
}

fn walk(bytes: &[u8]) -> BlockCursor {
    BlockCursor::new(Arc::new(Block::new(SecretBytes::from(bytes.to_vec()), 0).unwrap()))
}

#[test]
fn version_1() {
    let made = join([made(20), made(1)]);
    let stored = fixture("key_index", &made);

    let items = split(&stored);
    for (item, n) in items.iter().zip([20, 1]) {
        let mut walk = walk(item);
        walk.seek_first().unwrap();
        for (last, place) in places(n) {
            assert_eq!((walk.key(), place_at(&walk)), (Some(&last[..]), Ok(place)));
            assert_eq!(decode_place(&encode_place(place)), Ok(place));
            walk.step().unwrap();
        }
        assert_eq!(walk.key(), None);
        walk.seek(&version(&row(T1, C, b"key 000"), Stamp::new(6, 0))).unwrap();
        assert_eq!(walk.key().is_some(), n > 1);
        assert!(
            n == 1 || place_at(&walk) == Ok(places(n)[1].1),
            "the first block whose last key is not below"
        );
    }
    assert_same("key_index", &stored, &made);

    // The length of the first place, behind two lengths and a kind.
    let items = damaged_item("key_index", &stored, 1, |item| item[3] -= 1);
    let mut walk = walk(&items[1]);
    walk.seek_first().unwrap();
    assert_eq!(refusal(place_at(&walk).unwrap_err()), unplaced(Nature::Malformed));
}
