//! What goes wrong with whole nodes, and when it is mended.

use super::losses::Losses;
use super::stage::Stage;
use crate::check::Violation;
use crate::report::Report;
use crate::seed::{Dice, Fault, Seed, Swarm};
use engine::disk::sim::Faults;
use engine::ids::NodeId;
use proto::errors::code;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// How a node says that its disk is not what it should be.
const REFUSALS: [&str; 2] = ["disk is older than what", "another start of the same node"];
/// Between two looks, in milliseconds.
pub const STEP_MS: u64 = 50;

/// What can go wrong with a whole node. Of three seeds one after the other each has a third of these for certain, so that any three have
/// seen them all: those that lose a disk are in three different thirds, and nodes are drained where no disk is lost for good.
pub const FAULTS: [Fault; 18] = [
    Fault::Crash,
    Fault::Pause,
    Fault::Cut,
    Fault::CutOneWay,
    Fault::CutPair,
    Fault::HalfOpen,
    Fault::Still,
    Fault::Slow,
    Fault::FailedSync,
    Fault::DiskFull,
    Fault::SlowDisk,
    Fault::Clock,
    Fault::Transfer,
    Fault::KeysAway,
    Fault::Membership,
    Fault::Rot,
    Fault::OldDisk,
    Fault::Copied,
];

/// Those that lose a disk: once a run at most.
const LOSSES: [Fault; 3] = [Fault::Rot, Fault::OldDisk, Fault::Copied];

/// What is due later, by node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Start(usize),
    Wake(usize),
    Mend(usize),
    Right(usize),
    Back(usize),
    Keys(usize),
    Heal,
}

/// A fault of a schedule: when, which, and what of the dice it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When, in milliseconds since faults began.
    pub at_ms: u64,
    /// What.
    pub fault: Fault,
    /// From which its choices follow.
    pub dice: u64,
}

/// The schedule of a seed.
#[must_use]
pub fn schedule(swarm: &Swarm, fault_ms: u64) -> Vec<Planned> {
    let mut dice = Dice::new(swarm.seed, "whole schedule");
    let is_mixed = |fault: &Fault| FAULTS.contains(fault) && !LOSSES.contains(fault);
    let mut mix: BTreeMap<Fault, u32> =
        swarm.faults.iter().filter(|(fault, _)| is_mixed(fault)).map(|(a, b)| (*a, *b)).collect();
    if mix.is_empty() {
        mix.insert(Fault::Crash, 1);
    }
    let every_ms = swarm.fault_every_ms.max(500);
    let mut planned = dealt(swarm.seed, fault_ms, &mut dice);
    let mut at_ms = 0;
    loop {
        at_ms += 1 + dice.below(2 * every_ms);
        let Some(fault) = dice.weighted(&mix).filter(|_| at_ms < fault_ms) else { break };
        planned.push(Planned { at_ms, fault, dice: dice.number() });
    }
    planned.sort_by_key(|one| one.at_ms);
    planned
}

/// The third of all faults that a seed has for certain. What takes long begins early.
fn dealt(seed: Seed, fault_ms: u64, dice: &mut Dice) -> Vec<Planned> {
    let is_dealt = |at: &usize| *at as u64 % 3 == seed.0 % 3;
    let dealt = (0..FAULTS.len()).filter(is_dealt).map(|at| FAULTS[at]);
    let planned = |fault| {
        let is_long = LOSSES.contains(&fault) || fault == Fault::Membership;
        let at_ms = if is_long { 500 + dice.below(fault_ms / 8) } else { dice.below(fault_ms * 3 / 4) };
        Planned { at_ms, fault, dice: dice.number() }
    };
    dealt.map(planned).collect()
}

/// Makes things go wrong.
pub struct Nemesis {
    pub(super) stage: Rc<Stage>,
    due: BTreeSet<(u64, Due)>,
    /// What could not happen yet.
    waiting: Vec<Planned>,
    pub(super) losses: Losses,
    /// Why a node that is down did not start.
    pub(super) unstarted: BTreeMap<usize, String>,
}

impl Nemesis {
    /// One that has done nothing.
    #[must_use]
    pub fn new(stage: Rc<Stage>) -> Self {
        let (due, unstarted) = (BTreeSet::new(), BTreeMap::new());
        Self { stage, due, waiting: Vec::new(), losses: Losses::default(), unstarted }
    }

    fn later(&mut self, ms: u64, due: Due) {
        self.due.insert((self.stage.ground.time.ms() + ms, due));
    }

    /// Whether a node has no replicas, or will get them back.
    pub(super) fn is_anyone_drained(&self) -> bool {
        self.due.iter().any(|(_, due)| matches!(due, Due::Back(_)))
    }

    /// Does what is due, starts nodes again that have given up, and lets happen what could not yet.
    pub async fn look(&mut self, report: &mut Report) {
        self.tend().await;
        let mut waiting = std::mem::take(&mut self.waiting);
        // Those that lose a disk first: they wait for a cluster that is whole.
        waiting.sort_by_key(|one| !LOSSES.contains(&one.fault));
        for one in waiting {
            self.strike(&one, report).await;
        }
    }

    /// Does what is due, and starts nodes again that have given up.
    pub async fn tend(&mut self) {
        let now_ms = self.stage.ground.time.ms();
        while let Some((_, due)) = self.due.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            self.due.pop_first();
            self.mend(due).await;
        }
        self.look_at_lost().await;
        let failed: Vec<(usize, String)> = {
            let nodes = self.stage.nodes.borrow();
            let why = |at: usize| {
                nodes[at]
                    .server()
                    .filter(|server| !server.is_up())
                    .map(|server| (at, server.why_failed().unwrap_or_default()))
            };
            (0..nodes.len()).filter_map(why).collect()
        };
        for (at, why) in failed {
            let is_refused = REFUSALS.iter().any(|sign| why.contains(sign));
            if is_refused && !self.losses.excuses(at) {
                let what = format!("node {} is refused, and nobody touched its disk: {why}", at + 1);
                self.stage.accuse(Violation::broken("start", what));
            }
            self.stage.ground.diary.note("nemesis", format_args!("node {} gave up: {why}", at + 1));
            self.stage.sees("nodes that gave up");
            self.crash(at, 500).await;
        }
    }

    async fn mend(&mut self, due: Due) {
        match due {
            Due::Start(at) => self.start(at).await,
            Due::Wake(at) => {
                let nodes = self.stage.nodes.borrow();
                nodes[at].machine.clock.node().set_asleep(false);
                nodes[at].machine.hardware.pause.go_on();
            }
            Due::Mend(at) => {
                let nodes = self.stage.nodes.borrow();
                let machine = &nodes[at].machine;
                machine.hardware.slow(0);
                machine.hardware.make_room(&machine.disk);
            }
            Due::Right(at) => self.stage.nodes.borrow()[at].machine.clock.set_off(0),
            Due::Back(at) => {
                let id = self.stage.ids()[at];
                if !self.stage.drain(id, false).await {
                    self.later(500, Due::Back(at));
                }
            }
            Due::Keys(at) => self.stage.nodes.borrow()[at].machine.hardware.lose_kms(false),
            Due::Heal => self.stage.ground.net.heal(),
        }
    }

    pub(super) async fn start(&mut self, at: usize) {
        if self.losses.is_out(at) {
            return;
        }
        let mut node = self.stage.take(at);
        self.unstarted.remove(&at);
        if node.server().is_none()
            && let Err(why) = node.start().await
        {
            self.stage.ground.diary.note(node.id, format_args!("does not start: {why}"));
            if node.machine.hardware.has_no_kms() {
                self.stage.sees("starts that waited for the key service");
            } else {
                self.unstarted.insert(at, why);
            }
            self.later(1_000, Due::Start(at));
        }
        self.stage.put(at, node);
    }

    pub(super) async fn crash(&mut self, at: usize, down_ms: u64) {
        let mut node = self.stage.take(at);
        node.machine.clock.node().set_asleep(false);
        node.crash().await;
        self.stage.put(at, node);
        self.later(down_ms, Due::Start(at));
    }

    /// Lets a fault happen, if it can now; else later.
    pub async fn strike(&mut self, planned: &Planned, report: &mut Report) {
        if self.strikes(planned).await {
            report.fault(planned.fault);
        } else {
            self.waiting.push(*planned);
        }
    }

    /// Which of the nodes that are to come back, and another one.
    fn choose(&self, dice: &mut Dice) -> (usize, usize) {
        let there: Vec<usize> = (0..self.stage.ids().len()).filter(|at| !self.losses.is_out(*at)).collect();
        let count = there.len() as u64;
        let at = usize::try_from(dice.below(count)).unwrap_or(0);
        let other = (at + 1 + usize::try_from(dice.below(count - 1)).unwrap_or(0)) % there.len();
        (there[at], there[other])
    }

    /// Lets a fault happen. False: not now.
    async fn strikes(&mut self, planned: &Planned) -> bool {
        // Who alone knows better must be able to say so.
        if self.losses.is_judging() {
            return false;
        }
        let mut dice = Dice::new(Seed(planned.dice), "fault");
        let (at, other) = self.choose(&mut dice);
        let ids = self.stage.ids();
        let is_lossy = LOSSES.contains(&planned.fault);
        if is_lossy && !self.lose(planned.fault, at, &mut dice).await
            || planned.fault == Fault::Membership && !self.may_drain()
        {
            return false;
        }
        self.stage.ground.diary.note("nemesis", format_args!("{:?} at {}", planned.fault, ids[at]));
        if !is_lossy {
            self.befalls(planned.fault, (at, other), &mut dice).await;
        }
        true
    }

    /// Whether a node may be drained: no disk is lost, and none is to be.
    fn may_drain(&self) -> bool {
        self.losses.is_over() && self.waiting.iter().all(|one| !LOSSES.contains(&one.fault))
    }

    async fn befalls(&mut self, fault: Fault, (at, other): (usize, usize), dice: &mut Dice) {
        let ids = self.stage.ids();
        let ms = 200 + dice.below(4_000);
        match fault {
            Fault::Crash => {
                if dice.is_lucky(300) {
                    self.stop(at, ms).await;
                } else {
                    self.crash(at, ms).await;
                }
            }
            Fault::Pause => {
                let nodes = self.stage.nodes.borrow();
                nodes[at].machine.hardware.pause.pause();
                nodes[at].machine.clock.node().set_asleep(dice.is_lucky(500));
                drop(nodes);
                self.later(ms / 2, Due::Wake(at));
            }
            Fault::FailedSync => {
                let nodes = self.stage.nodes.borrow();
                let machine = &nodes[at].machine;
                machine.hardware.set_faults(&machine.disk, Faults { fail_syncs: true, ..Faults::default() });
                drop(nodes);
                self.later(ms / 4, Due::Mend(at));
            }
            Fault::DiskFull => {
                let nodes = self.stage.nodes.borrow();
                let machine = &nodes[at].machine;
                machine.hardware.fill(&machine.disk, dice.below(64 << 10));
                drop(nodes);
                self.later(ms, Due::Mend(at));
            }
            Fault::SlowDisk => {
                self.stage.nodes.borrow()[at].machine.hardware.slow(20 + dice.below(300));
                self.later(ms, Due::Mend(at));
            }
            Fault::Clock => {
                let off = i64::try_from(dice.below(8_000)).unwrap_or(0) - 4_000;
                self.stage.nodes.borrow()[at].machine.clock.set_off(off);
                self.later(2 * ms, Due::Right(at));
            }
            Fault::Transfer => self.stage.transfer(self.stage.leader(at)).await,
            Fault::KeysAway => self.keys_away(at, ms).await,
            Fault::Membership => {
                if self.stage.drain(ids[at], true).await {
                    self.later(2 * ms, Due::Back(at));
                }
            }
            fault => self.links(fault, (ids[at], ids[other]), ms),
        }
    }

    /// No node reaches the key service for a while: who runs goes on, who starts waits, and the cluster key is not rotated.
    async fn keys_away(&mut self, at: usize, ms: u64) {
        let count = self.stage.nodes.borrow().len();
        for node in 0..count {
            self.stage.nodes.borrow()[node].machine.hardware.lose_kms(true);
            self.later(1_000 + ms, Due::Keys(node));
        }
        self.crash(at, 100).await;
        let asked = (0..count).filter(|node| *node != at).map(|node| self.stage.ids()[node]);
        let mut refused = 0;
        for node in asked.collect::<Vec<_>>() {
            match self.stage.rotate_cluster(node).await {
                Ok(()) => {
                    let what = "the cluster key is rotated, and no key service answers".to_owned();
                    self.stage.accuse(Violation::broken("keys", what));
                }
                Err(code) => refused += u64::from(code == Some(code::KMS_AWAY)),
            }
        }
        if refused > 0 {
            self.stage.sees("rotations refused without the key service");
        }
    }

    async fn stop(&mut self, at: usize, ms: u64) {
        let mut node = self.stage.take(at);
        node.machine.hardware.pause.go_on();
        node.stop(1_000).await;
        self.stage.put(at, node);
        self.later(ms, Due::Start(at));
    }

    fn links(&mut self, fault: Fault, (one, other): (NodeId, NodeId), ms: u64) {
        let net = &self.stage.ground.net;
        let all = self.stage.ids();
        match fault {
            Fault::Cut => {
                for others in all.iter().filter(|id| **id != one) {
                    net.cut(one, *others);
                    net.cut(*others, one);
                }
            }
            Fault::CutPair => {
                net.cut(one, other);
                net.cut(other, one);
            }
            Fault::CutOneWay => net.cut(one, other),
            Fault::HalfOpen => net.half_open(one, other),
            Fault::Still => net.stand_still(one, other, ms),
            _ => net.slow(50 + ms / 10),
        }
        self.later(ms, Due::Heal);
    }

    /// No fault any more: all is whole, and every node runs.
    pub async fn calm(&mut self) {
        self.waiting.clear();
        self.stage.ground.net.heal();
        self.stage.ground.net.calm();
        let count = self.stage.nodes.borrow().len();
        for at in 0..count {
            self.mend(Due::Wake(at)).await;
            self.mend(Due::Mend(at)).await;
            self.mend(Due::Right(at)).await;
            self.mend(Due::Keys(at)).await;
        }
        let rest: Vec<Due> = std::mem::take(&mut self.due).into_iter().map(|(_, due)| due).collect();
        let (starts, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|due| matches!(due, Due::Start(_)));
        for due in starts.into_iter().chain(others) {
            self.mend(due).await;
        }
    }
}
