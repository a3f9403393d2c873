//! Pure: keys from keys, and digests. HKDF, HMAC and SHA-256 are called here only.

use super::context::CONTEXT_BYTES;
use super::secret::{KEY_BYTES, SecretKey};
use crate::ids::KeyId;
use aws_lc_rs::digest;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A running SHA-256.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything so far.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes")
    }
}

/// More stack than HKDF and HMAC use below their caller; what they leave there is wiped.
const TRACES_BYTES: usize = 8 << 10;

fn expand(key: &SecretKey, salt: Option<&[u8]>, info: &[&[u8]], out: &mut [u8]) {
    expand_and_leave_traces(key, salt, info, out);
    zeroize::zeroize_stack::<TRACES_BYTES>();
}

#[inline(never)]
fn expand_and_leave_traces(key: &SecretKey, salt: Option<&[u8]>, info: &[&[u8]], out: &mut [u8]) {
    Hkdf::<sha2::Sha256>::new(salt, key.expose())
        .expand_multi_info(info, out)
        .expect("every output here is at most 128 bytes, HKDF-SHA256 gives 8160");
}

/// HMAC-SHA256 of the pieces in order.
pub(super) fn hmac(key: &[u8; KEY_BYTES], pieces: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().into()
}

/// Whether two secrets are equal, in constant time.
pub(super) fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Key id and hedge keys of a data key in its scope.
pub(super) fn hedge(key: &SecretKey, scope: &[u8]) -> (KeyId, SecretKey, SecretKey) {
    let mut id = [0; 8];
    expand(key, None, &[b"dewpond/1/kid", scope], &mut id);
    let mut both = [0; 64];
    expand(key, None, &[b"dewpond/1/hedge", scope], &mut both);
    let keys = (KeyId(id), key_at(&both, 0), key_at(&both, 1));
    both.zeroize();
    keys
}

fn key_at(bytes: &[u8], place: usize) -> SecretKey {
    let piece = &bytes[place * KEY_BYTES..][..KEY_BYTES];
    SecretKey::from_slice(piece.try_into().expect("a piece of 32 bytes"))
}

/// The single-use key of an envelope and the commitment to it.
pub(super) fn envelope(
    key: &SecretKey,
    salt: &[u8; 32],
    header: &[u8],
    context: &[u8; CONTEXT_BYTES],
) -> (SecretKey, [u8; 32]) {
    let mut both = [0; 64];
    expand(key, Some(salt), &[b"dewpond/1/envelope", header, context], &mut both);
    let commitment = both[32..].try_into().expect("the second 32 bytes of 64");
    let derived = key_at(&both, 0);
    both.zeroize();
    (derived, commitment)
}

/// What a stripe of a block file is sealed with.
pub(super) struct FileSecrets {
    pub(super) key: SecretKey,
    pub(super) commitment: [u8; 32],
    /// Keys the nonce's random part.
    pub(super) nonce: SecretKey,
    /// Fingerprints what is sealed, for the same.
    pub(super) fingerprint: SecretKey,
}

pub(super) fn file(key: &SecretKey, salt: &[u8; 32], context: &[u8; CONTEXT_BYTES]) -> FileSecrets {
    let mut all = [0; 128];
    expand(key, Some(salt), &[b"dewpond/1/file", context], &mut all);
    let commitment = all[32..64].try_into().expect("the second 32 bytes of 128");
    let secrets = FileSecrets {
        key: key_at(&all, 0),
        commitment,
        nonce: key_at(&all, 2),
        fingerprint: key_at(&all, 3),
    };
    all.zeroize();
    secrets
}

/// The two keys of a log segment's chain: of its links, and of the fingerprints they hold.
pub(super) fn chain(
    key: &SecretKey,
    salt: &[u8; 16],
    context: &[u8; CONTEXT_BYTES],
) -> (SecretKey, SecretKey) {
    let mut both = [0; 64];
    expand(key, Some(salt), &[b"dewpond/1/chain", context], &mut both);
    let keys = (key_at(&both, 0), key_at(&both, 1));
    both.zeroize();
    keys
}

/// The authenticator of a footer, under the cluster's mac key.
pub(super) fn footer_mac(key: &SecretKey, salt: &[u8; 32], footer: &[u8]) -> [u8; 32] {
    let mut derived = [0; 32];
    expand(key, Some(salt), &[b"dewpond/1/footer"], &mut derived);
    let mac = hmac(&derived, &[footer]);
    derived.zeroize();
    mac
}

/// SHA-256 of the clear ends of a block file.
pub(super) fn ends(header: &[u8], directory: &[u8], footer: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    [header, directory, footer].into_iter().for_each(|piece| digest.update(piece));
    digest.finish()
}
