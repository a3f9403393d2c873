//! A node of a run: real log, real engine, real consensus, over a pretended disk and network; and its lives, one after the other.

use super::chores::{beside_engine, close, work, write_log};
use super::clock::{Time, WallClock};
use super::diary::Diary;
use super::keys::{self, CLUSTER};
use super::late::{Heard, Late};
use super::memory::{Memory, Voice};
use super::net::{Net, Serve, disk_seed};
use super::operations::Meaning;
use super::overseer::{self, Overseer, Watcher};
use super::rejoin;
use super::running::{Hosted, Running, Ways};
use super::sizes;
use crate::aim::Aim;
use crate::check::Violation;
use crate::check::ledger::Seat;
use crate::seed::{Dice, Swarm};
use bytes::Bytes;
use engine::catalog::MemoryCatalog;
use engine::disk::SimDisk;
use engine::entropy::Seeded;
use engine::ids::NodeId;
use engine::tablet::pool::{Parts, Pool};
use raft::group::batcher::Batcher;
use raft::group::birth::{self, Here};
use raft::group::handle::Group;
use raft::group::registry::Registry;
use raft::group::rejoin::{Answer, Claim, Verdict};
use raft::group::settings::Pace;
use raft::group::start_guard::StartGuard;
use raft::log::{Log, LogParts};
use raft::machine::{Machine, MachineParts, NobodyShredded};
use raft::net::envelope::{Frame, cluster_tag};
use raft::net::heartbeats::Heartbeats;
use raft::net::inbound::Receiver;
use raft::net::link::BoxFuture;
use raft::net::outbound::Peers;
use raft::time::BootClock;
use raft::type_config::spawn;
use raft::types::GroupId;
use std::collections::BTreeMap;
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
    /// A group of which its replica is being replaced: a crash in between leaves none.
    pub replaced: Option<GroupId>,
    pub(super) world: World,
    catalog: MemoryCatalog,
    generation: u64,
    life: u64,
    pub(super) state: State,
}

/// Log and tablets of a node in which no consensus runs yet.
pub struct Opened {
    /// What its machines are given.
    pub parts: MachineParts,
    /// Its replicas' machines.
    pub machines: BTreeMap<GroupId, Arc<Machine>>,
    memory: Arc<Memory>,
    writer: JoinHandle<()>,
}

/// How far a node is with its start.
pub enum Entered {
    /// It runs.
    Runs,
    /// Too few peers have answered.
    Waits,
    /// It serves nobody: why.
    Refused(String),
}

/// What a node does.
pub(super) enum State {
    Down,
    /// It has made its claim, and waits for the word of its peers.
    Waiting(Box<Opened>, Claim),
    Running(Box<Running>),
    /// Its disk cannot be believed. It stays down.
    Refused(String),
}

impl Opened {
    /// Ends it: all of it that is durable is found by the next start.
    pub fn close(self) {
        self.writer.abort();
        self.parts.log.close();
        self.parts.pool.close();
    }
}

/// Takes frames for one life of a node.
struct Door {
    registry: Arc<Registry>,
    log: Arc<Log>,
    memory: Arc<Memory>,
    disk: SimDisk,
    clock: Arc<WallClock>,
    world: World,
}

impl Serve for Door {
    fn voice(&self) -> Voice {
        let found = self.log.found();
        Voice { log: found.log, incarnation: found.incarnation }
    }

    fn hears(&self, from: NodeId, voice: Voice, durable: u64) {
        self.memory.hears(from, voice, durable);
    }

    fn is_heard(&self, asked: &Bytes, answer: &Bytes) {
        self.world.overseer.heard(&self.log, asked, answer);
    }

    fn serve(&self, _: NodeId, frame: Bytes) -> BoxFuture<Option<Bytes>> {
        let (registry, log, overseer) =
            (self.registry.clone(), self.log.clone(), self.world.overseer.clone());
        let decoded = Frame::decode(&frame).ok();
        if let (Some(aim), Some(frame), false) = (self.world.aim, &decoded, self.world.net.is_calm()) {
            aim.is_asked(&self.disk, &frame.message);
        }
        let asked = decoded.map(|frame| overseer::appends(&frame)).unwrap_or_default();
        Box::pin(self.clock.node().scope(async move {
            let last = |seat: &Seat| log.state(seat.group).ok().and_then(|state| state.last);
            let before: Vec<_> = asked.iter().map(|(seat, _)| last(seat)).collect();
            let answer = registry.serve(frame.clone()).await;
            for ((seat, append), before) in asked.iter().zip(before) {
                overseer.answered(&log, (*seat, before), append, &answer);
            }
            Some(answer)
        }))
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
        Self { id, disk, clock, world, catalog, replaced: None, generation: 1, life: 0, state: State::Down }
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
        match &self.state {
            State::Refused(why) => Some(why),
            _ => None,
        }
    }

    /// What it answers about a peer that starts; nothing if it is down.
    #[must_use]
    pub fn answer(&self, about: NodeId) -> Option<Answer> {
        match &self.state {
            State::Waiting(opened, _) => {
                Some(rejoin::answer(about, &opened.memory, &opened.parts.log, &opened.machines, None))
            }
            State::Running(running) => {
                let machines = running.registry.all().into_iter();
                let machines = machines.map(|one| (one.group().id(), one.group().machine().clone()));
                let (memory, log) = (&running.memory, &running.log);
                Some(rejoin::answer(about, memory, log, &machines.collect(), Some(&**running)))
            }
            State::Down | State::Refused(_) => None,
        }
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
        self.run(opened, &born).await
    }

    /// Begins its next life: opens log and tablets, and makes its claim. [`Node::enter`] goes on.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn start(&mut self) -> raft::Result<()> {
        let opened = self.open()?;
        let log = opened.parts.log.clone();
        let came = |group| {
            let replica = log.state(group).ok()?.replica;
            self.world.overseer.came(Seat { group, replica })
        };
        let claim = rejoin::claim(self.id, &opened, came)?;
        self.state = State::Waiting(Box::new(opened), claim);
        Ok(())
    }

    /// Runs, if what the peers have answered allows it.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn enter(&mut self, answers: &BTreeMap<NodeId, Answer>) -> raft::Result<Entered> {
        let State::Waiting(opened, claim) = &self.state else { return Ok(Entered::Runs) };
        let meta = (self.world.swarm.nodes as usize, self.late_ms().is_none());
        match rejoin::verdict(opened, claim, answers, meta) {
            Verdict::Waits { .. } => return Ok(Entered::Waits),
            Verdict::Runs { replace } if replace.is_empty() => {}
            Verdict::Refused(finding) => return Ok(self.refuse(finding.to_string())),
            other => return Ok(self.refuse(format!("{other:?}"))),
        }
        match std::mem::replace(&mut self.state, State::Down) {
            State::Waiting(opened, _) => self.run(*opened, &[]).await?,
            other => self.state = other,
        }
        Ok(Entered::Runs)
    }

    /// Begins its next life, and asks nobody: the others are gone for good.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start_alone(&mut self) -> raft::Result<()> {
        let opened = self.open()?;
        self.run(opened, &[]).await
    }

    /// It goes on in another generation of the cluster, where what it does is judged by `overseer`.
    pub fn fork(&mut self, generation: u64, overseer: Overseer) {
        self.generation = generation;
        self.world.overseer = overseer;
    }

    /// It stays down for the rest of the run.
    pub fn refuse(&mut self, why: String) -> Entered {
        self.world.diary.note(self.id, format_args!("is refused: {why}"));
        if let State::Waiting(opened, _) = std::mem::replace(&mut self.state, State::Refused(why.clone())) {
            opened.close();
        }
        Entered::Refused(why)
    }

    /// Opens log and tablets. No consensus runs yet.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn open(&mut self) -> raft::Result<Opened> {
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
        let log = Log::open(sizes::log(&self.world.swarm), parts)?;
        let parts = Parts {
            disk: disk.clone(),
            catalog: self.catalog.opener(),
            sealer: sealer.clone(),
            clock: self.clock.clone(),
            node: self.id,
        };
        let pool = Pool::open(sizes::pool(&self.world.swarm), parts)?;
        let overseer = world.overseer.clone();
        let parts = MachineParts {
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
        let memory = Arc::new(Memory::found(&log.found().marks));
        let writer = spawn(write_log(log, dice, world.swarm.clone()));
        let Here { machines, half_born, .. } = birth::find(&parts)?;
        if let Some((group, _)) =
            half_born.first().filter(|(group, _)| life > 1 && self.replaced != Some(*group))
        {
            let what = format!("{}: the state of {group} is gone", self.id);
            self.world.overseer.accuse(Violation::broken("start", what));
        }
        let machines = machines.into_iter().map(|one| (one.group(), one)).collect();
        Ok(Opened { parts, machines, memory, writer })
    }

    /// What it has if it is delayed; if not, the others ask its clock.
    fn late(&self, parts: &MachineParts) -> raft::Result<Option<Arc<Late>>> {
        let Some(late_ms) = self.late_ms() else {
            self.world.heard.clock(self.id, self.clock.clone());
            return Ok(None);
        };
        let own = (self.id, self.clock.clone());
        Late::open(&self.world, own, parts.pool.clone(), parts.sealer.clone(), late_ms).map(Some)
    }

    /// Lets consensus of all its groups run, by the clock of the node; those of `born` were never here before.
    async fn run(&mut self, opened: Opened, born: &[GroupId]) -> raft::Result<()> {
        let clock = self.clock.clone();
        clock.node().scope(self.run_here(opened, born)).await
    }

    async fn run_here(&mut self, opened: Opened, born: &[GroupId]) -> raft::Result<()> {
        let Opened { parts, machines, memory, writer } = opened;
        let (world, life, log, pool) = (&self.world, self.life, parts.log.clone(), parts.pool.clone());
        let late = self.late(&parts)?;
        let mut tasks = vec![writer];
        let tag = cluster_tag(CLUSTER, self.generation);
        let registry = Arc::new(Registry::new(tag, log.clone()));
        let plug = world.net.plug(self.id, life);
        let heartbeats = Heartbeats::new(plug, log.clone(), tag, world.pace.election_min_ms);
        let ways = Ways { heartbeats, registry: registry.clone(), late: late.clone() };
        let mut replicas = BTreeMap::new();
        for (group, machine) in machines {
            replicas.insert(group, self.seat(&ways, &parts, machine, born.contains(&group)).await?);
        }
        let door = Door {
            registry: registry.clone(),
            log: log.clone(),
            memory: memory.clone(),
            disk: self.disk.clone(),
            clock: self.clock.clone(),
            world: world.clone(),
        };
        world.net.listen(self.id, life, Arc::new(door));
        registry.all().iter().for_each(|receiver| receiver.group().run());
        let own = (log.clone(), memory.clone());
        tasks.push(spawn(work(pool.clone(), registry.clone(), own, world.clone())));
        if let Some(late) = &late {
            tasks.push(spawn(late.clone().work(registry.clone(), log.clone())));
        }
        let known = Mutex::default();
        let running =
            Running { log, pool, registry, replicas, late, life, known, memory, tasks, parts, ways };
        self.state = State::Running(Box::new(running));
        Ok(())
    }

    /// Seats a replica of one group, behind its start guard unless it was born just now. Its consensus does not run yet.
    pub(super) async fn seat(
        &self,
        ways: &Ways,
        parts: &MachineParts,
        machine: Arc<Machine>,
        is_born: bool,
    ) -> raft::Result<Hosted> {
        let (Ways { heartbeats, registry, late }, log) = (ways, &parts.log);
        let (ids, pace) = ((machine.group(), log.state(machine.group())?.replica), self.world.pace);
        self.world.overseer.recovered(log, &machine, ids.1);
        let peers = Peers::new(heartbeats.clone(), ids);
        let delayed = late.as_ref().map(|late| late.replica(log, &machine)).transpose()?;
        let now = self.clock.boot_ms();
        let build = Group::build(log.clone(), machine, peers, pace);
        let built = Arc::new(beside_engine(&parts.pool, build).await?);
        let guard = if is_born { StartGuard::born() } else { StartGuard::built(now, pace.election_max_ms) };
        let clock: Arc<dyn BootClock> = self.clock.clone();
        registry.add(Arc::new(Receiver::new(built.clone(), guard, clock, delayed)));
        let (sealer, entropy) = (parts.sealer.clone(), parts.entropy.clone());
        let batcher = Batcher::new(built.clone(), sealer, entropy, self.clock.clone());
        let (own, works) = ((self.clock.clone(), self.world.clone()), batcher.clone());
        let tasks = vec![
            spawn(close(built, batcher.clone(), log.clone(), own.0, own.1)),
            spawn(async move { works.run().await }),
        ];
        Ok(Hosted { batcher, tasks })
    }

    /// Cuts its power: what was not synced may be lost.
    pub fn crash(&mut self) {
        if let State::Refused(_) = self.state {
            return;
        }
        self.world.diary.note(self.id, "loses power");
        self.world.net.unplug(self.id);
        self.clock.node().set_asleep(false);
        self.disk.crash();
        match std::mem::replace(&mut self.state, State::Down) {
            State::Running(running) => running.end(),
            State::Waiting(opened, _) => opened.close(),
            State::Down | State::Refused(_) => {}
        }
    }

    /// Why it must be started again, if it must: its power has gone, its log is fenced, or consensus of a group has stopped.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        if matches!(self.state, State::Down | State::Refused(_)) {
            return None;
        }
        let running = self.running();
        if self.disk.is_down() {
            return Some("the power went".to_owned());
        }
        let fenced = running.and_then(|running| running.log.fenced());
        let stopped = |group: &Group| group.standing().stopped.or_else(|| group.machine().fenced());
        fenced.or_else(|| running?.registry.all().iter().find_map(|one| stopped(one.group())))
    }
}
