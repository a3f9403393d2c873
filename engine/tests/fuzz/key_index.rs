//! Format: key_index. A place that decodes encodes to the same bytes, and an index gives back the places put in.

use engine::sealed::{BlockPlace, SecretBytes};
use engine::table::block::{Block, BlockBuilder, BlockCursor};
use engine::table::index::{PLACE_BYTES, add, decode_place, encode_place, place_at};
use engine::{Nature, read::Slot};
use std::sync::Arc;

pub fn run(bytes: &[u8]) {
    match decode_place(bytes) {
        Ok(place) => assert_eq!(encode_place(place), bytes),
        Err(damage) => {
            assert_eq!(damage.nature, Nature::Malformed);
            assert_ne!(bytes.len(), PLACE_BYTES);
        }
    }
    if let Ok(block) = Block::new(SecretBytes::from(bytes.to_vec()), 0) {
        walk(Arc::new(block), bytes.len());
    }
    rebuild(bytes);
}

fn walk(block: Arc<Block>, bytes: usize) {
    let mut cursor = BlockCursor::new(block);
    let mut steps = 0;
    let mut moved = cursor.seek_first();
    while moved.is_ok() && cursor.key().is_some() {
        assert!(steps < bytes, "a walk without end");
        match (place_at(&cursor), cursor.slot()) {
            (Ok(place), Slot::Put { value, expires_ms: 0 }) => assert_eq!(encode_place(place), value),
            (Ok(_), slot) => panic!("a place out of {slot:?}"),
            (Err(damage), Slot::Put { value, expires_ms: 0 }) => {
                assert_eq!(damage.nature, Nature::Malformed);
                assert_ne!(value.len(), PLACE_BYTES);
            }
            (Err(damage), _) => assert_eq!(damage.nature, Nature::Malformed),
        }
        steps += 1;
        moved = cursor.step();
    }
}

/// An index of places and keys out of any bytes.
fn rebuild(bytes: &[u8]) {
    let place = |piece: &[u8]| BlockPlace {
        number: u32::from(piece[0]),
        offset: u64::from(piece[1]) << 40 | 96,
        bytes: u32::from(piece[0]) << 8 | 44,
    };
    let mut wanted: Vec<(Vec<u8>, BlockPlace)> =
        bytes.chunks_exact(2).take(60).map(|piece| (piece.to_vec(), place(piece))).collect();
    wanted.sort();
    wanted.dedup();
    let mut builder = BlockBuilder::default();
    wanted.iter().for_each(|(last, place)| add(&mut builder, last, *place));
    let bytes = SecretBytes::from(builder.finish().to_vec());
    let mut cursor = BlockCursor::new(Arc::new(Block::new(bytes, 0).unwrap()));
    cursor.seek_first().unwrap();
    for (last, place) in &wanted {
        assert_eq!((cursor.key(), place_at(&cursor).as_ref()), (Some(&last[..]), Ok(place)));
        cursor.step().unwrap();
    }
    assert_eq!(cursor.key(), None);
}
