//! The start of a node, from its folder to its replicas.

use super::disk::{Disk, Space, SystemSpace};
use super::joining::reached_by;
use super::live;
use super::serving::{Inside, Porch};
use super::{Inner, Server, Through, certificate, founding};
use crate::boot::founding::Founding;
use crate::boot::identity::{NodeFolder, NodeIdentity};
use crate::boot::peers::{self, Known, PeerAddresses};
use crate::boot::subject::Role;
use crate::clock::SystemClock;
use crate::config;
use crate::entropy::SystemEntropy;
use crate::keys::kms::Passphrase;
use crate::keys::kms::file::FileKms;
use crate::keys::root_file::RootFile;
use crate::keys::source::Keys;
use crate::meta::follow::{self, Changes, Published};
use crate::meta::forward::Forward;
use crate::meta::node_row::NodeState;
use crate::meta::shard_row::ShardRow;
use crate::meta::view::MetaView;
use crate::peer::{Identify, PeerParts, PeerServer, Serving, TlsLink};
use crate::running::mover::{Mover, WantedGroup};
use crate::running::opening::{Admitted, Opening};
use crate::running::replicas::Running;
use crate::running::{self, RunningParts};
use crate::shard::door::Door;
use crate::shard::map::ShardRange;
use crate::shard::operations::NodeOperations;
use crate::shard::placing::Placing;
use crate::telemetry::{Told, logs};
use crate::tls::{self, Tls};
use crate::work::{Fate, Tasks};
use arc_swap::ArcSwap;
use bytes::Bytes;
use engine::compaction::retention::Policy;
use engine::ids::{NodeId, TenantId};
use engine::tablet::pool::PoolConfig;
use raft::group::rejoin::Verdict;
use raft::group::settings::Pace;
use raft::log::LogConfig;
use raft::machine::NobodyShredded;
use raft::types::GroupId;
use rustls::pki_types::ServerName;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, watch};

/// Between two looks of the supervisor, in milliseconds.
const SUPERVISE_MS: u64 = 200;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder.
    #[error(transparent)]
    Boot(#[from] crate::boot::BootError),
    /// Its keys.
    #[error(transparent)]
    Keys(#[from] crate::keys::Error),
    /// The key service.
    #[error(transparent)]
    Kms(#[from] crate::keys::kms::KmsError),
    /// Its certificate.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// Its disk.
    #[error(transparent)]
    Running(#[from] running::Error),
    /// A socket.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is not what it should be.
    #[error("{0}")]
    Other(String),
}

/// What comes of it, or [`StartError`].
pub type Result<T> = std::result::Result<T, StartError>;

/// What asks other nodes, made once the certificates are known.
pub type MakeForward = Box<dyn FnOnce(&Tls, Arc<RwLock<Known>>) -> Arc<dyn Forward> + Send>;

fn identify(tls: Tls) -> Identify {
    Arc::new(move |shown| {
        let identity = tls.peer(Some(shown)).ok()??.identity;
        match identity.role {
            Role::Node(node) => Some((identity.cluster, node)),
            _ => None,
        }
    })
}

fn pace(config: &config::Pace) -> Pace {
    Pace {
        heartbeat_ms: config.heartbeat.ms(),
        heartbeat_min_ms: config.heartbeat.ms() * 3 / 4,
        election_min_ms: config.election_min.ms(),
        election_max_ms: config.election_max.ms(),
        quorum_loss_ms: 2 * config.election_max.ms() + config.heartbeat.ms(),
        ..Pace::PRODUCTION
    }
}

/// What of a folder a start needs.
struct Opened {
    identity: NodeIdentity,
    keys: Arc<Keys>,
    tls: Tls,
}

fn open(
    folder: &Path,
    passphrase: &Passphrase,
    hosts: &[String],
    clock: &Arc<SystemClock>,
) -> Result<Opened> {
    let at = NodeFolder::at(folder);
    let identity = at.identity()?;
    let root = RootFile::decode(&at.root()?)?;
    if (root.cluster, root.node) != (identity.cluster, identity.node) {
        return Err(StartError::Other("the root file is of another node".to_owned()));
    }
    let entropy = Arc::new(SystemEntropy);
    let kms = FileKms::open(root.cluster, passphrase, &root.kms, entropy.clone())?;
    let keys = Arc::new(Keys::open(&root, &kms, entropy)?);
    let credentials = certificate::at_start(&at, &identity, &keys, hosts, &**clock)?;
    Ok(Opened { identity, keys, tls: Tls::new(credentials, clock.clone()) })
}

impl Server {
    /// Starts a node on the disk that holds its folder: see [`Server::start_over`].
    ///
    /// # Errors
    /// As that.
    pub async fn start(
        config: Arc<config::Config>,
        passphrase: Passphrase,
        listener: TcpListener,
        make_forward: MakeForward,
    ) -> Result<Arc<Self>> {
        let space = Arc::new(SystemSpace(config.node.data_dir.clone()));
        Self::start_over(config, passphrase, listener, make_forward, space).await
    }

    /// Starts the node that lives in the folder of `config`, whose disk has as much room as `space` says: it listens for peers on `listener`, and goes on with its start in the
    /// background, for it may have to wait for peers.
    ///
    /// # Errors
    /// What keeps it from starting at all: folder, passphrase, certificate.
    pub async fn start_over(
        config: Arc<config::Config>,
        passphrase: Passphrase,
        listener: TcpListener,
        make_forward: MakeForward,
        space: Arc<dyn Space>,
    ) -> Result<Arc<Self>> {
        let clock = Arc::new(SystemClock::default());
        let (dir, own_clock) = (config.node.data_dir.clone(), clock.clone());
        let at = &config.node.advertise;
        let hosts = [&at.client, &at.admin, &at.peer].map(|address| reached_by(address)).to_vec();
        let names = hosts.clone();
        // The passphrase costs a second or two.
        let opening = tokio::task::spawn_blocking(move || open(&dir, &passphrase, &names, &own_clock));
        let Opened { identity, keys, tls } =
            opening.await.map_err(|_| StartError::Other("the start panicked".to_owned()))??;
        let known = Arc::new(RwLock::new(peers::read(&config.node.data_dir)?));
        let told = Arc::new(Told::new(live::places(&config.live)));
        let hears = told.clone();
        let tasks = Tasks::new(Arc::new(move |fate: Fate| {
            hears.panicked.add(1);
            tracing::error!(task = %fate.task, panic = fate.panic, "a task of the node has panicked");
        }));
        let serving = Serving::default();
        let forward = make_forward(&tls, known.clone());
        let server = Arc::new(Self {
            node: identity.node,
            cluster: identity.cluster,
            folder: config.node.data_dir.clone(),
            clock,
            keys,
            tls,
            changes: Changes::default(),
            published: Published::default(),
            peers: known,
            forward,
            serving: serving.clone(),
            tasks,
            inner: OnceCell::new(),
            failed: watch::Sender::new(None),
            is_ending: AtomicBool::new(false),
            told,
            disk: Arc::new(Disk::new(space, live::marks(&config.live))),
            hosts,
            renewal: RwLock::default(),
            unopened: RwLock::default(),
            unread: RwLock::default(),
            live: ArcSwap::from_pointee(config.live.clone()),
        });
        let parts = PeerParts {
            node: server.node,
            cluster: server.cluster,
            serving,
            identify: identify(server.tls.clone()),
        };
        let demanded = server.tls.server(tls::Caller::Node, &[tls::PEER])?;
        let peers = PeerServer::new(parts.clone(), demanded, server.tasks.spawner());
        peers.listen(listener);
        server.tell(&config, peers);
        let goes_on = server.clone();
        server.tasks.spawn("start", async move {
            if let Err(error) = goes_on.go_on(&config, identity, parts).await {
                let cause = engine::error::with_sources(&error);
                tracing::error!(cause, "the node does not start");
                goes_on.failed.send_replace(Some(cause));
            }
        });
        Ok(server)
    }

    /// Begins to look after the disk, and to tell how the node is.
    fn tell(self: &Arc<Self>, config: &config::Config, peers: PeerServer) {
        // It is set once: here.
        let _ = self.told.peers.set(peers);
        self.tasks.spawn("log", logs::tell_left_out());
        self.tasks.spawn("disk", self.clone().look_after_disk());
        self.tasks.spawn("certificate", self.clone().look_after_certificate());
        if let Some(at) = config.node.listen.metrics {
            self.tasks.spawn("metrics", self.clone().tell_metrics(at));
        }
    }

    /// The rest of the start: disk, admission, replicas.
    async fn go_on(
        self: &Arc<Self>,
        config: &config::Config,
        identity: NodeIdentity,
        peer: PeerParts,
    ) -> Result<()> {
        let parts = self.running_parts(config, &identity, peer)?;
        let founding = Founding::read(&self.folder)?;
        let admitted = match self.admitted_as_founder(parts.clone(), founding.is_some()).await? {
            Some(admitted) => admitted,
            None => self.admitted(parts).await?,
        };
        let births = founding.as_ref().map(|one| founding::births(one.shards, self.node)).unwrap_or_default();
        let running = self.run(admitted, &births).await?;
        if let Some(founding) = founding {
            let own = self.tls.current().own.serial.clone();
            let at = (config.node.advertise.peer.as_str(), config.node.advertise.client.as_str());
            let row = founding::node_row(self.node, (&identity.name, &identity.region), at, &own);
            self.found(&founding, row).await;
        } else {
            self.await_meta(&running).await;
        }
        Ok(())
    }

    /// Where a cluster begins there is nobody yet whom its first node could ask.
    async fn admitted_as_founder(&self, parts: RunningParts, is_founder: bool) -> Result<Option<Admitted>> {
        if !is_founder {
            return Ok(None);
        }
        let reading = tokio::task::spawn_blocking(move || Admitted::founder(parts));
        Ok(reading.await.map_err(|_| StartError::Other("reading the disk panicked".to_owned()))??)
    }

    /// Reads the disk, and waits until the peers have said that it may go on.
    async fn admitted(&self, parts: RunningParts) -> Result<Admitted> {
        let others: BTreeSet<NodeId> =
            self.known().keys().copied().filter(|node| *node != self.node).collect();
        let reading = tokio::task::spawn_blocking(move || Opening::read(parts, &others));
        let opening =
            reading.await.map_err(|_| StartError::Other("reading the disk panicked".to_owned()))??;
        self.serving.set(Arc::new(Porch(opening.admission().clone())));
        match opening.ask().await {
            Verdict::Runs { .. } => Ok(opening.begin()?),
            other => {
                opening.close();
                Err(running::Error::NotAdmitted(other.to_string()).into())
            }
        }
    }

    fn running_parts(
        &self,
        config: &config::Config,
        identity: &NodeIdentity,
        peer: PeerParts,
    ) -> Result<RunningParts> {
        let dir = config.node.data_dir.clone();
        let name =
            ServerName::try_from("node.dewpond").map_err(|error| StartError::Other(error.to_string()))?;
        let known = self.peers.clone();
        let addresses = move |node: NodeId| {
            let known = known.read().unwrap_or_else(PoisonError::into_inner);
            known.get(&node).map(|at| at.peer.clone())
        };
        let dial = (self.tls.client(None, tls::PEER)?, name);
        let link = TlsLink::new(peer, dial, Arc::new(addresses), self.tasks.spawner());
        // It is set once: here.
        let _ = self.told.link.set(link.clone());
        let size = |bytes: config::value::Bytes| usize::try_from(bytes.get()).unwrap_or(usize::MAX);
        let log = LogConfig {
            segment_bytes: config.node.log_segment.get(),
            generation: identity.generation,
            ..LogConfig::new(dir.join("log"))
        };
        let pool = PoolConfig {
            memtable_bytes: size(config.node.memtable),
            cache_bytes: size(config.node.cache),
            ..PoolConfig::new(dir.join("pool"))
        };
        Ok(RunningParts {
            node: self.node,
            cluster: (self.cluster, identity.generation),
            dir,
            sealer: self.keys.sealer().clone(),
            entropy: Arc::new(SystemEntropy),
            clock: self.clock.clone(),
            link,
            operations: Arc::new(NodeOperations),
            feed: Arc::new(self.changes.clone()),
            shredded: Arc::new(NobodyShredded),
            pace: pace(&config.node.pace),
            spawner: self.tasks.spawner(),
            log,
            pool,
        })
    }

    /// Lets replicas run, and all that works beside them.
    async fn run(
        self: &Arc<Self>,
        admitted: Admitted,
        births: &[raft::group::birth::Birth],
    ) -> Result<Arc<Running>> {
        let running = Running::run(admitted, births).await?;
        let feeds = self.changes.feeds().clone();
        let door = Arc::new(Door::new(running.clone(), self.published.clone(), feeds));
        let inner = Inner { running: running.clone(), door };
        if self.inner.set(inner).is_err() {
            return Err(StartError::Other("the node was started twice".to_owned()));
        }
        self.serving.set(Arc::new(Inside(running.clone())));
        self.tasks.spawn("chores", running.clone().work());
        let (published, own) = (self.published.clone(), self.node);
        let peers = move || {
            let meta = published.now();
            let others = meta.nodes.values().filter(|row| row.id != own && row.state != NodeState::Removed);
            others.map(|row| row.id).collect()
        };
        let asking =
            crate::peer::clock::ask_for_ever(running.parts().link.clone(), self.clock.clone(), peers);
        self.tasks.spawn("clocks", asking);
        let (supervised, failed) = (running.clone(), self.failed.clone());
        self.tasks.spawn("supervise", async move {
            while supervised.check().is_ok() {
                tokio::time::sleep(Duration::from_millis(SUPERVISE_MS)).await;
                supervised.supervise().await;
            }
            let cause = supervised.log().fenced().unwrap_or_default();
            tracing::error!(cause, "the log of the node is fenced: nothing can be acknowledged any more");
            failed.send_replace(Some(cause));
        });
        let learns = Arc::downgrade(self);
        let seen = move |view: &MetaView| {
            if let Some(server) = learns.upgrade() {
                server.learn(view);
            }
        };
        self.tasks.spawn(
            "follow",
            follow::follow(running.clone(), self.changes.clone(), self.published.clone(), seen),
        );
        // Beside the start: it waits for keys that the meta group brings, and that for its quorum.
        let rest = running.clone();
        self.tasks.spawn("seat", async move { rest.seat_rest().await });
        let changer = Arc::new(Through(Arc::downgrade(self)));
        self.tasks.spawn("placing", Placing::new(running.clone(), self.published.clone(), changer).run());
        Ok(running)
    }

    pub(crate) fn known(&self) -> Known {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what the meta group says: keys, addresses, how long history is kept.
    fn learn(&self, view: &MetaView) {
        let before = self.keys.tenants();
        if let Some(row) = &view.cluster {
            self.keep_authority(&row.sealed_ca_key);
        }
        let mut unopened = BTreeSet::new();
        for (name, cause) in self.keys.learn(&view.key_rows()) {
            tracing::error!(?name, cause, "a key of the meta group does not open");
            unopened.insert(format!("{name:?}"));
        }
        *self.unopened.write().unwrap_or_else(PoisonError::into_inner) = unopened;
        let is_turned = self.keys.tenants() != before && !before.is_empty();
        if let (true, Ok(running)) = (is_turned, self.running())
            && let Err(error) = running.pool().request_reseal()
        {
            tracing::warn!(cause = engine::error::with_sources(&error), "tables are not sealed anew");
        }
        let at = |row: &crate::meta::node_row::NodeRow| PeerAddresses {
            peer: row.peer_address.clone(),
            client: row.client_address.clone(),
        };
        let known: Known = view.nodes.values().map(|row| (row.id, at(row))).collect();
        if known != self.known() && !known.is_empty() {
            if let Err(error) = peers::write(&self.folder, &known) {
                tracing::warn!(
                    cause = engine::error::with_sources(&error),
                    "where peers are is not written down"
                );
            }
            *self.peers.write().unwrap_or_else(PoisonError::into_inner) = known;
        }
        if let Ok(running) = self.running() {
            let window = |row: &crate::meta::tenant_row::TenantRow| (row.id, row.history_ms);
            let mut windows: std::collections::BTreeMap<TenantId, u64> =
                view.tenants.values().map(window).collect();
            windows.insert(TenantId(0), crate::limits::HISTORY_MS);
            running.pool().set_policy(Policy { windows, ..Policy::default() });
        }
    }

    /// A node that has joined has no replica of the meta group yet: it asks others for the row that says which one it gets.
    async fn await_meta(&self, running: &Arc<Running>) {
        let mover = Mover::default();
        while running.replica(GroupId::META).is_none() && !running.living().contains_key(&GroupId::META) {
            for node in self.known().into_keys().filter(|node| *node != self.node) {
                match self.forward.shard(node, GroupId::META).await {
                    Ok(Some(value)) => self.bear(running, &mover, &value).await,
                    Ok(None) => {}
                    Err(why) => tracing::debug!(%node, %why, "no row of the meta group"),
                }
            }
            tokio::time::sleep(Duration::from_millis(SUPERVISE_MS)).await;
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
}
