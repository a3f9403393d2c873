//! AES-256-GCM by aes-gcm: the reference, in pure Rust.

use super::{Aead, NONCE_BYTES, TAG_BYTES};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};

pub(super) struct RustCrypto(Aes256Gcm);

impl RustCrypto {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }
}

impl Aead for RustCrypto {
    fn seal(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        self.0
            .encrypt_inout_detached(&Nonce::from(nonce), associated, bytes.into())
            .expect("blocks and envelopes are far below the 64 GiB of AES-GCM")
            .into()
    }

    fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated: &[u8],
        bytes: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool {
        self.0.decrypt_inout_detached(&Nonce::from(nonce), associated, bytes.into(), &Tag::from(*tag)).is_ok()
    }
}
