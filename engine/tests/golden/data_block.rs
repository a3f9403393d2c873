//! Format: data_block. A list: a block with every kind of entry, several restarts and long lengths, and a block without entries.

use super::world::{C, T1, join, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::key::{check_version, row, version};
use engine::read::{OwnedSlot, Slot};
use engine::sealed::SecretBytes;
use engine::table::block::{Block, BlockBuilder, BlockCursor};
use engine::{Damage, Nature, Stamp};
use std::sync::Arc;

type Entry = (Vec<u8>, OwnedSlot);

fn put(value: &[u8], expires_ms: u64) -> OwnedSlot {
    OwnedSlot::Put { value: value.to_vec().into(), expires_ms }
}

fn entries() -> Vec<Entry> {
    let at = |user: &[u8], ms| version(&row(T1, C, user), Stamp::new(ms, 1));
    let mut all = vec![
        (at(b"", 3), put(b"of the empty key", 0)),
        (at(b"a", 2), OwnedSlot::Delete),
        (at(b"a", 1), put(b"hi", 0)),
        (at(b"a\0b", 1), put(b"", 0)),
        (at(b"b", 1), put(b"!", 60_000)),
        (at(b"c", 1), put(&[0xcc; 200], u64::MAX)),
    ];
    for n in 0..34_u8 {
        let user = [&[b'd'; 140][..], &[n]].concat();
        let slot = if n % 5 == 4 { OwnedSlot::Delete } else { put(&[n; 3], 0) };
        all.push((at(&user, 1), slot));
    }
    all
}

fn made() -> [Vec<u8>; 2] {
    let mut builder = BlockBuilder::default();
    entries().iter().for_each(|(key, slot)| builder.add(key, slot.as_slot()));
    [builder.finish().to_vec(), BlockBuilder::default().finish().to_vec()]
}

fn open(bytes: &[u8]) -> Arc<Block> {
    Arc::new(Block::new(SecretBytes::from(bytes.to_vec()), 0).unwrap())
}

/// How many versions a scrub counts.
fn scrub(block: &Arc<Block>) -> Result<usize, Damage> {
    let mut entries = 0;
    block.verify(|version, _| {
        entries += 1;
        check_version(version)
    })?;
    Ok(entries)
}

fn here(walk: &BlockCursor) -> Entry {
    (walk.key().unwrap().to_vec(), walk.slot().to_owned())
}

#[test]
fn version_1() {
    let made = join(made());
    let stored = fixture("data_block", &made);

    let items = split(&stored);
    let [full, empty] = [0, 1].map(|n: usize| open(&items[n]));
    assert_eq!((scrub(&full), scrub(&empty)), (Ok(entries().len()), Ok(0)));
    assert_eq!(items[1], [0; 4]);
    let mut walk = BlockCursor::new(full.clone());
    walk.seek_first().unwrap();
    for entry in entries() {
        assert_eq!(here(&walk), entry);
        walk.step().unwrap();
    }
    assert_eq!(walk.key(), None);
    walk.seek_last().unwrap();
    for entry in entries().into_iter().rev() {
        assert_eq!(here(&walk), entry);
        walk.step_back().unwrap();
    }
    assert_eq!(walk.key(), None);
    for entry in entries() {
        walk.seek(&entry.0).unwrap();
        assert_eq!(here(&walk), entry);
    }
    assert_same("data_block", &stored, &made);

    // The kind of the first entry, behind two lengths.
    let items = damaged_item("data_block", &stored, 0, |item| item[2] = 3);
    let rotten = open(&items[0]);
    assert_eq!(refusal(scrub(&rotten).unwrap_err()), unplaced(Nature::Malformed));
    let mut walk = BlockCursor::new(rotten);
    assert_eq!(refusal(walk.seek_first().unwrap_err()), unplaced(Nature::Malformed));
    assert_eq!(walk.slot(), Slot::Delete);
}
