//! Delayed replicas of several groups on one node, against a model that knows the one true log of each group.
//!
//! Held at every step: nothing behind the gate is applied, nothing that is not committed, nothing twice or back; the gate passes
//! neither safe now less the delay nor a hold, and only rises; and when all groups have applied it, the node holds exactly the
//! commands up to the gate.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::Stamp;
use raft::delay::{
    Accepted, Clamp, Gate, GateState, GroupProgress, Limit, Next, SafeNow, StampIndex, Stamped,
};
use raft::types::{GroupId, LogId, ReplicaId, Vote};
use rig::{Dice, seeds};
use std::collections::BTreeMap;

const DELAY_MS: u64 = 40_000;
const START_MS: u64 = 1_700_000_000_000;

/// One group: what its leaders have, and what is here.
struct Group {
    term: u64,
    /// The leader's log, with the first stamp of each entry.
    log: Vec<(Stamped, Stamp)>,
    /// Entries of it that are committed.
    committed: usize,
    /// What is stored here.
    here: Vec<Stamped>,
    clamp: Clamp,
    applied: Option<LogId>,
}

impl Group {
    fn new() -> Self {
        Self { term: 1, log: vec![], committed: 0, here: vec![], clamp: Clamp::default(), applied: None }
    }

    /// The leader appends an entry of up to five commands. Its stamps follow each other inside one millisecond.
    fn propose(&mut self, dice: &Dice, now_ms: u64) {
        let last = self.log.last().map_or(Stamp::ZERO, |(last, _)| last.stamp);
        let count = dice.below(6);
        let first = last.next().max(Stamp::new(now_ms, 0));
        let stamp = if count == 0 { last } else { Stamp(first.0 + count - 1) };
        let log_id =
            LogId { term: self.term, replica: ReplicaId(self.term % 3), index: self.log.len() as u64 };
        self.log.push((Stamped { log_id, stamp }, if count == 0 { Stamp::MAX } else { first }));
    }

    fn commit(&mut self, dice: &Dice) {
        let more = (self.log.len() - self.committed) as u64;
        self.committed += usize::try_from(dice.below(more + 1)).unwrap();
    }

    /// Another leads: of what is not committed it has the beginning.
    fn lead(&mut self, dice: &Dice) {
        let more = (self.log.len() - self.committed) as u64;
        self.log.truncate(self.committed + usize::try_from(dice.below(more + 1)).unwrap());
        self.term += 1;
    }

    /// Some entries reach the node, with a commit that may be old.
    fn receive(&mut self, dice: &Dice) {
        let same = self.here.iter().zip(&self.log).take_while(|(here, (there, _))| *here == there).count();
        let last_same = same.checked_sub(1).map(|at| self.log[at].0);
        let more = (self.log.len() - same) as u64;
        let to = same + usize::try_from(dice.below(more + 1)).unwrap();
        if to > same && self.here.len() > same {
            self.here.truncate(same);
            self.clamp.truncate(last_same).unwrap();
        }
        for (entry, _) in &self.log[same..to] {
            self.clamp.push(*entry).unwrap();
            self.here.push(*entry);
        }
        let commit = usize::try_from(dice.below(self.committed as u64 + 1)).unwrap();
        let commit = if dice.below(3) == 0 { commit } else { self.committed };
        let name = |count: usize| count.checked_sub(1).map(|at| self.log[at].0.log_id);
        let vote = Vote { term: self.term, replica: ReplicaId(self.term % 3), is_committed: true };
        let append = Accepted { vote, leader_commit: name(commit), matched: name(to) };
        self.clamp.accepted(&append).unwrap();
    }

    fn progress(&self) -> GroupProgress {
        let closed =
            self.clamp.proven().map(|proven| self.here[usize::try_from(proven.index).unwrap()].stamp);
        let told = self.clamp.told().map(|told| told.index);
        let (told_at, applied) = (self.clamp.told_at(), self.applied.map(|applied| applied.index));
        GroupProgress { closed, told_at, told, applied }
    }

    fn deliver(&mut self, gate: Stamp) {
        let here = &self.here;
        let look = |index: u64| here.get(usize::try_from(index).unwrap()).copied();
        let before = self.clamp.told().map(|id| id.index);
        let told = self.clamp.deliver(gate, look).unwrap();
        assert!(told.map(|id| id.index) >= before, "what was told went back");
        let Some(told) = told else { return };
        let at = usize::try_from(told.index).unwrap();
        assert!(at < self.committed && self.log[at].0.log_id == told, "told what is not committed: {told}");
        assert!(self.log[at].0.stamp <= gate, "told what lies behind the gate");
    }

    fn start(&mut self) {
        let mut stamps = StampIndex::default();
        self.here.iter().for_each(|entry| stamps.push(*entry).unwrap());
        self.clamp = Clamp::new(stamps, self.clamp.told());
    }

    /// Commands applied are those up to the gate, all of them and no other.
    fn assert_cut(&self, gate: Stamp) {
        let applied = self.applied.map_or(0, |applied| applied.index + 1);
        let known = self.log[..self.committed].iter();
        for (entry, first) in known.filter(|(_, first)| *first != Stamp::MAX) {
            let is_applied = entry.log_id.index < applied;
            assert_eq!(is_applied, entry.stamp <= gate, "{} of {}, gate {gate}", entry.log_id, entry.stamp);
            assert!(
                is_applied || *first > gate || gate.counter() != u16::MAX,
                "an entry lies across the cut"
            );
        }
    }
}

struct Node {
    groups: BTreeMap<GroupId, Group>,
    gate: Gate,
    /// What the catalog holds.
    durable: GateState,
    safe: SafeNow,
    true_ms: u64,
    /// By how much the wall is wrong, ms.
    wrong_ms: i64,
    /// The gate may have passed safe now by a target up to here.
    forwarded: Stamp,
    /// Times the node was seen to be one cut.
    cuts: u64,
}

impl Node {
    fn wall_ms(&self) -> u64 {
        self.true_ms.saturating_add_signed(self.wrong_ms)
    }

    fn boot_ms(&self) -> u64 {
        self.true_ms - START_MS
    }

    fn progress(&self) -> BTreeMap<GroupId, GroupProgress> {
        self.groups.iter().map(|(id, group)| (*id, group.progress())).collect()
    }

    /// The catalog has stored a change; sometimes the node falls before it hears so.
    fn store(&mut self, dice: &Dice, state: GateState) {
        self.durable = GateState::decode(&state.encode()).unwrap();
        if dice.below(20) == 0 { self.restart() } else { self.gate.stored(state) }
    }

    fn restart(&mut self) {
        self.gate = Gate::new(self.durable);
        self.safe = SafeNow::default();
        self.groups.values_mut().for_each(Group::start);
    }

    fn step(&mut self, dice: &Dice) {
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        let id = ids[usize::try_from(dice.below(ids.len() as u64)).unwrap()];
        let now_ms = self.true_ms;
        let group = self.groups.get_mut(&id).unwrap();
        match dice.below(40) {
            0..=9 => group.propose(dice, now_ms),
            10..=15 => group.commit(dice),
            16 => group.lead(dice),
            17..=25 => group.receive(dice),
            26..=30 => self.true_ms += dice.below(4_000),
            31 if dice.below(4) == 0 => {
                self.wrong_ms = [0, 300, 200, -60_000, 3_600_000, 0][dice.below(6) as usize]
            }
            32 | 33 if self.wrong_ms.abs() <= 250 => self.safe.agree(self.wall_ms(), self.boot_ms()),
            34 if dice.below(5) == 0 => self.restart(),
            35 if dice.below(8) == 0 => {
                let (gate, state) = (self.gate.stamp(), self.gate.hold());
                assert_eq!(self.gate.stamp(), gate);
                self.store(dice, state);
            }
            36 if dice.below(3) == 0 => {
                let state = self.gate.release();
                self.store(dice, state);
            }
            37 if dice.below(6) == 0 => self.forward(dice),
            _ => self.advance(dice),
        }
        self.look();
    }

    fn forward(&mut self, dice: &Dice) {
        let (id, all) = (GroupId(1 + dice.below(self.groups.len() as u64)), self.progress());
        let log = &self.groups[&id].log;
        if log.is_empty() {
            return;
        }
        let commit = log[usize::try_from(dice.below(log.len() as u64)).unwrap()].0.stamp;
        if let Ok(state) = self.gate.forward_before(commit, &all) {
            self.forwarded = self.forwarded.max(Stamp(commit.0 - 1));
            self.store(dice, state);
        }
    }

    /// The gate takes a step, if it may, and the groups hear of it.
    fn advance(&mut self, dice: &Dice) {
        let (before, all) = (self.gate.state(), self.progress());
        let safe = self.safe.at(self.wall_ms(), self.boot_ms());
        if let Next::Store(state) = self.gate.next(safe, &all) {
            assert!(state.gate > before.gate, "a step that is none");
            assert!(all.values().all(|group| group.closed >= Some(state.gate)), "past what is closed");
            match before.limit {
                Limit::None => assert!(state.gate < Stamp::new(safe.unwrap() - DELAY_MS, 0), "early"),
                Limit::Hold(_) => panic!("a step while it is held"),
                Limit::Target(target) => assert!(state.gate <= target, "past its target"),
            }
            self.store(dice, state);
        }
        for group in self.groups.values_mut().filter(|_| dice.below(3) > 0) {
            group.deliver(self.gate.stamp());
            if dice.below(3) > 0 {
                group.applied = group.clamp.told();
            }
        }
    }

    /// What must always hold.
    fn look(&mut self) {
        let gate = self.gate.stamp();
        // The wall may be wrong by what peers let pass, and no more.
        let late = Stamp::end_of_ms(self.true_ms + 250 - DELAY_MS);
        assert!(gate <= late || gate <= self.forwarded, "the gate is early: {gate}");
        assert_eq!(gate, self.durable.gate, "the gate opened before it was stored");
        for group in self.groups.values().filter(|group| group.applied.is_some()) {
            let at = usize::try_from(group.applied.unwrap().index).unwrap();
            assert!(at < group.committed && group.log[at].0.stamp <= gate);
        }
        if self.groups.values().all(|group| group.progress().is_at(gate)) {
            self.groups.values().for_each(|group| group.assert_cut(gate));
            self.cuts += 1;
        }
    }
}

#[test]
fn never_early_and_one_cut() {
    let (mut cuts, mut moved) = (0, 0);
    for seed in seeds(150) {
        let dice = Dice::new(seed);
        let durable = Gate::born(Stamp::new(START_MS, 0), DELAY_MS);
        let groups = (1..=1 + dice.below(3)).map(|id| (GroupId(id), Group::new())).collect();
        let (gate, safe) = (Gate::new(durable), SafeNow::default());
        let (true_ms, wrong_ms, forwarded) = (START_MS, 0, Stamp::ZERO);
        let mut node = Node { groups, gate, durable, safe, true_ms, wrong_ms, forwarded, cuts: 0 };
        (0..3_000).for_each(|_| node.step(&dice));
        cuts += node.cuts;
        moved += u64::from(node.gate.stamp().ms() > durable.gate.ms() + 300_000);
    }
    println!("{cuts} cuts, {moved} gates that came far");
    assert!(
        cuts > 150 * 20 && moved > 100,
        "{cuts} cuts, {moved} gates that came far: the test saw too little"
    );
}
