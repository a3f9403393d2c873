//! Format: data_block. Every walk ends, both ways, whatever the bytes are; and what a walk gives makes a block that gives it again.

use engine::read::OwnedSlot;
use engine::sealed::SecretBytes;
use engine::table::block::{Block, BlockBuilder, BlockCursor};
use engine::{Damage, Nature, key, limits};
use std::sync::Arc;

pub type Entries = Vec<(Vec<u8>, OwnedSlot)>;

pub fn run(bytes: &[u8]) {
    for start in [0, 3, bytes.len(), bytes.len() + 1] {
        if let Some(block) = open(bytes, start) {
            walk(&block, &bytes[start..]);
        }
    }
}

fn is_refusal(damage: &Damage) {
    assert_eq!((damage.nature, damage.place.as_str(), damage.block), (Nature::Malformed, "", None));
}

fn open(bytes: &[u8], start: usize) -> Option<Arc<Block>> {
    let block = Block::new(SecretBytes::from(bytes.to_vec()), start);
    block.inspect_err(is_refusal).ok().map(Arc::new)
}

/// Walks `block`, which stands in `bytes`, in every way.
pub fn walk(block: &Arc<Block>, bytes: &[u8]) {
    let forward = forward(block, bytes.len());
    assert_eq!(forward.as_ref().ok(), as_the_page_says(bytes).as_ref(), "another reading than the page's");
    let backward = backward(block, bytes.len());
    let scrubbed = block.verify(|_, _| Ok(())).inspect_err(is_refusal);
    let Ok(forward) = forward else { return assert!(scrubbed.is_err()) };
    let targets = forward.iter().map(|(key, _)| key.clone()).chain([Vec::new(), vec![0xff; 30]]);
    targets.take(20).for_each(|target| seek(block, &target));
    let is_sorted = forward.is_sorted_by(|a, b| a.0 < b.0);
    if scrubbed.is_ok() {
        assert!(is_sorted);
        assert!(backward.is_ok_and(|backward| forward.iter().rev().eq(&backward)), "another way back");
        assert_eq!(block.verify(|key, _| key::check_version(key)).is_ok(), {
            forward.iter().all(|(key, _)| key::check_version(key).is_ok())
        });
        find_all(block, &forward);
    }
    if is_sorted {
        let built = rebuild(&forward);
        assert!(built != bytes || scrubbed.is_ok(), "a scrub refuses what the builder makes");
    }
}

fn forward(block: &Arc<Block>, bytes: usize) -> Result<Entries, Damage> {
    let mut cursor = BlockCursor::new(block.clone());
    cursor.seek_first().inspect_err(is_refusal)?;
    let mut entries = Entries::new();
    while let Some(key) = cursor.key() {
        assert!(key.len() <= limits::VERSION_KEY_BYTES_MAX && entries.len() < bytes, "a walk without end");
        entries.push((key.to_vec(), cursor.slot().to_owned()));
        cursor.step().inspect_err(is_refusal)?;
    }
    Ok(entries)
}

fn backward(block: &Arc<Block>, bytes: usize) -> Result<Entries, Damage> {
    let mut cursor = BlockCursor::new(block.clone());
    cursor.seek_last().inspect_err(is_refusal)?;
    let mut entries = Entries::new();
    while let Some(key) = cursor.key() {
        assert!(entries.len() < bytes, "a walk back without end");
        entries.push((key.to_vec(), cursor.slot().to_owned()));
        cursor.step_back().inspect_err(is_refusal)?;
    }
    Ok(entries)
}

/// The entries of the block that is all of `bytes`, read as `docs/formats/data_block.md` has it; none if it is refused.
fn as_the_page_says(bytes: &[u8]) -> Option<Entries> {
    let (rest, restarts) = bytes.split_last_chunk::<4>()?;
    let restarts = usize::try_from(u32::from_be_bytes(*restarts)).ok()?;
    let (mut rest, _) = rest.split_at_checked(rest.len().checked_sub(restarts.checked_mul(4)?)?)?;
    let mut entries = Entries::new();
    let mut key = Vec::new();
    while !rest.is_empty() {
        let (shared, unshared) = (varint(&mut rest)?, varint(&mut rest)?);
        let kind = rest.split_off_first()?;
        let mut expires_ms = 0;
        if *kind == 2 {
            expires_ms = u64::from_be_bytes(rest.split_off(..8)?.try_into().ok()?);
        }
        let length = if *kind == 0 { 0 } else { varint(&mut rest)? };
        let (suffix, value) = (rest.split_off(..unshared)?, rest.split_off(..length)?);
        let is_allowed = *kind <= 2 && shared <= key.len();
        if !is_allowed || shared + unshared > limits::VERSION_KEY_BYTES_MAX {
            return None;
        }
        key.truncate(shared);
        key.extend_from_slice(suffix);
        let slot = match kind {
            0 => OwnedSlot::Delete,
            _ => OwnedSlot::Put { value: value.to_vec().into(), expires_ms },
        };
        entries.push((key.clone(), slot));
    }
    Some(entries)
}

fn varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for group in 0..5 {
        let byte = usize::from(*rest.split_off_first()?);
        value |= (byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn seek(block: &Arc<Block>, target: &[u8]) {
    let mut cursor = BlockCursor::new(block.clone());
    match cursor.seek(target) {
        Ok(()) => assert!(cursor.key().is_none_or(|key| key >= target), "a search that stands too early"),
        Err(damage) => is_refusal(&damage),
    }
}

/// A block of these entries gives them back, and is the same to the byte when built again.
fn rebuild(entries: &Entries) -> Vec<u8> {
    let build = |entries: &Entries| {
        let mut builder = BlockBuilder::default();
        entries.iter().for_each(|(key, slot)| builder.add(key, slot.as_slot()));
        let bytes = builder.bytes();
        let out = builder.finish().to_vec();
        assert_eq!(out.len(), bytes);
        builder.clear();
        entries.iter().for_each(|(key, slot)| builder.add(key, slot.as_slot()));
        assert_eq!(builder.finish(), out, "nothing of a block reaches into the next");
        out
    };
    let bytes = build(entries);
    let block = open(&bytes, 0).unwrap();
    assert_eq!(block.verify(|_, _| Ok(())), Ok(()));
    assert_eq!(forward(&block, bytes.len()).as_ref(), Ok(entries));
    assert_eq!(build(&forward(&block, bytes.len()).unwrap()), bytes);
    assert!(backward(&block, bytes.len()).is_ok_and(|backward| entries.iter().rev().eq(&backward)));
    find_all(&block, entries);
    bytes
}

/// A search finds each entry, and behind it the next.
fn find_all(block: &Arc<Block>, entries: &Entries) {
    let mut cursor = BlockCursor::new(block.clone());
    for (at, (key, slot)) in entries.iter().enumerate().take(60) {
        cursor.seek(key).unwrap();
        assert_eq!((cursor.key(), &cursor.slot().to_owned()), (Some(&key[..]), slot));
        cursor.seek(&[&key[..], &[0]].concat()).unwrap();
        assert_eq!(cursor.key(), entries.get(at + 1).map(|(next, _)| &next[..]));
    }
}
