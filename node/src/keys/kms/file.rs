//! The provider `file`: root keys, sealed under a key that Argon2id makes of a passphrase. What is kept of them ([`PassphraseRoot`]) stands in
//! the root file.

pub use super::passphrase_root::{Cost, PassphraseRoot, SALT_BYTES};

use super::passphrase::check;
use super::{Destroyed, KeyContext, Kms, KmsError, KmsStatus, Passphrase};
use crate::limits;
use argon2::{Algorithm, Argon2, Params, Version};
use engine::entropy::Entropy;
use engine::ids::{ClusterId, KeyEpoch, Owner, Purpose};
use engine::sealed::{EnvelopeKind, Keyring, Sealer, SecretKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Root keys behind a passphrase.
pub struct FileKms {
    cluster: ClusterId,
    cost: Cost,
    salt: [u8; SALT_BYTES],
    /// Holds the key of the passphrase.
    sealer: Sealer,
    entropy: Arc<dyn Entropy>,
    roots: Mutex<BTreeMap<u32, Vec<u8>>>,
}

fn sealer(cluster: ClusterId, key: SecretKey, entropy: Arc<dyn Entropy>) -> Result<Sealer, KmsError> {
    let ring = Keyring::new();
    let put = ring
        .insert(Owner::Cluster, Purpose::Wrap, KeyEpoch(1), key)
        .and_then(|()| ring.activate(Owner::Cluster, Purpose::Wrap, KeyEpoch(1)))
        .and_then(|()| Sealer::new(cluster, Arc::new(ring), entropy));
    put.map_err(|error| KmsError::Away(error.to_string()))
}

fn root_name(root: u32) -> Vec<u8> {
    [b"root/".as_slice(), &root.to_be_bytes()].concat()
}

fn context_name(context: &KeyContext) -> Vec<u8> {
    [b"cluster/".as_slice(), &context.root.to_be_bytes(), &context.version.to_be_bytes()].concat()
}

/// The key of a passphrase.
fn derive(passphrase: &[u8], salt: &[u8; SALT_BYTES], cost: Cost) -> Result<SecretKey, KmsError> {
    let damaged = |_| KmsError::Damaged("the cost of the passphrase is not allowed");
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(damaged)?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut key)
        .map_err(damaged)?;
    let made = SecretKey::new(key);
    zeroize::Zeroize::zeroize(&mut key);
    Ok(made)
}

impl FileKms {
    /// A service without root keys, behind `passphrase`.
    ///
    /// # Errors
    /// `Damaged`: the cost is out of its range. `Unfit`: the passphrase is too short or too long.
    pub fn new(
        cluster: ClusterId,
        passphrase: &Passphrase,
        cost: Cost,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KmsError> {
        if !cost.is_sane() {
            return Err(KmsError::Damaged("the cost of the passphrase is out of its range"));
        }
        check(passphrase)?;
        let salt = crate::entropy::random(&*entropy);
        let sealer = sealer(cluster, derive(passphrase, &salt, cost)?, entropy.clone())?;
        Ok(Self { cluster, cost, salt, sealer, entropy, roots: Mutex::default() })
    }

    /// The service whose [`Kms::kept`] is `kept`.
    ///
    /// # Errors
    /// `Denied`: the passphrase is another one. `Damaged`.
    pub fn open(
        cluster: ClusterId,
        passphrase: &Passphrase,
        kept: &[u8],
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KmsError> {
        let PassphraseRoot { cost, salt, roots } = PassphraseRoot::decode(kept)?;
        check(passphrase).map_err(|_| KmsError::Denied)?;
        let sealer = sealer(cluster, derive(passphrase, &salt, cost)?, entropy.clone())?;
        let opened = Self { cluster, cost, salt, sealer, entropy, roots: Mutex::new(roots) };
        let first = opened.roots().keys().next().copied();
        // Whether the passphrase is right says the first root key.
        first.map_or(Ok(()), |root| opened.root(root).map(drop))?;
        Ok(opened)
    }

    fn roots(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<u8>>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wraps under a root key.
    fn root(&self, root: u32) -> Result<Sealer, KmsError> {
        let wrapped = self.roots().get(&root).cloned().ok_or(KmsError::NoSuchRoot(root))?;
        sealer(self.cluster, self.open_root(root, &wrapped)?, self.entropy.clone())
    }

    fn open_root(&self, root: u32, sealed: &[u8]) -> Result<SecretKey, KmsError> {
        let key = self.sealer.unwrap_key(Owner::Cluster, EnvelopeKind::ClusterKey, &root_name(root), sealed);
        key.map_err(|_| KmsError::Denied)
    }

    fn check(&self, context: &KeyContext) -> Result<(), KmsError> {
        if context.cluster == self.cluster { Ok(()) } else { Err(KmsError::NotOpened) }
    }
}

impl Kms for FileKms {
    fn status(&self) -> KmsStatus {
        KmsStatus::Ready(self.roots().keys().copied().collect())
    }

    fn create(&self, root: u32) -> Result<(), KmsError> {
        let mut roots = self.roots();
        if roots.contains_key(&root) {
            return Err(KmsError::Exists(root));
        }
        if roots.len() >= limits::ROOTS_MAX {
            return Err(KmsError::Away("it holds as many root keys as it may".to_owned()));
        }
        let key = self.sealer.make_key();
        let kind = EnvelopeKind::ClusterKey;
        let wrapped = self.sealer.wrap_key(Owner::Cluster, kind, &root_name(root), &key);
        roots.insert(root, wrapped.map_err(|error| KmsError::Away(error.to_string()))?);
        Ok(())
    }

    fn wrap(&self, context: &KeyContext, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        self.check(context)?;
        let wrapped = self.root(context.root)?.wrap_key(
            Owner::Cluster,
            EnvelopeKind::ClusterKey,
            &context_name(context),
            key,
        );
        wrapped.map_err(|error| KmsError::Away(error.to_string()))
    }

    fn unwrap(&self, context: &KeyContext, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        self.check(context)?;
        let (sealer, kind) = (self.root(context.root)?, EnvelopeKind::ClusterKey);
        let key = sealer.unwrap_key(Owner::Cluster, kind, &context_name(context), wrapped);
        key.map_err(|_| KmsError::NotOpened)
    }

    fn destroy(&self, root: u32) -> Result<Destroyed, KmsError> {
        self.roots().remove(&root).ok_or(KmsError::NoSuchRoot(root))?;
        Ok(Destroyed {
            assurance: "best effort: copies of the file, and what flash keeps of it, open with the old passphrase",
        })
    }

    fn kept(&self) -> Vec<u8> {
        PassphraseRoot { cost: self.cost, salt: self.salt, roots: self.roots().clone() }.encode()
    }

    fn adopt(&self, kept: &[u8]) -> Result<(), KmsError> {
        let PassphraseRoot { cost, salt, roots } = PassphraseRoot::decode(kept)?;
        // Of another salt the key is not at hand: the passphrase must be given again.
        if (cost, salt) != (self.cost, self.salt) {
            return Err(KmsError::Denied);
        }
        for (version, sealed) in &roots {
            self.open_root(*version, sealed)?;
        }
        *self.roots() = roots;
        Ok(())
    }
}
