//! Pure: the end of a stripe, and a small stripe whole.
//! Format: stripe, `docs/formats/stripe.md`.

use super::block::Block;
use super::index::{PLACE_BYTES, decode_place, encode_place};
use super::tombstones;
use crate::error::{Damage, Nature};
use crate::range_tombstone::RangeTombstone;
use crate::sealed::{BlockPlace, SecretBytes};
use crate::wire::{Reader, append_bytes32};

/// The sealed end of a stripe: what it holds and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripeEnd {
    /// Versions.
    pub entries: u64,
    /// Those that are point tombstones.
    pub deletes: u64,
    /// Range tombstones.
    pub tombstones: u32,
    /// Data blocks.
    pub data_blocks: u32,
    /// The index, if there are versions.
    pub index: Option<BlockPlace>,
    /// The filter, if there are versions.
    pub filter: Option<BlockPlace>,
    /// Blocks of range tombstones; they stand one behind the other.
    pub tombstone_blocks: u32,
    /// The first of them, if there are any.
    pub tombstones_at: Option<BlockPlace>,
    /// SHA-256 over the seals of the blocks before this one.
    pub digest: [u8; 32],
}

fn place(place: Option<BlockPlace>) -> [u8; PLACE_BYTES] {
    encode_place(place.unwrap_or_default())
}

impl StripeEnd {
    /// The payload of a stripe-end block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.entries.to_be_bytes().to_vec();
        out.extend_from_slice(&self.deletes.to_be_bytes());
        out.extend_from_slice(&self.tombstones.to_be_bytes());
        out.extend_from_slice(&self.data_blocks.to_be_bytes());
        out.extend_from_slice(&self.tombstone_blocks.to_be_bytes());
        for one in [self.index, self.filter, self.tombstones_at] {
            out.extend_from_slice(&place(one));
        }
        out.extend_from_slice(&self.digest);
        out
    }

    /// Reads the payload of a stripe-end block.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        let (entries, deletes) = (reader.u64()?, reader.u64()?);
        let (tombstones, data_blocks, tombstone_blocks) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let mut place = || {
            let place = decode_place(reader.take(PLACE_BYTES)?)?;
            Ok::<_, Damage>((place != BlockPlace::default()).then_some(place))
        };
        let (index, filter, tombstones_at) = (place()?, place()?, place()?);
        let digest = reader.array()?;
        reader.end()?;
        let is_possible = deletes <= entries
            && (entries > 0) == index.is_some()
            && (entries > 0) == filter.is_some()
            && (tombstones > 0) == tombstones_at.is_some()
            && (tombstones > 0) == (tombstone_blocks > 0)
            && tombstone_blocks <= tombstones;
        if !is_possible {
            return Err(Damage::of(Nature::Malformed, "counts and places of a stripe disagree"));
        }
        Ok(Self {
            entries,
            deletes,
            tombstones,
            data_blocks,
            index,
            filter,
            tombstone_blocks,
            tombstones_at,
            digest,
        })
    }
}

/// A small stripe, opened.
pub struct Solo {
    /// Versions it says it has.
    pub entries: u64,
    /// Those that are point tombstones.
    pub deletes: u64,
    /// Its range tombstones.
    pub tombstones: Vec<RangeTombstone>,
    /// Its versions.
    pub block: Block,
}

/// The payload of a solo block: counts, range tombstones, then a data block.
#[must_use]
pub fn encode_solo(entries: u64, deletes: u64, ranges: &[RangeTombstone], block: &[u8]) -> Vec<u8> {
    let ranges = tombstones::encode(ranges);
    // All the room at once: a vector that grows leaves its bytes behind in freed memory.
    let mut out = Vec::with_capacity(8 + 8 + 4 + ranges.len() + block.len());
    out.extend_from_slice(&entries.to_be_bytes());
    out.extend_from_slice(&deletes.to_be_bytes());
    append_bytes32(&mut out, &ranges);
    out.extend_from_slice(block);
    out
}

/// Reads the payload of a solo block.
///
/// # Errors
/// `Damaged`.
pub fn decode_solo(bytes: SecretBytes) -> Result<Solo, Damage> {
    let mut reader = Reader::new(&bytes);
    let (entries, deletes) = (reader.u64()?, reader.u64()?);
    if deletes > entries {
        return Err(Damage::of(Nature::Malformed, "counts of a small stripe disagree"));
    }
    let tombstones = tombstones::decode(reader.bytes32(bytes.len())?)?;
    let start = bytes.len() - reader.left();
    let block = Block::new(bytes, start)?;
    Ok(Solo { entries, deletes, tombstones, block })
}
