//! Signatures: the cluster's signing key is a key like any other, and leaves this room in no form. Anybody who has the public half can
//! check what it signed.

use super::Sealer;
use super::cipher::ed25519::{self, PUBLIC_BYTES, SIGNATURE_BYTES};
use crate::error::Result;
use crate::ids::{KeyEpoch, Owner, Purpose};

/// The public half of a signing key: Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; PUBLIC_BYTES]);

/// A signature: Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl PublicKey {
    /// Whether whoever has the private half has signed `bytes`.
    #[must_use]
    pub fn has_signed(&self, bytes: &[u8], signature: &Signature) -> bool {
        ed25519::verify(&self.0, bytes, &signature.0)
    }
}

/// Of all signing keys a cluster has had there is one: it is never rotated, for the public half stands in what it signed first.
const EPOCH: KeyEpoch = KeyEpoch(1);

impl Sealer {
    /// Signs `bytes` with the cluster's signing key. The same bytes always get the same signature.
    ///
    /// # Errors
    /// `KeyMissing`: the cluster has no signing key here.
    pub fn sign(&self, bytes: &[u8]) -> Result<Signature> {
        let key = self.keys.key(Owner::Cluster, Purpose::Sign, EPOCH)?;
        Ok(Signature(ed25519::sign(&key, bytes)))
    }

    /// The public half of the cluster's signing key.
    ///
    /// # Errors
    /// As [`Sealer::sign`].
    pub fn public_key(&self) -> Result<PublicKey> {
        let key = self.keys.key(Owner::Cluster, Purpose::Sign, EPOCH)?;
        Ok(PublicKey(ed25519::public(&key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Seeded;
    use crate::ids::ClusterId;
    use crate::sealed::{Keyring, SecretKey};
    use std::sync::Arc;

    fn sealer(seed: Option<[u8; 32]>) -> Sealer {
        let ring = Keyring::new();
        if let Some(seed) = seed {
            ring.insert(Owner::Cluster, Purpose::Sign, EPOCH, SecretKey::new(seed)).unwrap();
        }
        Sealer::new(ClusterId([1; 16]), Arc::new(ring), Arc::new(Seeded::new(1))).unwrap()
    }

    #[test]
    fn the_first_test_of_rfc_8032() {
        let bytes = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let seed = bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let sealer = sealer(Some(seed.try_into().unwrap()));
        let public = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(sealer.public_key().unwrap().0[..], public);
        let signature = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
        assert_eq!(sealer.sign(b"").unwrap().0[..], bytes(signature));
    }

    #[test]
    fn another_byte_another_key_or_no_key_is_no_signature() {
        let (one, other) = (sealer(Some([1; 32])), sealer(Some([2; 32])));
        let signature = one.sign(b"text").unwrap();
        let public = one.public_key().unwrap();
        assert!(public.has_signed(b"text", &signature));
        assert!(!public.has_signed(b"texu", &signature));
        assert!(!other.public_key().unwrap().has_signed(b"text", &signature));
        for bit in 0..SIGNATURE_BYTES * 8 {
            let mut flipped = signature;
            flipped.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!public.has_signed(b"text", &flipped), "bit {bit}");
        }
        assert!(sealer(None).sign(b"text").is_err());
    }
}
