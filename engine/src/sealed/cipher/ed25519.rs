//! Ed25519 by aws-lc-rs: who has made a manifest. The private half is the seed, 32 bytes.

use crate::sealed::secret::SecretKey;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Bytes of a public key.
pub const PUBLIC_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

fn pair(seed: &SecretKey) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("every 32 bytes are a seed")
}

/// The public half of `seed`.
pub(in crate::sealed) fn public(seed: &SecretKey) -> [u8; PUBLIC_BYTES] {
    pair(seed).public_key().as_ref().try_into().expect("a public key of 32 bytes")
}

/// Signs `bytes`; the same bytes always get the same signature.
pub(in crate::sealed) fn sign(seed: &SecretKey, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
    pair(seed).sign(bytes).as_ref().try_into().expect("a signature of 64 bytes")
}

/// Whether the owner of the private half of `public` has signed `bytes`.
pub(in crate::sealed) fn verify(
    public: &[u8; PUBLIC_BYTES],
    bytes: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(bytes, signature).is_ok()
}
