//! AES-256-GCM, by one of two backends that produce identical bytes. The choice is made here and nowhere else.

mod aws_lc;
pub(super) mod ed25519;
mod rust_crypto;
#[cfg(test)]
mod suite;

use super::secret::SecretKey;

/// Bytes of a tag.
pub(super) const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 12;

/// The suite number of AES-256-GCM in every format.
pub const SUITE_AES_256_GCM: u8 = 1;
/// The suite number of "not sealed". Only a benchmark build knows it.
pub const SUITE_NULL: u8 = 0;

/// The suite that files and envelopes are sealed with.
#[must_use]
pub fn suite() -> u8 {
    #[cfg(feature = "null-cipher")]
    if null::is_on() {
        return SUITE_NULL;
    }
    SUITE_AES_256_GCM
}

/// What a backend does with one key. Its own copy of the key is wiped on drop.
pub(super) trait Aead: Send + Sync {
    /// Encrypts in place, returns the tag.
    fn seal(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES];
    /// Decrypts in place if the tag is right; if not, the bytes are of no use and the caller wipes them.
    fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated: &[u8],
        bytes: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool;
}

/// A key made ready.
pub(super) type Cipher = Box<dyn Aead>;

/// Makes a key ready with the backend of this build: aws-lc, several times faster from 1 KiB on.
pub(super) fn ready(key: &SecretKey) -> Cipher {
    #[cfg(feature = "null-cipher")]
    if null::is_on() {
        return Box::new(null::Null);
    }
    Box::new(aws_lc::AwsLc::new(key.expose()))
}

/// The tag over `bytes` with nothing encrypted, nonce zero: a fingerprint that never leaves memory.
pub(super) fn fingerprint(cipher: &dyn Aead, bytes: &[u8]) -> [u8; TAG_BYTES] {
    cipher.seal([0; NONCE_BYTES], bytes, &mut [])
}

/// Both backends, for known answers at start.
pub(super) fn both(key: &SecretKey) -> [(&'static str, Cipher); 2] {
    [
        ("aws-lc AES-256-GCM", Box::new(aws_lc::AwsLc::new(key.expose()))),
        ("aes-gcm AES-256-GCM", Box::new(rust_crypto::RustCrypto::new(key.expose()))),
    ]
}

/// Sealing switched off, to measure what it costs. Not in any build of a server.
#[cfg(feature = "null-cipher")]
pub mod null {
    use super::{Aead, NONCE_BYTES, TAG_BYTES};
    use std::sync::atomic::{AtomicBool, Ordering};

    static ON: AtomicBool = AtomicBool::new(false);

    /// From now on nothing is sealed in this process.
    pub fn switch_on() {
        ON.store(true, Ordering::SeqCst);
    }

    pub(in crate::sealed) fn is_on() -> bool {
        ON.load(Ordering::Relaxed)
    }

    pub(super) struct Null;

    impl Aead for Null {
        fn seal(&self, _: [u8; NONCE_BYTES], _: &[u8], _: &mut [u8]) -> [u8; TAG_BYTES] {
            [0; TAG_BYTES]
        }

        fn open(&self, _: [u8; NONCE_BYTES], _: &[u8], _: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool {
            *tag == [0; TAG_BYTES]
        }
    }
}
