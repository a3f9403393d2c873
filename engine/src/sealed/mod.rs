//! The only room that holds key bytes and calls a cipher: seals and opens on behalf of one node of one cluster.
//!
//! Two primitives: the [`envelope`] for single objects, the block file ([`BlockFileWriter`], [`BlockFile`]) for tables and
//! archives. In both, sealed bytes open only at the place they were made for.

pub(crate) mod block_file;
mod chain;
pub mod cipher;
mod compression;
pub mod context;
pub mod derive;
pub mod directory;
pub mod envelope;
mod keyring;
mod known_answers;
mod reader;
mod row_digest;
mod secret;
mod signature;
mod usage;
mod wrap;
mod writer;

pub use block_file::{BlockPlace, BlockType, FileKind, Header};
pub use chain::{ChainKeys, LINK_BYTES, Link, SegmentName};
pub use context::Scope;
pub use directory::DirectoryRow;
pub use envelope::EnvelopeKind;
pub use keyring::{KeySource, Keyring};
pub use reader::{BlockFile, scrub_clear};
pub use row_digest::RowDigest;
pub use secret::{SecretBytes, SecretKey, SecretMemory, secret_memory};
pub use signature::{PublicKey, Signature};
pub use usage::{KeyUse, Spend, spend};
pub use writer::{BlockFileWriter, FileSummary};

use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::ids::{ClusterId, KeyEpoch, KeyId, Owner, Purpose};
use envelope::EnvelopeKey;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Seals and opens with the keys of one cluster.
pub struct Sealer {
    cluster: ClusterId,
    keys: Arc<dyn KeySource>,
    entropy: Arc<dyn Entropy>,
    /// Since this sealer was made: no count rests on disk.
    used: Mutex<BTreeMap<(Owner, Purpose, KeyEpoch), KeyUse>>,
}

/// A data key with what every use of it derives.
pub(crate) struct ReadyKey {
    pub(crate) key: Arc<SecretKey>,
    pub(crate) scope: Scope,
    pub(crate) key_id: KeyId,
    salt_key: SecretKey,
    fingerprint_key: SecretKey,
}

impl Sealer {
    /// A sealer for `cluster`.
    ///
    /// # Errors
    /// `KnownAnswer` if a primitive of this machine or build gives a wrong answer.
    pub fn new(cluster: ClusterId, keys: Arc<dyn KeySource>, entropy: Arc<dyn Entropy>) -> Result<Self> {
        known_answers::check()?;
        Ok(Self { cluster, keys, entropy, used: Mutex::default() })
    }

    /// The cluster it seals for.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Where its keys come from.
    #[must_use]
    pub fn keys(&self) -> &Arc<dyn KeySource> {
        &self.keys
    }

    /// Fresh random bytes.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.entropy.fill(&mut out);
        out
    }

    /// What each data key has sealed here since the start; see [`KeyUse::wants_rotation`].
    #[must_use]
    pub fn usage(&self) -> BTreeMap<(Owner, Purpose, KeyEpoch), KeyUse> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn charge(&self, scope: &Scope, envelopes: u64, bytes: u64) -> Result<()> {
        let Scope { owner, purpose, epoch, .. } = *scope;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used.entry((owner, purpose, epoch)).or_default();
        if envelopes > 0 && !used.allows_envelope() {
            return Err(Error::KeyUsedUp { owner, purpose, epoch });
        }
        used.envelopes += envelopes;
        used.bytes = used.bytes.saturating_add(bytes);
        Ok(())
    }

    pub(crate) fn ready(&self, owner: Owner, purpose: Purpose, epoch: KeyEpoch) -> Result<ReadyKey> {
        let key = self.keys.key(owner, purpose, epoch)?;
        let scope = Scope { cluster: self.cluster, owner, purpose, epoch };
        let (key_id, salt_key, fingerprint_key) = derive::hedge(&key, &scope.bytes());
        Ok(ReadyKey { key, scope, key_id, salt_key, fingerprint_key })
    }

    /// Seals `plain` as the object `name` of `owner`, under the active epoch of `purpose`.
    ///
    /// # Errors
    /// `Key`: no active key, or it is used up. `Invalid`: over `ENVELOPE_BYTES_MAX`.
    pub fn seal_envelope(
        &self,
        owner: Owner,
        purpose: Purpose,
        kind: EnvelopeKind,
        name: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>> {
        let ready = self.ready(owner, purpose, self.keys.active(owner, purpose)?)?;
        self.charge(&ready.scope, 1, plain.len() as u64)?;
        envelope::seal(&ready.envelope(), &ready.scope, kind, name, &self.random(), plain)
    }

    /// Opens the envelope `sealed`, if it was sealed as this object.
    ///
    /// # Errors
    /// * `Damaged`: `Missing` (cut), `WrongPlace` (another kind), `Tampered` (changed, or another object).
    /// * `Key`: `KeyMissing`, or `WrongKey` if the keyring's key is another than the one that sealed it.
    /// * `Stop`: `Unsupported` version or suite.
    pub fn open_envelope(
        &self,
        owner: Owner,
        purpose: Purpose,
        kind: EnvelopeKind,
        name: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBytes> {
        let header = envelope::read_header(sealed, kind)?;
        let ready = self.ready(owner, purpose, header.epoch)?;
        envelope::open(&ready.envelope(), &ready.scope, kind, name, sealed)
    }
}

impl ReadyKey {
    fn envelope(&self) -> EnvelopeKey<'_> {
        let (key, key_id) = (&*self.key, self.key_id);
        EnvelopeKey { key, key_id, salt_key: &self.salt_key, fingerprint_key: &self.fingerprint_key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Seeded;
    use crate::ids::TenantId;
    use crate::limits;

    #[test]
    fn a_key_that_is_used_up_seals_no_more_and_still_opens() {
        let ring = Keyring::new();
        let owners = [1, 2].map(|n| Owner::Tenant(TenantId(n)));
        for (owner, epoch) in owners.into_iter().zip([KeyEpoch(3), KeyEpoch(4)]) {
            ring.insert(owner, Purpose::Log, epoch, SecretKey::new([7; 32])).unwrap();
            ring.activate(owner, Purpose::Log, epoch).unwrap();
        }
        let ring = Arc::new(ring);
        let sealer = Sealer::new(ClusterId([1; 16]), ring.clone(), Arc::new(Seeded::new(1))).unwrap();
        let seal = |owner| sealer.seal_envelope(owner, Purpose::Log, EnvelopeKind::LogBody, b"name", b"text");
        let sealed = seal(owners[0]).unwrap();
        let scope = (owners[0], Purpose::Log, KeyEpoch(3));
        assert_eq!(sealer.usage()[&scope], KeyUse { envelopes: 1, bytes: 4 });
        sealer.used.lock().unwrap().get_mut(&scope).unwrap().envelopes = limits::ENVELOPES_PER_KEY_MAX - 1;
        seal(owners[0]).unwrap();
        let refused = seal(owners[0]).unwrap_err();
        assert!(
            matches!(refused, Error::KeyUsedUp { owner, purpose: Purpose::Log, epoch: KeyEpoch(3) } if owner == owners[0]),
            "{refused}"
        );
        assert_eq!(
            sealer.usage()[&scope].envelopes,
            limits::ENVELOPES_PER_KEY_MAX,
            "nothing more is counted"
        );
        seal(owners[1]).expect("another key is not");
        let open = sealer.open_envelope(owners[0], Purpose::Log, EnvelopeKind::LogBody, b"name", &sealed);
        assert_eq!(open.unwrap()[..], *b"text");
        ring.insert(owners[0], Purpose::Log, KeyEpoch(5), SecretKey::new([8; 32])).unwrap();
        ring.activate(owners[0], Purpose::Log, KeyEpoch(5)).unwrap();
        seal(owners[0]).expect("and the next epoch begins anew");
    }
}
