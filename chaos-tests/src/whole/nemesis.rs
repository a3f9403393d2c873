//! What goes wrong with whole nodes, and when it is mended.

use super::node::WholeNode;
use super::stage::Stage;
use crate::report::Report;
use crate::seed::{Dice, Fault, Seed, Swarm};
use engine::disk::sim::Faults;
use engine::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Between two looks, in milliseconds.
pub const STEP_MS: u64 = 50;

/// What can go wrong with a whole node.
pub const FAULTS: [Fault; 14] = [
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
    Fault::Membership,
];

/// What is due later, by node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Start(usize),
    Wake(usize),
    Mend(usize),
    Right(usize),
    Back(usize),
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
    let mut mix: BTreeMap<Fault, u32> =
        swarm.faults.iter().filter(|(fault, _)| FAULTS.contains(fault)).map(|(a, b)| (*a, *b)).collect();
    if mix.is_empty() {
        mix.insert(Fault::Crash, 1);
    }
    let every_ms = swarm.fault_every_ms.max(500);
    let (mut planned, mut at_ms) = (Vec::new(), 0);
    loop {
        at_ms += 1 + dice.below(2 * every_ms);
        let Some(fault) = dice.weighted(&mix).filter(|_| at_ms < fault_ms) else { return planned };
        planned.push(Planned { at_ms, fault, dice: dice.number() });
    }
}

/// Makes things go wrong.
pub struct Nemesis {
    stage: Rc<Stage>,
    due: BTreeSet<(u64, Due)>,
}

impl Nemesis {
    /// One that has done nothing.
    #[must_use]
    pub fn new(stage: Rc<Stage>) -> Self {
        Self { stage, due: BTreeSet::new() }
    }

    fn later(&mut self, ms: u64, due: Due) {
        self.due.insert((self.stage.ground.time.ms() + ms, due));
    }

    /// Whether something is due yet.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.due.is_empty()
    }

    /// Does what is due, and starts nodes again that have given up.
    pub async fn look(&mut self) {
        let now_ms = self.stage.ground.time.ms();
        while let Some((_, due)) = self.due.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            self.due.pop_first();
            self.mend(due).await;
        }
        let failed: Vec<usize> = {
            let nodes = self.stage.nodes.borrow();
            let has_failed = |node: &WholeNode| node.server().is_some_and(|server| !server.is_up());
            (0..nodes.len()).filter(|at| has_failed(&nodes[*at])).collect()
        };
        for at in failed {
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
            Due::Heal => self.stage.ground.net.heal(),
        }
    }

    async fn start(&mut self, at: usize) {
        let mut node = self.stage.take(at);
        if node.server().is_none()
            && let Err(why) = node.start().await
        {
            self.stage.ground.diary.note(node.id, format_args!("does not start: {why}"));
            self.later(1_000, Due::Start(at));
        }
        self.stage.put(at, node);
    }

    async fn crash(&mut self, at: usize, down_ms: u64) {
        let mut node = self.stage.take(at);
        node.machine.clock.node().set_asleep(false);
        node.crash().await;
        self.stage.put(at, node);
        self.later(down_ms, Due::Start(at));
    }

    /// Lets a fault happen.
    pub async fn strike(&mut self, planned: &Planned, report: &mut Report) {
        let mut dice = Dice::new(Seed(planned.dice), "fault");
        let count = self.stage.nodes.borrow().len() as u64;
        let at = usize::try_from(dice.below(count)).unwrap_or(0);
        let other = (at + 1 + usize::try_from(dice.below(count - 1)).unwrap_or(0)) % self.stage.ids().len();
        let ids = self.stage.ids();
        self.stage.ground.diary.note("nemesis", format_args!("{:?} at {}", planned.fault, ids[at]));
        report.fault(planned.fault);
        let ms = 200 + dice.below(4_000);
        match planned.fault {
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
            Fault::Transfer => self.stage.transfer(ids[at]).await,
            Fault::Membership => {
                if self.stage.drain(ids[at], true).await {
                    self.later(2 * ms, Due::Back(at));
                }
            }
            fault => self.links(fault, (ids[at], ids[other]), ms),
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
        self.stage.ground.net.heal();
        self.stage.ground.net.calm();
        let count = self.stage.nodes.borrow().len();
        for at in 0..count {
            self.mend(Due::Wake(at)).await;
            self.mend(Due::Mend(at)).await;
            self.mend(Due::Right(at)).await;
        }
        let rest: Vec<Due> = std::mem::take(&mut self.due).into_iter().map(|(_, due)| due).collect();
        let (starts, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|due| matches!(due, Due::Start(_)));
        for due in starts.into_iter().chain(others) {
            self.mend(due).await;
        }
    }
}
