//! Makes keys and wraps each by the one above it. Random keys are made where a command is proposed, never where it is applied.

use super::kms::{KeyContext, Kms, KmsError};
use super::root_file::{ClusterKey, RootFile};
use super::{Error, KeyName, KeyRow, KeyState, Result, WrappedKey};
use engine::entropy::Entropy;
use engine::ids::{ClusterId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use engine::sealed::{EnvelopeKind, Keyring, Sealer, SecretKey};
use std::sync::Arc;

/// What keys of the cluster are for, beside wrapping.
pub const SYSTEM_PURPOSES: [Purpose; 5] =
    [Purpose::Data, Purpose::Log, Purpose::Meta, Purpose::Mac, Purpose::Sign];
/// What keys of a node are for.
pub const NODE_PURPOSES: [Purpose; 2] = [Purpose::Catalog, Purpose::Mac];
/// What keys of a tenant are for, beside wrapping.
pub const TENANT_PURPOSES: [Purpose; 2] = [Purpose::Data, Purpose::Log];

pub(super) const FIRST: KeyEpoch = KeyEpoch(1);

/// Who wraps a key, and as what.
fn wrapper(name: &KeyName) -> (Owner, EnvelopeKind) {
    match (name.owner, name.purpose) {
        (Owner::Tenant(_), Purpose::Wrap) => (Owner::Cluster, EnvelopeKind::OwnerKey),
        (owner @ Owner::Tenant(_), _) => (owner, EnvelopeKind::DataKey),
        (Owner::Cluster | Owner::Node(_), _) => (Owner::Cluster, EnvelopeKind::DataKey),
    }
}

/// Wraps a key under the active key above it.
///
/// # Errors
/// `Engine`: the key above is missing or used up.
pub fn wrap(sealer: &Sealer, name: KeyName, key: &SecretKey) -> Result<WrappedKey> {
    let (by, kind) = wrapper(&name);
    Ok(WrappedKey { name, wrapped: sealer.wrap_key(by, kind, &name.bytes(), key)? })
}

/// The key that is wrapped.
///
/// # Errors
/// `Engine`: the key above is missing, or the envelope is not that of this name.
pub fn unwrap(sealer: &Sealer, key: &WrappedKey) -> Result<SecretKey> {
    let (by, kind) = wrapper(&key.name);
    Ok(sealer.unwrap_key(by, kind, &key.name.bytes(), &key.wrapped)?)
}

pub(super) fn put(ring: &Keyring, name: KeyName, key: SecretKey) -> Result<()> {
    ring.insert(name.owner, name.purpose, name.epoch, key)?;
    Ok(ring.activate(name.owner, name.purpose, name.epoch)?)
}

/// Makes a key, puts it into `ring`, and wraps it.
fn make(sealer: &Sealer, ring: &Keyring, name: KeyName) -> Result<WrappedKey> {
    let key = sealer.make_key();
    let wrapped = wrap(sealer, name, &key)?;
    put(ring, name, key)?;
    Ok(wrapped)
}

/// The keys of a new cluster and its first node: a root key at `kms`, a cluster key under it, system keys and those of the node.
///
/// # Errors
/// `Kms`. `Engine`.
pub fn found(cluster: ClusterId, node: NodeId, kms: &dyn Kms, entropy: Arc<dyn Entropy>) -> Result<RootFile> {
    kms.create(1)?;
    let ring = Arc::new(Keyring::new());
    let sealer = Sealer::new(cluster, ring.clone(), entropy)?;
    let key = sealer.make_key();
    let wrapped = kms.wrap(&KeyContext { cluster, root: 1, version: 1 }, &key)?;
    let cluster_keys = vec![ClusterKey { version: 1, root: 1, wrapped }];
    put(&ring, KeyName { owner: Owner::Cluster, purpose: Purpose::Wrap, epoch: FIRST }, key)?;
    let system = SYSTEM_PURPOSES.map(|purpose| KeyName { owner: Owner::Cluster, purpose, epoch: FIRST });
    let keys: Result<Vec<_>> = system.into_iter().map(|name| make(&sealer, &ring, name)).collect();
    let shared = RootFile { cluster, node: NodeId(0), kms: kms.kept(), cluster_keys, keys: keys? };
    with_node_keys(&shared, node, &sealer, &ring)
}

/// The root file of a node that joins: what all have alike, and keys of its own, which never leave it.
///
/// # Errors
/// `Kms`: the passphrase is another one. `Engine`.
pub fn join(shared: &RootFile, node: NodeId, kms: &dyn Kms, entropy: Arc<dyn Entropy>) -> Result<RootFile> {
    let ring = Arc::new(Keyring::new());
    let sealer = Sealer::new(shared.cluster, ring.clone(), entropy)?;
    open_into(&ring, &sealer, shared, kms)?;
    with_node_keys(shared, node, &sealer, &ring)
}

fn with_node_keys(shared: &RootFile, node: NodeId, sealer: &Sealer, ring: &Keyring) -> Result<RootFile> {
    let own = NODE_PURPOSES.map(|purpose| KeyName { owner: Owner::Node(node), purpose, epoch: FIRST });
    let mut keys = shared.keys.clone();
    for name in own {
        keys.push(make(sealer, ring, name)?);
    }
    keys.sort_by_key(|key| key.name);
    Ok(RootFile { node, keys, ..shared.clone() })
}

/// Unwraps all keys of a root file into `ring`, over which `sealer` stands.
///
/// # Errors
/// `Kms`. `Engine`: an envelope does not open.
pub fn open_into(ring: &Keyring, sealer: &Sealer, root: &RootFile, kms: &dyn Kms) -> Result<()> {
    let newest = root.cluster_keys.last().map(|key| key.version);
    for key in &root.cluster_keys {
        match open_cluster_key(ring, root.cluster, key, kms) {
            // Whoever retires an old version destroys its root key before every node has heard of it. If one is still needed, the keys below do
            // not open.
            Err(Error::Kms(KmsError::NoSuchRoot(_))) if Some(key.version) != newest => {}
            opened => opened?,
        }
    }
    for key in &root.keys {
        put(ring, key.name, unwrap(sealer, key)?)?;
    }
    Ok(())
}

/// Puts one version of the cluster key into `ring`: it wraps from now on.
pub(super) fn open_cluster_key(
    ring: &Keyring,
    cluster: ClusterId,
    key: &ClusterKey,
    kms: &dyn Kms,
) -> Result<()> {
    let context = KeyContext { cluster, root: key.root, version: key.version };
    let name = KeyName { owner: Owner::Cluster, purpose: Purpose::Wrap, epoch: KeyEpoch(key.version) };
    put(ring, name, kms.unwrap(&context, &key.wrapped)?)
}

/// The keys of a new tenant, the one that wraps the others first. Nothing of the tenant's was sealed yet, so they are active at once: a node
/// that has not heard of them waits.
///
/// # Errors
/// `Engine`: no cluster key.
pub fn make_tenant(sealer: &Sealer, tenant: TenantId, entropy: Arc<dyn Entropy>) -> Result<Vec<KeyRow>> {
    let owner = Owner::Tenant(tenant);
    let key = sealer.make_key();
    let own = wrap(sealer, KeyName { owner, purpose: Purpose::Wrap, epoch: FIRST }, &key)?;
    // The ring that serves learns of the keys when the rows are applied, as that of every other node.
    let ring = Arc::new(Keyring::new());
    let inner = Sealer::new(sealer.cluster(), ring.clone(), entropy)?;
    put(&ring, own.name, key)?;
    let mut keys = vec![own];
    for purpose in TENANT_PURPOSES {
        keys.push(make(&inner, &ring, KeyName { owner, purpose, epoch: FIRST })?);
    }
    let by_cluster = sealer.keys().active(Owner::Cluster, Purpose::Wrap)?;
    let row = |key: WrappedKey| {
        let wrapped_by = if key.name.purpose == Purpose::Wrap { by_cluster } else { FIRST };
        KeyRow { key, state: KeyState::Active, wrapped_by }
    };
    Ok(keys.into_iter().map(row).collect())
}
