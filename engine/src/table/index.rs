//! Pure: where a stripe's data blocks stand, by the last key of each.
//! Format: key_index, `docs/formats/key_index.md`.
//!
//! The encoding is a data block's; each value is a place.

use super::block::{BlockBuilder, BlockCursor};
use crate::error::{Damage, Nature};
use crate::read::Slot;
use crate::sealed::BlockPlace;

/// Bytes of a place.
pub const PLACE_BYTES: usize = 16;

/// A place as it stands in an index or a stripe's end.
#[must_use]
pub fn encode_place(place: BlockPlace) -> [u8; PLACE_BYTES] {
    let mut out = [0; PLACE_BYTES];
    out[..4].copy_from_slice(&place.number.to_be_bytes());
    out[4..12].copy_from_slice(&place.offset.to_be_bytes());
    out[12..].copy_from_slice(&place.bytes.to_be_bytes());
    out
}

/// Reads a place.
///
/// # Errors
/// `Damaged` if it has another length.
pub fn decode_place(bytes: &[u8]) -> Result<BlockPlace, Damage> {
    let mut reader = crate::wire::Reader::new(bytes);
    let place = BlockPlace { number: reader.u32()?, offset: reader.u64()?, bytes: reader.u32()? };
    reader.end()?;
    Ok(place)
}

/// Adds the block at `place`, whose last key is `last`.
pub fn add(index: &mut BlockBuilder, last: &[u8], place: BlockPlace) {
    index.add(last, Slot::Put { value: &encode_place(place), expires_ms: 0 });
}

/// The place that an index's walk stands at.
///
/// # Errors
/// `Damaged` if what stands there is none.
pub fn place_at(cursor: &BlockCursor) -> Result<BlockPlace, Damage> {
    match cursor.slot() {
        Slot::Put { value, expires_ms: 0 } => decode_place(value),
        _ => Err(Damage::of(Nature::Malformed, "an index entry that is no place")),
    }
}
