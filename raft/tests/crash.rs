//! The log against a picture of what was said to it: crashed at every operation of the disk, it comes back as it stood after
//! some step, and not before the last that was acknowledged; and it goes on from there.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::disk::sim::Faults;
use raft::log::{Entry, GroupState, Log, Stepped};
use raft::types::{GroupId, ReplicaId, Vote};
use rig::{Dice, Rig, acknowledge, entry, id, nobody, seeds};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const GROUPS: u64 = 3;
const STEPS: u64 = 110;

/// What the log must hold of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    state: GroupState,
    entries: BTreeMap<u64, Entry>,
}

type Picture = BTreeMap<GroupId, Group>;

impl Group {
    fn end(&self) -> u64 {
        self.state.last.map_or(0, |last| last.index + 1)
    }
}

/// Says one thing at random to the log, and does the same to the picture.
struct Talk {
    dice: Dice,
    picture: Picture,
    /// After each step, from before the first on.
    pictures: Vec<Picture>,
    acknowledged: Arc<AtomicU64>,
    term: u64,
    /// Whether segments are filled ahead now and then.
    fills: bool,
}

impl Talk {
    fn new(seed: u64, picture: Picture, fills: bool) -> Self {
        let pictures = vec![picture.clone()];
        Self {
            dice: Dice::new(seed),
            picture,
            pictures,
            acknowledged: Arc::default(),
            term: 1 + seed % 7,
            fills,
        }
    }

    fn say(&mut self, log: &Log) -> raft::Result<()> {
        let name = GroupId(1 + self.dice.below(GROUPS));
        // Filled in below: nobody is told before the log steps.
        let step: Arc<AtomicU64> = Arc::default();
        let done = acknowledge(&self.acknowledged, &step);
        let mut group = self.picture.get(&name).cloned().unwrap_or_default();
        if group.state.replica == ReplicaId(0) {
            let replica = ReplicaId(group.state.replica_max.0 + 1 + self.dice.below(2));
            log.open_replica(name, replica, done)?;
            group = Group::default();
            (group.state.replica, group.state.replica_max) = (replica, replica);
        } else {
            self.change(log, name, &mut group, done)?;
        }
        self.show(name, &group);
        step.store(self.pictures.len() as u64 - 1, Ordering::SeqCst);
        Ok(())
    }

    fn show(&mut self, name: GroupId, group: &Group) {
        self.picture.insert(name, group.clone());
        self.pictures.push(self.picture.clone());
    }

    fn change(
        &mut self,
        log: &Log,
        name: GroupId,
        group: &mut Group,
        done: raft::log::Done,
    ) -> raft::Result<()> {
        let (state, what) = (&mut group.state, self.dice.below(20));
        match what {
            0..=11 => {
                let from = state.last.map_or(0, |last| last.index + 1);
                let term = self.term.max(state.last.map_or(0, |last| last.term));
                let entries: Vec<Entry> =
                    (from..from + self.dice.below(6)).map(|index| entry(name, term, index)).collect();
                log.append(name, entries.clone(), done)?;
                for one in entries {
                    group.state.last = Some(one.log_id);
                    group.entries.insert(one.log_id.index, one);
                    // An append may be durable in part.
                    self.show(name, group);
                }
            }
            12 | 13 => {
                self.term += self.dice.below(2);
                let (term, is_committed) = (self.term, self.dice.below(2) == 0);
                let vote = Vote { term, replica: state.replica, is_committed };
                log.save_vote(name, vote, done)?;
                state.vote = Some(vote);
            }
            14 | 15 => {
                let keep = group.entries.keys().rev().nth(self.dice.below(4) as usize).copied();
                let after = keep.map(|index| group.entries[&index].log_id).or(state.purged);
                log.truncate_after(name, after)?;
                group.entries.retain(|index, _| Some(*index) <= after.map(|id| id.index));
                state.last = after;
                self.term += 1;
            }
            16 | 17 => {
                let upto = group.entries.values().nth(self.dice.below(12) as usize).map(|one| one.log_id);
                if let Some(upto) = upto {
                    log.purge(name, upto)?;
                    group.entries.retain(|index, _| *index > upto.index);
                    state.purged = Some(upto);
                }
            }
            18 => {
                // What a snapshot leaves: everything is purged, and more.
                let upto = id(
                    self.term.max(state.last.map_or(0, |last| last.term)),
                    group.end() + self.dice.below(9),
                );
                log.purge(name, upto)?;
                group.entries.clear();
                (group.state.purged, group.state.last) = (Some(upto), Some(upto));
            }
            _ => {
                log.close_replica(name, done)?;
                let replica_max = state.replica_max;
                *group = Group::default();
                group.state.replica_max = replica_max;
            }
        }
        Ok(())
    }
}

/// What the log holds, as a picture.
fn held(log: &Log) -> Picture {
    let mut picture = Picture::new();
    for (name, state) in log.groups() {
        let (first, end) =
            (state.purged.map_or(0, |id| id.index + 1), state.last.map_or(0, |id| id.index + 1));
        let mut entries = BTreeMap::new();
        let mut at = first;
        while at < end {
            for one in log.entries(name, at, end, 700).unwrap() {
                assert_eq!(one.log_id.index, at);
                entries.insert(at, one);
                at += 1;
            }
        }
        picture.insert(name, Group { state, entries });
    }
    picture
}

/// The groups of a picture whose replicas live.
fn living(picture: &Picture) -> Picture {
    let mut picture = picture.clone();
    picture.retain(|_, group| group.state.replica != ReplicaId(0));
    picture
}

/// Says `STEPS` things to the log and lets it write now and then. Ends early once it fails.
fn run(talk: &mut Talk, log: &Log) {
    for _ in 0..STEPS {
        if talk.say(log).is_err() {
            return;
        }
        // As a thread of its own would, now and then: whatever becomes of that, the log goes on.
        if talk.fills && talk.dice.below(12) == 0 {
            let _ = log.fill_ahead();
        }
        if talk.dice.below(3) == 0 && log.step() == Stepped::Fenced {
            return;
        }
    }
}

fn crash_at(seed: u64, operation: u64, fills: bool) -> bool {
    let rig = Rig::new(seed);
    let mut talk = Talk::new(seed, Picture::new(), fills);
    rig.disk.set_faults(Faults { crash_at: Some(operation), ..Faults::default() });
    if let Ok(log) = rig.try_open() {
        run(&mut talk, &log);
    }
    if !rig.disk.is_down() {
        return false;
    }
    rig.disk.restart();
    let log = rig.try_open().unwrap_or_else(|error| panic!("seed {seed}, operation {operation}: {error}"));
    let found = held(&log);
    let acknowledged = talk.acknowledged.load(Ordering::SeqCst) as usize;
    let at = (acknowledged..talk.pictures.len()).find(|at| living(&talk.pictures[*at]) == found);
    let at = at.unwrap_or_else(|| {
        panic!("seed {seed}, operation {operation}: {found:#?} is no picture from step {acknowledged} on")
    });
    // And it goes on: what is said from here on is there after a clean end, too.
    let mut talk = Talk::new(seed ^ 0xabcd, talk.pictures[at].clone(), fills);
    run(&mut talk, &log);
    while log.step() != Stepped::Nothing {}
    assert_eq!(log.fenced(), None);
    assert_eq!(held(&log), living(&talk.picture), "seed {seed}, operation {operation}");
    drop(log);
    assert_eq!(held(&rig.open()), living(&talk.picture), "seed {seed}, operation {operation}, opened again");
    true
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged_and_invents_nothing() {
    for (seed, fills) in seeds(8).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut operation = 1;
        while crash_at(seed, operation, fills) {
            operation += 1;
        }
        assert!(operation > 40, "only {operation} operations");
    }
}

#[test]
fn an_operation_that_fails_fences_the_log_and_what_was_acknowledged_is_there_again() {
    for (seed, fills) in seeds(4).flat_map(|seed| [(seed, false), (seed, true)]) {
        for operation in 1.. {
            let rig = Rig::new(seed);
            let mut talk = Talk::new(seed, Picture::new(), fills);
            let faults = Faults { fail_at: [operation].into(), ..Faults::default() };
            rig.disk.set_faults(faults);
            let Ok(log) = rig.try_open() else { continue };
            run(&mut talk, &log);
            if log.fenced().is_none() && rig.disk.operations() < operation {
                break;
            }
            if log.fenced().is_some() {
                let refused = log.save_vote(GroupId(1), Vote::default(), nobody()).unwrap_err();
                assert!(matches!(refused, raft::Error::Fenced { .. }), "{refused}");
                assert_eq!(log.step(), Stepped::Nothing);
            }
            drop(log);
            rig.disk.set_faults(Faults::default());
            let log = rig.open();
            let found = held(&log);
            let acknowledged = talk.acknowledged.load(Ordering::SeqCst) as usize;
            let is_known = talk.pictures[acknowledged..].iter().any(|picture| living(picture) == found);
            assert!(is_known, "seed {seed}, operation {operation}");
            // What a start has shown is acted upon: a power cut right after it must not take it back.
            rig.disk.crash();
            rig.disk.restart();
            drop(log);
            let log =
                rig.try_open().unwrap_or_else(|error| panic!("seed {seed}, operation {operation}: {error}"));
            assert_eq!(held(&log), found, "seed {seed}, operation {operation}, after a power cut");
        }
    }
}
