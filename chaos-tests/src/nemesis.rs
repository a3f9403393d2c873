//! What goes wrong in a run, and when it is mended. One small step at a time, so that the judges can look in between.

use crate::report::Report;
use crate::seed::{Dice, Fault, Seed};
use crate::workload::Stage;
use crate::world::node::World;
use engine::disk::sim::Faults;
use engine::ids::NodeId;
use raft::types::{GroupId, ReplicaId};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// Between two looks of the judges, in milliseconds.
const STEP_MS: u64 = 50;

/// What is due later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A node starts again.
    Start(usize),
    /// The network is whole again.
    Heal,
    /// A clock is right again.
    Clock(usize),
    /// A link goes away again, so many times more.
    Flap(usize, usize, u32),
}

/// Makes things go wrong.
pub struct Nemesis {
    world: World,
    stage: Rc<Stage>,
    dice: Dice,
    next_ms: u64,
    due: BTreeSet<(u64, Due)>,
    down: BTreeSet<usize>,
}

impl Nemesis {
    /// That of a seed.
    #[must_use]
    pub fn new(seed: Seed, world: World, stage: Rc<Stage>) -> Self {
        let dice = Dice::new(seed, "nemesis");
        Self { world, stage, dice, next_ms: 0, due: BTreeSet::new(), down: BTreeSet::new() }
    }

    fn later(&mut self, due: Due, low: u64, high: u64) {
        let at = self.world.time.ms() + self.dice.within(&(low..=high));
        self.due.insert((at, due));
    }

    /// Lets a little time pass, mends what is due, and breaks something if it is time.
    pub async fn act(&mut self, report: &mut Report) {
        tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
        let now = self.world.time.ms();
        self.mend(now).await;
        self.revive().await;
        if now < self.next_ms {
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

    async fn mend(&mut self, now: u64) {
        while let Some((at, due)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, due));
            match due {
                Due::Start(at) => self.start(at).await,
                Due::Heal => self.world.net.heal(),
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

    /// A node whose log was fenced goes down, and comes back.
    async fn revive(&mut self) {
        let fenced: Vec<usize> = {
            let nodes = self.stage.nodes.borrow();
            let is_fenced = |at: &usize| {
                let node = &nodes[*at];
                node.running().is_some_and(|running| running.log.fenced().is_some())
                    || node.stopped().is_some()
            };
            (0..nodes.len()).filter(is_fenced).collect()
        };
        for at in fenced {
            let why = self.stage.nodes.borrow()[at].stopped().unwrap_or_default();
            self.world.diary.note(NodeId(at as u64 + 1), format_args!("has stopped: {why}"));
            self.crash(at);
            self.later(Due::Start(at), 100, 1_000);
        }
    }

    fn crash(&mut self, at: usize) {
        self.stage.nodes.borrow_mut()[at].crash();
        self.down.insert(at);
    }

    async fn start(&mut self, at: usize) {
        if !self.down.remove(&at) {
            return;
        }
        // It is taken out while it starts: others see a node that is not there.
        let mut node = {
            let mut nodes = self.stage.nodes.borrow_mut();
            let id = nodes[at].id;
            std::mem::replace(&mut nodes[at], crate::world::node::Node::new(id, self.world.clone()))
        };
        let started = node.start(&[]).await;
        self.stage.nodes.borrow_mut()[at] = node;
        if let Err(error) = started {
            let what = format!("node {} does not start after a crash: {error}", at + 1);
            self.world.overseer.accuse(crate::check::Violation::broken("start", what));
        }
    }

    fn cut_pair(&self, a: usize, b: usize) {
        let (a, b) = (NodeId(a as u64 + 1), NodeId(b as u64 + 1));
        self.world.net.cut(a, b);
        self.world.net.cut(b, a);
    }

    fn any(&mut self) -> usize {
        let count = self.stage.nodes.borrow().len() as u64;
        usize::try_from(self.dice.below(count)).unwrap_or(0)
    }

    /// Breaks something. False if this kind cannot be now.
    async fn inject(&mut self, fault: Fault) -> bool {
        let (at, other, nodes) = (self.any(), self.any(), self.world.swarm.nodes as usize);
        self.world.diary.note("nemesis", format_args!("{fault:?} at {} and {}", at + 1, other + 1));
        match fault {
            Fault::Crash | Fault::Pause => {
                // Now and then all at once.
                let all = self.dice.is_lucky(150);
                for at in if all { (0..nodes).collect() } else { vec![at] } {
                    self.crash(at);
                    self.later(Due::Start(at), 50, 3_000);
                }
            }
            Fault::Cut => {
                for a in 0..=at {
                    (at + 1..nodes).for_each(|b| self.cut_pair(a, b));
                }
                self.later(Due::Heal, 200, 5_000);
            }
            Fault::CutOneWay => {
                let (from, to) = (NodeId(at as u64 + 1), NodeId(other as u64 + 1));
                self.world.net.cut(from, to);
                self.later(Due::Heal, 200, 5_000);
            }
            Fault::CutPair => {
                self.cut_pair(at, other);
                self.later(Due::Heal, 200, 5_000);
            }
            Fault::Flap => self.later(Due::Flap(at, other, 7), 0, 50),
            Fault::Slow | Fault::SlowDisk => {
                let ms = 20 + self.dice.below(300);
                self.world.net.slow(ms);
                self.later(Due::Heal, 200, 3_000);
            }
            Fault::FailedSync | Fault::DiskFull => {
                let faults = Faults { fail_syncs: true, ..Faults::default() };
                self.stage.nodes.borrow()[at].disk.set_faults(faults);
            }
            Fault::Clock => {
                let far = i64::try_from(self.dice.below(1_000)).unwrap_or(0) - 500;
                self.stage.nodes.borrow()[at].clock.set_off(far);
                self.later(Due::Clock(at), 500, 5_000);
            }
            Fault::Transfer => return self.transfer(at, other).await,
            Fault::Snapshot | Fault::Purge => return self.purge(at).await,
            Fault::Membership | Fault::Rot | Fault::OldDisk | Fault::KeysAway => return false,
        }
        true
    }

    fn group(&mut self) -> GroupId {
        GroupId(1 + self.dice.below(u64::from(self.world.swarm.groups)))
    }

    async fn transfer(&mut self, at: usize, other: usize) -> bool {
        let group = self.group();
        let receiver = {
            let nodes = self.stage.nodes.borrow();
            nodes[at].running().and_then(|running| running.registry.get(group))
        };
        let Some(receiver) = receiver else { return false };
        receiver.group().transfer(ReplicaId(other as u64 + 1)).await.is_ok()
    }

    /// Makes all durable that is applied, and purges as far as that goes.
    async fn purge(&mut self, at: usize) -> bool {
        let group = self.group();
        let found = {
            let nodes = self.stage.nodes.borrow();
            nodes[at].running().and_then(|running| Some((running.registry.get(group)?, running.pool.clone())))
        };
        let Some((receiver, pool)) = found else { return false };
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
                if !nodes[at].disk.is_down() {
                    nodes[at].disk.set_faults(Faults::default());
                }
            }
            self.start(at).await;
        }
        self.revive().await;
        let again: Vec<usize> = self.down.iter().copied().collect();
        for at in again {
            self.start(at).await;
        }
        self.due.clear();
    }
}
