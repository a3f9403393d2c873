//! What goes wrong in a run, and when it is mended. One small step at a time, so that the judges can look in between.

use crate::aim::Progress;
use crate::check::Violation;
use crate::mover::Move;
use crate::report::Report;
use crate::seed::{Dice, Fault, Seed};
use crate::workload::Stage;
use crate::world::node::{Node, World};
use crate::world::rejoin::Entered;
use engine::catalog::MemoryCatalog;
use engine::disk::SimDisk;
use engine::disk::sim::Faults;
use engine::ids::NodeId;
use engine::tablet::pool::Pool;
use raft::group::handover::hand_over;
use raft::group::word::Word;
use raft::net::inbound::Receiver;
use raft::type_config::spawn;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks of the judges, in milliseconds.
const STEP_MS: u64 = 50;

/// Of what a node has stopped, by a word of what it says, and how that is counted.
const STOPS: [(&str, &str); 3] = [
    ("simulated full disk", "logs fenced by a full disk"),
    ("simulated I/O error", "logs fenced by a failed sync"),
    ("the power went", "power cut in the middle of an operation"),
];

/// A word of what a replica says that has found damage in the log of its node.
const DAMAGED: &str = "the log is damaged";

/// What is due later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A node starts again.
    Start(usize),
    /// The network is whole again.
    Heal,
    /// A clock is right again.
    Clock(usize),
    /// A link goes away again, so many times more.
    Flap(usize, usize, u32),
    /// The disk of a node is as it once was.
    PutBack(usize),
}

/// Makes things go wrong.
pub struct Nemesis {
    pub(crate) world: World,
    pub(crate) stage: Rc<Stage>,
    pub(crate) dice: Dice,
    pub(crate) down: BTreeSet<usize>,
    pub(crate) progress: Progress,
    /// The one node whose disk was tampered with. It may be refused for the rest of the run, and no other one may.
    pub(crate) lost: Option<usize>,
    next_ms: u64,
    due: BTreeSet<(u64, Due)>,
    pub(crate) image: Option<(SimDisk, MemoryCatalog)>,
    /// A replica that gives way to another, if one does.
    pub(crate) moving: Option<Move>,
    /// How many have.
    pub(crate) moved: u64,
    /// How many were built again.
    pub(crate) rebuilt: u64,
}

impl Nemesis {
    /// That of a seed.
    #[must_use]
    pub fn new(seed: Seed, world: World, stage: Rc<Stage>) -> Self {
        let (dice, progress) = (Dice::new(seed, "nemesis"), Progress::default());
        let (down, due) = (BTreeSet::new(), BTreeSet::new());
        Self {
            world,
            stage,
            dice,
            down,
            progress,
            lost: None,
            next_ms: 0,
            due,
            image: None,
            moving: None,
            moved: 0,
            rebuilt: 0,
        }
    }

    pub(crate) fn later(&mut self, due: Due, low: u64, high: u64) {
        let at = self.world.time.ms() + self.dice.within(&(low..=high));
        self.due.insert((at, due));
    }

    /// Lets a little time pass, mends what is due, and breaks something if it is time.
    pub async fn act(&mut self, report: &mut Report) {
        tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
        let now = self.world.time.ms();
        self.tend().await;
        if let Some(aim) = self.world.aim {
            self.pursue(aim).await;
        }
        if now < self.next_ms || self.is_anyone_judged() {
            return;
        }
        let every = self.world.swarm.fault_every_ms;
        self.next_ms = now + every / 2 + self.dice.below(every + 1);
        if let Some(fault) = self.dice.weighted(&self.world.swarm.faults)
            && self.inject(fault).await
        {
            report.fault(fault);
        }
    }

    /// Does what is due, starts again what has failed, and lets those in that wait for the word of others.
    pub async fn tend(&mut self) {
        self.mend(self.world.time.ms()).await;
        self.rebuilt += self.stage.nodes.borrow_mut().iter_mut().map(Node::supervise).sum::<u64>();
        self.revive();
        let count = self.stage.nodes.borrow().len();
        for at in 0..count {
            self.enter(at).await;
        }
        self.go_on_moving().await;
    }

    async fn mend(&mut self, now: u64) {
        while let Some((at, due)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, due));
            match due {
                Due::Start(at) => self.start(at).await,
                Due::Heal => self.world.net.heal(),
                // Peers that say nothing cannot tell that a disk is older: that they are lost as well is not promised.
                Due::PutBack(at) if !self.all_answer(at) => self.later(Due::PutBack(at), 50, 300),
                Due::PutBack(at) => {
                    if let Some(image) = self.image.take() {
                        self.crash(at);
                        self.lost = Some(at);
                        self.stage.nodes.borrow_mut()[at].put_back(image);
                        self.start(at).await;
                    }
                }
                Due::Clock(at) => self.stage.nodes.borrow()[at].clock.set_off(0),
                Due::Flap(a, b, left) => {
                    if left.is_multiple_of(2) {
                        self.world.net.heal()
                    } else {
                        self.cut_pair(a, b)
                    }
                    if left > 0 {
                        self.later(Due::Flap(a, b, left - 1), 50, 400);
                    }
                }
            }
        }
    }

    /// A node whose log was fenced, or whose power has gone, goes down, and comes back.
    fn revive(&mut self) {
        let failed: Vec<(usize, String)> = {
            let nodes = self.stage.nodes.borrow();
            nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.failed()?))).collect()
        };
        for (at, why) in failed {
            self.world.diary.note(NodeId(at as u64 + 1), format_args!("has stopped: {why}"));
            for (sign, what) in STOPS {
                if why.contains(sign) {
                    self.world.overseer.saw(what);
                }
            }
            self.crash(at);
            self.later(Due::Start(at), 100, 1_000);
        }
    }

    pub(crate) fn crash(&mut self, at: usize) {
        self.stage.nodes.borrow_mut()[at].crash();
        self.down.insert(at);
    }

    pub(crate) async fn start(&mut self, at: usize) {
        let is_refused = self.stage.nodes.borrow()[at].refused().is_some();
        if !self.down.remove(&at) || is_refused {
            return;
        }
        let started = self.stage.nodes.borrow_mut()[at].start();
        match started {
            Ok(()) => self.enter(at).await,
            Err(error) => self.does_not_start(at, &error),
        }
    }

    /// Lets a node in that waits, if enough of those that it hears have answered; and tries one again that was refused.
    async fn enter(&mut self, at: usize) {
        let id = {
            let nodes = self.stage.nodes.borrow();
            if nodes[at].running().is_some() {
                return;
            }
            nodes[at].id
        };
        // It is taken out while it starts: others see a node that is not there.
        let mut node =
            std::mem::replace(&mut self.stage.nodes.borrow_mut()[at], Node::new(id, self.world.clone()));
        let entered = match node.knock() {
            Ok(()) => node.enter().await,
            Err(error) => Err(error),
        };
        self.stage.nodes.borrow_mut()[at] = node;
        match entered {
            Ok(Entered::Runs | Entered::Waits) => {}
            Ok(Entered::Refused(_)) if self.lost == Some(at) => self.world.overseer.saw("nodes refused"),
            Ok(Entered::Refused(why)) => {
                let what = format!("node {} is refused, and nobody touched its disk: {why}", at + 1);
                self.world.overseer.accuse(Violation::broken("start", what));
            }
            Err(error) => self.does_not_start(at, &error),
        }
    }

    fn does_not_start(&mut self, at: usize, error: &raft::Error) {
        let mut nodes = self.stage.nodes.borrow_mut();
        // Bytes that rot while it starts are found by the replica that reads them, and that says so in its own words.
        let is_damage = error.kind() == engine::Kind::Damaged || error.to_string().contains(DAMAGED);
        if self.lost == Some(at) && is_damage {
            self.world.overseer.saw("nodes refused");
            // Whatever of it had been started ends with its process.
            nodes[at].crash();
            nodes[at].refuse(error.to_string());
        } else if nodes[at].disk.is_down() || nodes[at].hardware.excuses(error.kind()) {
            // The power went while it started, or it starts when there is room, or its keys are here.
            self.world.overseer.saw("starts put off");
            self.world.diary.note(nodes[at].id, format_args!("does not start yet: {error}"));
            nodes[at].crash();
            drop(nodes);
            self.down.insert(at);
            self.later(Due::Start(at), 100, 1_000);
        } else {
            let what = format!("node {} does not start after a crash: {error}", at + 1);
            self.world.overseer.accuse(Violation::broken("start", what));
        }
    }

    /// Whether a node with an older disk waits for its verdict: who alone knows better must be able to say so.
    fn is_anyone_judged(&self) -> bool {
        self.lost.is_some_and(|at| self.stage.nodes.borrow()[at].waits().is_some())
    }

    /// Whether all other nodes would answer this one if it started now.
    fn all_answer(&self, at: usize) -> bool {
        let nodes = self.stage.nodes.borrow();
        let id = nodes[at].id;
        let mut others = nodes.iter().filter(|node| node.id != id);
        others.all(|node| {
            let answers = node.running().is_some() && !node.hardware.pause.is_paused();
            self.world.net.is_linked(node.id, id) && answers
        })
    }

    /// The disk of a node will be put back to what it is now.
    pub(crate) fn keep_image(&mut self, at: usize, low_ms: u64, high_ms: u64) {
        self.image = Some(self.stage.nodes.borrow()[at].image());
        self.later(Due::PutBack(at), low_ms, high_ms);
    }

    /// Who leads a group, of those that are not gone.
    pub(crate) fn leader(&self, group: GroupId) -> Option<usize> {
        let nodes = self.stage.nodes.borrow();
        let leads = |node: &Node| {
            let standing = node.running()?.registry.get(group)?.group().standing();
            standing.is_leader.then_some(standing.vote.term)
        };
        let leaders = nodes.iter().enumerate().filter_map(|(at, node)| Some((leads(node)?, at)));
        leaders.max().map(|(_, at)| at)
    }

    /// A clock is far off, in milliseconds, for a while.
    pub fn clock_jumps(&mut self, at: usize, off_ms: i64) {
        self.stage.nodes.borrow()[at].clock.set_off(off_ms);
        self.later(Due::Clock(at), 500, 8_000);
    }

    /// A node loses power, and comes back: most times soon, now and then after long.
    pub fn goes_down(&mut self, at: usize) {
        self.crash(at);
        let high = if self.dice.is_lucky(300) { 15_000 } else { 2_000 };
        self.later(Due::Start(at), 50, high);
    }

    pub(crate) fn cut_pair(&self, a: usize, b: usize) {
        let (a, b) = (NodeId(a as u64 + 1), NodeId(b as u64 + 1));
        self.world.net.cut(a, b);
        self.world.net.cut(b, a);
    }

    pub(crate) fn any(&mut self) -> usize {
        let count = self.stage.nodes.borrow().len() as u64;
        usize::try_from(self.dice.below(count)).unwrap_or(0)
    }

    /// Breaks something. False if this kind cannot be now.
    async fn inject(&mut self, fault: Fault) -> bool {
        let (at, other, nodes) = (self.any(), self.any(), self.stage.nodes.borrow().len());
        self.world.diary.note("nemesis", format_args!("{fault:?} at {} and {}", at + 1, other + 1));
        match fault {
            Fault::Crash => {
                // Now and then all at once.
                let all = self.dice.is_lucky(150);
                for at in if all { (0..nodes).collect() } else { vec![at] } {
                    if !all && self.dice.is_lucky(300) {
                        self.will_crash(at);
                        continue;
                    }
                    self.crash(at);
                    self.later(Due::Start(at), 50, 3_000);
                }
            }
            Fault::Cut
            | Fault::CutOneWay
            | Fault::CutPair
            | Fault::Flap
            | Fault::HalfOpen
            | Fault::Still
            | Fault::Slow => return self.break_links(fault, at, other),
            Fault::FailedSync => {
                let faults = Faults { fail_syncs: true, ..Faults::default() };
                let nodes = self.stage.nodes.borrow();
                nodes[at].hardware.set_faults(&nodes[at].disk, faults);
            }
            Fault::Pause => return self.pauses(at),
            Fault::SlowDisk => return self.disk_is_slow(at),
            Fault::DiskFull => return self.disk_is_full(at),
            Fault::KeysAway => return self.keys_are_away(at),
            Fault::Clock => {
                let far = i64::try_from(self.dice.below(1_000)).unwrap_or(0) - 500;
                // A delayed node asks the others what time it is: most of them must know.
                let voters = self.world.swarm.nodes as usize;
                if self.world.swarm.late_ms.is_some() && (self.world.heard.wrong() + 1) * 2 >= voters {
                    return false;
                }
                self.stage.nodes.borrow()[at].clock.set_off(far);
                self.later(Due::Clock(at), 500, 5_000);
            }
            Fault::Transfer => return self.transfer(at, other),
            Fault::Snapshot | Fault::Purge => return self.purge(at).await,
            // One disk a run: a majority must be left.
            Fault::Rot | Fault::OldDisk if !self.may_touch_a_disk(at) => return false,
            Fault::Rot => {
                self.lost = Some(at);
                return self.rot(at);
            }
            Fault::OldDisk => self.keep_image(at, 1_000, 6_000),
            Fault::Panic => {
                let group = self.group();
                return self.panic(at, group).await;
            }
            Fault::Membership => return self.begin_move(at),
        }
        true
    }

    /// Breaks what is between nodes. False if this kind cannot be between these two.
    fn break_links(&mut self, fault: Fault, at: usize, other: usize) -> bool {
        let (from, to) = (NodeId(at as u64 + 1), NodeId(other as u64 + 1));
        match fault {
            Fault::Cut => {
                let nodes = self.stage.nodes.borrow().len();
                for a in 0..=at {
                    (at + 1..nodes).for_each(|b| self.cut_pair(a, b));
                }
            }
            Fault::CutOneWay => self.world.net.cut(from, to),
            Fault::CutPair => self.cut_pair(at, other),
            Fault::Flap => {
                self.later(Due::Flap(at, other, 7), 0, 50);
                return true;
            }
            Fault::HalfOpen if at != other => self.world.net.half_open(from, to),
            Fault::Still => {
                let ms = 200 + self.dice.below(4_000);
                self.world.net.stand_still(from, to, ms);
                return true;
            }
            Fault::Slow => {
                let ms = 20 + self.dice.below(300);
                self.world.net.slow(ms);
                self.later(Due::Heal, 200, 3_000);
                return true;
            }
            _ => return false,
        }
        self.later(Due::Heal, 200, 5_000);
        true
    }

    fn may_touch_a_disk(&self, at: usize) -> bool {
        let is_full = self.stage.nodes.borrow()[at].hardware.is_full();
        self.lost.is_none() && self.image.is_none() && self.moving.is_none() && !is_full
    }

    /// It, if it runs and does not stand still: whoever asks another waits for it.
    pub(crate) fn receiver(&self, at: usize, group: GroupId) -> Option<(Arc<Receiver>, Arc<Pool>)> {
        let nodes = self.stage.nodes.borrow();
        let running = nodes[at].running().filter(|_| !nodes[at].hardware.pause.is_paused())?;
        Some((running.registry.get(group)?, running.pool.clone()))
    }

    pub(crate) fn group(&mut self) -> GroupId {
        GroupId(1 + self.dice.below(u64::from(self.world.swarm.groups)))
    }

    /// Consensus of one replica panics.
    pub(crate) async fn panic(&mut self, at: usize, group: GroupId) -> bool {
        let receiver = {
            let nodes = self.stage.nodes.borrow();
            nodes[at].running().and_then(|running| running.registry.get(group))
        };
        let Some(receiver) = receiver else { return false };
        receiver.group().panic().await;
        true
    }

    fn transfer(&mut self, at: usize, other: usize) -> bool {
        if other >= self.world.swarm.nodes as usize {
            return false;
        }
        let group = self.group();
        let Some((receiver, _)) = self.receiver(at, group) else { return false };
        let membership = receiver.group().standing().membership.1;
        let heir = membership.seats.iter().find(|(_, seat)| seat.node == NodeId(other as u64 + 1));
        let Some((heir, _)) = heir.filter(|_| receiver.group().leads()) else { return false };
        let (heir, group) = (*heir, receiver.group().clone());
        let word = Word { is_clock_agreed: true, is_guard_open: true, ..Word::default() };
        // Proposals pause meanwhile, and nobody else does.
        spawn(async move { drop(hand_over(&group, heir, word).await) });
        true
    }

    /// Makes all durable that is applied, and purges as far as that goes.
    async fn purge(&mut self, at: usize) -> bool {
        let group = self.group();
        let Some((receiver, pool)) = self.receiver(at, group) else { return false };
        let machine = receiver.group().machine().clone();
        machine.tablet().freeze();
        pool.settle();
        let Some(upto) = machine.durable().ok().and_then(|note| note.applied) else { return false };
        receiver.group().purge(upto.index).await.is_ok()
    }

    /// Mends everything.
    pub async fn calm(&mut self) {
        self.world.diary.note("nemesis", "is calm");
        self.world.net.heal();
        self.world.net.calm();
        self.due.clear();
        let count = self.stage.nodes.borrow().len();
        for at in 0..count {
            {
                let nodes = self.stage.nodes.borrow();
                nodes[at].clock.set_off(0);
                nodes[at].clock.node().set_asleep(false);
                nodes[at].hardware.mend(&nodes[at].disk);
            }
            self.start(at).await;
        }
        self.due.clear();
        self.image = None;
        self.tend().await;
    }
}
