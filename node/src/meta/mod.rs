//! What the meta group knows: who belongs to the cluster, which shards there are, whose tenants, and under which keys. Every node has all
//! of it.

use engine::ids::TenantId;

pub mod archive_change;
pub mod archive_row;
pub mod cluster_row;
pub mod command;
pub mod fields;
pub mod follow;
pub mod forward;
pub mod key_row;
pub mod machine;
pub mod node_row;
pub mod pin_row;
pub mod root_row;
pub mod rows;
pub mod shard_row;
pub mod survey;
pub mod tenant_row;
pub mod view;

/// Under whose name the rows of the meta group stand.
pub const CLUSTER_TENANT: TenantId = TenantId(0);
