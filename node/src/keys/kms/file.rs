//! The provider `file`: root keys, sealed under a key that Argon2id makes of a passphrase. What is kept of them stands in the root file.
//! Format: passphrase_root, `docs/formats/passphrase_root.md`.

use super::{Destroyed, KeyContext, Kms, KmsError, KmsStatus, Passphrase};
use crate::limits;
use argon2::{Algorithm, Argon2, Params, Version};
use engine::entropy::Entropy;
use engine::ids::{ClusterId, KeyEpoch, Owner, Purpose};
use engine::sealed::{EnvelopeKind, Keyring, Sealer, SecretKey};
use engine::wire::Reader;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Version this build writes.
pub const VERSION: u8 = 1;
/// Bytes before the root keys.
const HEADER_BYTES: usize = 48;

/// What making a key of a passphrase costs whoever guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// For production: 256 MiB.
    pub const PRODUCTION: Self = Self { memory_kib: 256 << 10, passes: 3, lanes: 4 };
    /// The least that is allowed: 19 MiB, as OWASP's password storage cheat sheet has it.
    pub const LEAST: Self = Self { memory_kib: 19 << 10, passes: 2, lanes: 1 };

    fn is_sane(&self) -> bool {
        (Self::LEAST.memory_kib..=limits::KDF_MEMORY_KIB_MAX).contains(&self.memory_kib)
            && (Self::LEAST.passes..=limits::KDF_PASSES_MAX).contains(&self.passes)
            && (1..=limits::KDF_LANES_MAX).contains(&self.lanes)
    }
}

/// Root keys behind a passphrase.
pub struct FileKms {
    cluster: ClusterId,
    cost: Cost,
    salt: [u8; 16],
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
fn derive(passphrase: &[u8], salt: &[u8; 16], cost: Cost) -> Result<SecretKey, KmsError> {
    if passphrase.len() < limits::PASSPHRASE_BYTES_MIN || passphrase.len() > limits::PASSPHRASE_BYTES_MAX {
        return Err(KmsError::Denied);
    }
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
    /// `Damaged`: the cost is out of its range. `Denied`: the passphrase is too short or too long.
    pub fn new(
        cluster: ClusterId,
        passphrase: &Passphrase,
        cost: Cost,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KmsError> {
        if !cost.is_sane() {
            return Err(KmsError::Damaged("the cost of the passphrase is out of its range"));
        }
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
        let (salt, cost, roots) = decode(kept)?;
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
        let kind = EnvelopeKind::ClusterKey;
        let key = self.sealer.unwrap_key(Owner::Cluster, kind, &root_name(root), &wrapped);
        sealer(self.cluster, key.map_err(|_| KmsError::Denied)?, self.entropy.clone())
    }

    fn check(&self, context: &KeyContext) -> Result<(), KmsError> {
        if context.cluster == self.cluster { Ok(()) } else { Err(KmsError::NotOpened) }
    }
}

fn decode(kept: &[u8]) -> Result<([u8; 16], Cost, BTreeMap<u32, Vec<u8>>), KmsError> {
    let damaged = |_| KmsError::Damaged("it is cut");
    let mut reader = Reader::new(kept);
    let version = reader.u8().map_err(damaged)?;
    let zero = reader.take(3).map_err(damaged)?;
    if version != VERSION || zero != [0; 3] {
        return Err(KmsError::Damaged("it is of a version that this build does not know"));
    }
    let memory_kib = reader.u32().map_err(damaged)?;
    let passes = reader.u32().map_err(damaged)?;
    let lanes = reader.u32().map_err(damaged)?;
    let cost = Cost { memory_kib, passes, lanes };
    let salt: [u8; 16] = reader.array().map_err(damaged)?;
    let rest: [u8; 12] = reader.array().map_err(damaged)?;
    let count = reader.u32().map_err(damaged)? as usize;
    if !cost.is_sane() || rest != [0; 12] || count > limits::ROOTS_MAX {
        return Err(KmsError::Damaged("a number is out of its range"));
    }
    let mut roots = BTreeMap::new();
    let mut last = None;
    for _ in 0..count {
        let root = reader.u32().map_err(damaged)?;
        let bytes = reader.u32().map_err(damaged)? as usize;
        let wrapped = reader.take(bytes).map_err(damaged)?.to_vec();
        if last.is_some_and(|last| last >= root) {
            return Err(KmsError::Damaged("root keys are not in order"));
        }
        last = Some(root);
        roots.insert(root, wrapped);
    }
    reader.end().map_err(|_| KmsError::Damaged("something stands behind it"))?;
    Ok((salt, cost, roots))
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
        let roots = self.roots();
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        for number in [self.cost.memory_kib, self.cost.passes, self.cost.lanes] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&u32::try_from(roots.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (root, wrapped) in roots.iter() {
            out.extend_from_slice(&root.to_be_bytes());
            out.extend_from_slice(&u32::try_from(wrapped.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(wrapped);
        }
        out
    }
}
