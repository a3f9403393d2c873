//! The judge of a group against runs of a group that keeps every promise, and against the same runs with one thing broken.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use chaos_tests::check::Violation;
use chaos_tests::check::raft::{GroupJudge, Logged, ReplicaState, Terms};
use chaos_tests::seed::{Dice, Seed};
use proptest::prelude::*;
use raft::types::{GroupId, LogId, ReplicaId, Vote};

/// A group as a picture: whole elections and whole appends, in one step each, with whom they reach.
struct Toy {
    dice: Dice,
    terms: Terms,
    states: Vec<ReplicaState>,
    payloads: u64,
}

/// The hash of a state with one more entry.
fn folded(hash: u64, entry: Logged) -> u64 {
    (hash ^ entry.payload ^ entry.log_id.index).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

impl Toy {
    fn new(seed: u64, terms: Terms, replicas: u64) -> Self {
        let state =
            |replica| ReplicaState { replica: ReplicaId(replica), life: 1, ..ReplicaState::default() };
        let states = (1..=replicas).map(state).collect();
        Self { dice: Dice::new(Seed(seed), "toy"), terms, states, payloads: 0 }
    }

    fn one(&mut self) -> usize {
        self.dice.below(self.states.len() as u64) as usize
    }

    /// A majority with `at` in it, and perhaps more.
    fn reached(&mut self, at: usize) -> Vec<usize> {
        let mut others: Vec<usize> = (0..self.states.len()).filter(|other| *other != at).collect();
        while others.len() > self.states.len() / 2 && self.dice.is_lucky(600) {
            let out = self.dice.below(others.len() as u64) as usize;
            others.swap_remove(out);
        }
        others
    }

    fn last(&self, at: usize) -> Option<LogId> {
        let state = &self.states[at];
        state.log.last_key_value().map(|(_, logged)| logged.log_id).or(state.purged)
    }

    fn elect(&mut self) {
        let at = self.one();
        let reached = self.reached(at);
        let replica = self.states[at].replica;
        let own = self.states[at].vote;
        let is_same_term =
            self.terms == Terms::SomeLeaders && own.replica < replica && self.dice.is_lucky(500);
        let vote = Vote { term: own.term + u64::from(!is_same_term), replica, is_committed: true };
        let rank = |vote: &Vote| (vote.term, vote.replica);
        let is_granted = |other: &usize| {
            let before = self.states[*other].vote;
            let is_later = match self.terms {
                Terms::OneLeader => before.term < vote.term,
                Terms::SomeLeaders => rank(&before) < rank(&vote),
            };
            is_later && self.last(*other) <= self.last(at)
        };
        if reached.iter().all(is_granted) {
            for other in reached.into_iter().chain([at]) {
                (self.states[other].vote, self.states[other].is_leader) = (vote, other == at);
            }
        }
    }

    /// The leader appends, whom it reaches follows, and what a majority has of its own term is committed.
    fn replicate(&mut self) {
        let leaders = (0..self.states.len()).filter(|at| self.states[*at].is_leader).collect::<Vec<_>>();
        let Some(at) = self.dice.pick(&leaders).copied() else { return };
        let vote = self.states[at].vote;
        let index = self.last(at).map_or(0, |last| last.index + 1);
        self.payloads += 1;
        let log_id = LogId { term: vote.term, replica: vote.replica, index };
        self.states[at].log.insert(index, Logged { log_id, payload: self.payloads });
        if self.dice.is_lucky(300) {
            return;
        }
        let rank = |vote: &Vote| (vote.term, vote.replica);
        let reached = self.reached(at);
        if reached.iter().any(|other| rank(&self.states[*other].vote) > rank(&vote)) {
            return;
        }
        let leader = self.states[at].clone();
        for other in &reached {
            let state = &mut self.states[*other];
            (state.vote, state.is_leader) = (vote, false);
            if state.committed.map(|id| id.index) < leader.purged.map(|id| id.index) {
                // A snapshot: what the leader has no more.
                (state.purged, state.applied, state.committed) =
                    (leader.purged, leader.purged, leader.purged);
                state.applied_hash = 0;
                state.log.clear();
            }
            // What the leader has no more is committed, and stays as it is here.
            let from = state.purged.max(leader.purged).map_or(0, |purged| purged.index + 1);
            state.log.split_off(&from);
            state.log.extend(leader.log.range(from..).map(|(index, logged)| (*index, *logged)));
        }
        self.states[at].committed = Some(log_id);
        for other in reached {
            if self.dice.is_lucky(500) {
                self.states[other].committed = Some(log_id);
            }
        }
    }

    fn apply(&mut self) {
        let at = self.one();
        let state = &mut self.states[at];
        let Some(committed) = state.committed else { return };
        let from = state.applied.map_or(0, |applied| applied.index + 1);
        let until = committed.index.min(from + self.dice.below(4));
        let entries: Vec<Logged> =
            state.log.range(from..=until.max(from)).map(|(_, logged)| *logged).collect();
        for entry in entries.into_iter().filter(|entry| entry.log_id.index <= until) {
            let is_counted = state.applied_hash != 0 || entry.log_id.index == 0;
            state.applied_hash = if is_counted { folded(state.applied_hash, entry) } else { 0 };
            state.applied = Some(entry.log_id);
        }
    }

    fn purge(&mut self) {
        let at = self.one();
        let state = &mut self.states[at];
        let Some(applied) = state.applied else { return };
        state.log = state.log.split_off(&(applied.index + 1));
        state.purged = Some(applied);
    }

    fn restart(&mut self) {
        let at = self.one();
        let state = &mut self.states[at];
        state.life += 1;
        state.is_leader = false;
        (state.applied, state.committed) = (state.purged, state.purged);
        state.applied_hash = 0;
    }

    fn step(&mut self) -> &[ReplicaState] {
        match self.dice.below(20) {
            0..2 => self.elect(),
            2..12 => self.replicate(),
            12..17 => self.apply(),
            17 => self.purge(),
            18 => self.restart(),
            _ => {}
        }
        &self.states
    }
}

fn terms() -> impl Strategy<Value = Terms> {
    prop_oneof![Just(Terms::OneLeader), Just(Terms::SomeLeaders)]
}

/// A run of so many steps, and what was judged of it; then the last states once more, with a change.
fn judged(
    toy: (u64, Terms, u64),
    steps: usize,
    change: impl Fn(&mut Vec<ReplicaState>) -> bool,
) -> Result<Option<Violation>, TestCaseError> {
    let (seed, terms, replicas) = toy;
    let (mut toy, mut judge) = (Toy::new(seed, terms, replicas), GroupJudge::new(GroupId(1), terms));
    for _ in 0..steps {
        let states = toy.step();
        if let Err(violation) = judge.step(states) {
            return Err(TestCaseError::fail(format!("a good run: {violation}")));
        }
    }
    prop_assert_eq!(judge.seen().0, steps as u64);
    let mut states = toy.states.clone();
    prop_assume!(change(&mut states));
    Ok(judge.step(&states).err())
}

/// Of the states, one that `fits`.
fn find(states: &mut [ReplicaState], fits: impl Fn(&ReplicaState) -> bool) -> Option<&mut ReplicaState> {
    states.iter_mut().find(|state| fits(state))
}

fn has_applied(state: &ReplicaState) -> bool {
    state.applied.is_some_and(|applied| applied.index > 0)
}

type Break = fn(&mut Vec<ReplicaState>) -> bool;

/// One thing broken in the last states; false if there is nothing to break. And a word of what must be told.
const BREAKS: [(Break, &str); 12] = [
    (
        |states| {
            let state = find(states, |state| !state.log.is_empty());
            state.map(|state| state.log.values_mut().for_each(|logged| logged.payload += 1 << 40)).is_some()
        },
        "says something else",
    ),
    (
        |states| {
            let state = find(states, |state| state.log.len() > 2);
            state
                .map(|state| {
                    state.log.remove(&(state.log.len() as u64 / 2 + state.log.first_key_value().unwrap().0))
                })
                .is_some()
        },
        "gap",
    ),
    (
        |states| {
            let leaders = states.iter().filter(|state| state.is_leader).map(|state| state.vote);
            let leader = leaders.max_by_key(|vote| (vote.term, vote.replica));
            let rank = |vote: Option<Vote>| vote.map(|vote| (vote.term, vote.replica));
            let other = find(states, |state| !state.is_leader && rank(Some(state.vote)) <= rank(leader));
            leader.zip(other).map(|(vote, state)| (state.is_leader, state.vote) = (true, vote)).is_some()
        },
        "leads without the votes",
    ),
    (
        |states| {
            let state = find(states, |state| state.is_leader);
            state.map(|state| (state.life += 1, state.applied = None)).is_some()
        },
        "and again in life",
    ),
    (
        |states| find(states, |state| state.vote.term > 0).map(|state| state.vote.term -= 1).is_some(),
        "earlier vote",
    ),
    (
        |states| {
            find(states, has_applied).map(|state| (state.applied, state.applied_hash) = (None, 0)).is_some()
        },
        "and goes back",
    ),
    (
        |states| {
            find(states, |state| state.committed.is_some()).map(|state| state.committed = None).is_some()
        },
        "and goes back",
    ),
    (
        |states| find(states, |state| state.applied_hash != 0).map(|state| state.applied_hash ^= 2).is_some(),
        "has applied other entries",
    ),
    (
        |states| {
            let state =
                find(states, |state| state.committed.is_some_and(|id| state.log.contains_key(&id.index)));
            state.map(|state| state.log.split_off(&state.committed.unwrap().index)).is_some()
        },
        "is committed",
    ),
    (
        |states| {
            // A leader of later terms that nobody told of anything.
            let term = states.iter().map(|state| state.vote.term).max().unwrap();
            let is_any_committed = states.iter().any(|state| state.committed.is_some());
            let state = states.last_mut().unwrap();
            let vote = Vote { term: term + 1, replica: state.replica, is_committed: true };
            *state = ReplicaState {
                replica: state.replica,
                life: state.life + 1,
                vote,
                is_leader: true,
                ..Default::default()
            };
            is_any_committed
        },
        "leads, and holds nothing there",
    ),
    (
        |states| {
            let state = find(states, |state| state.committed.is_some());
            let other = |id: LogId| LogId { term: id.term + 1, ..id };
            state.map(|state| state.committed = state.committed.map(other)).is_some()
        },
        "is committed, and",
    ),
    (
        |states| {
            states.push(states[0].clone());
            true
        },
        "runs twice",
    ),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn a_good_run_passes_and_each_break_of_it_is_told(
        seed: u64,
        terms in terms(),
        replicas in prop_oneof![Just(3u64), Just(5)],
        steps in 40usize..400,
        which in 0..BREAKS.len(),
    ) {
        let (change, what) = BREAKS[which];
        let told = judged((seed, terms, replicas), steps, change)?;
        let text = told.map_or_else(|| "nothing was told".to_owned(), |violation| violation.to_string());
        prop_assert!(text.contains(what), "wanted `{}`: {}", what, text);
    }
}

#[test]
fn a_toy_does_what_a_judge_must_have_seen() {
    let (mut leaders, mut purged, mut committed) = (0, 0, 0);
    for seed in 0..50 {
        let (mut toy, mut judge) =
            (Toy::new(seed, Terms::SomeLeaders, 5), GroupJudge::new(GroupId(1), Terms::SomeLeaders));
        (0..300).for_each(|_| judge.step(toy.step()).unwrap());
        leaders += toy.states.iter().map(|state| state.vote.term).max().unwrap();
        purged += toy.states.iter().filter(|state| state.purged.is_some()).count();
        committed += judge.seen().1;
    }
    assert!(leaders > 200 && purged > 100 && committed > 2000, "{leaders} {purged} {committed}");
}

fn entry(term: u64, index: u64) -> LogId {
    LogId { term, replica: ReplicaId(1), index }
}

#[test]
fn two_leaders_of_a_term_are_refused_where_a_term_has_one() {
    let leader = |replica| ReplicaState {
        replica: ReplicaId(replica),
        vote: Vote { term: 4, replica: ReplicaId(replica), is_committed: true },
        is_leader: true,
        ..ReplicaState::default()
    };
    let both = [leader(1), leader(2)];
    assert_eq!(GroupJudge::new(GroupId(1), Terms::SomeLeaders).step(&both), Ok(()));
    let violation = GroupJudge::new(GroupId(1), Terms::OneLeader).step(&both).unwrap_err();
    assert!(
        violation.to_string().starts_with("raft: g-1: r-1 and r-2 both lead term 4\n  r-1 (life 0) leads"),
        "{violation}"
    );
}

#[test]
fn a_replica_that_votes_for_another_one_in_a_term_is_refused_where_a_term_has_one_leader() {
    let votes = |replica| {
        let vote = Vote { term: 4, replica: ReplicaId(replica), is_committed: false };
        [ReplicaState { replica: ReplicaId(3), vote, ..ReplicaState::default() }]
    };
    for (terms, is_good) in [(Terms::OneLeader, false), (Terms::SomeLeaders, true)] {
        let mut judge = GroupJudge::new(GroupId(1), terms);
        judge.step(&votes(1)).unwrap();
        assert_eq!(judge.step(&votes(2)).is_ok(), is_good);
    }
}

#[test]
fn a_leader_may_lack_what_was_committed_after_its_time() {
    let (id, later) = (entry(1, 0), Vote { term: 3, replica: ReplicaId(2), is_committed: true });
    let log = [(0, Logged { log_id: id, payload: 1 })].into();
    let has = ReplicaState {
        replica: ReplicaId(2),
        vote: later,
        log,
        committed: Some(id),
        ..ReplicaState::default()
    };
    let lead = |term| ReplicaState {
        replica: ReplicaId(5),
        vote: Vote { term, replica: ReplicaId(5), is_committed: true },
        is_leader: true,
        ..ReplicaState::default()
    };
    // Of term 2, cut off: the entry of term 1 was committed in term 3.
    assert_eq!(GroupJudge::new(GroupId(1), Terms::OneLeader).step(&[lead(2), has.clone()]), Ok(()));
    assert!(GroupJudge::new(GroupId(1), Terms::OneLeader).step(&[lead(4), has]).is_err());
}

#[test]
fn who_learns_late_does_not_make_an_entry_younger() {
    let id = entry(1, 0);
    let knows = |replica, term| ReplicaState {
        replica: ReplicaId(replica),
        vote: Vote { term, replica: ReplicaId(9), is_committed: false },
        log: [(0, Logged { log_id: id, payload: 1 })].into(),
        committed: Some(id),
        ..ReplicaState::default()
    };
    let leader = ReplicaState {
        replica: ReplicaId(5),
        vote: Vote { term: 4, replica: ReplicaId(5), is_committed: true },
        is_leader: true,
        ..ReplicaState::default()
    };
    // Seen first by one who has heard of term 7 already, then by one of term 3: so it was committed in term 3 or before.
    let mut judge = GroupJudge::new(GroupId(1), Terms::OneLeader);
    assert_eq!(judge.step(&[knows(1, 7), leader.clone()]), Ok(()));
    assert!(judge.step(&[knows(2, 3), leader]).is_err());
}

#[test]
fn one_tail_under_two_heads_is_refused() {
    let holds = |replica, first| {
        let logged = |term, index| (index, Logged { log_id: entry(term, index), payload: 0 });
        let log = [logged(first, 0), logged(3, 1)].into();
        ReplicaState { replica: ReplicaId(replica), log, ..ReplicaState::default() }
    };
    let violation =
        GroupJudge::new(GroupId(1), Terms::OneLeader).step(&[holds(1, 1), holds(2, 2)]).unwrap_err();
    assert!(
        violation.what.contains("3.1.1 follows 2.1.0 in the log of r-2, and 1.1.0 elsewhere"),
        "{violation}"
    );
    let back = GroupJudge::new(GroupId(1), Terms::OneLeader).step(&[holds(1, 4)]).unwrap_err();
    assert!(back.what.contains("3.1.1 follows 4.1.0"), "{back}");
}

#[test]
fn entries_are_applied_one_after_the_other_and_everywhere_the_same() {
    let (r1, r2) = (ReplicaId(1), ReplicaId(2));
    let mut judge = GroupJudge::new(GroupId(1), Terms::OneLeader);
    (0..4).for_each(|index| judge.applied(r1, entry(1, index), index).unwrap());
    let told = |result: Result<(), Violation>| result.unwrap_err().what;
    assert!(told(judge.clone().applied(r1, entry(1, 5), 5)).contains("applied 1.1.5 after 1.1.3"));
    assert!(told(judge.clone().applied(r1, entry(1, 3), 3)).contains("applied 1.1.3 after 1.1.3"));
    assert!(
        told(judge.clone().applied(r2, entry(2, 0), 0))
            .contains("applied 2.1.0 where another one applied 1.1.0")
    );
    assert!(told(judge.clone().applied(r2, entry(1, 0), 9)).contains("it says something else"));
    judge.installed(r2, entry(1, 2)).unwrap();
    judge.applied(r2, entry(1, 3), 3).unwrap();
    assert!(told(judge.clone().installed(r2, entry(1, 2))).contains("had applied 1.1.3"));
    judge.started(r1, Some(entry(1, 1)));
    judge.applied(r1, entry(1, 2), 2).unwrap();
    let log = (0..5).map(|index| (index, Logged { log_id: entry(1, index), payload: index })).collect();
    let knows = ReplicaState { replica: r2, log, committed: Some(entry(1, 4)), ..ReplicaState::default() };
    judge.step(&[knows]).unwrap();
    assert!(told(judge.applied(r2, entry(2, 4), 4)).contains("1.1.4 is committed, and r-2 applied 2.1.4"));
}
