//! A node of a run: real log, real engine, real consensus, over a pretended disk and network; and its lives, one after the other.

use super::clock::{Time, WallClock};
use super::diary::Diary;
use super::keys::{self, CLUSTER};
use super::net::{Net, Plug, Serve, disk_seed};
use super::operations::Meaning;
use super::overseer::{Known, Overseer, Watcher};
use crate::check::raft::ReplicaState;
use crate::seed::{Dice, Swarm};
use bytes::Bytes;
use engine::catalog::MemoryCatalog;
use engine::disk::SimDisk;
use engine::entropy::Seeded;
use engine::ids::NodeId;
use engine::sealed::Sealer;
use engine::tablet::pool::{Parts, Pool, PoolConfig};
use raft::group::batcher::Batcher;
use raft::group::birth::{self, Here};
use raft::group::handle::Group;
use raft::group::registry::Registry;
use raft::group::settings::Pace;
use raft::group::start_guard::StartGuard;
use raft::log::{Log, LogConfig, LogParts};
use raft::machine::{Machine, MachineParts, NobodyShredded};
use raft::net::envelope::{Frame, cluster_tag};
use raft::net::inbound::Receiver;
use raft::net::link::BoxFuture;
use raft::net::message::Message;
use raft::net::outbound::Peers;
use raft::time::BootClock;
use raft::type_config::spawn;
use raft::types::{GroupId, ReplicaId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What all nodes of a run share.
#[derive(Clone)]
pub struct World {
    /// Its configuration.
    pub swarm: Swarm,
    /// The true time.
    pub time: Time,
    /// The network.
    pub net: Net,
    /// What happened.
    pub diary: Diary,
    /// Who sees it.
    pub overseer: Overseer,
    /// The times of consensus.
    pub pace: Pace,
}

/// One node, through all its lives.
pub struct Node {
    /// Which.
    pub id: NodeId,
    /// Its replica in every group.
    pub replica: ReplicaId,
    /// Its disk.
    pub disk: SimDisk,
    /// Its wall clock.
    pub clock: Arc<WallClock>,
    world: World,
    catalog: MemoryCatalog,
    life: u64,
    running: Option<Running>,
}

/// A node in one of its lives.
pub struct Running {
    /// Its log.
    pub log: Arc<Log>,
    /// Its tablets.
    pub pool: Arc<Pool>,
    /// Its replicas.
    pub registry: Arc<Registry>,
    /// Where commands for its groups go.
    pub batchers: BTreeMap<GroupId, Arc<Batcher>>,
    life: u64,
    known: Mutex<Known>,
    tasks: Vec<JoinHandle<()>>,
}

/// What every replica of a node is built with.
struct Ways {
    plug: Arc<Plug>,
    tag: u64,
    sealer: Arc<Sealer>,
    entropy: Arc<Seeded>,
    registry: Arc<Registry>,
    log: Arc<Log>,
}

impl BootClock for WallClock {
    fn boot_ms(&self) -> u64 {
        self.true_ms()
    }
}

/// Takes frames for one life of a node.
struct Door {
    registry: Arc<Registry>,
    log: Arc<Log>,
    overseer: Overseer,
}

impl Serve for Door {
    fn serve(&self, _: NodeId, frame: Bytes) -> BoxFuture<Option<Bytes>> {
        let (registry, log, overseer) = (self.registry.clone(), self.log.clone(), self.overseer.clone());
        Box::pin(async move {
            let group = Frame::decode(&frame).map(|frame| frame.group).unwrap_or_default();
            let before = log.state(group).ok().and_then(|state| state.last);
            let answer = registry.serve(frame.clone()).await;
            let is_passing = matches!(Frame::decode(&answer), Ok(Frame { message: Message::Refused(_), .. }));
            if !is_passing {
                overseer.answered(&log, before, &frame, &answer);
            }
            Some(answer)
        })
    }
}

impl Node {
    /// A node that was never started.
    #[must_use]
    pub fn new(id: NodeId, world: World) -> Self {
        let disk = SimDisk::new(disk_seed(world.swarm.seed, id, 0));
        let catalog = MemoryCatalog::on(disk.clone());
        let clock = WallClock::new(world.time);
        Self { id, replica: ReplicaId(id.0), disk, clock, world, catalog, life: 0, running: None }
    }

    /// It, if it runs.
    #[must_use]
    pub fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// Which life it is in, or was last in.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    fn log_config(&self) -> LogConfig {
        let segment_bytes = self.world.swarm.segment_bytes.max(256 << 10);
        LogConfig {
            segment_bytes,
            write_bytes: 64 << 10,
            cache_bytes: 16 << 10,
            segments_kept: 3,
            entry_bytes_max: 100 << 10,
            groups_max: 16,
            peers_max: 16,
            ..LogConfig::new("/log")
        }
    }

    fn pool_config(&self) -> PoolConfig {
        let memtable = usize::try_from(self.world.swarm.memtable_bytes).unwrap_or(64 << 10).max(4 << 10);
        PoolConfig {
            threads: 0,
            memtable_bytes: (memtable * 16).max(256 << 10),
            memtable_bytes_per_tablet: memtable,
            cache_bytes: 1 << 20,
            ..PoolConfig::new("/pool")
        }
    }

    /// Begins its next life.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start(&mut self, births: &[birth::Birth]) -> raft::Result<()> {
        self.life += 1;
        let (world, life) = (&self.world, self.life);
        world.diary.note(self.id, format_args!("starts life {life}"));
        if self.disk.is_down() {
            self.disk.restart();
        }
        let disk = Arc::new(self.disk.clone());
        let entropy = Arc::new(Seeded::new(disk_seed(world.swarm.seed, self.id, life)));
        let sealer = keys::sealer(self.id, entropy.clone())?;
        let parts =
            LogParts { disk: disk.clone(), sealer: sealer.clone(), entropy: entropy.clone(), node: self.id };
        let log = Log::open(self.log_config(), parts)?;
        let parts = Parts {
            disk: disk.clone(),
            catalog: self.catalog.opener(),
            sealer: sealer.clone(),
            clock: self.clock.clone(),
            node: self.id,
        };
        let pool = Pool::open(self.pool_config(), parts)?;
        let (overseer, replica) = (world.overseer.clone(), self.replica);
        let parts = MachineParts {
            pool: pool.clone(),
            disk,
            spool: "/spool".into(),
            sealer: sealer.clone(),
            entropy: entropy.clone(),
            log: log.clone(),
            operations: Arc::new(Meaning),
            feed: Arc::new(Watcher { overseer: overseer.clone(), node: self.id, replica }),
            shredded: Arc::new(NobodyShredded),
        };
        let mut tasks = vec![spawn(write_log(
            log.clone(),
            Dice::new(world.swarm.seed, &format!("sync {} {life}", self.id)),
            world.swarm.clone(),
        ))];
        let tag = cluster_tag(CLUSTER, 1);
        let registry = Arc::new(Registry::new(tag, log.clone()));
        let plug = world.net.plug(self.id, life);
        let Here { machines, .. } = birth::find(&parts)?;
        let mut machines: BTreeMap<GroupId, Arc<Machine>> =
            machines.into_iter().map(|one| (one.group(), one)).collect();
        let mut born = Vec::new();
        for birth in births.iter().filter(|birth| !machines.contains_key(&birth.group)).collect::<Vec<_>>() {
            machines.insert(birth.group, birth::bear(birth, parts.clone()).await?);
            born.push(birth.group);
        }
        let ways = Ways { plug, tag, sealer, entropy, registry: registry.clone(), log: log.clone() };
        let mut batchers = BTreeMap::new();
        for (group, machine) in machines {
            overseer.recovered(&log, &machine, self.replica);
            let batcher = self.build(&ways, machine, born.contains(&group)).await?;
            batchers.insert(group, batcher.clone());
            tasks.push(spawn(async move { batcher.run().await }));
        }
        let door = Door { registry: registry.clone(), log: log.clone(), overseer };
        world.net.listen(self.id, life, Arc::new(door));
        registry.all().iter().for_each(|receiver| receiver.group().run());
        tasks.push(spawn(work(pool.clone(), registry.clone(), world.swarm.snapshot_entries)));
        self.running = Some(Running { log, pool, registry, batchers, life, known: Mutex::default(), tasks });
        Ok(())
    }

    /// Builds its replica of one group, behind its start guard unless it was born just now.
    async fn build(&self, ways: &Ways, machine: Arc<Machine>, is_born: bool) -> raft::Result<Arc<Batcher>> {
        let Ways { plug, tag, sealer, entropy, registry, log } = ways;
        let (ids, pace) = ((machine.group(), self.replica), self.world.pace);
        let peers = Peers::new(plug.clone(), log.clone(), *tag, ids, pace.election_min_ms);
        let now = self.clock.boot_ms();
        let built = Arc::new(Group::build(log.clone(), machine, peers, pace).await?);
        let guard = if is_born { StartGuard::born() } else { StartGuard::built(now, pace.election_max_ms) };
        let clock: Arc<dyn BootClock> = self.clock.clone();
        registry.add(Arc::new(Receiver::new(built.clone(), guard, clock, None)));
        Ok(Batcher::new(built, sealer.clone(), entropy.clone(), self.clock.clone()))
    }

    /// Cuts its power: what was not synced may be lost.
    pub fn crash(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.world.diary.note(self.id, "loses power");
        self.world.net.unplug(self.id);
        self.disk.crash();
        running.tasks.iter().for_each(JoinHandle::abort);
        running.log.close();
        running.pool.close();
        for receiver in running.registry.all() {
            running.registry.remove(receiver.group().id());
            spawn(async move { receiver.group().shutdown().await });
        }
    }

    /// Whether consensus of one of its groups has stopped, and why.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        let running = self.running.as_ref()?;
        let stopped = |receiver: &Arc<Receiver>| receiver.group().standing().stopped;
        running.registry.all().iter().find_map(stopped)
    }
}

impl Running {
    /// What its replica of a group holds now.
    #[must_use]
    pub fn state(&self, group: GroupId) -> Option<ReplicaState> {
        let receiver = self.registry.get(group)?;
        let state = self.log.state(group).ok()?;
        let standing = receiver.group().standing();
        let note = receiver.group().machine().applied();
        let log = self.known.lock().unwrap_or_else(PoisonError::into_inner).log(&self.log, group);
        Some(ReplicaState {
            replica: state.replica,
            life: self.life,
            vote: state.vote.unwrap_or_default(),
            is_leader: standing.is_leader && standing.vote == state.vote.unwrap_or_default(),
            purged: state.purged,
            log,
            committed: state.committed,
            applied: note.applied,
            applied_hash: note.digest.whole(),
        })
    }
}

/// The thread of the log, as a task: a sync takes its time.
async fn write_log(log: Arc<Log>, mut dice: Dice, swarm: Swarm) {
    while log.fenced().is_none() {
        let ms = dice.within(&swarm.sync_ms).max(1);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        log.step();
    }
}

/// Background work of the engine, elections, and purging.
async fn work(pool: Arc<Pool>, registry: Arc<Registry>, snapshot_entries: u64) {
    let mut round = 0_u64;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        round += 1;
        for receiver in registry.all() {
            receiver.tick();
            let machine = receiver.group().machine();
            let _ = machine.note_durable();
            let (applied, durable) = (machine.tablet().applied().index.0, machine.tablet().durable().index.0);
            if applied > durable + snapshot_entries {
                machine.tablet().freeze();
            }
            let state = receiver.group().standing();
            let behind = state.purged.map_or(0, |id| id.index);
            if round.is_multiple_of(10)
                && let Ok(note) = machine.durable()
                && let Some(upto) = note.applied.map(|id| id.index.saturating_sub(snapshot_entries / 2))
                && upto > behind + snapshot_entries
            {
                let _ = receiver.group().purge(upto).await;
            }
        }
        for _ in 0..4 {
            pool.step();
        }
    }
}
