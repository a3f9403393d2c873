//! The start of a node, from its folder to its replicas.

use super::archiving::Archiving;
use super::disk::{Disk, Level, Space, SystemSpace};
use super::live;
use super::opened::{Opened, OpenedKeys, Outside, open_keys, opened};
use super::scrubbing::Scrubbed;
use super::serving::{Inside, Porch};
use super::sizes::{log_config, pace, pool_config};
use super::verifying::Verified;
use super::{Inner, Server, Through, founding, porch};
use crate::boot::founding::Founding;
use crate::boot::identity::NodeIdentity;
use crate::boot::peers::{self, Known};
use crate::boot::subject::Role;
use crate::clock::SystemClock;
use crate::config;
use crate::delayed::gate::Delayed;
use crate::drill::{self, schedule::Drills};
use crate::entropy::SystemEntropy;
use crate::keys::kms::Passphrase;
use crate::limits::DISK_MS;
use crate::meta::follow::{self, Changes, Published};
use crate::meta::forward::Forward;
use crate::meta::node_row::NodeState;
use crate::meta::view::MetaView;
use crate::peer::{Identify, PeerParts, PeerServer, Serving, TlsLink};
use crate::restore;
use crate::restore::look::Looks;
use crate::running::opening::{Admitted, Opening};
use crate::running::replicas::Running;
use crate::running::{self, RunningParts};
use crate::shard::door::Door;
use crate::shard::operations::NodeOperations;
use crate::shard::placing::Placing;
use crate::takeover::decision::Decision;
use crate::takeover::recording::found;
use crate::telemetry::logs;
use crate::tls::{self, Tls};
use arc_swap::ArcSwap;
use engine::clock::Clock;
use engine::ids::NodeId;
use raft::group::rejoin::Verdict;
use raft::group::start_fault::StartFault;
use raft::net::link::PeerLink;
use rustls::pki_types::ServerName;
use std::collections::BTreeSet;
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
    /// Its keys cannot be opened now, and may be later.
    #[error("{0}")]
    Sealed(String),
    /// A socket.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is not what it should be.
    #[error("{0}")]
    Other(String),
}

impl StartError {
    /// In words; what keeps the disk from being gone on with begins with its code, and ends with what to do.
    #[must_use]
    pub fn told(&self) -> String {
        let cause = engine::error::with_sources(self);
        let fault = match self {
            Self::Running(error) => error.fault(),
            _ => None,
        };
        fault.map_or(cause.clone(), |fault| running::fault::told(fault, &cause))
    }
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
        let (dir, names) = (config.node.data_dir.clone(), porch::hosts(&config));
        // The passphrase costs a second or two.
        let opening = crate::work::aside(move || {
            let keys = open_keys(&dir, &passphrase)?;
            opened(&dir, keys, &names, &Arc::new(SystemClock::default()), None)
        });
        let opened = opening.await.map_err(|_| StartError::Other("the start panicked".to_owned()))??;
        let outside = Outside::new(&config);
        Self::start_opened(config, opened, outside, Some(listener), make_forward, space)
    }

    /// Starts the node whose keys are open. Without a listener, in a simulation, peers reach it by the link of the world.
    pub(super) fn start_opened(
        config: Arc<config::Config>,
        opened: Opened,
        outside: Outside,
        listener: Option<TcpListener>,
        make_forward: MakeForward,
        space: Arc<dyn Space>,
    ) -> Result<Arc<Self>> {
        let Opened { keys: OpenedKeys { identity, keys, held }, tls, clock } = opened;
        let Outside { told, tasks } = outside;
        let known = Arc::new(RwLock::new(peers::read(&config.node.data_dir)?));
        let serving = Serving::default();
        let forward = make_forward(&tls, known.clone());
        let archiving = Archiving::new(config.node.archive.clone(), clock.now_ms());
        let published = Published::default();
        let (generations, is_recorded) = found(&config, &identity, &published, &known)?;
        let server = Arc::new(Self {
            node: identity.node,
            cluster: identity.cluster,
            folder: config.node.data_dir.clone(),
            clock,
            keys,
            held,
            tls,
            changes: Changes::default(),
            published,
            peers: known,
            forward,
            serving: serving.clone(),
            tasks,
            inner: OnceCell::new(),
            failed: watch::Sender::new(None),
            is_ending: AtomicBool::new(false),
            told,
            disk: Disk::looked(space, live::marks(&config.live)),
            hosts: porch::hosts(&config),
            renewal: RwLock::default(),
            purged: Arc::default(),
            unopened: RwLock::default(),
            untaken: RwLock::default(),
            unstarted: RwLock::default(),
            scrubbed: Scrubbed::default(),
            calm: super::calming::Calm::default(),
            restores: std::sync::Mutex::default(),
            verified: Verified::default(),
            delayed: Delayed::default(),
            wanted_delay_ms: config.node.delay,
            unread: RwLock::default(),
            live: ArcSwap::from_pointee(config.live.clone()),
            archiving: Arc::new(archiving),
            looks: Looks::default(),
            drills: Drills::default(),
            generations,
            again: watch::Sender::new(None),
            recorded: watch::Sender::new(is_recorded),
        });
        let (parts, peers) = server.open_to_peers(serving, listener)?;
        server.tell(&config, peers);
        if server.fenced().is_some() {
            return Ok(server);
        }
        server.clone().hear_of_generations(config.node.pace.election_max.ms());
        let goes_on = server.clone();
        server.tasks.spawn("start", async move { goes_on.go_on_if_room(&config, &identity, &parts).await });
        Ok(server)
    }

    /// Listens for other nodes.
    fn open_to_peers(
        &self,
        serving: Serving,
        listener: Option<TcpListener>,
    ) -> Result<(PeerParts, PeerServer)> {
        let parts = PeerParts {
            node: self.node,
            cluster: self.cluster,
            serving,
            identify: identify(self.tls.clone()),
        };
        let demanded = self.tls.server(tls::Caller::Node, &[tls::PEER])?;
        let peers = PeerServer::new(parts.clone(), demanded, self.tasks.spawner());
        if let Some(listener) = listener {
            peers.listen(listener);
        }
        Ok((parts, peers))
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

    /// The rest of the start. What fails while the disk is full is tried again once there is room: until then the node says so, and starts
    /// nothing.
    async fn go_on_if_room(
        self: &Arc<Self>,
        config: &config::Config,
        identity: &NodeIdentity,
        peer: &PeerParts,
    ) {
        loop {
            let Err(error) = self.go_on(config, identity, peer.clone()).await else { return };
            let cause = error.told();
            let is_full = || self.disk.known().level >= Level::Full;
            if self.inner.initialized() || !is_full() {
                tracing::error!(cause, "the node does not start");
                self.failed.send_replace(Some(cause));
                return;
            }
            tracing::error!(cause, "the node does not start while the disk is full: it waits for room");
            *self.unstarted.write().unwrap_or_else(PoisonError::into_inner) = Some(cause);
            while is_full() {
                tokio::time::sleep(Duration::from_millis(DISK_MS)).await;
            }
            *self.unstarted.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Disk, admission, replicas.
    async fn go_on(
        self: &Arc<Self>,
        config: &config::Config,
        identity: &NodeIdentity,
        peer: PeerParts,
    ) -> Result<()> {
        let identity = &NodeIdentity { generation: self.generations.own(), ..identity.clone() };
        let parts = self.running_parts(config, identity, peer)?;
        drill::scratch::cleared(&self.folder)?;
        let decision = Decision::read(&self.folder)?;
        if let Some(decision) = &decision {
            self.carry_out(decision, identity, parts.clone()).await?;
        }
        let founding = Founding::read(&self.folder)?;
        let admitted = match self.admitted_as_founder(parts.clone(), founding.is_some()).await? {
            Some(admitted) => admitted,
            None => self.admitted(parts).await?,
        };
        let births = founding.as_ref().map(|one| founding::births(one.shards, self.node)).unwrap_or_default();
        let running = self.run(admitted, &births).await?;
        if let Some(decision) = decision {
            self.record(&running, &decision).await;
        } else if let Some(founding) = founding {
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
        let reading = crate::work::aside(move || Admitted::founder(parts));
        Ok(reading.await.map_err(|_| StartError::Other("reading the disk panicked".to_owned()))??)
    }

    /// Reads the disk, and waits until the peers have said that it may go on.
    async fn admitted(&self, parts: RunningParts) -> Result<Admitted> {
        let others: BTreeSet<NodeId> =
            self.known().keys().copied().filter(|node| *node != self.node).collect();
        let reading = crate::work::aside(move || Opening::read(parts, &others));
        let opening =
            reading.await.map_err(|_| StartError::Other("reading the disk panicked".to_owned()))??;
        self.serving.set(Arc::new(Porch(opening.admission().clone(), self.generations.clone())));
        match opening.ask().await {
            Verdict::Runs { .. } => Ok(opening.begin()?),
            other => {
                opening.close();
                Err(running::Error::NotAdmitted(other).into())
            }
        }
    }

    /// The way to the peers.
    fn link(&self, peer: PeerParts) -> Result<Arc<dyn PeerLink>> {
        #[cfg(feature = "simulated")]
        if let Some(world) = crate::simulated::world() {
            return Ok(world.link(self.node, &peer.serving));
        }
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
        Ok(link)
    }

    fn running_parts(
        &self,
        config: &config::Config,
        identity: &NodeIdentity,
        peer: PeerParts,
    ) -> Result<RunningParts> {
        let dir = config.node.data_dir.clone();
        let link = self.link(peer)?;
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
            shredded: self.purged.clone(),
            pace: pace(&config.node.pace),
            spawner: self.tasks.spawner(),
            log: log_config(config, identity.generation),
            pool: pool_config(config),
            close_ms: config.node.archive.tick.ms().min(raft::limits::TICK_MS),
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
        self.serving.set(Arc::new(Inside(running.clone(), self.generations.clone())));
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
            let cause = running::fault::told(StartFault::Disk, &cause);
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
        self.tasks.spawn("keys", self.clone().turn_keys());
        self.tasks.spawn("assure", self.clone().assure());
        self.once_recorded("purge", self.clone().purge_tenants());
        if self.archiving.is_on() {
            self.once_recorded("archive", self.clone().archive());
            for copy in self.copies() {
                self.once_recorded(format!("pull {}", copy.name), self.clone().pull_site(copy));
            }
            self.once_recorded("snapshots", self.clone().take_snapshots());
            self.once_recorded("retention", self.clone().retain_home());
            self.once_recorded("ticks", self.clone().close_ticks());
            self.once_recorded("drills", self.clone().drill_when_due());
        }
        self.tasks.spawn("scrub", self.clone().scrub_tables());
        self.tasks.spawn("verify", self.clone().compare_replicas());
        self.tasks.spawn("delayed", self.clone().keep_late());
        self.once_recorded("restores", restore::runner::run(self.clone()));
        self.tasks.spawn("meta seat", self.clone().ask_for_meta(running.clone()));
        self.place(running.clone());
        Ok(running)
    }

    /// Puts replicas where they are wanted.
    fn place(self: &Arc<Self>, running: Arc<Running>) {
        let changer = Arc::new(Through(Arc::downgrade(self)));
        self.once_recorded("placing", Placing::new(running, self.published.clone(), changer).run());
    }

    /// Begins what acts on the rows of the meta group, once what they say holds: while a takeover is not in them they tell of what was.
    fn once_recorded(
        self: &Arc<Self>,
        name: impl Into<crate::work::Name>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let recorded = self.clone();
        self.tasks.spawn(name, async move {
            recorded.is_recorded().await;
            drop(recorded);
            work.await;
        });
    }

    pub(crate) fn known(&self) -> Known {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
