//! The root file of this node while it runs: the one place that changes it, and with it the versions of the cluster key in the ring. Every step
//! may be taken again after a crash or a refusal.

use super::kms::Kms;
use super::root_file::RootFile;
use super::source::Keys;
use super::{Result, turn};
use crate::boot::identity::NodeFolder;
use engine::entropy::Entropy;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The root file, the service that opens it, and the keys that came out of it.
pub struct Held {
    folder: NodeFolder,
    keys: Arc<Keys>,
    kms: Arc<dyn Kms>,
    entropy: Arc<dyn Entropy>,
    root: Mutex<RootFile>,
}

impl Held {
    /// The root file `root`, which lies in `folder` and was opened with `kms` into `keys`.
    #[must_use]
    pub fn new(
        folder: NodeFolder,
        root: RootFile,
        kms: Arc<dyn Kms>,
        keys: Arc<Keys>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { folder, keys, kms, entropy, root: Mutex::new(root) }
    }

    fn lock(&self) -> MutexGuard<'_, RootFile> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part that all nodes have alike.
    #[must_use]
    pub fn shared(&self) -> RootFile {
        self.lock().shared()
    }

    /// Versions of the cluster key, the newest last.
    #[must_use]
    pub fn versions(&self) -> Vec<u32> {
        self.lock().cluster_keys.iter().map(|key| key.version).collect()
    }

    /// Takes the part that all nodes have alike as it is now: the file is written, then the ring follows. Tells whether anything had to be
    /// done.
    ///
    /// # Errors
    /// `Kms`: the new root key cannot be asked. `File`. `RootFile`: of another cluster. `Engine`.
    pub fn take(&self, shared: &RootFile) -> Result<bool> {
        let mut root = self.lock();
        if root.shared() == *shared {
            return Ok(false);
        }
        let next = turn::follow(&root, shared, self.keys.sealer(), &*self.kms, self.entropy.clone())?;
        self.folder.write_root(&next.encode())?;
        self.keys.follow(&root, &next, &*self.kms)?;
        *root = next;
        Ok(true)
    }

    /// What all nodes are to have alike after a rotation of the cluster key. Nothing changes here.
    ///
    /// # Errors
    /// `Kms`. `RootFile`: there are as many versions as there may be. `Engine`.
    pub fn turned(&self) -> Result<RootFile> {
        let root = self.lock();
        // What an earlier try has made, and nobody has taken, goes.
        self.kms.adopt(&root.kms)?;
        turn::cluster_key(self.keys.sealer(), &root, &*self.kms, self.entropy.clone())
    }

    /// What all nodes are to have alike once these versions of the cluster key wrap nothing any more. Their root keys are destroyed.
    ///
    /// # Errors
    /// `Kms`.
    pub fn retired(&self, versions: &[u32]) -> Result<RootFile> {
        let root = self.lock();
        self.kms.adopt(&root.kms)?;
        turn::retire(&root, versions, &*self.kms)
    }
}
