//! Catalog values become envelopes before they enter: sealed with the node's key, bound to their row and, where rows form a
//! chain, to the one before.

use crate::error::Result;
use crate::ids::{NodeId, Owner, Purpose};
use crate::sealed::{EnvelopeKind, Sealer, SecretBytes};

/// Bytes of a seal's tag.
pub const TAG_BYTES: usize = 16;

fn name(key: &[u8], sequence: u64, before: &[u8; TAG_BYTES]) -> Vec<u8> {
    let mut name = key.to_vec();
    name.extend_from_slice(&sequence.to_be_bytes());
    name.extend_from_slice(before);
    name
}

/// Seals `plain` as the value of row `key`. `before` is the seal of the row before it in its chain, zeros if there is none.
///
/// # Errors
/// `Key`: the node's key is missing or used up. `Invalid`: too large.
pub fn seal_row(
    sealer: &Sealer,
    node: NodeId,
    key: &[u8],
    sequence: u64,
    before: &[u8; TAG_BYTES],
    plain: &[u8],
) -> Result<Vec<u8>> {
    let name = name(key, sequence, before);
    sealer.seal_envelope(Owner::Node(node), Purpose::Catalog, EnvelopeKind::CatalogValue, &name, plain)
}

/// Opens the value of row `key`.
///
/// # Errors
/// As [`Sealer::open_envelope`].
pub fn open_row(
    sealer: &Sealer,
    node: NodeId,
    key: &[u8],
    sequence: u64,
    before: &[u8; TAG_BYTES],
    sealed: &[u8],
) -> Result<SecretBytes> {
    let name = name(key, sequence, before);
    sealer.open_envelope(Owner::Node(node), Purpose::Catalog, EnvelopeKind::CatalogValue, &name, sealed)
}

/// The seal's tag, which the next row of a chain names; zeros for bytes too short to be an envelope.
#[must_use]
pub fn tag_of(sealed: &[u8]) -> [u8; TAG_BYTES] {
    sealed.last_chunk().copied().unwrap_or_default()
}
