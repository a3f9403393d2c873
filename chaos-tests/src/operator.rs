//! What happens to the delayed node of a run beside what happens to all: a person holds its gate, releases it, sends it forward; its
//! clock jumps far; what it missed is accepted. At the end it becomes one of the others.

use crate::check::delayed::Wish;
use crate::nemesis::Nemesis;
use crate::report::Report;
use crate::seed::{Dice, Seed};
use crate::workload::Stage;
use crate::world::late::Late;
use crate::world::node::World;
use engine::Stamp;
use engine::ids::NodeId;
use raft::delay::Limit;
use raft::delay::receive::GateStamp;
use raft::group::handover::hand_over;
use raft::group::registry::Registry;
use raft::group::word::Word;
use raft::membership::step::Change;
use raft::types::{GroupId, ReplicaId, Role, Seat as GroupSeat};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks, in milliseconds.
const LOOK_MS: u64 = 200;

/// Sees to the delayed node.
pub struct Operator {
    world: World,
    stage: Rc<Stage>,
    dice: Dice,
    next_ms: u64,
}

impl Operator {
    /// That of a seed; none if no node is delayed.
    #[must_use]
    pub fn new(seed: Seed, world: World, stage: Rc<Stage>) -> Option<Self> {
        world.swarm.late_ms?;
        Some(Self { world, stage, dice: Dice::new(seed, "operator"), next_ms: 3_000 })
    }

    fn at(&self) -> usize {
        self.world.swarm.nodes as usize
    }

    /// The delayed node, if it runs.
    fn running(&self) -> Option<(Arc<Late>, Arc<Registry>)> {
        let nodes = self.stage.nodes.borrow();
        let running = nodes[self.at()].running()?;
        Some((running.late.clone()?, running.registry.clone()))
    }

    fn wish(&self, is_late: bool, hold: Option<Stamp>) {
        let delay_ms = self.world.swarm.late_ms.filter(|_| is_late).unwrap_or(0);
        self.world.overseer.wish(Wish { delay_ms, hold });
    }

    fn note(&self, what: &str) {
        self.world.diary.note("operator", what);
    }

    /// Does something, if it is time.
    pub fn act(&mut self, nemesis: &mut Nemesis, report: &mut Report) {
        let now = self.world.time.ms();
        if now < self.next_ms {
            return;
        }
        self.next_ms = now + 500 + self.dice.below(6_000);
        let Some((late, registry)) = self.running() else { return };
        let what = match self.dice.below(8) {
            0 => self.hold(&late),
            1 | 2 => self.release(&late),
            3 | 4 => self.forward(&late, &registry),
            5 => {
                let far = 1_000 << self.dice.below(13);
                let sign = if self.dice.is_lucky(500) { 1 } else { -1 };
                nemesis.clock_jumps(self.at(), sign * far);
                "a clock of a delayed node jumps"
            }
            6 => {
                nemesis.goes_down(self.at());
                "a delayed node goes down"
            }
            _ => self.accept(&registry),
        };
        self.note(what);
        report.sometimes(what);
    }

    fn hold(&self, late: &Late) -> &'static str {
        // It holds, stored or not; where, is known at once.
        let _ = late.keeper.hold();
        let gate = late.keeper.state().limit.stamp().unwrap_or_else(|| late.keeper.stamp());
        self.wish(true, Some(gate));
        "a gate is held"
    }

    fn release(&self, late: &Late) -> &'static str {
        self.wish(true, None);
        let _ = late.keeper.release();
        "a gate is released"
    }

    /// To just before some commit that is here.
    fn forward(&mut self, late: &Late, registry: &Registry) -> &'static str {
        let groups = late.progress(registry);
        let Some(most) = groups.values().map(|group| group.closed).min().flatten() else {
            return "a gate has nowhere to go";
        };
        let gate = late.keeper.stamp();
        let commit = Stamp(gate.0 + self.dice.below(most.0.saturating_sub(gate.0) + 2) + 1);
        let before = self.world.overseer.wished();
        self.world.overseer.wish(Wish { delay_ms: 0, hold: Some(Stamp(commit.0 - 1)) });
        if late.keeper.forward_before(commit, &groups).is_ok() {
            return "a gate is sent forward";
        }
        // Refused: what was asked for before stands.
        if let Some(before) = before {
            self.world.overseer.wish(before);
        }
        "a gate is not sent forward"
    }

    /// Takes what it missed, if it waits for somebody to say so.
    fn accept(&self, registry: &Registry) -> &'static str {
        let mut what = "nothing is to be accepted";
        for receiver in registry.all() {
            if let Some(delayed) = receiver.delayed().filter(|delayed| delayed.is_parked()) {
                delayed.accept();
                what = "a parked replica is brought up to date";
            }
        }
        what
    }

    /// Without faults: it goes on as its delay says, for some steps; then its delay ends, it becomes one of the others, and leads.
    /// Bounded by `until_ms`; what is not right by then is found by who looks whether all came to the same.
    pub async fn finish(&mut self, nemesis: &mut Nemesis, report: &mut Report, until_ms: u64) {
        let natural_ms = self.world.time.ms() + self.dice.below(12_000);
        // Whoever starts late may still wait for the word of its peers.
        while self.world.time.ms() < natural_ms.min(until_ms)
            || (self.running().is_none() && self.world.time.ms() < until_ms)
        {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            nemesis.tend().await;
            let Some((late, registry)) = self.running() else { continue };
            self.accept(&registry);
            if late.keeper.state().limit != Limit::None {
                self.release(&late);
            }
        }
        let Some((late, registry)) = self.running() else { return };
        self.wish(false, None);
        let _ = (late.keeper.set_delay(0), late.keeper.release());
        if late.keeper.may_lift().is_err() {
            return;
        }
        self.note("the delay ends");
        self.world.overseer.lifted();
        registry.all().iter().filter_map(|receiver| receiver.delayed()).for_each(|delayed| delayed.lift());
        if self.dice.is_lucky(500) {
            for group in (1..=u64::from(self.world.swarm.groups)).map(GroupId) {
                while self.world.time.ms() < until_ms && !self.promote(group).await {
                    nemesis.tend().await;
                    self.accept(&registry);
                    tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
                }
            }
            report.sometimes("a delayed node became a voter");
        }
    }

    /// One step towards a voter that leads. True if it does.
    async fn promote(&self, group: GroupId) -> bool {
        let own = ReplicaId(self.at() as u64 + 1);
        let leader = {
            let nodes = self.stage.nodes.borrow();
            let of = |node: &crate::world::node::Node| node.running()?.registry.get(group);
            nodes.iter().filter_map(of).find(|receiver| receiver.group().standing().is_leader)
        };
        let Some(receiver) = leader else { return false };
        let standing = receiver.group().standing();
        let (seen, membership) = standing.membership;
        let Some(seat) = membership.seats.get(&own).copied() else { return false };
        if receiver.group().replica() == own {
            return true;
        }
        let change = match (seat.role, membership.is_voter(own)) {
            (Role::Delayed, _) => {
                Change::SetSeat(own, GroupSeat { node: NodeId(own.0), role: Role::Learner })
            }
            (_, false) => {
                let voters = membership.voters.iter().flatten().copied().chain([own]).collect();
                Change::SetVoters(voters)
            }
            (_, true) => {
                let word = Word { is_clock_agreed: true, is_guard_open: true, ..Word::default() };
                let _ = hand_over(receiver.group(), own, word).await;
                return false;
            }
        };
        let sets_voters = matches!(change, Change::SetVoters(_));
        let changed = receiver.group().change(change, seen);
        let changed = tokio::time::timeout(Duration::from_secs(2), changed).await;
        if sets_voters && matches!(changed, Ok(Ok(_))) {
            self.world.overseer.saw("joint memberships");
        }
        false
    }
}
