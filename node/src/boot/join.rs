//! The folder of a node that joins: what the cluster has answered, and keys of its own, which never leave it.

use super::identity::{NodeFiles, NodeFolder, NodeIdentity};
use super::peers::{self, Known};
use super::{BootError, Result};
use crate::keys::hierarchy;
use crate::keys::kms::Passphrase;
use crate::keys::kms::file::FileKms;
use crate::keys::root_file::RootFile;
use engine::entropy::Entropy;
use engine::ids::{ClusterId, NodeId};
use engine::sealed::SecretBytes;
use std::path::Path;
use std::sync::Arc;

/// What a cluster answers a node that it lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admittance {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its generation.
    pub generation: u64,
    /// The node.
    pub node: NodeId,
    /// Certificate of the authority, PEM.
    pub authority: String,
    /// Certificate of the node, PEM.
    pub certificate: String,
    /// The part of the root file that all nodes have alike.
    pub root: Vec<u8>,
    /// Nodes there are.
    pub peers: Known,
}

/// Makes the folder of a node that was let in. `key` is that of its certificate, PEM.
///
/// # Errors
/// The passphrase is another one than the cluster's; the folder holds a node, or cannot be written.
pub fn settle(
    folder: &Path,
    admittance: &Admittance,
    (name, region): (&str, &str),
    key: SecretBytes,
    passphrase: &Passphrase,
    entropy: Arc<dyn Entropy>,
) -> Result<()> {
    let at = NodeFolder::at(folder);
    if at.is_initialised() {
        return Err(BootError::malformed("the folder", "it holds a node already"));
    }
    let shared =
        RootFile::decode(&admittance.root).map_err(|error| BootError::malformed("the root file", error))?;
    if shared.cluster != admittance.cluster {
        return Err(BootError::malformed("the root file", "it is of another cluster"));
    }
    let refused = |error: &dyn std::fmt::Display| BootError::malformed("the passphrase", error.to_string());
    let kms = FileKms::open(shared.cluster, passphrase, &shared.kms, entropy.clone())
        .map_err(|error| refused(&error))?;
    let root = hierarchy::join(&shared, admittance.node, &kms, entropy).map_err(|error| refused(&error))?;
    let Admittance { cluster, generation, node, authority, certificate, peers, .. } = admittance.clone();
    super::files::make_folder(folder)?;
    peers::write(folder, &peers)?;
    let files = NodeFiles { root: root.encode(), authority, certificate, key };
    let (name, region) = (name.to_owned(), region.to_owned());
    at.write(&NodeIdentity { cluster, generation, node, name, region }, &files)
}
