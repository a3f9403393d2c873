//! A node of a run: real log, real engine, real consensus, over a pretended disk and network; and its lives, one after the other.

use super::chores::{ask, beside_engine, close, work, write_log};
use super::clock::{Time, WallClock};
use super::diary::Diary;
use super::door::Inside;
use super::hardware::Hardware;
use super::keys::{self, CLUSTER};
use super::late::{Heard, Late};
use super::net::{Net, disk_seed};
use super::operations::Meaning;
use super::overseer::{Overseer, Watcher};
use super::rejoin::Waiting;
use super::running::{Hosted, Running};
use super::sizes;
use crate::aim::Aim;
use crate::check::Violation;
use crate::seed::{Dice, Swarm};
use engine::catalog::MemoryCatalog;
use engine::disk::SimDisk;
use engine::disk::sim::Faults;
use engine::entropy::Seeded;
use engine::ids::NodeId;
use engine::sealed::Sealer;
use engine::tablet::pool::{Parts, Pool};
use raft::group::batcher::Batcher;
use raft::group::birth::{self, Here};
use raft::group::registry::Registry;
use raft::group::settings::Pace;
use raft::group::start::{Ground, Wanted};
use raft::group::supervise::Supervisor;
use raft::log::{Log, LogParts};
use raft::machine::{Machine, MachineParts, NobodyShredded};
use raft::net::door::Door;
use raft::net::envelope::cluster_tag;
use raft::net::heard;
use raft::net::heartbeats::Heartbeats;
use raft::net::inbound::Receiver;
use raft::net::request::Requests;
use raft::net::words::Words;
use raft::stats::Stats;
use raft::time::BootClock;
use raft::type_config::spawn;
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// The monotonic clock of a node goes on by so many milliseconds in a second.
const RATES_PERMILLE: RangeInclusive<u64> = 900..=1_100;

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
    /// What nodes know of clocks, and of what a delayed node has.
    pub heard: Heard,
    /// The times of consensus.
    pub pace: Pace,
    /// What this run aims at, if it aims at something.
    pub aim: Option<Aim>,
}

/// One node, through all its lives.
pub struct Node {
    /// Which.
    pub id: NodeId,
    /// Its disk.
    pub disk: SimDisk,
    /// Its wall clock.
    pub clock: Arc<WallClock>,
    /// What else of its machine can fail.
    pub hardware: Hardware,
    /// A group of which its replica is being replaced: a crash in between leaves none.
    pub replaced: Option<GroupId>,
    pub(super) world: World,
    catalog: MemoryCatalog,
    pub(super) generation: u64,
    pub(super) life: u64,
    /// Why it was refused, if it was: it is lost for the rest of the run.
    pub(super) refused: Option<String>,
    /// How often it came again.
    pub(super) knocks: u32,
    pub(super) state: State,
}

/// What one life of a node is made with.
#[derive(Clone)]
pub(super) struct Outfit {
    pub(super) node: NodeId,
    pub(super) disk: Arc<SimDisk>,
    pub(super) entropy: Arc<Seeded>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) stats: Arc<Stats>,
}

impl Outfit {
    pub(super) fn log_parts(&self) -> LogParts {
        let Self { node, disk, entropy, sealer, stats } = self.clone();
        LogParts { disk, sealer, entropy, node, stats }
    }
}

/// Log and tablets of a node in which no consensus runs yet.
pub struct Opened {
    /// What its machines are given.
    pub parts: MachineParts,
    /// Its replicas' machines.
    pub machines: BTreeMap<GroupId, Arc<Machine>>,
    writer: JoinHandle<()>,
}

/// What a node does.
pub(super) enum State {
    Down,
    /// It has made its claim, and waits for the word of its peers.
    Waiting(Box<Waiting>, Outfit),
    Running(Box<Running>),
}

impl Opened {
    /// Ends it: all of it that is durable is found by the next start.
    pub fn close(self) {
        self.writer.abort();
        self.parts.log.close();
        self.parts.pool.close();
    }
}

impl Node {
    /// A node that was never started.
    #[must_use]
    pub fn new(id: NodeId, world: World) -> Self {
        let disk = SimDisk::new(disk_seed(world.swarm.seed, id, 0));
        let catalog = MemoryCatalog::on(disk.clone());
        let permille = Dice::new(world.swarm.seed, &format!("clock {id}")).within(&RATES_PERMILLE);
        let permille = u32::try_from(permille).unwrap_or(1_000);
        let clock = WallClock::new(world.time, world.heard.clocks(), permille);
        let (hardware, state) = (Hardware::default(), State::Down);
        let (replaced, refused, generation, life, knocks) = (None, None, 1, 0, 0);
        Self { id, disk, clock, hardware, world, catalog, replaced, generation, life, refused, knocks, state }
    }

    /// It, if it runs.
    #[must_use]
    pub fn running(&self) -> Option<&Running> {
        match &self.state {
            State::Running(running) => Some(running),
            _ => None,
        }
    }

    /// It, if it runs and its machine does not sleep: clients are answered by no other.
    #[must_use]
    pub fn awake(&self) -> Option<&Running> {
        self.running().filter(|_| !self.clock.node().is_asleep())
    }

    /// Why it is lost for the rest of the run, if it is.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Its disk and its catalog as they are now, to be put back later.
    #[must_use]
    pub fn image(&self) -> (SimDisk, MemoryCatalog) {
        let disk = self.disk.clone_disk(disk_seed(self.world.swarm.seed, self.id, u64::MAX - self.life));
        disk.crash();
        let catalog = self.catalog.deep_clone(Some(disk.clone()));
        (disk, catalog)
    }

    /// Puts them back. It must be down.
    pub fn put_back(&mut self, (disk, catalog): (SimDisk, MemoryCatalog)) {
        self.world.diary.note(self.id, "has an older disk");
        (self.disk, self.catalog) = (disk, catalog);
    }

    /// Which life it is in, or was last in.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    /// By how many milliseconds it is delayed, if it is.
    fn late_ms(&self) -> Option<u64> {
        self.world.swarm.late_ms.filter(|_| self.id.0 > u64::from(self.world.swarm.nodes))
    }

    /// Begins its first life, in which the replicas are born.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn begin(&mut self, births: &[birth::Birth]) -> raft::Result<()> {
        let mut opened = self.open()?;
        for birth in births {
            let machine = birth::bear(birth, opened.parts.clone()).await?;
            opened.machines.insert(birth.group, machine);
        }
        let born: Vec<GroupId> = births.iter().map(|birth| birth.group).collect();
        self.run(opened, (&born, Arc::default())).await
    }

    /// Begins its next life, and asks nobody: the others are gone for good.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start_alone(&mut self) -> raft::Result<()> {
        let opened = self.open()?;
        self.run(opened, (&[], Arc::default())).await
    }

    /// It goes on in another generation of the cluster, where what it does is judged by `overseer`.
    pub fn fork(&mut self, generation: u64, overseer: Overseer) {
        self.generation = generation;
        self.world.overseer = overseer;
    }

    /// Opens log and tablets. No consensus runs yet.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn open(&mut self) -> raft::Result<Opened> {
        let outfit = self.dress()?;
        let log = Log::open(sizes::log(&self.world.swarm), outfit.log_parts())?;
        let pool = self.open_pool(&outfit)?;
        self.equip(outfit, log, pool, &BTreeSet::new())
    }

    /// What its next life is made with.
    pub(super) fn dress(&mut self) -> raft::Result<Outfit> {
        self.life += 1;
        let (world, life) = (&self.world, self.life);
        world.diary.note(self.id, format_args!("starts life {life}"));
        if self.disk.is_down() {
            self.disk.restart();
            self.hardware.set_faults(&self.disk, Faults::default());
        }
        let entropy = Arc::new(Seeded::new(disk_seed(world.swarm.seed, self.id, life)));
        let sealer = keys::sealer(self.id, entropy.clone(), self.hardware.keys.clone())?;
        let (disk, stats) = (Arc::new(self.disk.clone()), Arc::default());
        Ok(Outfit { node: self.id, disk, entropy, sealer, stats })
    }

    pub(super) fn open_pool(&self, outfit: &Outfit) -> raft::Result<Arc<Pool>> {
        let parts = Parts {
            disk: outfit.disk.clone(),
            catalog: self.catalog.opener(),
            sealer: outfit.sealer.clone(),
            clock: self.clock.clone(),
            node: self.id,
        };
        Ok(Pool::open(sizes::pool(&self.world.swarm), parts)?)
    }

    /// The machines over a log that was begun, but for those of the groups in `replace`.
    pub(super) fn equip(
        &self,
        outfit: Outfit,
        log: Arc<Log>,
        pool: Arc<Pool>,
        replace: &BTreeSet<GroupId>,
    ) -> raft::Result<Opened> {
        let (world, life) = (&self.world, self.life);
        let Outfit { disk, entropy, sealer, .. } = outfit;
        let overseer = world.overseer.clone();
        let parts = MachineParts {
            meta: Arc::default(),
            pool,
            disk,
            spool: "/spool".into(),
            sealer,
            entropy,
            log: log.clone(),
            operations: Arc::new(Meaning),
            feed: Arc::new(Watcher { overseer, node: self.id, log: log.clone() }),
            shredded: Arc::new(NobodyShredded),
        };
        let dice = Dice::new(world.swarm.seed, &format!("sync {} {life}", self.id));
        let writing = write_log(log, dice, world.swarm.clone(), self.hardware.clone());
        let writer = self.hardware.pause.enter(|| spawn(writing));
        let Here { machines, half_born, .. } = birth::find(&parts, replace)?;
        if let Some((group, _)) =
            half_born.first().filter(|(group, _)| life > 1 && self.replaced != Some(*group))
        {
            let what = format!("{}: the state of {group} is gone", self.id);
            self.world.overseer.accuse(Violation::broken("start", what));
        }
        let machines = machines.into_iter().map(|one| (one.group(), one)).collect();
        Ok(Opened { parts, machines, writer })
    }

    /// What it has if it is delayed; if not, the others ask its clock.
    fn late(&self, parts: &MachineParts) -> raft::Result<Option<Arc<Late>>> {
        let Some(late_ms) = self.late_ms() else {
            self.world.heard.clock(self.id, self.clock.clone());
            return Ok(None);
        };
        let own = (self.id, self.clock.clone());
        Late::open(&self.world, own, parts, late_ms).map(Some)
    }

    /// Lets consensus of all its groups run, by the clock of the node; those of `born` were never here before. All of it stands still with
    /// the node.
    pub(super) async fn run(
        &mut self,
        opened: Opened,
        known: (&[GroupId], Arc<heard::Heard>),
    ) -> raft::Result<()> {
        let (pause, clock) = (self.hardware.pause.clone(), self.clock.clone());
        pause.within(clock.node().scope(self.run_here(opened, known))).await
    }

    async fn run_here(
        &mut self,
        opened: Opened,
        (born, heard): (&[GroupId], Arc<heard::Heard>),
    ) -> raft::Result<()> {
        let Opened { parts, machines, writer } = opened;
        let (world, life, log, pool) = (&self.world, self.life, parts.log.clone(), parts.pool.clone());
        let late = self.late(&parts)?;
        let mut tasks = vec![writer];
        let tag = cluster_tag(CLUSTER, self.generation);
        let stats = log.stats().clone();
        let door = Door::new((CLUSTER, self.generation), heard.clone(), stats.clone());
        let registry = Arc::new(Registry::new(door, log.clone()));
        let plug = world.net.plug(self.id, life);
        let requests = Requests::new(plug, heard, (tag, world.pace.election_min_ms), stats);
        let heartbeats = Heartbeats::new(requests.clone(), log.clone(), world.pace.heartbeat_ms);
        let words: Arc<Words> = Arc::default();
        let (clock, pace): (Arc<dyn BootClock>, _) = (self.clock.clone(), world.pace);
        let ground = Ground { registry: registry.clone(), heartbeats, parts, clock, pace };
        let wanted =
            |(group, machine)| self.wanted(late.as_ref(), &ground.parts, machine, born.contains(&group));
        let wanted = machines.into_iter().map(wanted).collect::<raft::Result<Vec<_>>>()?;
        let mut started = beside_engine(&pool, ground.build_all(wanted)).await;
        if let Some((_, error)) = started.failed.pop_first() {
            return Err(error);
        }
        let hosted = started.receivers.iter().map(|(group, one)| (*group, self.seat(&ground.parts, one)));
        let replicas = hosted.collect();
        let inside = Inside {
            id: self.id,
            registry: registry.clone(),
            log: log.clone(),
            disk: self.disk.clone(),
            pause: self.hardware.pause.clone(),
            clock: self.clock.clone(),
            world: world.clone(),
        };
        world.net.listen(self.id, life, Arc::new(inside));
        ground.run(&started);
        let (own, said) = ((self.clock.clone(), world.clone()), (registry.clone(), words.clone()));
        let machine = (pool.clone(), self.hardware.clone());
        tasks.push(spawn(work(machine, said.clone(), log.clone(), own)));
        tasks.push(spawn(ask(self.id, requests, said, world.clone())));
        if let Some(late) = &late {
            tasks.push(spawn(late.clone().work(registry.clone())));
        }
        let (known, supervisor) = (Mutex::default(), Supervisor::new(ground.clone()));
        let running =
            Running { log, pool, registry, replicas, late, life, known, tasks, ground, supervisor, words };
        self.state = State::Running(Box::new(running));
        Ok(())
    }

    /// What is wanted of one replica. It stands behind its start guard unless it was born just now.
    pub(super) fn wanted(
        &self,
        late: Option<&Arc<Late>>,
        parts: &MachineParts,
        machine: Arc<Machine>,
        is_born: bool,
    ) -> raft::Result<Wanted> {
        let log = &parts.log;
        self.world.overseer.recovered(log, &machine, log.state(machine.group())?.replica);
        let delayed = late.map(|late| late.replica(log, &machine)).transpose()?;
        Ok(Wanted { machine, delayed, is_born })
    }

    /// Lets work for a replica what works beside consensus.
    pub(super) fn seat(&self, parts: &MachineParts, receiver: &Receiver) -> Hosted {
        let (sealer, entropy, log) = (parts.sealer.clone(), parts.entropy.clone(), parts.log.clone());
        let batcher = Batcher::new(receiver.group().clone(), sealer, entropy, self.clock.clone());
        receiver.proposes_by(&batcher);
        let (own, works) = ((self.clock.clone(), self.world.clone()), batcher.clone());
        let tasks = vec![
            spawn(close(receiver.group().clone(), batcher.clone(), log, own.0, own.1)),
            spawn(async move { works.run().await }),
        ];
        Hosted { batcher, tasks }
    }

    /// Cuts its power: what was not synced may be lost.
    pub fn crash(&mut self) {
        self.world.diary.note(self.id, "loses power");
        self.world.net.unplug(self.id);
        self.hardware.pause.go_on();
        self.clock.node().set_asleep(false);
        self.disk.crash();
        match std::mem::replace(&mut self.state, State::Down) {
            State::Running(running) => running.end(),
            State::Waiting(waiting, _) => waiting.close(),
            State::Down => {}
        }
    }
}
