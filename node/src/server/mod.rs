//! One running node: its rooms, and the order in which they begin and end.
//!
//! 1. Keys: the passphrase opens the root file, and with it everything of this node. Until it does, the node is sealed ([`porch`]).
//! 2. Links: a node that has not read its disk neither dials nor answers.
//! 3. Disk: log and tablets are read, and peers say whether this disk may go on ([`crate::running::opening`]).
//! 4. Replicas run, the meta group is followed, and what it wants of this node is done.

pub mod archiving;
mod assuring;
pub mod backend;
mod backups;
mod calming;
pub mod certificate;
mod closing;
pub mod disk;
pub mod founding;
mod gaps;
pub mod gate;
pub mod joining;
mod keeping;
mod learning;
pub mod live;
pub(crate) mod opened;
pub mod porch;
#[cfg(feature = "simulated")]
pub mod pretended;
mod pulling;
pub mod purging;
mod retaining;
pub mod scrubbing;
pub mod serving;
pub(crate) mod sizes;
mod snapshots;
pub mod start;
mod straying;
mod survey;
pub mod telling;
mod turning;
pub mod verifying;

use crate::boot::peers::Known;
use crate::clock::SystemClock;
use crate::config::Live;
use crate::delayed::gate::Delayed;
use crate::drill::schedule::Drills;
use crate::keys::held::Held;
use crate::keys::source::Keys;
use crate::meta::command::{MetaCommand, MetaReply};
use crate::meta::follow::{Changes, Published};
use crate::meta::forward::Forward;
use crate::meta::view::MetaView;
use crate::peer::Serving;
use crate::refused::Refused;
use crate::running::replicas::Running;
use crate::shard::door::Door;
use crate::shard::placing::Changer;
use crate::takeover::generation::Generations;
use crate::telemetry::Told;
use crate::tenants::purged::Purged;
use crate::tls::Tls;
use crate::work::Tasks;
use arc_swap::ArcSwap;
use bytes::Bytes;
use disk::Disk;
use engine::ids::{ClusterId, NodeId};
use proto::errors::code;
use raft::net::link::BoxFuture;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, watch};

/// A change is forwarded so often at most: whoever leads may have changed meanwhile.
const FORWARDS_MAX: usize = 8;
/// Between two tries to forward a change, in milliseconds.
const FORWARD_MS: u64 = 100;

/// A node that runs.
pub struct Server {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) folder: PathBuf,
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) held: Arc<Held>,
    pub(crate) tls: Tls,
    pub(crate) changes: Changes,
    pub(crate) published: Published,
    pub(crate) peers: Arc<RwLock<Known>>,
    pub(crate) forward: Arc<dyn Forward>,
    pub(crate) serving: Serving,
    pub(crate) tasks: Tasks,
    pub(crate) inner: OnceCell<Inner>,
    /// Why it cannot go on, if it cannot.
    pub(crate) failed: watch::Sender<Option<String>>,
    pub(crate) is_ending: AtomicBool,
    pub(crate) told: Arc<Told>,
    pub(crate) disk: Arc<Disk>,
    /// Under which names it is reached: they stand in its certificate.
    pub(crate) hosts: Vec<String>,
    /// Why the certificate was not made anew, if it had to be.
    pub(crate) renewal: RwLock<Option<String>>,
    /// Tenants that are gone for good.
    pub(crate) purged: Arc<Purged>,
    /// Keys of the meta group that do not open here.
    pub(crate) unopened: RwLock<BTreeSet<String>>,
    /// Why the root file of the cluster is not taken here, if it is not.
    pub(crate) untaken: RwLock<Option<String>>,
    /// What scrubs have found.
    pub(crate) scrubbed: scrubbing::Scrubbed,
    /// How fast snapshots may go.
    pub(crate) calm: calming::Calm,
    /// What is seen of restores while the meta group is led here.
    pub(crate) restores: std::sync::Mutex<crate::restore::told::Watch>,
    /// What comparisons of replicas have found.
    pub(crate) verified: verifying::Verified,
    /// What a delayed node remembers.
    pub(crate) delayed: Delayed,
    /// How late it is to be, if its configuration says so, in milliseconds.
    pub(crate) wanted_delay_ms: Option<u64>,
    /// Why it does not start while the disk is full, if that is so.
    pub(crate) unstarted: RwLock<Option<String>>,
    /// Why metrics cannot be read, if they cannot.
    pub(crate) unread: RwLock<Option<String>>,
    pub(crate) live: ArcSwap<Live>,
    /// How history is shipped.
    pub(crate) archiving: Arc<archiving::Archiving>,
    /// Reads of the archive.
    pub(crate) looks: crate::restore::look::Looks,
    /// What it knows of drills.
    pub(crate) drills: Drills,
    /// The newest generation it knows of.
    pub(crate) generations: Generations,
    /// Why it must be stopped and started again, if it must.
    pub(crate) again: watch::Sender<Option<String>>,
    /// Whether what the rows of the meta group say holds: false while a takeover is not in them.
    pub(crate) recorded: watch::Sender<bool>,
}

/// What is there once the node is admitted.
pub(crate) struct Inner {
    pub(crate) running: Arc<Running>,
    pub(crate) door: Arc<Door>,
}

impl Server {
    /// The picture of the meta group of now.
    #[must_use]
    pub fn meta(&self) -> Arc<MetaView> {
        self.published.now()
    }

    /// Its replicas.
    ///
    /// # Errors
    /// `STARTING`: it is not admitted yet.
    pub fn running(&self) -> Result<&Arc<Running>, Refused> {
        self.inner.get().map(|inner| &inner.running).ok_or_else(|| Refused::new(code::STARTING))
    }

    /// Where reads and writes come in.
    ///
    /// # Errors
    /// `STARTING`: it is not admitted yet. `FENCED`: the cluster has gone on without it.
    pub fn door(&self) -> Result<&Arc<Door>, Refused> {
        if let Some(refused) = self.fenced() {
            return Err(refused);
        }
        self.inner.get().map(|inner| &inner.door).ok_or_else(|| Refused::new(code::STARTING))
    }

    /// Which cluster it belongs to.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Which node it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Waits until the node cannot go on, and says why.
    pub async fn failed(&self) -> String {
        let mut heard = self.failed.subscribe();
        // The sender is here: it cannot go away meanwhile.
        let failed = heard.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        failed.unwrap_or_default()
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Serves clients and administrators at these listeners, until it is stopped.
    ///
    /// # Errors
    /// TLS refuses a configuration.
    pub fn serve(self: &Arc<Self>, doors: (TcpListener, TcpListener)) -> Result<(), crate::tls::TlsError> {
        let called = Arc::new(backend::Called(self.clone()));
        crate::api::serve::serve(called, &self.tls, &self.tasks.spawner(), doors)
    }

    /// How history is shipped.
    #[must_use]
    pub fn archiving(&self) -> &archiving::Archiving {
        &self.archiving
    }

    /// What it shows and demands on connections.
    #[must_use]
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Who leads a group, as far as this node knows.
    #[must_use]
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        let standing = self.running().ok()?.replica(group)?.receiver.group().standing();
        let leader = standing.leader?;
        standing.membership.1.seats.get(&leader).map(|seat| seat.node)
    }

    /// Changes rows of the meta group, wherever that is led.
    ///
    /// # Errors
    /// What the one that leads says; `NO_LEADER`, `DEADLINE`.
    pub async fn change(&self, command: MetaCommand, wait_ms: u64) -> Result<MetaReply, Refused> {
        let changed =
            tokio::time::timeout(Duration::from_millis(wait_ms), self.change_anywhere(&command, wait_ms));
        changed.await.unwrap_or_else(|_| Err(Refused::new(code::DEADLINE)))
    }

    async fn change_anywhere(&self, command: &MetaCommand, wait_ms: u64) -> Result<MetaReply, Refused> {
        let body = Bytes::from(command.encode().ok_or_else(|| Refused::new(code::BATCH_TOO_LARGE))?);
        let body = &body;
        self.where_meta_is_led(|leader| async move {
            let Some(leader) = leader else { return self.door()?.change(command, wait_ms).await };
            let reply = self.forward.change(leader, body.clone(), wait_ms).await?;
            MetaReply::decode(&reply).map_err(|_| Refused::new(code::INTERNAL))
        })
        .await
    }

    /// Waits until what is known of the meta group here holds every change that was acknowledged before.
    ///
    /// # Errors
    /// `NO_LEADER`, `DEADLINE`.
    pub async fn refresh(&self, wait_ms: u64) -> Result<(), Refused> {
        let refreshed = async {
            let asked = self.where_meta_is_led(|leader| async move {
                match leader {
                    None => self.door()?.meta_index(wait_ms).await,
                    Some(leader) => self.forward.meta_index(leader, wait_ms).await,
                }
            });
            self.published.reaches(asked.await?).await;
            Ok(())
        };
        let refreshed = tokio::time::timeout(Duration::from_millis(wait_ms), refreshed);
        refreshed.await.unwrap_or_else(|_| Err(Refused::new(code::DEADLINE)))
    }

    /// Does something at the node that leads the meta group: it is named, or this one does. Whoever leads may change meanwhile.
    async fn where_meta_is_led<T, F: Future<Output = Result<T, Refused>>>(
        &self,
        does: impl Fn(Option<NodeId>) -> F,
    ) -> Result<T, Refused> {
        let mut refused = Refused::new(code::NO_LEADER);
        for _ in 0..FORWARDS_MAX {
            let leader = self.leader(GroupId::META).filter(|leader| *leader != self.node);
            refused = match does(leader).await {
                Ok(done) => return Ok(done),
                Err(refused) => refused,
            };
            if !matches!(refused.code, code::WRONG_NODE | code::NO_LEADER) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(FORWARD_MS)).await;
        }
        Err(refused)
    }

    /// Says from now on that it does not serve, so that whoever balances load goes elsewhere. It answers until it is stopped.
    pub fn begin_stop(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Ends it in order. What it leads goes over to others first, as far as those may lead.
    pub async fn stop(&self, grace_ms: u64) {
        self.begin_stop();
        if let Ok(running) = self.running() {
            let handed = tokio::time::timeout(Duration::from_millis(grace_ms), running.hand_over_all());
            if handed.await.is_err() {
                tracing::warn!("not everything that is led here was handed over in time");
            }
        }
        self.tasks.end().await;
        self.serving.clear();
        if let Ok(running) = self.running() {
            running.end().await;
        }
    }
}

/// Changes rows through a node that may not be there any more.
pub(crate) struct Through(pub(crate) std::sync::Weak<Server>);

impl Changer for Through {
    fn change(&self, command: MetaCommand, wait_ms: u64) -> BoxFuture<Result<MetaReply, Refused>> {
        let server = self.0.upgrade();
        Box::pin(async move {
            match server {
                Some(server) => server.change(command, wait_ms).await,
                None => Err(Refused::new(code::STOPPING)),
            }
        })
    }
}
