//! The folder of a cluster's first node, made out of nothing: cluster, authority, keys, certificates.

use super::authority::{self, Authority};
use super::founding::{Founding, to_hex};
use super::identity::{NodeFiles, NodeFolder, NodeIdentity};
use super::subject::Identity;
use super::{BootError, Result};
use crate::entropy::random;
use crate::keys::hierarchy;
use crate::keys::kms::Passphrase;
use crate::keys::kms::file::{Cost, FileKms};
use crate::keys::source::Keys;
use engine::entropy::Entropy;
use engine::ids::{ClusterId, NodeId, Owner, Purpose};
use engine::sealed::{EnvelopeKind, SecretBytes};
use std::path::Path;
use std::sync::Arc;

/// As what the key of the authority is sealed.
pub const AUTHORITY_KEY: &[u8] = b"authority/key";

/// What a new cluster is to be.
pub struct NewCluster<'a> {
    /// What people call it.
    pub name: &'a str,
    /// Shards it begins with.
    pub shards: u32,
    /// Its first node: name and region.
    pub node: (&'a str, &'a str),
    /// Names and addresses under which that is reached.
    pub hosts: &'a [String],
    /// Its first administrator.
    pub admin: &'a str,
    /// What opens the root key.
    pub passphrase: &'a Passphrase,
    /// What making a key of that costs.
    pub cost: Cost,
    /// What time it is, in seconds since 1970.
    pub now_s: u64,
}

/// What the first administrator needs.
pub struct FirstAdmin {
    /// Certificate, PEM.
    pub certificate: String,
    /// Key, PEM.
    pub key: SecretBytes,
    /// Certificate of the authority, PEM.
    pub authority: String,
    /// The cluster.
    pub cluster: ClusterId,
}

/// Makes a cluster in a folder that holds no node yet. It is founded when its first node starts there.
///
/// # Errors
/// The folder holds a node; a name is none; the passphrase is too short; the folder cannot be written.
pub fn init(folder: &Path, new: &NewCluster<'_>, entropy: Arc<dyn Entropy>) -> Result<FirstAdmin> {
    let at = NodeFolder::at(folder);
    let malformed = |what: &str, cause: String| BootError::malformed(what, cause);
    if at.is_initialised() {
        return Err(malformed("the folder", "it holds a node already".to_owned()));
    }
    let (cluster, node) = (ClusterId(random(&*entropy)), NodeId(1));
    let unwell = |error: crate::keys::Error| BootError::malformed("the keys", error);
    let kms = FileKms::new(cluster, new.passphrase, new.cost, entropy.clone());
    let kms = kms.map_err(|error| malformed("the passphrase", error.to_string()))?;
    let root = hierarchy::found(cluster, node, &kms, entropy.clone()).map_err(unwell)?;
    let keys = Keys::open(&root, &kms, entropy.clone()).map_err(unwell)?;
    let authority = Authority::create(cluster, new.now_s, &*entropy)?;
    let (owner, kind) = (Owner::Cluster, EnvelopeKind::SecretField);
    let sealed = keys.sealer().seal_envelope(owner, Purpose::Meta, kind, AUTHORITY_KEY, &authority.key());
    let sealed = sealed.map_err(|error| malformed("the key of the authority", error.to_string()))?;
    let request = authority::request()?;
    let identity = Identity::node(cluster, node);
    let issued = authority.issue(&identity, new.hosts, &request.pem, new.now_s, &*entropy)?;
    let files = NodeFiles {
        root: root.encode(),
        authority: authority.pem().to_owned(),
        certificate: issued.pem,
        key: request.key,
    };
    let (name, region) = (new.node.0.to_owned(), new.node.1.to_owned());
    super::files::make_folder(folder)?;
    let founding = Founding {
        cluster_name: new.name.to_owned(),
        shards: new.shards,
        authority: authority.pem().to_owned(),
        sealed_key: to_hex(&sealed),
    };
    founding.write(folder)?;
    let admin = Identity::admin(cluster, new.admin)
        .ok_or_else(|| malformed("the administrator's name", "it is no name".to_owned()))?;
    let request = authority::request()?;
    let issued = authority.issue(&admin, &[], &request.pem, new.now_s, &*entropy)?;
    // The identity goes last: with it the folder holds a node.
    at.write(&NodeIdentity { cluster, generation: 1, node, name, region }, &files)?;
    let authority = authority.pem().to_owned();
    Ok(FirstAdmin { certificate: issued.pem, key: request.key, authority, cluster })
}
