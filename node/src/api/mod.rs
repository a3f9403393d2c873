//! What clients and administrators are answered: gRPC inside TLS of the node's own.
//!
//! * [`listener`] takes connections and reads from the certificate who comes; [`guard`] refuses by path what the role may not do at all, before
//!   anything of a request is read. Every handler then asks [`crate::access::policy::decide`] once more, with the tenant.
//! * [`measure`] counts what comes; [`health`] tells whether the node serves, and what can be called.
//! * [`convert`] makes nouns of the wire into ours, and is the only place that trusts none of them; [`errors`] makes [`Refused`] into what
//!   travels.
//! * [`data`] is what clients call, [`admin`] what administrators do, [`peers`] what nodes ask each other of the meta group, and [`forward`] the
//!   other end of that.
//!
//! All of it stands on [`Backend`], which is the node.

pub mod admin;
pub mod convert;
pub mod data;
mod delayed;
pub mod errors;
pub mod forward;
pub mod guard;
pub mod health;
pub mod listener;
pub mod measure;
pub mod peers;
pub mod restoring;
pub mod serve;

use crate::boot::authority::Authority;
use crate::boot::join::Admittance;
use crate::config::Live;
use crate::delayed::order::{Answer, Order, RowsAsked, RowsPage};
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
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{ClusterId, NodeId, TableId, TenantId};
use engine::tablet::view::View;
use proto::errors::code;
use raft::net::link::BoxFuture;
use raft::types::{GroupId, ReplicaId, Seat};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The replica of a group on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStanding {
    /// The group.
    pub group: GroupId,
    /// Its term.
    pub term: u64,
    /// The node that leads, as far as is known here.
    pub leader: Option<NodeId>,
    /// The index of the last entry of its log.
    pub last_index: u64,
    /// The index of the last entry applied.
    pub applied_index: u64,
    /// Who votes.
    pub voters: BTreeSet<ReplicaId>,
    /// Who is a member, where, and as what.
    pub seats: BTreeMap<ReplicaId, Seat>,
    /// Of the leader alone: how far the logs of members agree with its own.
    pub matched: BTreeMap<ReplicaId, u64>,
    /// Why it does not run; empty if it does.
    pub failure: String,
}

/// The node, as what is called here sees it.
pub trait Backend: Send + Sync + 'static {
    /// Its id.
    fn node(&self) -> NodeId;
    /// Its cluster.
    fn cluster(&self) -> ClusterId;
    /// The settings that hold now.
    fn live(&self) -> Arc<Live>;
    /// Its wall clock, in milliseconds since 1970.
    fn now_ms(&self) -> u64;
    /// A clock that nobody sets, in milliseconds.
    fn monotonic_ms(&self) -> u64;
    /// Where it counts what comes to its doors.
    fn telemetry(&self) -> &Arc<Told>;
    /// What is told to whoever asks for anything but how the node is, while its keys are not open.
    fn sealed(&self) -> Option<Refused> {
        None
    }
    /// Where clients find a node that no row tells of, if that was known before.
    fn known_address(&self, _: NodeId) -> Option<String> {
        None
    }
    /// Whether it answers at all: it does not end.
    fn is_up(&self) -> bool;
    /// Whether clients are well served here: it has started, and neither drains nor ends.
    fn is_serving(&self) -> bool;
    /// What is known of the meta group here.
    fn meta(&self) -> Arc<MetaView>;
    /// Writes all of a command or nothing. The life of the tenant, its quota and the routing are looked at in there.
    fn write(
        &self,
        tenant: TenantId,
        command: KvCommand<Bytes>,
        id: WriteId,
        wait_ms: u64,
    ) -> BoxFuture<Result<Stamp, Refused>>;
    /// What a read may look at. The life of the tenant, its quota and the routing are looked at in there.
    fn view(&self, tenant: TenantId, how: Consistency, wait_ms: u64) -> BoxFuture<Result<View, Refused>>;
    /// What the archive has of a tenant. The life of the tenant is looked at in there.
    fn look(&self, tenant: TenantId, look: Look, wait_ms: u64) -> BoxFuture<Result<Arc<Seen>, Refused>>;
    /// What became of a write, which is closed with it.
    fn outcome(&self, tenant: TenantId, id: WriteId, wait_ms: u64) -> BoxFuture<Result<Outcome, Refused>>;
    /// Watches what is written behind a stamp. The life of the tenant and the routing are looked at in there.
    fn watch(&self, watched: Watched, begin: Begin, wait_ms: u64) -> BoxFuture<Result<Watch, Refused>>;
    /// Changes rows of the meta group, wherever that is led.
    fn change(&self, command: MetaCommand, wait_ms: u64) -> BoxFuture<Result<MetaReply, Refused>>;
    /// Changes them if this node leads the meta group, else says who does; command and reply are bytes.
    fn change_here(&self, command: Bytes, wait_ms: u64) -> BoxFuture<Result<Bytes, Refused>>;
    /// Waits until what is known of the meta group here holds every change that was acknowledged before.
    fn refresh(&self, wait_ms: u64) -> BoxFuture<Result<(), Refused>>;
    /// The index of an entry of the meta group with all that was acknowledged before, if this node leads it.
    fn meta_index(&self, wait_ms: u64) -> BoxFuture<Result<u64, Refused>>;
    /// Who leads a group, as far as is known here.
    fn leader(&self, group: GroupId) -> Option<NodeId>;
    /// The replicas here.
    fn groups(&self) -> Vec<GroupStanding>;
    /// Hands the lead of a group to the replica on `to`. Whoever does not lead says who does.
    fn transfer(&self, group: GroupId, to: NodeId) -> BoxFuture<Result<(), Refused>>;
    /// The keys that are unwrapped here.
    ///
    /// # Errors
    /// `SEALED`: there are none.
    fn keys(&self) -> Result<Arc<Keys>, Refused>;
    /// Lets a new node in.
    fn admit(&self, newcomer: Newcomer, wait_ms: u64) -> BoxFuture<Result<Admittance, Refused>>;
    /// The authority of the cluster, unsealed.
    ///
    /// # Errors
    /// `STARTING`. `DAMAGED`.
    fn authority(&self) -> Result<Authority, Refused>;
    /// Begins a rotation of the cluster key; returns its new version.
    fn rotate_cluster(&self, wait_ms: u64) -> BoxFuture<Result<u32, Refused>>;
    /// Versions of the cluster key that are here, the newest last.
    fn cluster_keys(&self) -> Vec<u32>;
    /// Bytes of the file of a table here, from `at` on; none: it ends there.
    fn table(&self, table: TableId, at: u64) -> BoxFuture<Result<Bytes, Refused>>;
    /// Does what `by` asks of a delayed node, wherever that is; `None`: of this one, for another node has asked.
    fn order(
        &self,
        node: Option<NodeId>,
        by: String,
        order: Order,
        wait_ms: u64,
    ) -> BoxFuture<Result<Answer, Refused>>;
    /// Rows of a tenant as they stand now, for another node, if this one leads.
    fn rows(&self, asked: RowsAsked, wait_ms: u64) -> BoxFuture<Result<RowsPage, Refused>>;
    /// Writes rows of a tenant for another node, if this one leads; the command is bytes.
    fn write_rows(
        &self,
        tenant: TenantId,
        command: Bytes,
        id: WriteId,
        wait_ms: u64,
    ) -> BoxFuture<Result<Stamp, Refused>>;
    /// Does what a restore asks, if that can be done here.
    fn restoring(&self, ask: Ask, wait_ms: u64) -> BoxFuture<Result<asked::Answer, Refused>>;
    /// The same, done by whoever can for this tenant.
    fn restoring_anywhere(
        &self,
        tenant: TenantId,
        ask: Ask,
        wait_ms: u64,
    ) -> BoxFuture<Result<asked::Answer, Refused>>;
    /// The archive of the cluster, if there is one.
    fn archive(&self, wait_ms: u64) -> BoxFuture<Result<Option<Sources>, Refused>>;
    /// The generation of the cluster; 0 before it is known.
    fn generation(&self) -> u64;
    /// The node that knows of archives.
    ///
    /// # Errors
    /// `SEALED`: its keys are not open.
    fn archives(&self) -> Result<Arc<crate::server::Server>, Refused>;
    /// What this node knows best.
    fn survey(&self) -> Survey;
    /// What every node says of itself, this one included; who does not answer in time is missing.
    fn surveys(&self) -> BoxFuture<Surveys>;
}

/// What all handlers share.
#[derive(Clone)]
pub struct Api {
    backend: Arc<dyn Backend>,
    /// Names calls in the log.
    requests: Arc<AtomicU64>,
}

impl Api {
    /// Over a node.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        // Numbers of calls go on where those of an earlier start cannot have come.
        let first = backend.now_ms() << 20;
        Self { backend, requests: Arc::new(AtomicU64::new(first)) }
    }

    /// What travels of an answer.
    fn answered<T>(&self, answer: Result<T, Refused>) -> Result<tonic::Response<T>, tonic::Status> {
        answer.map(tonic::Response::new).map_err(|refused| self.status(&refused))
    }

    /// The node.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// A number for one call.
    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes rows of the meta group; what the meta group refuses is given a code by `of`.
    async fn change(
        &self,
        command: MetaCommand,
        wait_ms: u64,
        of: impl Fn(crate::meta::command::Reason) -> u32,
    ) -> Result<Vec<engine::ids::CollectionId>, Refused> {
        match self.backend.change(command, wait_ms).await? {
            MetaReply::Applied { collections, .. } => Ok(collections),
            MetaReply::Refused { reason, .. } => Err(Refused::new(of(reason)).saying(reason.to_string())),
            MetaReply::Malformed => Err(Refused::new(code::MALFORMED)),
        }
    }
}
