//! A few nodes in one process: real logs, tablets and consensus, pretended disks and clocks, and a network that loses nothing.

#![allow(dead_code, reason = "each test uses a part of it")]

mod clock;
mod hub;
mod lead;
mod mine;

use crate::rig::{Shreds, keys_of};
use bytes::Bytes;
use engine::Stamp;
use engine::catalog::MemoryCatalog;
use engine::clock::Clock;
use engine::disk::SimDisk;
use engine::entropy::Seeded;
use engine::ids::{ClusterId, CollectionId, NodeId, TenantId};
use engine::key::KeyRange;
use engine::sealed::{Keyring, Sealer};
use engine::tablet::pool::{Parts, Pool, PoolConfig};
use raft::command::Counts;
use raft::delay::Keeper;
use raft::delay::receive::Delayed;
use raft::group::admission::{Admission, Whereabouts};
use raft::group::batcher::{Answer, Batcher};
use raft::group::birth::{self, Birth};
use raft::group::handle::Group;
use raft::group::outcome::NotApplied;
use raft::group::registry::Registry;
use raft::group::settings::Pace;
use raft::group::start::{Ground, Wanted};
use raft::log::{Log, LogConfig, LogParts, RecoveredLog};
use raft::machine::operations::{Operations, Rows};
use raft::machine::{Machine, MachineParts};
use raft::net::door::Door;
use raft::net::envelope::cluster_tag;
use raft::net::heard::{Heard, Voice};
use raft::net::heartbeats::Heartbeats;
use raft::net::inbound::Receiver;
use raft::net::request::Requests;
use raft::seal::Unsealed;
use raft::stats::Stats;
use raft::types::{GroupId, Membership, ReplicaId, Role, Seat};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

pub use crate::rig::TENANT;
pub use clock::TestClock;
pub use hub::Hub;
use hub::{Line, Listener};
pub use lead::lead;
pub use mine::Mine;
pub const CLUSTER: ClusterId = ClusterId([0xd1; 16]);
pub const COLLECTION: CollectionId = CollectionId(1);
/// The group of all nodes.
pub const GROUP: GroupId = GroupId(3);
pub const EPOCH_MS: u64 = 1_750_000_000_000;

/// A command is a key of one byte, and its value.
struct Put;

impl Operations for Put {
    fn evaluate(&self, tenant: TenantId, body: &[u8], rows: &mut Rows<'_>) -> raft::Result<Bytes> {
        rows.put(tenant, COLLECTION, &body[..1], &body[1..], 0)?;
        Ok(Bytes::new())
    }
}

/// One node, through its lives.
pub struct Node {
    pub id: NodeId,
    pub disk: SimDisk,
    catalog: MemoryCatalog,
    hub: Hub,
    pub clock: Arc<TestClock>,
    /// Panics when it is laid.
    pub mine: Mine,
    /// Its keys, through all its lives.
    pub keys: Arc<Keyring>,
    /// Whose keys are gone for good.
    pub shreds: Arc<Shreds>,
    starts: u64,
}

/// What one life of a node is made with.
pub struct Outfit {
    config: LogConfig,
    parts: LogParts,
    entropy: Arc<Seeded>,
}

/// A node that waits for the word of others.
pub struct Waiting {
    pub admission: Arc<Admission>,
    pub requests: Arc<Requests>,
    outfit: Outfit,
    pub pool: Arc<Pool>,
    generation: u64,
}

impl Waiting {
    /// Where it counts.
    pub fn stats(&self) -> &Stats {
        &self.outfit.parts.stats
    }
}

/// A node whose log and tablets are open. No consensus runs.
pub struct Offline {
    pub log: Arc<Log>,
    pub parts: MachineParts,
    pub machines: BTreeMap<GroupId, Arc<Machine>>,
    /// Replicas that must be replaced.
    pub outdated: Vec<(GroupId, ReplicaId)>,
    pub heard: Arc<Heard>,
    entropy: Arc<Seeded>,
    sealer: Arc<Sealer>,
    writer: JoinHandle<()>,
}

/// A node at work.
pub struct Running {
    pub offline: Offline,
    pub registry: Arc<Registry>,
    pub batchers: BTreeMap<GroupId, Arc<Batcher>>,
    pub requests: Arc<Requests>,
    /// What its replicas stand on.
    pub ground: Ground,
    /// The gate of a node that is delayed.
    pub keeper: Option<Arc<Keeper>>,
    hub: Hub,
    node: NodeId,
    clock: Arc<TestClock>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    pub fn new(id: u64, hub: &Hub) -> Self {
        let disk = SimDisk::new(id);
        let catalog = MemoryCatalog::on(disk.clone());
        let clock = TestClock::begin();
        let (id, hub, mine) = (NodeId(id), hub.clone(), Mine::default());
        Self { id, disk, catalog, hub, clock, mine, keys: keys_of(id), shreds: Arc::default(), starts: 0 }
    }

    /// An empty disk in the place of the one there was.
    pub fn wipe(&mut self) {
        self.disk = SimDisk::new(self.id.0 + 100);
        self.catalog = MemoryCatalog::on(self.disk.clone());
    }

    /// Puts the catalog of another in the place of its own.
    pub fn take_catalog(&mut self, from: &Self) {
        self.catalog = from.catalog.deep_clone(Some(self.disk.clone()));
    }

    /// The same disk apart from this one.
    pub fn twin(&self, seed: u64) -> Self {
        let disk = self.disk.clone_disk(seed);
        let (catalog, clock) = (self.catalog.deep_clone(Some(disk.clone())), self.clock.clone());
        let (starts, mine) = (self.starts + seed * 1_000, Mine::default());
        let (hub, keys, shreds) = (self.hub.clone(), self.keys.clone(), self.shreds.clone());
        Self { id: self.id, disk, catalog, hub, clock, mine, keys, shreds, starts }
    }

    /// From now on it cannot be reached.
    pub fn unplug(&self) {
        self.hub.unplug(self.id);
    }

    /// Opens it, and asks nobody whether it may.
    pub fn open(&mut self) -> raft::Result<Offline> {
        let (outfit, pool) = self.dress()?;
        let log = Log::open(outfit.config.clone(), outfit.parts.clone())?;
        self.equip(&outfit, (log, pool), Arc::default(), &BTreeSet::new())
    }

    /// Reads its disk, and listens to others who start as well.
    pub fn seek_admission(&mut self, others: &[u64], generation: u64) -> raft::Result<Waiting> {
        let (outfit, pool) = self.dress()?;
        let log = RecoveredLog::read(outfit.config.clone(), outfit.parts.clone())?;
        let others = others.iter().map(|n| NodeId(*n)).collect();
        let admission = Arc::new(Admission::new(
            log,
            &Whereabouts {
                node: self.id,
                cluster: (CLUSTER, generation),
                others: &others,
                pool: &pool,
                disk: &outfit.parts.disk,
                spool: "/spool".as_ref(),
                sealer: &outfit.parts.sealer,
            },
        )?);
        self.hub.listen(self.id, Listener::Waits(admission.clone()));
        let stats = outfit.parts.stats.clone();
        let requests = self.requests(admission.voice(), generation, admission.heard().clone(), stats);
        Ok(Waiting { admission, requests, outfit, pool, generation })
    }

    /// Goes on from there, if it may.
    pub async fn enter(&self, waiting: Waiting) -> raft::Result<(Running, Vec<(GroupId, ReplicaId)>)> {
        let Waiting { admission, outfit, pool, generation, .. } = waiting;
        let (log, replace) = admission.begin()?;
        let offline = self.equip(&outfit, (log, pool), admission.heard().clone(), &replace)?;
        let outdated = offline.outdated.clone();
        Ok((self.run(offline, generation).await?, outdated))
    }

    fn dress(&mut self) -> raft::Result<(Outfit, Arc<Pool>)> {
        self.starts += 1;
        if self.disk.is_down() {
            self.disk.restart();
        }
        let entropy = Arc::new(Seeded::new(self.id.0 << 32 | self.starts));
        let sealer = Arc::new(Sealer::new(CLUSTER, self.keys.clone(), entropy.clone())?);
        let disk = Arc::new(self.disk.clone());
        let parts = LogParts {
            disk: disk.clone(),
            sealer: sealer.clone(),
            entropy: entropy.clone(),
            node: self.id,
            stats: Arc::new(Stats::timed(clock::ticks)),
        };
        let config = LogConfig {
            segment_bytes: 512 << 10,
            write_bytes: 128 << 10,
            entry_bytes_max: 128 << 10,
            groups_max: 16,
            peers_max: 16,
            ..LogConfig::new("/log")
        };
        let outfit = Outfit { config, parts, entropy };
        let parts =
            Parts { disk, catalog: self.catalog.opener(), sealer, clock: self.clock.clone(), node: self.id };
        let config = PoolConfig {
            threads: 0,
            memtable_bytes: 1 << 20,
            cache_bytes: 1 << 20,
            ..PoolConfig::new("/pool")
        };
        Ok((outfit, Pool::open(config, parts)?))
    }

    fn equip(
        &self,
        outfit: &Outfit,
        (log, pool): (Arc<Log>, Arc<Pool>),
        heard: Arc<Heard>,
        replace: &BTreeSet<GroupId>,
    ) -> raft::Result<Offline> {
        let Outfit { parts: LogParts { disk, sealer, .. }, entropy, .. } = outfit;
        let writer = tokio::spawn(write(log.clone()));
        let parts = MachineParts {
            meta: Arc::default(),
            pool,
            disk: disk.clone(),
            spool: "/spool".into(),
            sealer: sealer.clone(),
            entropy: entropy.clone(),
            log: log.clone(),
            operations: Arc::new(Put),
            feed: Arc::new(self.mine.clone()),
            shredded: self.shreds.clone(),
        };
        let birth::Here { machines, outdated, .. } = birth::find(&parts, replace)?;
        let machines = machines.into_iter().map(|machine| (machine.group(), machine)).collect();
        let (entropy, sealer) = (entropy.clone(), sealer.clone());
        Ok(Offline { log, parts, machines, outdated, heard, entropy, sealer, writer })
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
        let pace = Pace::TEST;
        let found = offline.log.found();
        let voice = Voice::of(self.id, found.log, found.incarnation, &found.boot_nonce);
        let stats = offline.log.stats().clone();
        let requests = self.requests(voice, generation, offline.heard.clone(), stats.clone());
        let heartbeats = Heartbeats::new(requests.clone(), offline.log.clone(), pace.heartbeat_ms);
        let door = Door::new((CLUSTER, generation), offline.heard.clone(), stats);
        let registry = Arc::new(Registry::new(door, offline.log.clone()));
        let (parts, clock) = (offline.parts.clone(), self.clock.clone());
        let ground = Ground { registry: registry.clone(), heartbeats, parts, clock, pace };
        let mut wanted = Vec::new();
        for (group, machine) in &offline.machines {
            let (log, note) = (&offline.log, machine.applied());
            let delayed = |gate: &Arc<Keeper>| Delayed::new(log.clone(), *group, &note, gate.clone());
            let delayed = keeper.as_ref().map(delayed).transpose()?.map(Arc::new);
            wanted.push(Wanted { machine: machine.clone(), delayed, is_born: false });
        }
        let started = ground.start(wanted).await;
        if let Some((_, error)) = started.failed.into_iter().next() {
            return Err(error);
        }
        let tasks = vec![tokio::spawn(tick(registry.clone()))];
        self.hub.listen(self.id, Listener::Runs(voice, registry.clone()));
        let (hub, node, clock, batchers) = (self.hub.clone(), self.id, self.clock.clone(), BTreeMap::new());
        let mut running =
            Running { offline, registry, batchers, requests, ground, keeper, hub, node, clock, tasks };
        started.receivers.values().for_each(|receiver| running.gather(receiver));
        Ok(running)
    }

    fn requests(&self, voice: Voice, generation: u64, heard: Arc<Heard>, stats: Arc<Stats>) -> Arc<Requests> {
        let line = Arc::new(Line(self.hub.clone(), voice));
        let times = (cluster_tag(CLUSTER, generation), Pace::TEST.election_min_ms);
        Requests::new(line, heard, times, stats)
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
    /// Gathers commands for a replica that has just begun to run, and for none before it.
    pub fn gather(&mut self, receiver: &Receiver) {
        let (sealer, entropy) = (self.offline.sealer.clone(), self.offline.entropy.clone());
        let batcher = Batcher::new(receiver.group().clone(), sealer, entropy, self.clock.clone());
        receiver.proposes_by(&batcher);
        if let Some(old) = self.batchers.insert(receiver.group().id(), batcher.clone()) {
            old.close();
        }
        self.tasks.push(tokio::spawn(async move { batcher.run().await }));
    }

    pub fn group(&self, group: GroupId) -> Arc<Group> {
        self.registry.get(group).unwrap().group().clone()
    }

    /// Proposes a command once, under a number of its own.
    pub async fn submit(&self, group: GroupId, number: u64, body: Vec<u8>) -> Result<Answer, NotApplied> {
        let (session, counts, valid_until) = ([0; 16], Counts::default(), Stamp::MAX);
        let body = body.into();
        let command = Unsealed { tenant: TENANT, session, number, valid_until, counts, body };
        self.batchers[&group].submit(command).await
    }

    /// From now on its log writes nothing.
    pub fn stop_writing(&self) {
        self.offline.writer.abort();
    }

    /// It writes again.
    pub fn go_on_writing(&mut self) {
        self.offline.writer = tokio::spawn(write(self.offline.log.clone()));
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
        self.hub.unplug(self.node);
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
    lead(&running[0], &[GROUP]).await;
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
