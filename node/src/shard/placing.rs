//! Makes the replicas of this node, and the memberships of the groups it leads, those that the rows of the meta group want; and, where
//! the meta group is led, changes those rows when nodes come and go. One small step at a time, so a crash anywhere costs nothing.

use super::placement::{self, Voters};
use crate::keys::rotation;
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::follow::Published;
use crate::meta::key_row;
use crate::meta::shard_row::ShardRow;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::running::mover::{Mover, WantedGroup};
use crate::running::replicas::Running;
use engine::ids::NodeId;
use raft::group::handle::Standing;
use raft::net::link::BoxFuture;
use raft::types::{GroupId, ReplicaId, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Between two rounds, in milliseconds.
const ROUND_MS: u64 = 500;
/// After a round in which something was changed, in milliseconds: what is to be done next may be due already.
const SOON_MS: u64 = 50;
/// A node that was heard this short a time ago is given replicas, in milliseconds.
const LIVE_MS: u64 = 5_000;
/// So long is waited for a change of a row, in milliseconds.
const CHANGE_MS: u64 = 3_000;

/// Changes rows of the meta group, whoever leads it.
pub trait Changer: Send + Sync + 'static {
    /// Does all of it or nothing, within `wait_ms`.
    fn change(&self, command: MetaCommand, wait_ms: u64) -> BoxFuture<Result<MetaReply, Refused>>;
}

/// Places replicas.
pub struct Placing {
    running: Arc<Running>,
    meta: Published,
    changer: Arc<dyn Changer>,
    mover: Mover,
}

/// The group that a row wants.
fn wanted(row: &ShardRow) -> WantedGroup {
    let range = crate::shard::map::ShardRange { group: row.group, start: row.start, end: row.end }.rows();
    let gone = row.gone.keys().copied().collect();
    WantedGroup { group: row.group, range, seats: row.seats.clone(), gone }
}

impl Placing {
    /// That of a node.
    #[must_use]
    pub fn new(running: Arc<Running>, meta: Published, changer: Arc<dyn Changer>) -> Self {
        Self { running, meta, changer, mover: Mover::default() }
    }

    /// Goes on until the node ends.
    pub async fn run(mut self) {
        loop {
            let pause_ms = if self.round().await { SOON_MS } else { ROUND_MS };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// One round: a step of everything that is to be done. True if a row or a membership has changed.
    pub async fn round(&mut self) -> bool {
        let view = self.meta.now();
        self.become_late(&view);
        let groups: Vec<WantedGroup> = view.shards.values().map(wanted).collect();
        if let Err(error) = self.mover.settle(&self.running, &groups).await {
            tracing::warn!(cause = engine::error::with_sources(&error), "a replica is not settled yet");
        }
        let mut has_changed = self.tell_ended(&view).await;
        let leaving = view.shards.values().map(|row| (row.group, row.leaving.keys().copied().collect()));
        let done = self.mover.reconcile(&self.running, &groups, &leaving.collect()).await;
        has_changed |= done.has_changed;
        for (group, replica) in done.gone {
            let next = view.shards.get(&group).and_then(|row| row.has_left(replica));
            has_changed |= self.put(next).await;
        }
        if self.running.replica(GroupId::META).is_some_and(|seated| seated.receiver.group().leads()) {
            has_changed |= self.plan(&view).await;
            self.promote(&view).await;
        }
        has_changed
    }

    /// A node whose row says so is delayed from its first replica on.
    fn become_late(&self, view: &MetaView) {
        let own = view.nodes.get(&self.running.parts().node);
        let Some(row) = own.filter(|row| row.is_delayed()) else { return };
        if let Err(error) = self.running.become_late(row.delay_ms) {
            tracing::warn!(
                cause = engine::error::with_sources(&error),
                "the gate of the node is not stored: it takes no replicas"
            );
        }
    }

    /// Keys that wait become those that seal, once every node has their rows.
    async fn promote(&self, view: &MetaView) {
        let Some(seated) = self.running.replica(GroupId::META) else { return };
        let standing = seated.receiver.group().standing();
        let own = seated.receiver.group().replica();
        let stored =
            |replica: &ReplicaId| standing.matched.get(replica).copied().flatten().map_or(0, |id| id.index);
        let all = standing.membership.1.seats.keys().filter(|replica| **replica != own);
        let is_everywhere = all.map(stored).all(|index| index >= view.version);
        let changes: Vec<Change> = rotation::promote(&view.key_rows(), |_| is_everywhere)
            .into_iter()
            .map(|one| {
                Change::SetKeyState(
                    one.name.owner,
                    one.name.purpose,
                    one.name.epoch,
                    key_row::state(one.state),
                )
            })
            .collect();
        if changes.is_empty() {
            return;
        }
        match self.changer.change(MetaCommand::new(changes), CHANGE_MS).await {
            Ok(MetaReply::Applied { .. }) => tracing::info!("new keys seal from now on"),
            other => tracing::debug!(?other, "new keys wait on"),
        }
    }

    /// Replicas that have left their group, and do not live here any more.
    async fn tell_ended(&self, view: &MetaView) -> bool {
        let mut has_changed = false;
        let (here, living) = (self.running.parts().node, self.running.living());
        for row in view.shards.values() {
            let lives = living.get(&row.group).copied();
            let ended = row.gone.iter().find(|(replica, node)| **node == here && lives != Some(**replica));
            if let Some((replica, _)) = ended {
                has_changed |= self.put(row.has_ended(*replica)).await;
            }
        }
        has_changed
    }

    /// Changes rows where nodes have come or gone.
    async fn plan(&self, view: &MetaView) -> bool {
        let mut has_changed = false;
        let live = self.live(view);
        let places = placement::places(view.nodes.values(), &live);
        for row in placement::plan(&places, &view.shards, &self.voters(view)) {
            tracing::info!(group = %row.group, version = row.version, "a group is wanted elsewhere");
            has_changed |= self.put(Some(row)).await;
        }
        has_changed
    }

    /// True if the row was changed.
    async fn put(&self, row: Option<ShardRow>) -> bool {
        let Some(row) = row else { return false };
        let (group, seen) = (row.group, row.version.checked_sub(1).filter(|seen| *seen > 0));
        let command = MetaCommand::new(vec![Change::PutShard(row, seen)]);
        match self.changer.change(command, CHANGE_MS).await {
            Ok(MetaReply::Applied { .. }) => return true,
            // Somebody else was first: the next round looks at what there is then.
            Ok(reply) => tracing::debug!(%group, ?reply, "the row of a group is not changed"),
            Err(why) => tracing::debug!(%group, %why, "the row of a group is not changed now"),
        }
        false
    }

    /// Nodes that were heard of late, as far as who leads the meta group knows; itself among them.
    fn live(&self, view: &MetaView) -> BTreeSet<NodeId> {
        let mut live: BTreeSet<NodeId> = [self.running.parts().node].into();
        let Some(seated) = self.running.replica(GroupId::META) else { return live };
        let standing = seated.receiver.group().standing();
        let seats = &standing.membership.1.seats;
        let is_heard = |replica: &ReplicaId| {
            standing.heard_ms.get(replica).copied().flatten().is_some_and(|ms| ms <= LIVE_MS)
        };
        live.extend(seats.iter().filter(|(replica, _)| is_heard(replica)).map(|(_, seat)| seat.node));
        // One that has joined just now has no replica yet that could be heard.
        let has_seat = |node: &NodeId| seats.values().any(|seat| seat.node == *node);
        live.extend(view.nodes.keys().filter(|node| !has_seat(node)));
        live
    }

    /// Who votes in which group, as far as it is known here. Of a group without a replica here the row is believed once nobody is on the
    /// way out of it; whether a change is safe its own leader judges anyhow, step by step.
    fn voters(&self, view: &MetaView) -> Voters {
        let mut voters = BTreeMap::new();
        for row in view.shards.values() {
            let known = match self.running.replica(row.group) {
                Some(seated) => settled(&seated.receiver.group().standing()),
                None if row.leaving.is_empty() && row.gone.is_empty() => {
                    let votes = row.seats.iter().filter(|(_, seat)| seat.role == Role::Voter);
                    Some(votes.map(|(replica, _)| *replica).collect())
                }
                None => None,
            };
            if let Some(known) = known {
                voters.insert(row.group, known);
            }
        }
        voters
    }
}

/// The voters of a membership that is not in the middle of a change.
fn settled(standing: &Standing) -> Option<BTreeSet<ReplicaId>> {
    let membership = &standing.membership.1;
    match &membership.voters[..] {
        [voters] => Some(voters.clone()),
        _ => None,
    }
}
