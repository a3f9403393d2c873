//! A few nodes in one process: real logs, tablets and consensus, pretended disks and clocks, and a network that loses nothing.

#![allow(dead_code, reason = "each test uses a part of it")]

use crate::rig::sealer_of;
use bytes::Bytes;
use engine::Stamp;
use engine::catalog::MemoryCatalog;
use engine::clock::Clock;
use engine::disk::SimDisk;
use engine::entropy::Seeded;
use engine::ids::{ClusterId, CollectionId, NodeId, TenantId};
use engine::key::KeyRange;
use engine::sealed::Sealer;
use engine::tablet::pool::{Parts, Pool, PoolConfig};
use raft::command::Counts;
use raft::delay::Keeper;
use raft::delay::receive::Delayed;
use raft::group::batcher::{Answer, Batcher};
use raft::group::birth::{self, Birth};
use raft::group::handle::Group;
use raft::group::registry::Registry;
use raft::group::settings::Pace;
use raft::group::start_guard::StartGuard;
use raft::log::{Log, LogConfig, LogParts};
use raft::machine::operations::{Operations, Rows};
use raft::machine::{Machine, MachineParts, NoFeed, NobodyShredded};
use raft::net::envelope::cluster_tag;
use raft::net::heartbeats::Heartbeats;
use raft::net::inbound::Receiver;
use raft::net::link::{BoxFuture, Lane, PeerLink, Unreachable};
use raft::net::outbound::Peers;
use raft::seal::Unsealed;
use raft::time::BootClock;
use raft::types::{GroupId, Membership, ReplicaId, Role, Seat};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use crate::rig::TENANT;
pub const CLUSTER: ClusterId = ClusterId([0xd1; 16]);
pub const COLLECTION: CollectionId = CollectionId(1);
/// The group of all nodes.
pub const GROUP: GroupId = GroupId(3);
pub const EPOCH_MS: u64 = 1_750_000_000_000;

/// Time of the runtime, which stands still while anything is to be done.
pub struct TestClock {
    began: Instant,
    /// The machine has slept for so long: all clocks know but the monotonic one.
    pub slept_ms: AtomicU64,
    /// The wall clock is ahead by so much.
    pub ahead_ms: AtomicU64,
    /// No peer agrees with the wall clock.
    pub is_lonely: AtomicBool,
    /// Peers say that the wall clock is wrong.
    pub is_disputed: AtomicBool,
}

impl TestClock {
    fn begin() -> Arc<Self> {
        let (slept_ms, ahead_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        let (is_lonely, is_disputed) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { began: Instant::now(), slept_ms, ahead_ms, is_lonely, is_disputed })
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        EPOCH_MS + self.boot_ms() + self.ahead_ms.load(Ordering::SeqCst)
    }
}

impl BootClock for TestClock {
    fn boot_ms(&self) -> u64 {
        self.monotonic_ms() + self.slept_ms.load(Ordering::SeqCst)
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn wall_ms(&self) -> u64 {
        self.now_ms()
    }

    fn is_disputed(&self) -> bool {
        self.is_disputed.load(Ordering::SeqCst)
    }

    fn agreed_ms(&self) -> Option<u64> {
        (!self.is_lonely.load(Ordering::SeqCst)).then(|| self.now_ms())
    }
}

/// A command is a key of one byte, and its value.
struct Put;

impl Operations for Put {
    fn evaluate(&self, tenant: TenantId, body: &[u8], rows: &mut Rows<'_>) -> raft::Result<Bytes> {
        rows.put(tenant, COLLECTION, &body[..1], &body[1..], 0)?;
        Ok(Bytes::new())
    }
}

/// Who listens where, and what does not get through. Clones are the same.
#[derive(Clone, Default)]
pub struct Hub(
    Arc<Mutex<BTreeMap<NodeId, Arc<Registry>>>>,
    Arc<Mutex<Option<Holds>>>,
    Arc<Mutex<BTreeSet<NodeId>>>,
);

/// Whether nothing comes from a lane.
type Holds = fn(Lane) -> bool;

impl Hub {
    /// From now on no frame comes from a lane of which `holds` says so, and nobody hears why.
    pub fn hold(&self, holds: Holds) {
        *self.1.lock().unwrap() = Some(holds);
    }

    /// From now on these hear nothing, and who asks them nothing either.
    pub fn deafen(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.2.lock().unwrap().extend(nodes);
    }

    /// From now on all come again.
    pub fn release(&self) {
        *self.1.lock().unwrap() = None;
        self.2.lock().unwrap().clear();
    }
}

impl PeerLink for Hub {
    fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Bytes, Unreachable>> {
        let is_deaf = self.2.lock().unwrap().contains(&to);
        if is_deaf || self.1.lock().unwrap().is_some_and(|holds| holds(lane)) {
            return Box::pin(std::future::pending());
        }
        let registry = self.0.lock().unwrap().get(&to).cloned();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match registry {
                Some(registry) => Ok(registry.serve(frame).await),
                None => Err(Unreachable { node: to, cause: "it is down".to_owned() }),
            }
        })
    }
}

/// One node, through its lives.
pub struct Node {
    pub id: NodeId,
    pub disk: SimDisk,
    catalog: MemoryCatalog,
    hub: Hub,
    pub clock: Arc<TestClock>,
    starts: u64,
}

/// A node whose log and tablets are open. No consensus runs.
pub struct Offline {
    pub log: Arc<Log>,
    pub parts: MachineParts,
    pub machines: BTreeMap<GroupId, Arc<Machine>>,
    entropy: Arc<Seeded>,
    sealer: Arc<Sealer>,
    writer: JoinHandle<()>,
}

/// A node at work.
pub struct Running {
    pub offline: Offline,
    pub registry: Arc<Registry>,
    pub batchers: BTreeMap<GroupId, Arc<Batcher>>,
    pub peers: BTreeMap<GroupId, Peers>,
    /// The gate of a node that is delayed.
    pub keeper: Option<Arc<Keeper>>,
    hub: Hub,
    node: NodeId,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    pub fn new(id: u64, hub: &Hub) -> Self {
        let disk = SimDisk::new(id);
        let catalog = MemoryCatalog::on(disk.clone());
        let clock = TestClock::begin();
        Self { id: NodeId(id), disk, catalog, hub: hub.clone(), clock, starts: 0 }
    }

    /// An empty disk in the place of the one there was.
    pub fn wipe(&mut self) {
        self.disk = SimDisk::new(self.id.0 + 100);
        self.catalog = MemoryCatalog::on(self.disk.clone());
    }

    /// The same disk apart from this one.
    pub fn twin(&self, seed: u64) -> Self {
        let disk = self.disk.clone_disk(seed);
        let (catalog, clock) = (self.catalog.deep_clone(Some(disk.clone())), self.clock.clone());
        Self { id: self.id, disk, catalog, hub: self.hub.clone(), clock, starts: self.starts + seed * 1_000 }
    }

    pub fn open(&mut self) -> raft::Result<Offline> {
        self.starts += 1;
        if self.disk.is_down() {
            self.disk.restart();
        }
        let entropy = Arc::new(Seeded::new(self.id.0 << 32 | self.starts));
        let sealer = sealer_of(CLUSTER, self.id, entropy.clone());
        let disk = Arc::new(self.disk.clone());
        let parts =
            LogParts { disk: disk.clone(), sealer: sealer.clone(), entropy: entropy.clone(), node: self.id };
        let config = LogConfig {
            segment_bytes: 512 << 10,
            write_bytes: 128 << 10,
            entry_bytes_max: 128 << 10,
            groups_max: 16,
            peers_max: 16,
            ..LogConfig::new("/log")
        };
        let log = Log::open(config, parts)?;
        let writer = tokio::spawn(write(log.clone()));
        let parts = Parts {
            disk: disk.clone(),
            catalog: self.catalog.opener(),
            sealer: sealer.clone(),
            clock: self.clock.clone(),
            node: self.id,
        };
        let config = PoolConfig {
            threads: 0,
            memtable_bytes: 1 << 20,
            cache_bytes: 1 << 20,
            ..PoolConfig::new("/pool")
        };
        let parts = MachineParts {
            pool: Pool::open(config, parts)?,
            disk,
            spool: "/spool".into(),
            sealer: sealer.clone(),
            entropy: entropy.clone(),
            log: log.clone(),
            operations: Arc::new(Put),
            feed: Arc::new(NoFeed),
            shredded: Arc::new(NobodyShredded),
        };
        let birth::Here { machines, .. } = birth::find(&parts)?;
        let machines = machines.into_iter().map(|machine| (machine.group(), machine)).collect();
        Ok(Offline { log, parts, machines, entropy, sealer, writer })
    }

    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Begins to take part, in a generation.
    pub async fn run(&self, offline: Offline, generation: u64) -> raft::Result<Running> {
        self.run_with(offline, generation, None).await
    }

    /// The same for a node that is delayed, if it has a gate.
    pub async fn run_with(
        &self,
        offline: Offline,
        generation: u64,
        keeper: Option<Arc<Keeper>>,
    ) -> raft::Result<Running> {
        let (tag, pace) = (cluster_tag(CLUSTER, generation), Pace::TEST);
        let link = Arc::new(self.hub.clone());
        let heartbeats = Heartbeats::new(link, offline.log.clone(), tag, pace.election_min_ms);
        let registry = Arc::new(Registry::of(CLUSTER, generation, offline.log.clone()));
        let (mut batchers, mut all, mut tasks) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (group, machine) in &offline.machines {
            let replica = offline.log.state(*group)?.replica;
            let peers = Peers::new(heartbeats.clone(), (*group, replica));
            all.insert(*group, peers.clone());
            let (log, note) = (&offline.log, machine.applied());
            let delayed = |gate: &Arc<Keeper>| Delayed::new(log.clone(), *group, &note, gate.clone());
            let delayed = keeper.as_ref().map(delayed).transpose()?.map(Arc::new);
            let built = Group::build(log.clone(), machine.clone(), peers, pace).await?;
            let (built, clock) = (Arc::new(built), self.clock.clone());
            let guard = StartGuard::built(clock.boot_ms(), pace.election_max_ms);
            registry.add(Arc::new(Receiver::new(built.clone(), guard, clock.clone(), delayed)));
            let batcher = Batcher::new(built.clone(), offline.sealer.clone(), offline.entropy.clone(), clock);
            batchers.insert(*group, batcher.clone());
            tasks.push(tokio::spawn(async move { batcher.run().await }));
            built.run();
        }
        self.hub.0.lock().unwrap().insert(self.id, registry.clone());
        tasks.push(tokio::spawn(tick(registry.clone())));
        let (hub, node) = (self.hub.clone(), self.id);
        Ok(Running { offline, registry, batchers, peers: all, keeper, hub, node, tasks })
    }

    pub async fn start(&mut self, generation: u64) -> Running {
        let offline = self.open().unwrap();
        self.run(offline, generation).await.unwrap()
    }
}

/// The thread of a log, as a task.
async fn write(log: Arc<Log>) {
    while log.fenced().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        log.step();
    }
}

async fn tick(registry: Arc<Registry>) {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        registry.all().iter().for_each(|receiver| receiver.tick());
    }
}

impl Offline {
    /// Cuts the power of `node`, which this is.
    pub fn crash(self, node: &Node) {
        node.disk.crash();
        self.writer.abort();
        self.log.close();
        self.parts.pool.close();
    }
}

impl Running {
    pub fn group(&self, group: GroupId) -> Arc<Group> {
        self.registry.get(group).unwrap().group().clone()
    }

    /// Sets a row through this node, which must come to lead.
    pub async fn put(&self, group: GroupId, key: u8, value: &[u8]) -> Answer {
        let mut last = None;
        for number in 0..2_000 {
            let body = [&[key][..], value].concat().into();
            let (session, counts) = ([0; 16], Counts::default());
            let valid_until = Stamp::MAX;
            let command = Unsealed { tenant: TENANT, session, number, valid_until, counts, body };
            let answer = self.batchers[&group].submit(command);
            match tokio::time::timeout(Duration::from_millis(2_000), answer).await {
                Ok(Ok(answer)) => return answer,
                refused => last = Some(refused),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no write is taken: {last:?}, {:?}", self.group(group).standing());
    }

    /// What stands in a row here.
    pub fn get(&self, group: GroupId, key: u8) -> Option<Vec<u8>> {
        let view = self.group(group).machine().tablet().view(0).unwrap();
        view.get(TENANT, COLLECTION, &[key]).unwrap().map(|found| found.value.to_vec())
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..3_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}");
    }

    /// Stops consensus, and goes on offline.
    pub async fn stop(self) -> Offline {
        self.hub.0.lock().unwrap().remove(&self.node);
        for receiver in self.registry.all() {
            receiver.group().shutdown().await;
        }
        self.tasks.iter().for_each(JoinHandle::abort);
        self.offline
    }

    /// Cuts the power of `node`, which this is.
    pub async fn crash(self, node: &Node) {
        node.disk.crash();
        self.stop().await.crash(node);
    }
}

pub fn seat(n: u64) -> Seat {
    Seat { node: NodeId(n), role: Role::Voter }
}

pub fn birth(replica: u64, founders: u64) -> Birth {
    let seats: BTreeMap<_, _> = (1..=founders).map(|n| (ReplicaId(n), seat(n))).collect();
    let voters = vec![seats.keys().copied().collect()];
    let founders = (founders > 0).then_some(Membership { voters, seats });
    Birth { group: GROUP, replica: ReplicaId(replica), range: KeyRange::all(), founders }
}

pub async fn born(node: &mut Node, birth: Birth, generation: u64) -> Running {
    let mut offline = node.open().unwrap();
    let machine = birth::bear(&birth, offline.parts.clone()).await.unwrap();
    offline.machines.insert(birth.group, machine);
    node.run(offline, generation).await.unwrap()
}

/// The one that leads.
pub async fn leader<'a>(running: &[&'a Running]) -> &'a Running {
    loop {
        if let Some(leads) = running.iter().find(|one| one.group(GROUP).standing().is_leader) {
            return leads;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// `count` nodes with one group, in which keys 0..10 are written; the first has all of them durably.
pub async fn founded(count: u64) -> (Hub, Vec<Node>, Vec<Running>, Stamp) {
    let hub = Hub::default();
    let (mut nodes, mut running) = (Vec::new(), Vec::new());
    for n in 1..=count {
        let mut node = Node::new(n, &hub);
        running.push(born(&mut node, birth(n, count), 1).await);
        nodes.push(node);
    }
    running[0].group(GROUP).elect().await.unwrap();
    let mut last = Stamp::ZERO;
    for key in 0..10 {
        last = leader(&running.iter().collect::<Vec<_>>()).await.put(GROUP, key, b"before").await.stamp;
    }
    let has_all = |one: &Running| one.get(GROUP, 9).is_some();
    running[0].until("all of it", has_all).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    (hub, nodes, running, last)
}

/// Runs a test on one thread, with time that waits for nobody.
pub fn perform(work: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    #[cfg(feature = "sim")]
    let work = raft::type_config::scope(7, work);
    runtime.block_on(work);
}
