//! Pure: the range tombstones of a stripe as bytes.
//! Format: range_tombstones, `docs/formats/range_tombstones.md`.

use crate::error::{Damage, Nature};
use crate::key;
use crate::limits;
use crate::range_tombstone::RangeTombstone;
use crate::stamp::Stamp;
use crate::wire::Reader;

/// The tombstones, in blocks of about `TOMBSTONE_BLOCK_BYTES`.
pub fn blocks(all: &[RangeTombstone]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |one: &&RangeTombstone| {
            let is_room = bytes < limits::TOMBSTONE_BLOCK_BYTES;
            bytes += bytes_of(one);
            is_room
        };
        let n = rest.iter().take_while(fits).count();
        let (block, after) = rest.split_at(n);
        rest = after;
        (!block.is_empty()).then(|| encode(block))
    })
}

/// Some tombstones as bytes, in the order of their starts.
#[must_use]
pub fn encode(all: &[RangeTombstone]) -> Vec<u8> {
    let mut out = u32::try_from(all.len()).expect("bounded by the block's size").to_be_bytes().to_vec();
    for one in all {
        for bound in [&one.start, &one.end] {
            out.extend_from_slice(&u16::try_from(bound.len()).expect("row keys fit u16").to_be_bytes());
            out.extend_from_slice(bound);
        }
        out.extend_from_slice(&one.stamp.0.to_be_bytes());
    }
    out
}

/// Bytes of one tombstone.
#[must_use]
pub fn bytes_of(one: &RangeTombstone) -> usize {
    one.start.len() + one.end.len() + 12
}

/// Reads tombstones.
///
/// # Errors
/// `Damaged`: an empty range, one before the one before it, a bound too long, bytes too few or too many.
pub fn decode(bytes: &[u8]) -> Result<Vec<RangeTombstone>, Damage> {
    let mut reader = Reader::new(bytes);
    let count = reader.u32()?;
    let mut all: Vec<RangeTombstone> = Vec::new();
    for _ in 0..count {
        let mut bound = || {
            let length = usize::from(reader.u16()?);
            reader.take(length).map(<[u8]>::to_vec)
        };
        let (start, end) = (bound()?, bound()?);
        let stamp = Stamp(reader.u64()?);
        let is_possible = start < end
            && start.len().max(end.len()) <= limits::BOUND_BYTES_MAX
            && all.last().is_none_or(|last| last.start <= start);
        if !is_possible || !is_of_one_tenant(&start, &end) {
            return Err(Damage::of(Nature::Malformed, "an impossible range tombstone"));
        }
        all.push(RangeTombstone { start, end, stamp });
    }
    reader.end()?;
    Ok(all)
}

/// A range may end where its tenant ends, and no later.
fn is_of_one_tenant(start: &[u8], end: &[u8]) -> bool {
    let Some(tenant) = start.first_chunk::<8>() else { return false };
    end.starts_with(tenant) || key::after_prefix(tenant).is_some_and(|next| next == end)
}
