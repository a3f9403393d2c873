//! The node as what is called from outside sees it while its keys are not there, and from then on as it is: connections that were made
//! meanwhile go on. A node that is sealed says so, and nothing else: it knows nothing that it could serve.

use super::backend::Called;
use crate::api::{Backend, GroupStanding};
use crate::boot::authority::Authority;
use crate::boot::identity::NodeIdentity;
use crate::boot::join::Admittance;
use crate::clock::SystemClock;
use crate::config::Live;
use crate::delayed::order::{Answer, Order, RowsAsked, RowsPage};
use crate::finding::NODE_SEALED;
use crate::keys::source::Keys;
use crate::meta::command::{MetaCommand, MetaReply};
use crate::meta::survey::{Survey, Surveys};
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::restore::asked::{self, Ask};
use crate::restore::fetch::Sources;
use crate::restore::look::{Look, Seen};
use crate::server::joining::Newcomer;
use crate::shard::command::KvCommand;
use crate::shard::door::{Consistency, WriteId};
use crate::shard::outcome::Outcome;
use crate::shard::watch::{Begin, Watch, Watched};
use crate::telemetry::Told;
use crate::telemetry::node::NodeFacts;
use crate::telemetry::samples::exposition;
use bytes::Bytes;
use engine::Stamp;
use engine::clock::Clock;
use engine::ids::{ClusterId, NodeId, TableId, TenantId};
use engine::tablet::view::View;
use proto::errors::code;
use raft::net::link::BoxFuture;
use raft::time::BootClock;
use raft::types::GroupId;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// A node whose keys may not be there yet.
pub struct Gate {
    identity: NodeIdentity,
    live: Arc<Live>,
    clock: SystemClock,
    told: Arc<Told>,
    /// Why it is sealed.
    why: RwLock<String>,
    called: OnceLock<Called>,
}

impl Gate {
    /// A sealed node.
    #[must_use]
    pub fn new(identity: NodeIdentity, live: Live, told: Arc<Told>) -> Self {
        let (live, clock) = (Arc::new(live), SystemClock::default());
        Self { identity, live, clock, told, why: RwLock::default(), called: OnceLock::new() }
    }

    /// From now on it is told why. Tells whether that is something else than before.
    pub fn because(&self, why: &str) -> bool {
        let mut told = self.why.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = *told != why;
        why.clone_into(&mut told);
        is_new
    }

    /// Its keys are there: from now on it is this.
    pub fn open(&self, called: Called) {
        // It is set once: whoever opens it has waited for that.
        let _ = self.called.set(called);
    }

    fn inner(&self) -> Result<&Called, Refused> {
        self.called.get().ok_or_else(|| {
            let why = self.why.read().unwrap_or_else(PoisonError::into_inner).clone();
            Refused::new(code::SEALED)
                .saying(format!("the node is sealed: {why}"))
                .after(super::porch::LOOK_MS)
        })
    }

    /// What is told of it while it is sealed, as Prometheus reads it.
    #[must_use]
    pub fn metrics(&self) -> String {
        let facts = NodeFacts { is_sealed: true, findings: (0, 1), ..NodeFacts::default() };
        let mut samples = facts.samples();
        samples.extend(self.told.calls.samples());
        exposition(samples)
    }

    fn sealed_survey(&self) -> Survey {
        let text = self.inner().err().map(|refused| refused.text).unwrap_or_default();
        let findings = vec![NODE_SEALED.found(text)];
        Survey { findings, is_sealed: true, ..Survey::default() }
    }

    /// Asks the node, if it is there.
    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Called) -> BoxFuture<Result<T, Refused>>,
    ) -> BoxFuture<Result<T, Refused>> {
        match self.inner() {
            Ok(called) => ask(called),
            Err(refused) => Box::pin(std::future::ready(Err(refused))),
        }
    }
}

impl Backend for Gate {
    fn node(&self) -> NodeId {
        self.identity.node
    }

    fn cluster(&self) -> ClusterId {
        self.identity.cluster
    }

    fn live(&self) -> Arc<Live> {
        self.inner().map_or_else(|_| self.live.clone(), Backend::live)
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    fn telemetry(&self) -> &Arc<Told> {
        &self.told
    }

    fn sealed(&self) -> Option<Refused> {
        self.inner().map_or_else(Some, Backend::sealed)
    }

    fn known_address(&self, node: NodeId) -> Option<String> {
        self.inner().ok()?.known_address(node)
    }

    fn is_up(&self) -> bool {
        self.inner().map_or(true, Backend::is_up)
    }

    fn is_serving(&self) -> bool {
        self.inner().is_ok_and(Backend::is_serving)
    }

    fn meta(&self) -> Arc<MetaView> {
        self.inner().map(Backend::meta).unwrap_or_default()
    }

    fn write(
        &self,
        tenant: TenantId,
        command: KvCommand<Bytes>,
        id: WriteId,
        wait_ms: u64,
    ) -> BoxFuture<Result<Stamp, Refused>> {
        self.ask(|called| called.write(tenant, command, id, wait_ms))
    }

    fn view(&self, tenant: TenantId, how: Consistency, wait_ms: u64) -> BoxFuture<Result<View, Refused>> {
        self.ask(|called| called.view(tenant, how, wait_ms))
    }

    fn look(&self, tenant: TenantId, look: Look, wait_ms: u64) -> BoxFuture<Result<Arc<Seen>, Refused>> {
        self.ask(|called| called.look(tenant, look, wait_ms))
    }

    fn outcome(&self, tenant: TenantId, id: WriteId, wait_ms: u64) -> BoxFuture<Result<Outcome, Refused>> {
        self.ask(|called| called.outcome(tenant, id, wait_ms))
    }

    fn watch(&self, watched: Watched, begin: Begin, wait_ms: u64) -> BoxFuture<Result<Watch, Refused>> {
        self.ask(|called| called.watch(watched, begin, wait_ms))
    }

    fn change(&self, command: MetaCommand, wait_ms: u64) -> BoxFuture<Result<MetaReply, Refused>> {
        self.ask(|called| called.change(command, wait_ms))
    }

    fn change_here(&self, command: Bytes, wait_ms: u64) -> BoxFuture<Result<Bytes, Refused>> {
        self.ask(|called| called.change_here(command, wait_ms))
    }

    fn refresh(&self, wait_ms: u64) -> BoxFuture<Result<(), Refused>> {
        self.ask(|called| called.refresh(wait_ms))
    }

    fn meta_index(&self, wait_ms: u64) -> BoxFuture<Result<u64, Refused>> {
        self.ask(|called| called.meta_index(wait_ms))
    }

    fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.inner().ok()?.leader(group)
    }

    fn groups(&self) -> Vec<GroupStanding> {
        self.inner().map(Backend::groups).unwrap_or_default()
    }

    fn transfer(&self, group: GroupId, to: NodeId) -> BoxFuture<Result<(), Refused>> {
        self.ask(|called| called.transfer(group, to))
    }

    fn keys(&self) -> Result<Arc<Keys>, Refused> {
        self.inner()?.keys()
    }

    fn admit(&self, newcomer: Newcomer, wait_ms: u64) -> BoxFuture<Result<Admittance, Refused>> {
        self.ask(|called| called.admit(newcomer, wait_ms))
    }

    fn authority(&self) -> Result<Authority, Refused> {
        self.inner()?.authority()
    }

    fn rotate_cluster(&self, wait_ms: u64) -> BoxFuture<Result<u32, Refused>> {
        self.ask(|called| called.rotate_cluster(wait_ms))
    }

    fn cluster_keys(&self) -> Vec<u32> {
        self.inner().map(Backend::cluster_keys).unwrap_or_default()
    }

    fn table(&self, table: TableId, at: u64) -> BoxFuture<Result<Bytes, Refused>> {
        self.ask(|called| called.table(table, at))
    }

    fn order(
        &self,
        node: Option<NodeId>,
        by: String,
        order: Order,
        wait_ms: u64,
    ) -> BoxFuture<Result<Answer, Refused>> {
        self.ask(|called| called.order(node, by, order, wait_ms))
    }

    fn rows(&self, asked: RowsAsked, wait_ms: u64) -> BoxFuture<Result<RowsPage, Refused>> {
        self.ask(|called| called.rows(asked, wait_ms))
    }

    fn write_rows(
        &self,
        tenant: TenantId,
        command: Bytes,
        id: WriteId,
        wait_ms: u64,
    ) -> BoxFuture<Result<Stamp, Refused>> {
        self.ask(|called| called.write_rows(tenant, command, id, wait_ms))
    }

    fn restoring(&self, ask: Ask, wait_ms: u64) -> BoxFuture<Result<asked::Answer, Refused>> {
        self.ask(|called| called.restoring(ask, wait_ms))
    }

    fn restoring_anywhere(
        &self,
        tenant: TenantId,
        ask: Ask,
        wait_ms: u64,
    ) -> BoxFuture<Result<asked::Answer, Refused>> {
        self.ask(|called| called.restoring_anywhere(tenant, ask, wait_ms))
    }

    fn archive(&self, wait_ms: u64) -> BoxFuture<Result<Option<Sources>, Refused>> {
        self.ask(|called| called.archive(wait_ms))
    }

    fn generation(&self) -> u64 {
        self.inner().map_or(0, Backend::generation)
    }

    fn archives(&self) -> Result<Arc<super::Server>, Refused> {
        self.inner()?.archives()
    }

    fn survey(&self) -> Survey {
        self.inner().map_or_else(|_| self.sealed_survey(), Backend::survey)
    }

    fn surveys(&self) -> BoxFuture<Surveys> {
        match self.inner() {
            Ok(called) => called.surveys(),
            Err(_) => {
                let own = [(self.node(), self.sealed_survey())];
                Box::pin(std::future::ready(Surveys(own.into())))
            }
        }
    }
}
