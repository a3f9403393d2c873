//! The node, as what is called from outside sees it.

use super::Server;
use crate::api::{Backend, GroupStanding};
use crate::boot::authority::Authority;
use crate::boot::join::Admittance;
use crate::config::Live;
use crate::delayed::order::{Answer, Order, RowsAsked, RowsPage};
use crate::keys::source::Keys;
use crate::meta::command::{MetaCommand, MetaReply};
use crate::meta::survey::{Survey, Surveys};
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::restore;
use crate::restore::asked::{self, Ask};
use crate::restore::fetch::Sources;
use crate::restore::hands::Hands;
use crate::restore::look::{Look, Seen};
use crate::running::replicas::Seated;
use crate::server::joining::Newcomer;
use crate::shard::command::KvCommand;
use crate::shard::door::{Consistency, WriteId};
use crate::shard::outcome::Outcome;
use crate::shard::watch::{Begin, Watch, Watched};
use crate::telemetry::Told;
use bytes::Bytes;
use engine::Stamp;
use engine::clock::Clock;
use engine::ids::{ClusterId, NodeId, TableId, TenantId};
use engine::tablet::view::View;
use proto::errors::code;
use raft::group::handover::hand_over;
use raft::net::link::BoxFuture;
use raft::time::BootClock;
use raft::types::GroupId;
use std::sync::Arc;
use std::time::Duration;

/// A node that is called from outside.
pub struct Called(pub Arc<Server>);

fn standing(seated: &Seated) -> GroupStanding {
    let group = seated.receiver.group();
    let known = group.standing();
    let (_, membership) = &known.membership;
    let leader = known.leader.and_then(|leader| membership.seats.get(&leader)).map(|seat| seat.node);
    let matched = known.matched.iter().filter_map(|(replica, at)| Some((*replica, at.as_ref()?.index)));
    GroupStanding {
        group: group.id(),
        term: known.vote.term,
        leader,
        last_index: known.last_index.unwrap_or(0),
        applied_index: known.applied.map_or(0, |id| id.index),
        voters: membership.voters.iter().flatten().copied().collect(),
        seats: membership.seats.clone(),
        matched: matched.collect(),
        failure: known.stopped.unwrap_or_default(),
    }
}

impl Server {
    async fn transfer_here(&self, group: GroupId, to: NodeId) -> Result<(), Refused> {
        let running = self.running()?;
        let seated = running.replica(group).ok_or_else(|| Refused::new(code::GROUP_UNKNOWN))?;
        if !seated.receiver.group().leads() {
            return Err(Refused::not_leader(self.leader(group)));
        }
        let known = seated.receiver.group().standing();
        let replica = known.membership.1.replica_at(to).ok_or_else(|| Refused::new(code::NODE_UNKNOWN))?;
        let word = running.words().of(group, self.clock.boot_ms()).get(&replica).copied().unwrap_or_default();
        let handed = hand_over(seated.receiver.group(), replica, word).await;
        handed.map_err(|why| Refused::new(code::TRANSFER_REFUSED).saying(why.to_string()))
    }
}

impl Backend for Called {
    fn node(&self) -> NodeId {
        self.0.node
    }

    fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    fn live(&self) -> Arc<Live> {
        self.0.live()
    }

    fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.clock.monotonic_ms()
    }

    fn telemetry(&self) -> &Arc<Told> {
        &self.0.told
    }

    fn sealed(&self) -> Option<Refused> {
        self.0.fenced()
    }

    fn known_address(&self, node: NodeId) -> Option<String> {
        self.0.known().get(&node).map(|at| at.client.clone())
    }

    fn is_up(&self) -> bool {
        self.0.is_up()
    }

    fn is_serving(&self) -> bool {
        self.0.is_serving()
    }

    fn meta(&self) -> Arc<MetaView> {
        self.0.meta()
    }

    fn write(
        &self,
        tenant: TenantId,
        command: KvCommand<Bytes>,
        id: WriteId,
        wait_ms: u64,
    ) -> BoxFuture<Result<Stamp, Refused>> {
        let may = self.0.disk.check().and_then(|()| self.0.check_archive());
        let door = may.and_then(|()| self.0.door().cloned());
        Box::pin(async move { door?.write(tenant, &command, id, wait_ms).await })
    }

    fn view(&self, tenant: TenantId, how: Consistency, wait_ms: u64) -> BoxFuture<Result<View, Refused>> {
        let door = self.0.door().cloned();
        Box::pin(async move { door?.view(tenant, how, wait_ms).await })
    }

    fn look(&self, tenant: TenantId, look: Look, wait_ms: u64) -> BoxFuture<Result<Arc<Seen>, Refused>> {
        let server = self.0.clone();
        Box::pin(async move { server.look(tenant, look, wait_ms).await })
    }

    fn outcome(&self, tenant: TenantId, id: WriteId, wait_ms: u64) -> BoxFuture<Result<Outcome, Refused>> {
        let door = self.0.door().cloned();
        Box::pin(async move { door?.outcome(tenant, id, wait_ms).await })
    }

    fn watch(&self, watched: Watched, begin: Begin, wait_ms: u64) -> BoxFuture<Result<Watch, Refused>> {
        let door = self.0.door().cloned();
        Box::pin(async move { door?.watch(watched, begin, wait_ms).await })
    }

    fn change(&self, command: MetaCommand, wait_ms: u64) -> BoxFuture<Result<MetaReply, Refused>> {
        let server = self.0.clone();
        Box::pin(async move { server.change(command, wait_ms).await })
    }

    fn change_here(&self, command: Bytes, wait_ms: u64) -> BoxFuture<Result<Bytes, Refused>> {
        let door = self.0.door().cloned();
        Box::pin(async move { door?.change_bytes(command, wait_ms).await })
    }

    fn refresh(&self, wait_ms: u64) -> BoxFuture<Result<(), Refused>> {
        let server = self.0.clone();
        Box::pin(async move { server.refresh(wait_ms).await })
    }

    fn meta_index(&self, wait_ms: u64) -> BoxFuture<Result<u64, Refused>> {
        let door = self.0.door().cloned();
        Box::pin(async move { door?.meta_index(wait_ms).await })
    }

    fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.0.leader(group)
    }

    fn groups(&self) -> Vec<GroupStanding> {
        let Ok(running) = self.0.running() else { return Vec::new() };
        let mut groups: Vec<GroupStanding> =
            running.replicas().iter().map(|seated| standing(seated)).collect();
        for (group, why) in running.failed() {
            let failure = why.to_string();
            groups.retain(|one| one.group != group);
            groups.push(GroupStanding { group, failure, ..GroupStanding::default() });
        }
        groups.sort_by_key(|one| one.group);
        groups
    }

    fn transfer(&self, group: GroupId, to: NodeId) -> BoxFuture<Result<(), Refused>> {
        let server = self.0.clone();
        Box::pin(async move { server.transfer_here(group, to).await })
    }

    fn keys(&self) -> Result<Arc<Keys>, Refused> {
        Ok(self.0.keys.clone())
    }

    fn admit(&self, newcomer: Newcomer, wait_ms: u64) -> BoxFuture<Result<Admittance, Refused>> {
        let server = self.0.clone();
        Box::pin(async move { server.admit(&newcomer, wait_ms).await })
    }

    fn authority(&self) -> Result<Authority, Refused> {
        self.0.authority()
    }

    fn rotate_cluster(&self, wait_ms: u64) -> BoxFuture<Result<u32, Refused>> {
        let server = self.0.clone();
        Box::pin(async move { server.rotate_cluster(wait_ms).await })
    }

    fn cluster_keys(&self) -> Vec<u32> {
        self.0.held.versions()
    }

    fn table(&self, table: TableId, at: u64) -> BoxFuture<Result<Bytes, Refused>> {
        let server = self.0.clone();
        Box::pin(async move { server.read_table(table, at).await })
    }

    fn order(
        &self,
        node: Option<NodeId>,
        by: String,
        order: Order,
        wait_ms: u64,
    ) -> BoxFuture<Result<Answer, Refused>> {
        let server = self.0.clone();
        Box::pin(async move {
            match node {
                Some(node) => server.order(node, &by, order, wait_ms).await,
                None => server.order_here(&by, order).await,
            }
        })
    }

    fn rows(&self, asked: RowsAsked, wait_ms: u64) -> BoxFuture<Result<RowsPage, Refused>> {
        let server = self.0.clone();
        Box::pin(async move { server.rows_here(asked, wait_ms).await })
    }

    fn write_rows(
        &self,
        tenant: TenantId,
        command: Bytes,
        id: WriteId,
        wait_ms: u64,
    ) -> BoxFuture<Result<Stamp, Refused>> {
        let server = self.0.clone();
        Box::pin(async move { server.write_rows_here(tenant, &command, id, wait_ms).await })
    }

    fn restoring(&self, ask: Ask, wait_ms: u64) -> BoxFuture<Result<asked::Answer, Refused>> {
        let door = self.0.door().cloned();
        Box::pin(async move { door?.restoring(ask, wait_ms).await })
    }

    fn restoring_anywhere(
        &self,
        tenant: TenantId,
        ask: Ask,
        wait_ms: u64,
    ) -> BoxFuture<Result<asked::Answer, Refused>> {
        let hands = Hands::new(self.0.clone());
        Box::pin(async move { hands.ask_once(tenant, ask, wait_ms).await })
    }

    fn archive(&self, wait_ms: u64) -> BoxFuture<Result<Option<Sources>, Refused>> {
        let server = self.0.clone();
        Box::pin(async move {
            let read = restore::archive::sources(&server);
            let read = tokio::time::timeout(Duration::from_millis(wait_ms), read).await;
            Ok(read.map_err(|_| Refused::new(code::DEADLINE))??)
        })
    }

    fn generation(&self) -> u64 {
        self.0.generations.own()
    }

    fn archives(&self) -> Result<Arc<Server>, Refused> {
        Ok(self.0.clone())
    }

    fn survey(&self) -> Survey {
        self.0.survey_here()
    }

    fn surveys(&self) -> BoxFuture<Surveys> {
        let server = self.0.clone();
        Box::pin(async move { server.surveys().await })
    }
}
