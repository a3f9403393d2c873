//! One node of the cluster: a log on disk, a pool, its replicas, and what drives them.

use super::disk::CountingDisk;
use super::link::Exchange;
use super::operations::{Put, TENANT};
use crate::Outcome;
use crate::clock::System;
use ::engine::catalog::SledCatalog;
use ::engine::compaction::retention::Policy;
use ::engine::disk::RealDisk;
use ::engine::ids::{ClusterId, KeyEpoch, NodeId, Owner, Purpose};
use ::engine::key::KeyRange;
use ::engine::sealed::{Keyring, Sealer, SecretKey};
use ::engine::tablet::pool::{Parts, Pool, PoolConfig};
use ::raft::group::batcher::Batcher;
use ::raft::group::birth::{self, Birth};
use ::raft::group::handle::Group;
use ::raft::group::registry::Registry;
use ::raft::group::settings::Pace;
use ::raft::group::start_guard::StartGuard;
use ::raft::group::upkeep::Upkeep;
use ::raft::log::purge::{Needs, Worth};
use ::raft::log::{Log, LogConfig, LogParts, LogThread};
use ::raft::machine::{Machine, MachineParts, NoFeed, NobodyShredded};
use ::raft::net::door::Door;
use ::raft::net::envelope::cluster_tag;
use ::raft::net::heard::{Heard, Voice};
use ::raft::net::heartbeats::Heartbeats;
use ::raft::net::inbound::Receiver;
use ::raft::net::outbound::Peers;
use ::raft::net::request::Requests;
use ::raft::time::BootClock;
use ::raft::types::{GroupId, Membership, ReplicaId, Role, Seat};
use futures_util::future::{join_all, try_join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Nodes of a cluster; each has a replica of every group.
pub const NODES: u64 = 3;
/// The cluster.
pub const CLUSTER: ClusterId = ClusterId([0xb3; 16]);

/// Milliseconds between two looks of a node at its groups.
const LOOK_MS: u64 = 500;
/// Bytes of opened blocks a node keeps: nothing is read here.
const CACHE_BYTES: usize = 32 << 20;
/// Milliseconds after which a log that is still held when its node has stopped is a failure.
const STOP_MS_MAX: u64 = 30_000;

/// What all nodes of a cluster share.
#[derive(Clone)]
pub struct Shape {
    /// The folder of all.
    pub dir: PathBuf,
    /// Groups, from 1 on.
    pub groups: u64,
    /// Whether syncs of the log reach the disk.
    pub has_syncs: bool,
    /// The times of consensus.
    pub pace: Pace,
}

/// A node.
pub struct Node {
    /// Which.
    pub id: NodeId,
    /// The files of its log.
    pub disk: CountingDisk,
    shape: Shape,
    exchange: Arc<Exchange>,
    running: Option<Running>,
}

/// A node at work.
pub struct Running {
    /// Its log.
    pub log: Arc<Log>,
    /// Its tablets.
    pub pool: Arc<Pool>,
    /// Its replicas.
    pub registry: Arc<Registry>,
    /// Where commands for its groups go.
    pub batchers: Arc<BTreeMap<GroupId, Arc<Batcher>>>,
    tasks: Vec<JoinHandle<()>>,
    _thread: LogThread,
}

/// Keys for a benchmark only: a server unwraps random ones.
///
/// # Errors
/// As [`Sealer::new`].
pub fn sealer(node: NodeId) -> Outcome<Arc<Sealer>> {
    let keys = Keyring::new();
    for (byte, owner, purpose) in [
        (1, Owner::Cluster, Purpose::Mac),
        (2, Owner::Cluster, Purpose::Meta),
        (3, Owner::Node(node), Purpose::Mac),
        (4, Owner::Node(node), Purpose::Catalog),
        (5, Owner::Tenant(TENANT), Purpose::Data),
        (6, Owner::Tenant(TENANT), Purpose::Log),
    ] {
        keys.insert(owner, purpose, KeyEpoch(1), SecretKey::new([byte; 32]))?;
        keys.activate(owner, purpose, KeyEpoch(1))?;
    }
    Ok(Arc::new(Sealer::new(CLUSTER, Arc::new(keys), Arc::new(System))?))
}

/// The folder of a node below that of all.
fn node_dir(dir: &Path, node: NodeId) -> PathBuf {
    dir.join(node.to_string())
}

/// The birth of a founder of `group` on `node`.
#[must_use]
pub fn birth(group: GroupId, node: NodeId) -> Birth {
    let seat = |n: u64| (ReplicaId(n), Seat { node: NodeId(n), role: Role::Voter });
    let seats: BTreeMap<_, _> = (1..=NODES).map(seat).collect();
    let founders = Some(Membership { voters: vec![seats.keys().copied().collect()], seats });
    Birth { group, replica: ReplicaId(node.0), range: KeyRange::all(), founders }
}

/// Log, pool and parts of the machines of a node, over what is in `dir`.
///
/// # Errors
/// What keeps them from being opened.
pub fn open(node: NodeId, dir: &Path, disk: &CountingDisk) -> Outcome<MachineParts> {
    std::fs::create_dir_all(dir)?;
    let sealer = sealer(node)?;
    let (log_disk, entropy) = (Arc::new(disk.clone()), Arc::new(System));
    let (sealing, stats) = (sealer.clone(), Arc::default());
    let parts = LogParts { disk: log_disk, sealer: sealing, entropy: entropy.clone(), node, stats };
    let log = Log::open(LogConfig::new(dir.join("log")), parts)?;
    let config = PoolConfig { cache_bytes: CACHE_BYTES, ..PoolConfig::new(dir.join("pool")) };
    let (real, catalog) = (Arc::new(RealDisk), SledCatalog::opener());
    let parts = Parts { disk: real.clone(), catalog, sealer: sealer.clone(), clock: Arc::new(System), node };
    let pool = Pool::open(config, parts)?;
    pool.set_policy(Policy { default_window_ms: 0, ..Policy::default() });
    Ok(MachineParts {
        meta: Arc::default(),
        pool,
        disk: real,
        spool: dir.join("spool"),
        sealer,
        entropy,
        log,
        operations: Arc::new(Put),
        feed: Arc::new(NoFeed),
        shredded: Arc::new(NobodyShredded),
    })
}

impl Node {
    /// A node that was never started.
    #[must_use]
    pub fn new(id: NodeId, shape: Shape, exchange: Arc<Exchange>) -> Self {
        let disk = CountingDisk::new(shape.has_syncs);
        Self { id, disk, shape, exchange, running: None }
    }

    /// It, if it runs.
    #[must_use]
    pub fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// Starts it: what it finds goes on, what it lacks is born.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start(&mut self) -> Outcome<()> {
        // What is read at a start, others do not wait for.
        let (id, dir, disk) = (self.id, node_dir(&self.shape.dir, self.id), self.disk.clone());
        let parts = tokio::task::spawn_blocking(move || open(id, &dir, &disk)).await??;
        let thread = LogThread::start(parts.log.clone())?;
        let found = birth::find(&parts, &BTreeSet::new())?.machines;
        let found: BTreeMap<GroupId, Arc<Machine>> =
            found.into_iter().map(|machine| (machine.group(), machine)).collect();
        let heard = Arc::new(Heard::found(&parts.log.found().marks));
        let stats = parts.log.stats().clone();
        let door = Door::new((CLUSTER, 1), heard.clone(), stats.clone());
        let registry = Arc::new(Registry::new(door, parts.log.clone()));
        let start = parts.log.found();
        let voice = Voice::of(self.id, start.log, start.incarnation, &start.boot_nonce);
        let (line, tag, deadline_ms) =
            (self.exchange.line(voice), cluster_tag(CLUSTER, 1), self.shape.pace.election_min_ms);
        let requests = Requests::new(line, heard, (tag, deadline_ms), stats);
        let heartbeats = Heartbeats::new(requests, parts.log.clone(), self.shape.pace.heartbeat_ms);
        let groups = (1..=self.shape.groups).map(|n| self.begin(GroupId(n), &heartbeats, &found, &parts));
        let mut batchers = BTreeMap::new();
        for (receiver, batcher) in try_join_all(groups).await? {
            batchers.insert(receiver.group().id(), batcher);
            registry.add(receiver);
        }
        self.exchange.listen(voice, registry.clone());
        registry.all().iter().for_each(|receiver| receiver.group().run());
        let send = |batcher: &Arc<Batcher>| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.run().await })
        };
        let tasks = batchers.values().map(send).chain([tokio::spawn(look_after(registry.clone()))]).collect();
        let (log, pool) = (parts.log, parts.pool);
        let batchers = Arc::new(batchers);
        self.running = Some(Running { log, pool, registry, batchers, tasks, _thread: thread });
        Ok(())
    }

    /// One replica: built, and not running yet.
    async fn begin(
        &self,
        group: GroupId,
        heartbeats: &Arc<Heartbeats>,
        found: &BTreeMap<GroupId, Arc<Machine>>,
        parts: &MachineParts,
    ) -> Outcome<(Arc<Receiver>, Arc<Batcher>)> {
        let pace = self.shape.pace;
        let (machine, guard) = match found.get(&group) {
            Some(machine) => (machine.clone(), StartGuard::built(System.boot_ms(), pace.election_max_ms)),
            None => (birth::bear(&birth(group, self.id), parts.clone()).await?, StartGuard::born()),
        };
        let peers = Peers::new(heartbeats.clone(), (group, ReplicaId(self.id.0)));
        let built = Arc::new(Group::build(parts.log.clone(), machine, peers, pace).await?);
        let receiver = Arc::new(Receiver::new(built.clone(), guard, Arc::new(System), None));
        let batcher = Batcher::new(built, parts.sealer.clone(), Arc::new(System), Arc::new(System));
        Ok((receiver, batcher))
    }

    /// Stops it, as a server that is told to.
    ///
    /// # Errors
    /// Somebody still holds its log.
    pub async fn stop(&mut self) -> Outcome<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        self.exchange.unplug(self.id);
        running.batchers.values().for_each(|batcher| batcher.close());
        let receivers = running.registry.all();
        join_all(receivers.iter().map(|receiver| receiver.group().shutdown())).await;
        running.tasks.iter().for_each(JoinHandle::abort);
        running.pool.close();
        let log = Arc::downgrade(&running.log);
        drop((receivers, running));
        for _ in 0..STOP_MS_MAX / 10 {
            if log.strong_count() == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("a node that was stopped still holds its log".into())
    }
}

/// What a node does for its groups from time to time.
async fn look_after(registry: Arc<Registry>) {
    // What is measured is a log that goes on: the node that is away must find all it missed.
    let upkeep = Upkeep::new(Worth { bytes: u64::MAX, ms: u64::MAX });
    loop {
        for receiver in registry.all() {
            // It fails with a log or a tablet that is fenced, which whoever writes there hears.
            let _ = upkeep.look(&receiver, Needs::default(), System.boot_ms()).await;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}
