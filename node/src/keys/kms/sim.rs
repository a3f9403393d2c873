//! A key service for tests and simulation: it keeps its root keys in memory, and can be away. **Not for production.**

use super::{Destroyed, KeyContext, Kms, KmsError, KmsStatus};
use engine::entropy::Entropy;
use engine::ids::{KeyEpoch, Owner, Purpose};
use engine::sealed::{EnvelopeKind, Keyring, Sealer, SecretKey};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Root keys in memory.
pub struct SimKms {
    entropy: Arc<dyn Entropy>,
    is_away: AtomicBool,
    roots: Mutex<BTreeMap<u32, [u8; 32]>>,
}

impl SimKms {
    /// One without root keys.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, is_away: AtomicBool::new(false), roots: Mutex::default() }
    }

    /// It is away, or is back.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    fn roots(&self) -> Result<MutexGuard<'_, BTreeMap<u32, [u8; 32]>>, KmsError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(KmsError::Away("it was told to be".to_owned()));
        }
        Ok(self.roots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn sealer(&self, context: &KeyContext) -> Result<Sealer, KmsError> {
        let key = *self.roots()?.get(&context.root).ok_or(KmsError::NoSuchRoot(context.root))?;
        let ring = Keyring::new();
        let put = ring
            .insert(Owner::Cluster, Purpose::Wrap, KeyEpoch(1), SecretKey::new(key))
            .and_then(|()| ring.activate(Owner::Cluster, Purpose::Wrap, KeyEpoch(1)))
            .and_then(|()| Sealer::new(context.cluster, Arc::new(ring), self.entropy.clone()));
        put.map_err(|error| KmsError::Away(error.to_string()))
    }
}

impl Kms for SimKms {
    fn status(&self) -> KmsStatus {
        match self.roots() {
            Ok(roots) => KmsStatus::Ready(roots.keys().copied().collect()),
            Err(error) => KmsStatus::Away(error.to_string()),
        }
    }

    fn create(&self, root: u32) -> Result<(), KmsError> {
        let mut roots = self.roots()?;
        if roots.contains_key(&root) {
            return Err(KmsError::Exists(root));
        }
        roots.insert(root, crate::entropy::random(&*self.entropy));
        Ok(())
    }

    fn wrap(&self, context: &KeyContext, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        let (sealer, name) = (self.sealer(context)?, context.version.to_be_bytes());
        let wrapped = sealer.wrap_key(Owner::Cluster, EnvelopeKind::ClusterKey, &name, key);
        wrapped.map_err(|error| KmsError::Away(error.to_string()))
    }

    fn unwrap(&self, context: &KeyContext, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        let (sealer, name) = (self.sealer(context)?, context.version.to_be_bytes());
        let key = sealer.unwrap_key(Owner::Cluster, EnvelopeKind::ClusterKey, &name, wrapped);
        key.map_err(|_| KmsError::NotOpened)
    }

    fn destroy(&self, root: u32) -> Result<Destroyed, KmsError> {
        self.roots()?.remove(&root).ok_or(KmsError::NoSuchRoot(root))?;
        Ok(Destroyed { assurance: "gone with the memory that held it" })
    }

    fn kept(&self) -> Vec<u8> {
        Vec::new()
    }

    fn adopt(&self, _: &[u8]) -> Result<(), KmsError> {
        self.roots().map(drop)
    }
}
