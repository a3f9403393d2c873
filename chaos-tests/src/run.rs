//! One run: a cluster is born, clients work, faults come and go, then it is quiet, and the judges look at all of it.

use crate::aim::Aim;
use crate::check::bank::Bank;
use crate::check::{self, Violation};
use crate::disaster;
use crate::finals;
use crate::history::{ClientId, History, Key};
use crate::nemesis::Nemesis;
use crate::operator::Operator;
use crate::report::{Operations, Report};
use crate::seed::{Fault, Seed, Swarm};
use crate::workload::{ACCOUNT_KEYS, ACCOUNTS_COUNT, Client, FIRST_MONEY, Part, Stage, fund};
use crate::world::clock::Time;
use crate::world::diary::Diary;
use crate::world::late::Heard;
use crate::world::net::Net;
use crate::world::node::{Node, World};
use crate::world::overseer::Overseer;
use engine::ids::NodeId;
use engine::key::KeyRange;
use raft::group::birth::Birth;
use raft::group::settings::Pace;
use raft::planted::Planted;
use raft::types::{GroupId, Membership, ReplicaId, Role, Seat};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// So many entries the judges of the moment read at one step.
const ENTRIES_A_LOOK: u64 = 2_000;

/// A lead that was lost by the last fault is found again within this time, in milliseconds: lease, start guard and two elections.
const AFTERMATH_MS: u64 = 3_000;

/// So long nothing happens in the end, in milliseconds: a leader that hears nobody meanwhile has lost the lead twice.
const REST_MS: u64 = 6_000;

/// How long a run is, and what is different in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Milliseconds with faults, simulated.
    pub fault_ms: u64,
    /// Milliseconds without, after which all must be well.
    pub quiet_ms: u64,
    /// A bug that is planted.
    pub planted: Option<Planted>,
    /// What goes wrong and how often each; if empty, as the seed has drawn it.
    pub faults: BTreeMap<Fault, u32>,
    /// About how often, in milliseconds; 0 as the seed has drawn it.
    pub fault_every_ms: u64,
    /// Keys at least: many clients at few keys, and many unknown outcomes, take a judge of registers minutes.
    pub keys_min: u64,
    /// What it aims at. Other faults then happen only if they are named above.
    pub aim: Option<Aim>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its figures.
    pub report: Report,
    /// What was broken, if anything was.
    pub violation: Option<Violation>,
    /// The last events.
    pub timeline: String,
    /// What clients were told.
    pub history: History,
}

/// Runs a seed, on a thread of its own: nothing of another run is left in it.
///
/// # Panics
/// If the run does.
#[must_use]
pub fn run(seed: Seed, plan: &Plan) -> Outcome {
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(hush_what_was_asked_for);
    let plan = plan.clone();
    let run = move || {
        raft::planted::plant(plan.planted);
        // Who of several is heard first, the runtime decides by dice of its own.
        let dice = tokio::runtime::RngSeed::from_bytes(&seed.0.to_be_bytes());
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).rng_seed(dice).build();
        let runtime = runtime.expect("a runtime without threads and without network");
        let set = tokio::task::LocalSet::new();
        let work = raft::type_config::scope(seed.0 ^ 0x5eed, perform(seed, plan));
        set.block_on(&runtime, work)
    };
    let thread = std::thread::Builder::new().name(format!("seed {}", seed.0)).spawn(run);
    thread.expect("a thread").join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A panic that the nemesis asked for is told in the diary, and nowhere else.
fn hush_what_was_asked_for() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_asked = panic.payload().downcast_ref::<&str>() == Some(&"a panic that was asked for");
        if !is_asked {
            told(panic);
        }
    }));
}

/// The birth of every group, for one node.
fn births(swarm: &Swarm, replica: ReplicaId) -> Vec<Birth> {
    let seat = |n: u64| (ReplicaId(n), Seat { node: NodeId(n), role: Role::Voter });
    let mut seats: BTreeMap<_, _> = (1..=u64::from(swarm.nodes)).map(seat).collect();
    let voters = vec![seats.keys().copied().collect()];
    if swarm.late_ms.is_some() {
        let n = u64::from(swarm.nodes) + 1;
        seats.insert(ReplicaId(n), Seat { node: NodeId(n), role: Role::Delayed });
    }
    let membership = Membership { voters, seats };
    let birth = |group| {
        let founders = Some(membership.clone());
        Birth { group: GroupId(group), replica, range: KeyRange::all(), founders }
    };
    (1..=u64::from(swarm.groups)).map(birth).collect()
}

/// The world of a run.
fn outside(seed: Seed, plan: &Plan) -> World {
    let mut swarm = Swarm::draw(seed);
    if let Some(aim) = plan.aim {
        aim.set(&mut swarm);
    }
    if !plan.faults.is_empty() {
        swarm.faults.clone_from(&plan.faults);
    }
    swarm.keys = swarm.keys.max(plan.keys_min);
    if plan.fault_every_ms > 0 {
        swarm.fault_every_ms = plan.fault_every_ms;
    }
    let time = Time::begin();
    let diary = Diary::new(time);
    World {
        net: Net::new(&swarm, diary.clone()),
        overseer: Overseer::new(diary.clone()),
        swarm: swarm.clone(),
        time,
        diary,
        heard: Heard::default(),
        pace: Pace { heartbeat_ms: swarm.heartbeat_ms.min(100), ..Pace::TEST },
        aim: plan.aim,
    }
}

/// Every node in its first life.
async fn found(world: &World) -> Rc<Stage> {
    let swarm = &world.swarm;
    let mut nodes = Vec::new();
    // The delayed one first: its judge sees all that is applied.
    for n in (1..=u64::from(swarm.nodes) + u64::from(swarm.late_ms.is_some())).rev() {
        let mut node = Node::new(NodeId(n), world.clone());
        let births = births(swarm, ReplicaId(n));
        if let Err(error) = node.begin(&births).await {
            world.overseer.accuse(Violation::broken("start", format!("a new node does not start: {error}")));
        }
        nodes.insert(0, node);
    }
    Rc::new(Stage {
        nodes: RefCell::new(nodes),
        history: RefCell::default(),
        is_over: RefCell::new(false),
        swarm: swarm.clone(),
        hints: RefCell::default(),
        pins: RefCell::default(),
        oracle: RefCell::default(),
        overseer: world.overseer.clone(),
        proofs: RefCell::default(),
        looks: RefCell::default(),
    })
}

async fn perform(seed: Seed, plan: Plan) -> Outcome {
    let world = outside(seed, &plan);
    let (time, stage) = (world.time, found(&world).await);
    let mut report = Report { seed, ..Report::default() };
    endow(&stage).await;
    let clients = clients(&stage, &plan);
    let mut nemesis = Nemesis::new(seed, world.clone(), stage.clone());
    let mut operator = Operator::new(seed, world.clone(), stage.clone());
    let until = time.ms() + plan.fault_ms;
    let mut rounds = 0;
    while time.ms() < until && world.overseer.violation().is_none() {
        nemesis.act(&mut report).await;
        if let Some(operator) = &mut operator {
            operator.act(&mut nemesis, &mut report);
        }
        rounds += 1;
        // Long logs, kept for somebody who is away, are not read whole at every step.
        if rounds % (1 + entries(&stage) / ENTRIES_A_LOOK) == 0 {
            look(&stage, &world);
        }
    }
    if world.overseer.violation().is_none() {
        nemesis.calm().await;
        if let Some(operator) = &mut operator {
            operator.finish(&mut nemesis, &mut report, time.ms() + plan.quiet_ms).await;
        }
    }
    *stage.is_over.borrow_mut() = true;
    if world.overseer.violation().is_none() {
        settle(&mut nemesis, &stage, &world, time.ms() + plan.quiet_ms).await;
        for client in clients {
            let _ = client.await;
        }
    }
    if world.overseer.violation().is_none() {
        finals::look(&stage, &world).await;
    }
    if world.overseer.violation().is_none() && disaster::is_due(&world) {
        disaster::strike(seed, &world, &stage, nemesis.lost).await;
        finals::look(&stage, &world).await;
        report.sometimes("one node survived");
    }
    let clocks_ms = stage.nodes.borrow().iter().map(|node| node.clock.worst_ms()).max();
    world.overseer.looked(&stage.looks.borrow(), clocks_ms.unwrap_or(0));
    let history = stage.history.borrow().clone();
    let violation = world.overseer.violation().or_else(|| judge(&history).err());
    report.trace_hash = world.diary.hash();
    report.simulated_ms = time.ms();
    report.operations = Operations::of(&history);
    report.sometimes.extend(world.overseer.counts());
    report.sometimes.extend(world.overseer.seen());
    report.sometimes.extend(world.net.counts());
    report.sometimes.extend(stage.proofs.borrow().clone());
    let missed = stage.nodes.borrow().iter().map(|node| node.hardware.keys.missed()).sum();
    report.sometimes.extend([("keys missed", missed)]);
    report
        .sometimes
        .extend([("replicas replaced", nemesis.moved), ("replicas built again", nemesis.rebuilt)]);
    Outcome { report, violation, timeline: world.diary.timeline(), history }
}

/// Every account gets its first money.
async fn endow(stage: &Rc<Stage>) {
    for account in 0..ACCOUNTS_COUNT {
        loop {
            let nodes: Vec<_> = {
                let nodes = stage.nodes.borrow();
                let of = |node: &Node| Some((node.running()?.batcher(GroupId(1))?, node.clock.clone()));
                nodes.iter().filter_map(of).collect()
            };
            let mut is_done = false;
            for (batcher, clock) in nodes {
                let command = fund(ACCOUNT_KEYS + account, &*clock);
                let answer = tokio::time::timeout(Duration::from_secs(2), batcher.submit(command)).await;
                if matches!(answer, Ok(Ok(_))) {
                    is_done = true;
                    break;
                }
            }
            if is_done {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn clients(stage: &Rc<Stage>, plan: &Plan) -> Vec<tokio::task::JoinHandle<()>> {
    let swarm = &stage.swarm;
    let client = |n: u64| Client::new(ClientId(n), swarm).begin(stage);
    let pinned = |(n, role)| {
        let client = Client { role, ..Client::new(ClientId(n), swarm) };
        client.begin(stage)
    };
    let roles = [(101, Part::Reader), (102, Part::Writer)];
    let mut tasks: Vec<_> = (1..=u64::from(swarm.clients)).map(client).collect();
    if plan.aim.is_some() {
        tasks.extend(roles.map(pinned));
    }
    tasks
}

/// How many entries all logs hold.
fn entries(stage: &Stage) -> u64 {
    let of = |node: &Node| {
        let log = &node.running()?.log;
        let bounds = |group| log.bounds(GroupId(group)).map_or(0, |(first, end)| end - first);
        Some((1..=u64::from(stage.swarm.groups)).map(bounds).sum::<u64>())
    };
    stage.nodes.borrow().iter().filter_map(of).sum()
}

/// The judges of the moment look at every group. Digests first: who holds another state than others is told by it, and not only by
/// what of it can be seen in a log.
fn look(stage: &Stage, world: &World) {
    let nodes = stage.nodes.borrow();
    for group in (1..=u64::from(stage.swarm.groups)).map(GroupId) {
        for node in nodes.iter() {
            let receiver = node.running().and_then(|running| running.registry.get(group));
            if let Some(receiver) = receiver {
                world.overseer.digest(group, receiver.group().replica(), receiver.group().machine());
            }
        }
        // Of one whose power has gone, be it by this look, not all that it holds can be read.
        let state = |node: &Node| node.running()?.state(group).filter(|_| !node.disk.is_down());
        let states: Vec<_> = nodes.iter().filter_map(state).collect();
        world.overseer.step(group, &states);
    }
}

/// Without faults every replica comes to the same, within the time given.
async fn settle(nemesis: &mut Nemesis, stage: &Rc<Stage>, world: &World, until_ms: u64) {
    let mut is_level = false;
    while world.time.ms() < until_ms && !is_level && world.overseer.violation().is_none() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        nemesis.tend().await;
        look(stage, world);
        is_level = nemesis.moving.is_none() && level(stage);
    }
    if !is_level && world.overseer.violation().is_none() {
        let what = "faults have ended, and the replicas do not come to the same";
        world.overseer.accuse(Violation::broken("liveness", what).with(standings(stage)));
    }
    rest(nemesis, stage, world).await;
}

/// And when nothing more happens at all, nobody loses the lead, however far the nodes are from each other.
async fn rest(nemesis: &mut Nemesis, stage: &Rc<Stage>, world: &World) {
    // What the last fault has begun comes to its end first.
    idle(nemesis, stage, world, AFTERMATH_MS).await;
    let before = terms(stage);
    idle(nemesis, stage, world, REST_MS).await;
    if world.overseer.violation().is_none() && terms(stage) != before {
        let what = format!("nothing happens, and leads are lost: the terms of the groups were {before:?}");
        world.overseer.accuse(Violation::broken("liveness", what).with(standings(stage)));
    }
}

/// Lets time pass, and looks.
async fn idle(nemesis: &mut Nemesis, stage: &Rc<Stage>, world: &World, ms: u64) {
    let until_ms = world.time.ms() + ms;
    while world.time.ms() < until_ms && world.overseer.violation().is_none() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        nemesis.tend().await;
        look(stage, world);
    }
}

/// In which term each group is.
fn terms(stage: &Stage) -> Vec<u64> {
    let nodes = stage.nodes.borrow();
    let term = |group| {
        let of = |node: &Node| Some(node.running()?.registry.get(group)?.group().standing().vote.term);
        nodes.iter().filter_map(of).max().unwrap_or(0)
    };
    (1..=u64::from(stage.swarm.groups)).map(GroupId).map(term).collect()
}

/// Where every node stands, and every replica of it.
fn standings(stage: &Stage) -> Vec<String> {
    let mut lines = Vec::new();
    for node in stage.nodes.borrow().iter() {
        let Some(running) = node.running() else {
            let why = node.refused().map(str::to_owned).or_else(|| node.waits());
            lines.push(format!("{} does not run: {}", node.id, why.as_deref().unwrap_or("it is down")));
            continue;
        };
        if let Some(why) = node.failed() {
            lines.push(format!("{} has stopped: {why}", node.id));
        }
        for receiver in running.registry.all() {
            let (group, now) = (receiver.group(), receiver.group().standing());
            let applied = group.machine().applied().applied.map_or(0, |id| id.index);
            let dead = group.death().map_or(String::new(), |(_, cause)| format!(", dead: {cause}"));
            let role = if now.is_leader { "leads" } else { "follows" };
            let told =
                receiver.delayed().map(|delayed| (delayed.proven(), delayed.told(), delayed.is_parked()));
            lines.push(format!(
                "{} {} {} {role}, vote {:?}, last {:?}, applied {applied}, {}, voters {:?}, heard ms {:?}, delayed {told:?}{dead}",
                node.id,
                group.id(),
                group.replica(),
                now.vote,
                now.last_index,
                group.stage(),
                now.membership.1.voters,
                now.heard_ms,
            ));
        }
    }
    lines
}

fn level(stage: &Stage) -> bool {
    let nodes = stage.nodes.borrow();
    (1..=u64::from(stage.swarm.groups)).map(GroupId).all(|group| {
        let notes: Vec<_> = nodes
            .iter()
            .filter_map(|node| Some(node.running()?.registry.get(group)?.group().machine().applied()))
            .collect();
        let has_leader =
            nodes.iter().filter_map(|node| node.running()?.registry.get(group)).any(|receiver| {
                let standing = receiver.group().standing();
                standing.is_leader && standing.applied.map(|id| id.index) == standing.last_index
            });
        let here = nodes.iter().filter(|node| node.refused().is_none()).count();
        notes.len() == here && has_leader && notes.windows(2).all(|two| two[0] == two[1])
    })
}

/// The judges of the whole history.
///
/// # Errors
/// The first that objects.
fn judge(history: &History) -> Result<(), Violation> {
    check::linearizable::check(history)?;
    check::append::check(history)?;
    let accounts =
        (0..ACCOUNTS_COUNT).map(|n| (Key(ACCOUNT_KEYS + n), i64::try_from(FIRST_MONEY).unwrap_or(0)));
    check::bank::check(history, &Bank { opening: accounts.collect(), allows_debt: false })
}
