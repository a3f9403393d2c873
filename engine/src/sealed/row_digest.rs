//! Digests of rows under a key of their owner: whoever has no key learns nothing of them but whether two sums are the same.

use super::derive;
use super::{Sealer, SecretKey};
use crate::error::Result;
use crate::ids::{CollectionId, KeyEpoch, Owner, Purpose};

/// Digests the rows of one owner.
pub struct RowDigest(SecretKey);

impl Sealer {
    /// Digests rows of `owner` under its data key of `epoch`. As long as somebody has that key, it is the same digest.
    ///
    /// # Errors
    /// `KeyMissing`.
    pub fn row_digest(&self, owner: Owner, epoch: KeyEpoch) -> Result<RowDigest> {
        let key = self.keys.key(owner, Purpose::Data, epoch)?;
        Ok(RowDigest(SecretKey::new(derive::hmac(key.expose(), &[b"dewpond row digest 1"]))))
    }
}

impl RowDigest {
    /// The digest of one row. Those of several are added, modulo 2^128: in whatever order they come, the sum is the same.
    #[must_use]
    pub fn of(&self, collection: CollectionId, user_key: &[u8], value: &[u8]) -> u128 {
        let (collection, length) = (collection.0.to_be_bytes(), (user_key.len() as u64).to_be_bytes());
        let whole = derive::hmac(self.0.expose(), &[&collection, &length, user_key, value]);
        let mut left = [0; 16];
        left.copy_from_slice(&whole[..16]);
        u128::from_be_bytes(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Seeded;
    use crate::ids::{ClusterId, TenantId};
    use crate::sealed::Keyring;
    use std::sync::Arc;

    #[test]
    fn another_key_collection_row_or_value_is_another_digest() {
        let (owner, ring) = (Owner::Tenant(TenantId(1)), Keyring::new());
        for epoch in [1, 2] {
            ring.insert(owner, Purpose::Data, KeyEpoch(epoch), SecretKey::new([epoch as u8; 32])).unwrap();
        }
        let sealer = Sealer::new(ClusterId([1; 16]), Arc::new(ring), Arc::new(Seeded::new(1))).unwrap();
        let [one, two] = [1, 2].map(|epoch| sealer.row_digest(owner, KeyEpoch(epoch)).unwrap());
        let digest = one.of(CollectionId(1), b"key", b"value");
        assert_eq!(
            sealer.row_digest(owner, KeyEpoch(1)).unwrap().of(CollectionId(1), b"key", b"value"),
            digest
        );
        for other in [
            two.of(CollectionId(1), b"key", b"value"),
            one.of(CollectionId(2), b"key", b"value"),
            one.of(CollectionId(1), b"keyv", b"alue"),
            one.of(CollectionId(1), b"key", b"valuf"),
        ] {
            assert_ne!(other, digest);
        }
        assert!(sealer.row_digest(owner, KeyEpoch(3)).is_err());
    }
}
