//! A takeover that is decided at the folder of a node that does not run: of a delayed node as of a cut, or of any other that is the only one
//! left, with all that it has. The next start carries it out.

use super::carry::Offline;
use super::decision::{Decision, Way};
use super::generation::Told;
use super::order::{Plan, Target};
use super::rules::{self, Standing};
use super::service::groups_after;
use crate::boot::identity::NodeIdentity;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::entropy::SystemEntropy;
use crate::keys::kms::Passphrase;
use crate::keys::source::Keys;
use crate::meta::view::MetaView;
use crate::running::{self, RunningParts};
use crate::server::opened::{OpenedKeys, open_keys};
use crate::server::sizes::{log_config, pace, pool_config};
use crate::server::start::{Result, StartError};
use crate::shard::operations::NodeOperations;
use crate::tenants::purged::Purged;
use crate::tenants::rules::TenantState;
use crate::work::Tasks;
use bytes::Bytes;
use engine::Stamp;
use engine::clock::Clock;
use engine::ids::NodeId;
use raft::delay::{CatalogGate, GateStore};
use raft::machine::NoFeed;
use raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use raft::types::GroupId;
use std::sync::Arc;

/// Nobody is called.
struct Nobody;

impl PeerLink for Nobody {
    fn call(&self, node: NodeId, _: Lane, _: Bytes) -> BoxFuture<std::result::Result<Said, Unreachable>> {
        Box::pin(async move { Err(Unreachable { node, cause: "this node does not run".to_owned() }) })
    }
}

/// The folder of a node that does not run, open.
pub struct Folder {
    identity: NodeIdentity,
    config: Arc<Config>,
    offline: Offline,
    gate: Option<Stamp>,
    meta: MetaView,
    _tasks: Tasks,
}

/// What is possible there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Possible {
    /// The name of the node, which is to be typed.
    pub name: String,
    /// The name of its cluster.
    pub cluster: String,
    /// The plan.
    pub plan: Plan,
    /// Nodes that would not belong to it any more, by name.
    pub gone: Vec<String>,
    /// Whether the node is a delayed one.
    pub is_late: bool,
}

impl Folder {
    /// Opens it, with the keys that the passphrase opens. Its log is read, and notes that it was opened; nothing of it is applied. Must be called
    /// on a runtime.
    ///
    /// # Errors
    /// As a start; the node runs; the meta group is not here.
    pub async fn open(config: Arc<Config>, passphrase: Passphrase) -> Result<Self> {
        let (opens, folder) = (config.clone(), config.node.data_dir.clone());
        let opening = tokio::task::spawn_blocking(move || open_keys(&folder, &passphrase));
        let OpenedKeys { identity, keys, .. } =
            opening.await.map_err(|_| StartError::Other("opening the keys panicked".to_owned()))??;
        if Decision::read(&opens.node.data_dir)?.is_some() {
            return Err(StartError::Other("a takeover is decided already: start the node".to_owned()));
        }
        let (tasks, purged) = (Tasks::new(Arc::new(|_| {})), Arc::new(Purged::default()));
        let parts = parts(&opens, &identity, &keys, (&tasks, purged.clone()));
        let reading = tokio::task::spawn_blocking(move || Offline::open(parts));
        let offline =
            reading.await.map_err(|_| StartError::Other("reading the disk panicked".to_owned()))??;
        let read = || {
            let meta = offline.meta_ahead()?;
            let store = CatalogGate::new(offline.pool().clone(), keys.sealer().clone(), identity.node);
            Ok::<_, running::Error>((meta, store.load()?.map(|state| state.gate)))
        };
        let (meta, gate) = match read() {
            Ok(read) => read,
            Err(error) => {
                offline.close();
                return Err(error.into());
            }
        };
        for (name, cause) in keys.learn(&meta.key_rows()) {
            tracing::warn!(?name, cause, "a key of the meta group does not open");
        }
        purged.learn(meta.tenants.values().filter(|row| row.state == TenantState::Purged).map(|row| row.id));
        Ok(Self { identity, config, offline, gate, meta, _tasks: tasks })
    }

    /// What a takeover would be.
    ///
    /// # Errors
    /// It cannot be, and why.
    pub fn possible(&self, target: Target) -> Result<Possible> {
        let plan = match (self.gate, target) {
            (None, Target::Newest) => self.survivor()?,
            (None, Target::Upto(_)) => {
                let text = "this node is not delayed: what it has applied cannot be taken back, so it goes on with all it has (--newest); to go \
                            back use a delayed node or an archive";
                return Err(StartError::Other(text.to_owned()));
            }
            (Some(gate), target) => {
                self.check_whole()?;
                let seen = self.offline.seen().map_err(running::Error::from)?;
                let gate = gate.max(self.offline.applied());
                let (received, waits) =
                    (self.offline.received()?, self.offline.waits().map_err(running::Error::from)?);
                let standing = Standing { gate, received, seen, parked: 0, waits };
                rules::plan(target, &standing).map_err(|refused| StartError::Other(refused.to_string()))?
            }
        };
        let fenced = Told::read(&self.config.node.data_dir)?.map_or(0, |fence| fence.generation);
        let generation = self.identity.generation.max(fenced).saturating_add(1);
        let others = self.meta.nodes.values().filter(|row| row.id != self.identity.node);
        Ok(Possible {
            name: self.identity.name.clone(),
            cluster: self.meta.cluster.as_ref().map(|row| row.name.clone()).unwrap_or_default(),
            plan: Plan { generation, ..plan },
            gone: others.map(|row| row.name.clone()).collect(),
            is_late: self.gate.is_some(),
        })
    }

    fn survivor(&self) -> Result<Plan> {
        self.check_whole()?;
        let upto = self.offline.seen().map_err(running::Error::from)?;
        Ok(Plan { upto, gate: self.offline.applied(), received: self.offline.received()?, ..Plan::default() })
    }

    /// The node has something of every group: what it has nothing of would be lost.
    fn check_whole(&self) -> Result<()> {
        let missing: Vec<String> = self
            .meta
            .shards
            .keys()
            .filter(|group| **group != GroupId::META && !self.offline.holds(**group))
            .map(ToString::to_string)
            .collect();
        if !missing.is_empty() {
            let text = format!(
                "this node holds nothing of groups {}: another must take over, or an archive",
                missing.join(", ")
            );
            return Err(StartError::Other(text));
        }
        Ok(())
    }

    /// Decides it: the next start carries it out.
    ///
    /// # Errors
    /// It cannot be; the folder cannot be written.
    pub fn decide(&self, target: Target, by: &str, reason: &str) -> Result<Possible> {
        let possible = self.possible(target)?;
        let groups = match possible.is_late {
            true => groups_after(&self.meta),
            false => {
                let data = self.meta.shards.keys().filter(|group| **group != GroupId::META);
                data.map(|group| (*group, *group)).collect()
            }
        };
        let decision = Decision {
            generation: possible.plan.generation,
            parent: self.identity.generation,
            way: if possible.is_late { Way::Cut(possible.plan.upto) } else { Way::Survivor },
            by: by.to_owned(),
            reason: reason.to_owned(),
            decided_ms: SystemClock::default().now_ms(),
            whole: if possible.is_late { Stamp::ZERO } else { self.offline.whole()? },
            groups,
        };
        decision.write(&self.config.node.data_dir)?;
        Ok(possible)
    }

    /// What the disk holds.
    #[must_use]
    pub fn offline(&self) -> &Offline {
        &self.offline
    }

    /// Closes it.
    pub fn close(self) {
        self.offline.close();
    }
}

fn parts(
    config: &Config,
    identity: &NodeIdentity,
    keys: &Keys,
    (tasks, purged): (&Tasks, Arc<Purged>),
) -> RunningParts {
    RunningParts {
        node: identity.node,
        cluster: (identity.cluster, identity.generation),
        dir: config.node.data_dir.clone(),
        sealer: keys.sealer().clone(),
        entropy: Arc::new(SystemEntropy),
        clock: Arc::new(SystemClock::default()),
        link: Arc::new(Nobody),
        operations: Arc::new(NodeOperations),
        feed: Arc::new(NoFeed),
        shredded: purged,
        pace: pace(&config.node.pace),
        spawner: tasks.spawner(),
        log: log_config(config, identity.generation),
        pool: pool_config(config),
        close_ms: raft::limits::TICK_MS,
    }
}
