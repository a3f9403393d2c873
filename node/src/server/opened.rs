//! What a node has before its start goes on: its keys, opened, its certificate, and what it tells those outside with.

use super::start::{Result, StartError};
use super::{Server, certificate, live};
use crate::boot::identity::{NodeFolder, NodeIdentity};
use crate::clock::SystemClock;
use crate::config;
use crate::entropy::SystemEntropy;
use crate::keys::held::Held;
use crate::keys::kms::Passphrase;
use crate::keys::kms::file::FileKms;
use crate::keys::root_file::RootFile;
use crate::keys::source::Keys;
use crate::telemetry::Told;
use crate::tls::Tls;
use crate::work::{Fate, Tasks};
use std::path::Path;
use std::sync::Arc;

/// What of a folder a start needs.
pub(super) struct Opened {
    pub(super) keys: OpenedKeys,
    pub(super) tls: Tls,
    pub(super) clock: Arc<SystemClock>,
}

/// The keys of a folder, and whose it is.
pub(crate) struct OpenedKeys {
    pub(crate) identity: NodeIdentity,
    pub(crate) keys: Arc<Keys>,
    pub(super) held: Arc<Held>,
}

/// What a node has for those outside: where it counts, and the tasks that end with it.
pub(super) struct Outside {
    pub(super) told: Arc<Told>,
    pub(super) tasks: Tasks,
}

impl Outside {
    pub(super) fn new(config: &config::Config) -> Self {
        let told = Arc::new(Told::new(live::places(&config.live)));
        Self { tasks: Server::tasks(&told), told }
    }
}

/// Opens the keys in a folder.
pub(crate) fn open_keys(folder: &Path, passphrase: &Passphrase) -> Result<OpenedKeys> {
    let at = NodeFolder::at(folder);
    let identity = at.identity()?;
    let root = RootFile::decode(&at.root()?)?;
    if (root.cluster, root.node) != (identity.cluster, identity.node) {
        return Err(StartError::Other("the root file is of another node".to_owned()));
    }
    let entropy = Arc::new(SystemEntropy);
    let kms = Arc::new(FileKms::open(root.cluster, passphrase, &root.kms, entropy.clone())?);
    let keys = Arc::new(Keys::open(&root, &*kms, entropy.clone())?);
    let held = Arc::new(Held::new(at, root, kms, keys.clone(), entropy));
    Ok(OpenedKeys { identity, keys, held })
}

/// The rest: its certificate, if it does not show one already.
pub(super) fn opened(
    folder: &Path,
    keys: OpenedKeys,
    hosts: &[String],
    clock: &Arc<SystemClock>,
    tls: Option<Tls>,
) -> Result<Opened> {
    let tls = match tls {
        Some(tls) => tls,
        None => {
            let at = NodeFolder::at(folder);
            let credentials = certificate::at_start(&at, &keys.identity, &keys.keys, hosts, &**clock)?;
            Tls::new(credentials, clock.clone())
        }
    };
    Ok(Opened { keys, tls, clock: clock.clone() })
}

impl Server {
    /// Tasks of a node: one that panics is heard.
    pub(super) fn tasks(told: &Arc<Told>) -> Tasks {
        let hears = told.clone();
        Tasks::new(Arc::new(move |fate: Fate| {
            hears.panicked.add(1);
            tracing::error!(task = %fate.task, panic = fate.panic, "a task of the node has panicked");
        }))
    }
}
