//! Makes the keys of a rotation, and wraps old ones anew. Which, says [`super::rotation`]. What comes out is proposed, and no ring changes
//! here: every node learns of it from the rows, the one that proposed as well.

use super::hierarchy::{put, unwrap, wrap};
use super::kms::{KeyContext, Kms, KmsError};
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

/// A new root key, a new cluster key under it, and all system keys, wrapped by it: the part of the root file that all nodes have alike. The old
/// version stays in it until it wraps nothing any more ([`retire`]). What `kms` keeps must be what `root` says.
///
/// # Errors
/// `Kms`. `Engine`: a key is not here.
pub fn cluster_key(
    sealer: &Sealer,
    root: &RootFile,
    kms: &dyn Kms,
    entropy: Arc<dyn Entropy>,
) -> Result<RootFile> {
    let last = root.cluster_keys.last().ok_or(Error::RootFile("it holds no cluster key"))?;
    let full = || Error::RootFile("it holds as many cluster keys as it may");
    let version = last.version.checked_add(1).ok_or_else(full)?;
    if root.cluster_keys.len() >= crate::limits::CLUSTER_KEYS_MAX {
        return Err(full());
    }
    let next_root = create_root(kms, last.root)?;
    let key = sealer.make_key();
    let context = KeyContext { cluster: root.cluster, root: next_root, version };
    let wrapped = kms.wrap(&context, &key)?;
    let inner = beside(sealer, Owner::Cluster, KeyEpoch(version), key, entropy)?;
    let mut shared = root.shared();
    shared.cluster_keys.push(ClusterKey { version, root: next_root, wrapped });
    shared.kms = kms.kept();
    rewrap_all(sealer, &inner, &mut shared.keys)?;
    Ok(shared)
}

/// Makes the next root key. One that an earlier try has left behind wraps nothing that anybody has, and is not used.
fn create_root(kms: &dyn Kms, last: u32) -> Result<u32> {
    let mut next = last;
    loop {
        next =
            next.checked_add(1).ok_or(Error::RootFile("its root key was rotated as often as it can be"))?;
        match kms.create(next) {
            Ok(()) => return Ok(next),
            Err(KmsError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The key of a tenant, wrapped by the active cluster key; its state is as it was.
///
/// # Errors
/// `Engine`: a key is not here.
pub fn rewrap(sealer: &Sealer, row: &KeyRow) -> Result<KeyRow> {
    let wrapped_by = sealer.keys().active(Owner::Cluster, Purpose::Wrap)?;
    let key = wrap(sealer, row.key.name, &unwrap(sealer, &row.key)?)?;
    Ok(KeyRow { key, state: row.state, wrapped_by })
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
        match kms.destroy(key.root) {
            // An earlier try has come so far.
            Ok(_) | Err(KmsError::NoSuchRoot(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    shared.cluster_keys.retain(|key| !is_old(key));
    shared.kms = kms.kept();
    Ok(shared)
}
