//! Keys by keys: a key is wrapped as an envelope under the wrapping key of its owner, and leaves this room in no other form.

use super::Sealer;
use super::envelope::EnvelopeKind;
use super::secret::{KEY_BYTES, SecretKey};
use crate::error::{Damage, Nature, Result};
use crate::ids::{Owner, Purpose};
use zeroize::Zeroize;

impl Sealer {
    /// Wraps `key` as the object `name`, under the active wrapping key of `by`.
    ///
    /// # Errors
    /// As [`Sealer::seal_envelope`].
    pub fn wrap_key(&self, by: Owner, kind: EnvelopeKind, name: &[u8], key: &SecretKey) -> Result<Vec<u8>> {
        self.seal_envelope(by, Purpose::Wrap, kind, name, key.expose())
    }

    /// The key that was wrapped as the object `name` under a wrapping key of `by`.
    ///
    /// # Errors
    /// As [`Sealer::open_envelope`]; `Damaged`: it is no key.
    pub fn unwrap_key(
        &self,
        by: Owner,
        kind: EnvelopeKind,
        name: &[u8],
        wrapped: &[u8],
    ) -> Result<SecretKey> {
        let plain = self.open_envelope(by, Purpose::Wrap, kind, name, wrapped)?;
        let bytes: Result<[u8; KEY_BYTES], _> = plain[..].try_into();
        let mut bytes =
            bytes.map_err(|_| Damage::of(Nature::Malformed, "a wrapped key of another length"))?;
        let key = SecretKey::from_slice(&bytes);
        bytes.zeroize();
        Ok(key)
    }

    /// A fresh random key.
    #[must_use]
    pub fn make_key(&self) -> SecretKey {
        SecretKey::new(self.random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Seeded;
    use crate::ids::{ClusterId, KeyEpoch, TenantId};
    use crate::sealed::Keyring;
    use std::sync::Arc;

    #[test]
    fn a_key_is_unwrapped_as_what_it_was_wrapped_and_as_nothing_else() {
        let (owner, ring) = (Owner::Tenant(TenantId(7)), Arc::new(Keyring::new()));
        for by in [owner, Owner::Cluster] {
            ring.insert(by, Purpose::Wrap, KeyEpoch(1), SecretKey::new([by.kind(); KEY_BYTES])).unwrap();
            ring.activate(by, Purpose::Wrap, KeyEpoch(1)).unwrap();
        }
        let sealer = Sealer::new(ClusterId([1; 16]), ring, Arc::new(Seeded::new(1))).unwrap();
        let key = sealer.make_key();
        let wrapped = sealer.wrap_key(owner, EnvelopeKind::DataKey, b"data/1", &key).unwrap();
        let unwrap = |by, kind, name: &[u8]| sealer.unwrap_key(by, kind, name, &wrapped);
        let again = unwrap(owner, EnvelopeKind::DataKey, b"data/1").unwrap();
        assert_eq!(again.expose(), key.expose());
        assert!(unwrap(owner, EnvelopeKind::DataKey, b"data/2").is_err());
        assert!(unwrap(owner, EnvelopeKind::OwnerKey, b"data/1").is_err());
        assert!(unwrap(Owner::Cluster, EnvelopeKind::DataKey, b"data/1").is_err());
        let short =
            sealer.seal_envelope(owner, Purpose::Wrap, EnvelopeKind::DataKey, b"n", &[1; 31]).unwrap();
        assert!(sealer.unwrap_key(owner, EnvelopeKind::DataKey, b"n", &short).is_err());
    }
}
