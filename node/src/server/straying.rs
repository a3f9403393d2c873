//! A node whose replica of the meta group was taken out of it hears nothing of that group any more: not that its replica is gone for good,
//! nor that another one is wanted here. So every node asks the others, one after the other, for the row of the meta group. Who has left
//! never comes back under its id, so that an old row misleads nobody.

use super::Server;
use crate::limits::{CHANGE_MS, STRAY_MS};
use crate::meta::command::{Change, MetaCommand};
use crate::meta::shard_row::ShardRow;
use crate::running::mover::{Mover, WantedGroup};
use crate::running::replicas::Running;
use crate::shard::map::ShardRange;
use bytes::Bytes;
use engine::error::with_sources;
use engine::ids::NodeId;
use raft::types::GroupId;
use std::sync::Arc;
use std::time::Duration;

/// Between two times that a node that has joined asks all others, in milliseconds.
const AWAIT_MS: u64 = 200;

impl Server {
    /// A node that has joined has no replica of the meta group yet: it asks others for the row that says which one it gets.
    pub(super) async fn await_meta(&self, running: &Arc<Running>) {
        let mover = Mover::default();
        while running.replica(GroupId::META).is_none() && !running.living().contains_key(&GroupId::META) {
            for node in self.known().into_keys().filter(|node| *node != self.node) {
                match self.forward.shard(node, GroupId::META).await {
                    Ok(Some(value)) => self.bear(running, &mover, &value).await,
                    Ok(None) => {}
                    Err(why) => tracing::debug!(%node, %why, "no row of the meta group"),
                }
            }
            tokio::time::sleep(Duration::from_millis(AWAIT_MS)).await;
        }
    }

    async fn bear(&self, running: &Arc<Running>, mover: &Mover, value: &Bytes) {
        let Ok(row) = ShardRow::decode(&ShardRow::key(GroupId::META), value) else { return };
        let wanted = WantedGroup {
            group: row.group,
            range: ShardRange { group: row.group, start: row.start, end: row.end }.rows(),
            seats: row.seats,
            gone: Vec::new(),
        };
        if let Err(error) = mover.settle(running, &[wanted]).await {
            tracing::warn!(
                cause = engine::error::with_sources(&error),
                "the meta group does not come here yet"
            );
        }
    }

    /// Asks until the tasks end.
    pub(super) async fn ask_for_meta(self: Arc<Self>, running: Arc<Running>) {
        let (mover, mut last) = (Mover::default(), self.node);
        loop {
            tokio::time::sleep(Duration::from_millis(STRAY_MS)).await;
            let others: Vec<NodeId> = self.known().into_keys().filter(|node| *node != self.node).collect();
            let next = others.iter().find(|node| **node > last).or(others.first());
            let Some(node) = next.copied() else { continue };
            last = node;
            match self.forward.shard(node, GroupId::META).await {
                Ok(Some(value)) => self.take_row(&running, &mover, node, &value).await,
                Ok(None) => {}
                Err(why) => tracing::debug!(%node, %why, "no row of the meta group"),
            }
        }
    }

    /// Does here what a row of the meta group says, as `by` knows it; and says there what has ended here.
    async fn take_row(&self, running: &Arc<Running>, mover: &Mover, by: NodeId, value: &[u8]) {
        let Ok(row) = ShardRow::decode(&ShardRow::key(GroupId::META), value) else { return };
        let here = running.living().get(&GroupId::META).copied();
        let has_left = here.is_some_and(|replica| row.gone.contains_key(&replica));
        if !has_left && here.is_some() {
            return;
        }
        let wanted = WantedGroup {
            group: row.group,
            range: ShardRange { group: row.group, start: row.start, end: row.end }.rows(),
            seats: row.seats.clone(),
            gone: row.gone.keys().copied().collect(),
        };
        if let Err(error) = mover.settle(running, &[wanted]).await {
            tracing::warn!(cause = with_sources(&error), "the replica of the meta group is not settled yet");
        }
        let mut ended =
            row.gone.iter().filter(|(replica, node)| **node == self.node && here != Some(**replica));
        let Some(next) = ended.next().and_then(|(replica, _)| row.has_ended(*replica)) else { return };
        let command = MetaCommand::new(vec![Change::PutShard(next, Some(row.version))]);
        let Some(body) = command.encode() else { return };
        // Whoever does not lead refuses; the next one is asked later.
        if let Err(why) = self.forward.change(by, body.into(), CHANGE_MS).await {
            tracing::debug!(%by, %why, "that a replica has ended here is not told now");
        }
    }
}
