//! The keys of a run: those of the cluster, of every node, and of a few tenants. All nodes have all of them, but for a while those of
//! tenants may be away from one.

use engine::entropy::Entropy;
use engine::ids::{ClusterId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use engine::sealed::{KeySource, Keyring, Sealer, SecretKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The cluster of every run.
pub const CLUSTER: ClusterId = ClusterId([0xd3; 16]);
/// Its tenants.
pub const TENANTS: [TenantId; 2] = [TenantId(0x1111), TenantId(0x2222_2222)];

/// The keys of a node, as long as whoever unwraps those of tenants answers.
struct Service {
    ring: Keyring,
    tenants: Arc<TenantKeys>,
}

/// Whether the keys of tenants are away from a node, and how often one was missed.
#[derive(Debug, Default)]
pub struct TenantKeys {
    are_away: AtomicBool,
    missed: AtomicU64,
}

impl TenantKeys {
    /// They are away, or are here.
    pub fn set_away(&self, are_away: bool) {
        self.are_away.store(are_away, Ordering::SeqCst);
    }

    /// Whether they are away.
    #[must_use]
    pub fn are_away(&self) -> bool {
        self.are_away.load(Ordering::SeqCst)
    }

    /// How often somebody asked for one that was away.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::SeqCst)
    }
}

impl Service {
    fn allows(&self, owner: Owner, purpose: Purpose, epoch: KeyEpoch) -> engine::Result<()> {
        if !matches!(owner, Owner::Tenant(_)) || !self.tenants.are_away() {
            return Ok(());
        }
        self.tenants.missed.fetch_add(1, Ordering::SeqCst);
        Err(engine::Error::KeyMissing { owner, purpose, epoch })
    }
}

impl KeySource for Service {
    fn active(&self, owner: Owner, purpose: Purpose) -> engine::Result<KeyEpoch> {
        self.allows(owner, purpose, KeyEpoch(0))?;
        self.ring.active(owner, purpose)
    }

    fn key(&self, owner: Owner, purpose: Purpose, epoch: KeyEpoch) -> engine::Result<Arc<SecretKey>> {
        self.allows(owner, purpose, epoch)?;
        self.ring.key(owner, purpose, epoch)
    }
}

/// Seals and opens on one node. Keys of tenants are missing while they are away.
///
/// # Errors
/// As [`Sealer::new`].
pub fn sealer(
    node: NodeId,
    entropy: Arc<dyn Entropy>,
    tenants: Arc<TenantKeys>,
) -> engine::Result<Arc<Sealer>> {
    let keys = Keyring::new();
    let mut owned = vec![
        (Owner::Cluster, Purpose::Mac),
        (Owner::Cluster, Purpose::Meta),
        (Owner::Node(node), Purpose::Mac),
        (Owner::Node(node), Purpose::Catalog),
    ];
    owned.extend(TENANTS.map(|tenant| (Owner::Tenant(tenant), Purpose::Data)));
    owned.extend(TENANTS.map(|tenant| (Owner::Tenant(tenant), Purpose::Log)));
    for (n, (owner, purpose)) in owned.into_iter().enumerate() {
        let byte = u8::try_from(n + 1).unwrap_or(u8::MAX);
        keys.insert(owner, purpose, KeyEpoch(1), SecretKey::new([byte; 32]))?;
        keys.activate(owner, purpose, KeyEpoch(1))?;
    }
    Ok(Arc::new(Sealer::new(CLUSTER, Arc::new(Service { ring: keys, tenants }), entropy)?))
}
