//! Pure: the envelope: a key used once, a commitment checked before opening, AES-256-GCM with nonce zero.
//! Format: envelope, `docs/formats/envelope.md`.
//!
//! No counter is kept anywhere: a restart, a restored disk or a cloned machine cannot reuse a nonce, because the salt
//! that makes the key depends on fresh randomness and on what is sealed.

use super::cipher::{self, TAG_BYTES};
use super::context::Scope;
use super::derive;
use super::secret::{SecretBytes, SecretKey};
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{KeyEpoch, KeyId};
use crate::limits;

/// Bytes of an envelope's header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of an envelope beside its plaintext.
pub const EXTRA_BYTES: usize = HEADER_BYTES + 32 + 32 + TAG_BYTES;
const VERSION: u8 = 1;
const BODY: usize = HEADER_BYTES + 64;

/// What an envelope holds. The numbers are stored and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum EnvelopeKind {
    /// A wrapped cluster key.
    ClusterKey = 1,
    /// A wrapped owner key.
    OwnerKey = 2,
    /// A wrapped data key.
    DataKey = 3,
    /// A log entry's body.
    LogBody = 16,
    /// A secret field of a meta row.
    SecretField = 17,
    /// A catalog value.
    CatalogValue = 18,
    /// An audit payload.
    AuditPayload = 19,
    /// A notice.
    Notice = 20,
    /// A shard boundary inside a tenant.
    ShardBoundary = 21,
    /// A keyring object.
    Keyring = 22,
    /// A floor object.
    Floor = 23,
    /// The cursor of a masked caller.
    MaskedCursor = 24,
    /// The picture inside a checkpoint listing.
    CheckpointState = 25,
}

/// A data key with what is derived from it once.
pub(crate) struct EnvelopeKey<'a> {
    pub(crate) key: &'a SecretKey,
    pub(crate) key_id: KeyId,
    pub(crate) salt_key: &'a SecretKey,
    pub(crate) fingerprint_key: &'a SecretKey,
}

fn header(kind: EnvelopeKind, epoch: KeyEpoch, key_id: KeyId) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..2].copy_from_slice(&[VERSION, cipher::suite()]);
    out[2..4].copy_from_slice(&(kind as u16).to_be_bytes());
    out[4..8].copy_from_slice(&epoch.0.to_be_bytes());
    out[8..].copy_from_slice(&key_id.0);
    out
}

/// Seals `plain` as the object `name` of `scope`.
///
/// # Errors
/// `TooLarge`.
pub(crate) fn seal(
    key: &EnvelopeKey<'_>,
    scope: &Scope,
    kind: EnvelopeKind,
    name: &[u8],
    random: &[u8; 32],
    plain: &[u8],
) -> Result<Vec<u8>> {
    if plain.len() > limits::ENVELOPE_BYTES_MAX {
        let (got, max) = (plain.len() as u64, limits::ENVELOPE_BYTES_MAX as u64);
        return Err(Error::TooLarge { what: "envelope bytes", got, max });
    }
    let header = header(kind, scope.epoch, key.key_id);
    let context = scope.envelope(kind as u16, name);
    let fingerprint = cipher::fingerprint(&*cipher::ready(key.fingerprint_key), plain);
    let salt = derive::hmac(key.salt_key.expose(), &[random, &header, &context, &fingerprint]);
    let (once, commitment) = derive::envelope(key.key, &salt, &header, &context);
    let mut out = Vec::with_capacity(plain.len() + EXTRA_BYTES);
    out.extend_from_slice(&header);
    out.extend_from_slice(&salt);
    out.extend_from_slice(&commitment);
    out.extend_from_slice(plain);
    let associated = associated(&header, &context);
    let tag = cipher::ready(&once).seal([0; cipher::NONCE_BYTES], &associated, &mut out[BODY..]);
    out.extend_from_slice(&tag);
    Ok(out)
}

fn associated(header: &[u8], context: &[u8; 64]) -> [u8; HEADER_BYTES + 64] {
    let mut out = [0; HEADER_BYTES + 64];
    out[..HEADER_BYTES].copy_from_slice(header);
    out[HEADER_BYTES..].copy_from_slice(context);
    out
}

/// The clear part of an envelope: which key it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeHeader {
    /// Epoch of its key.
    pub epoch: KeyEpoch,
    /// Names the key.
    pub key_id: KeyId,
}

/// Reads the clear part, checked as far as it can be without the key: length, version, suite, kind.
///
/// # Errors
/// `Damaged`: too short, or of another kind. `Unsupported`: version or suite.
pub fn read_header(sealed: &[u8], expected: EnvelopeKind) -> Result<EnvelopeHeader> {
    if sealed.len() < EXTRA_BYTES || sealed.len() - EXTRA_BYTES > limits::ENVELOPE_BYTES_MAX {
        return Err(Damage::of(Nature::Missing, "no envelope has this length").into());
    }
    let unsupported = |what: &str, found: u8| {
        let what = what.to_owned();
        Error::Unsupported { what, found: u32::from(found), supported: "1" }
    };
    if sealed[0] != VERSION {
        return Err(unsupported("envelope", sealed[0]));
    }
    if sealed[1] != cipher::suite() {
        return Err(unsupported("cipher suite of an envelope", sealed[1]));
    }
    if sealed[2..4] != (expected as u16).to_be_bytes() {
        return Err(Damage::of(Nature::WrongPlace, "an envelope of another kind").into());
    }
    let epoch = KeyEpoch(u32::from_be_bytes([sealed[4], sealed[5], sealed[6], sealed[7]]));
    Ok(EnvelopeHeader { epoch, key_id: KeyId(sealed[8..16].try_into().expect("8 bytes of a header")) })
}

/// Opens what [`seal`] sealed, after [`read_header`] has passed it.
///
/// # Errors
/// `WrongKey` if the key is another than the one it names; `Damaged` (`Tampered`) if commitment or seal disagree: it was
/// changed, or made for another object.
pub(crate) fn open(
    key: &EnvelopeKey<'_>,
    scope: &Scope,
    kind: EnvelopeKind,
    name: &[u8],
    sealed: &[u8],
) -> Result<SecretBytes> {
    let wanted = read_header(sealed, kind)?;
    if wanted.key_id != key.key_id {
        let Scope { owner, purpose, epoch, .. } = *scope;
        let (have, need) = (key.key_id, wanted.key_id);
        return Err(Error::WrongKey { place: String::new(), have, need, owner, purpose, epoch });
    }
    let (header, rest) = sealed.split_at(HEADER_BYTES);
    let salt: &[u8; 32] = rest[..32].try_into().expect("32 bytes after the header");
    let context = scope.envelope(kind as u16, name);
    let (once, commitment) = derive::envelope(key.key, salt, header, &context);
    if !derive::is_equal(&commitment, &rest[32..64]) {
        return Err(Damage::of(Nature::Tampered, "commitment of the envelope").into());
    }
    let (body, tag) = rest[64..].split_last_chunk::<TAG_BYTES>().expect("length was checked");
    let mut plain = SecretBytes::from(body.to_vec());
    if !cipher::ready(&once).open([0; cipher::NONCE_BYTES], &associated(header, &context), &mut plain, tag) {
        return Err(Damage::of(Nature::Tampered, "seal of the envelope").into());
    }
    Ok(plain)
}
