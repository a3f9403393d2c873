//! Makes the keys of a rotation, and wraps old ones anew. Which, says [`super::rotation`]. What comes out is proposed, and no ring changes
//! here: every node learns of it from the rows, the one that proposed as well.

use super::hierarchy::{put, unwrap, wrap};
use super::kms::{KeyContext, Kms};
use super::root_file::{ClusterKey, RootFile};
use super::{Error, KeyName, KeyRow, KeyState, Result, WrappedKey};
use engine::entropy::Entropy;
use engine::ids::{KeyEpoch, Owner, Purpose};
use engine::sealed::{Keyring, Sealer, SecretKey};
use std::sync::Arc;

/// A sealer that wraps with one key, beside the one that serves.
fn beside(
    sealer: &Sealer,
    owner: Owner,
    epoch: KeyEpoch,
    key: SecretKey,
    entropy: Arc<dyn Entropy>,
) -> Result<Sealer> {
    let ring = Arc::new(Keyring::new());
    put(&ring, KeyName { owner, purpose: Purpose::Wrap, epoch }, key)?;
    Ok(Sealer::new(sealer.cluster(), ring, entropy)?)
}

/// A new data key of a tenant. It waits until every node has it.
///
/// # Errors
/// `Engine`: the key of the tenant is not here.
pub fn data_key(sealer: &Sealer, name: KeyName) -> Result<KeyRow> {
    let wrapped_by = sealer.keys().active(name.owner, Purpose::Wrap)?;
    let key = wrap(sealer, name, &sealer.make_key())?;
    Ok(KeyRow { key, state: KeyState::Pending, wrapped_by })
}

/// A new key of a tenant, and all its data keys wrapped by it, all their states as they were. The rows belong into one command: the new key is
/// active at once, for whoever has it has what it wraps. The old key only opens.
///
/// # Errors
/// `Engine`: a key is not here.
pub fn tenant_key(
    sealer: &Sealer,
    name: KeyName,
    rows: &[KeyRow],
    entropy: Arc<dyn Entropy>,
) -> Result<Vec<KeyRow>> {
    let (owner, key) = (name.owner, sealer.make_key());
    let wrapped_by = sealer.keys().active(Owner::Cluster, Purpose::Wrap)?;
    let mut out = vec![KeyRow { key: wrap(sealer, name, &key)?, state: KeyState::Active, wrapped_by }];
    let inner = beside(sealer, owner, name.epoch, key, entropy)?;
    for row in rows.iter().filter(|row| row.key.name.owner == owner && row.state != KeyState::Destroyed) {
        if row.key.name.purpose == Purpose::Wrap {
            let state = row.state.max(KeyState::OpenOnly);
            out.push(KeyRow { state, ..row.clone() });
        } else {
            let key = wrap(&inner, row.key.name, &unwrap(sealer, &row.key)?)?;
            out.push(KeyRow { key, state: row.state, wrapped_by: name.epoch });
        }
    }
    Ok(out)
}

/// What a rotation of the cluster key makes.
pub struct ClusterTurn {
    /// What all nodes have alike, with the new key and the old ones.
    pub shared: RootFile,
    /// The keys of tenants, wrapped by the new key.
    pub rows: Vec<KeyRow>,
}

/// A new root key, a new cluster key under it, and all that a cluster key wraps, wrapped by it.
///
/// # Errors
/// `Kms`. `Engine`: a key is not here.
pub fn cluster_key(
    sealer: &Sealer,
    root: &RootFile,
    rows: &[KeyRow],
    kms: &dyn Kms,
    entropy: Arc<dyn Entropy>,
) -> Result<ClusterTurn> {
    let last = root.cluster_keys.last().ok_or(Error::RootFile("it holds no cluster key"))?;
    let full = Error::RootFile("it holds as many cluster keys as it may");
    let (Some(version), Some(next_root)) = (last.version.checked_add(1), last.root.checked_add(1)) else {
        return Err(full);
    };
    if root.cluster_keys.len() >= crate::limits::CLUSTER_KEYS_MAX {
        return Err(full);
    }
    kms.create(next_root)?;
    let key = sealer.make_key();
    let context = KeyContext { cluster: root.cluster, root: next_root, version };
    let wrapped = kms.wrap(&context, &key)?;
    let inner = beside(sealer, Owner::Cluster, KeyEpoch(version), key, entropy)?;
    let mut shared = root.shared();
    shared.cluster_keys.push(ClusterKey { version, root: next_root, wrapped });
    shared.kms = kms.kept();
    rewrap_all(sealer, &inner, &mut shared.keys)?;
    let is_of_tenant = |row: &&KeyRow| {
        let KeyName { owner, purpose, .. } = row.key.name;
        matches!(owner, Owner::Tenant(_)) && purpose == Purpose::Wrap && row.state != KeyState::Destroyed
    };
    let mut out = Vec::new();
    for row in rows.iter().filter(is_of_tenant) {
        let key = wrap(&inner, row.key.name, &unwrap(sealer, &row.key)?)?;
        out.push(KeyRow { key, state: row.state, wrapped_by: KeyEpoch(version) });
    }
    Ok(ClusterTurn { shared, rows: out })
}

fn rewrap_all(from: &Sealer, to: &Sealer, keys: &mut [WrappedKey]) -> Result<()> {
    for key in keys {
        *key = wrap(to, key.name, &unwrap(from, key)?)?;
    }
    Ok(())
}

/// The root file of a node after the part that all have alike has changed: its own keys are wrapped by the new cluster key too. Write it, then
/// let the ring follow ([`super::source::Keys::follow`]).
///
/// # Errors
/// `Kms`: the new root key cannot be asked. `RootFile`: of another cluster. `Engine`.
pub fn follow(
    own: &RootFile,
    shared: &RootFile,
    sealer: &Sealer,
    kms: &dyn Kms,
    entropy: Arc<dyn Entropy>,
) -> Result<RootFile> {
    if own.cluster != shared.cluster {
        return Err(Error::RootFile("it is of another cluster"));
    }
    let last = shared.cluster_keys.last().ok_or(Error::RootFile("it holds no cluster key"))?;
    kms.adopt(&shared.kms)?;
    let context = KeyContext { cluster: own.cluster, root: last.root, version: last.version };
    let key = kms.unwrap(&context, &last.wrapped)?;
    let inner = beside(sealer, Owner::Cluster, KeyEpoch(last.version), key, entropy)?;
    let mine = |key: &&WrappedKey| key.name.owner == Owner::Node(own.node);
    let mut keys: Vec<WrappedKey> = own.keys.iter().filter(mine).cloned().collect();
    rewrap_all(sealer, &inner, &mut keys)?;
    keys.extend(shared.keys.iter().cloned());
    keys.sort_by_key(|key| key.name);
    Ok(RootFile { node: own.node, keys, ..shared.clone() })
}

/// What all nodes have alike once old versions of the cluster key are gone. The root keys that wrapped them are destroyed.
///
/// # Errors
/// `Kms`.
pub fn retire(root: &RootFile, versions: &[u32], kms: &dyn Kms) -> Result<RootFile> {
    let mut shared = root.shared();
    let is_old = |key: &ClusterKey| versions.contains(&key.version);
    for key in shared.cluster_keys.iter().filter(|key| is_old(key)) {
        kms.destroy(key.root)?;
    }
    shared.cluster_keys.retain(|key| !is_old(key));
    shared.kms = kms.kept();
    Ok(shared)
}
