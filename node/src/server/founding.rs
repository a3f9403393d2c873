//! The first start of a cluster's first node: it founds every group alone, and tells the meta group what there is. Nodes that join make
//! the groups grow.

use super::Server;
use crate::boot::founding::{Founding, from_hex};
use crate::meta::cluster_row::ClusterRow;
use crate::meta::command::{Change, MetaCommand, MetaReply, Reason};
use crate::meta::node_row::{NodeRow, NodeState};
use crate::meta::shard_row::ShardRow;
use crate::shard::map::{ShardMap, ShardRange};
use engine::ids::NodeId;
use raft::group::birth::Birth;
use raft::types::{Membership, ReplicaId, Role, Seat};
use std::time::Duration;

/// The only replica of a group that was just founded.
const FIRST: ReplicaId = ReplicaId(1);
/// So long is waited for the meta group, in milliseconds.
const WAIT_MS: u64 = 5_000;

/// The ranges of a new cluster: the meta group's, and those of its shards.
fn ranges(shards: u32) -> Vec<ShardRange> {
    let data = ShardMap::first(shards);
    [ShardRange::META].into_iter().chain(data.ranges().iter().copied()).collect()
}

/// The births of all groups on their founder.
#[must_use]
pub fn births(shards: u32, node: NodeId) -> Vec<Birth> {
    let seats = [(FIRST, Seat { node, role: Role::Voter })].into();
    let founders = Membership { voters: vec![[FIRST].into()], seats };
    let birth = |range: ShardRange| Birth {
        group: range.group,
        replica: FIRST,
        range: range.rows(),
        founders: Some(founders.clone()),
    };
    ranges(shards).into_iter().map(birth).collect()
}

/// What the meta group is told at first.
fn first_change(server: &Server, founding: &Founding, row: NodeRow) -> Option<MetaCommand> {
    let cluster = ClusterRow {
        id: server.cluster,
        name: founding.cluster_name.clone(),
        ca_certificate: founding.authority.clone().into_bytes(),
        sealed_ca_key: from_hex(&founding.sealed_key)?,
        shard_count: founding.shards,
        version: 1,
    };
    let mut changes = vec![Change::PutCluster(cluster, None), Change::PutNode(row, None)];
    let shards = ranges(founding.shards).into_iter();
    changes.extend(shards.map(|range| Change::PutShard(ShardRow::founded(range, server.node), None)));
    Some(MetaCommand::new(changes))
}

impl Server {
    /// Tells the meta group what there is, until it knows.
    pub(super) async fn found(&self, founding: &Founding, row: NodeRow) {
        let Some(command) = first_change(self, founding, row) else {
            tracing::error!("founding.toml is damaged: the cluster cannot be founded");
            return;
        };
        loop {
            match self.change(command.clone(), WAIT_MS).await {
                Ok(
                    MetaReply::Applied { .. }
                    | MetaReply::Refused { change: 0, reason: Reason::Exists | Reason::Stale },
                ) => break,
                Ok(reply) => tracing::error!(?reply, "the cluster cannot be founded"),
                Err(why) => tracing::info!(%why, "the cluster is not founded yet"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tracing::info!(cluster = %self.cluster, shards = founding.shards, "the cluster is founded");
        if let Err(error) = Founding::remove(&self.folder) {
            tracing::warn!(
                cause = engine::error::with_sources(&error),
                "founding.toml stays; it does no harm"
            );
        }
    }
}

/// The row of a node at its first start.
#[must_use]
pub fn node_row(
    id: NodeId,
    (name, region): (&str, &str),
    (peer, client): (&str, &str),
    serial: &[u8],
) -> NodeRow {
    NodeRow {
        id,
        name: name.to_owned(),
        region: region.to_owned(),
        peer_address: peer.to_owned(),
        client_address: client.to_owned(),
        state: NodeState::Active,
        certificate_serial: serial.to_vec(),
        generation: 1,
        delay_ms: 0,
    }
}
