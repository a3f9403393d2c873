//! The keys of a run: those of the cluster, of every node, and of a few tenants. All nodes have all of them.

use engine::entropy::Entropy;
use engine::ids::{ClusterId, KeyEpoch, NodeId, Owner, Purpose, TenantId};
use engine::sealed::{Keyring, Sealer, SecretKey};
use std::sync::Arc;

/// The cluster of every run.
pub const CLUSTER: ClusterId = ClusterId([0xd3; 16]);
/// Its tenants.
pub const TENANTS: [TenantId; 2] = [TenantId(0x1111), TenantId(0x2222_2222)];

/// Seals and opens on one node.
///
/// # Errors
/// As [`Sealer::new`].
pub fn sealer(node: NodeId, entropy: Arc<dyn Entropy>) -> engine::Result<Arc<Sealer>> {
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
    Ok(Arc::new(Sealer::new(CLUSTER, Arc::new(keys), entropy)?))
}
