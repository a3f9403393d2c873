//! Pure: does a group keep what Raft promises? The judge sees the state of all replicas after every step, and each entry when it is
//! applied, and remembers what was ever true:
//!   * a log id names one entry, which follows one other entry: so two logs that share an id are the same up to there;
//!   * a leadership is of one replica in one life, and, where terms have one leader each, of one replica a term;
//!   * at each index one entry is committed, and every later leader has it;
//!   * each replica applies index after index, what is committed, as everybody else does;
//!   * within a life no vote, no applied and no committed entry is taken back.

use super::Violation;
use raft::types::{GroupId, LogId, ReplicaId, Vote};
use std::collections::BTreeMap;

const JUDGE: &str = "raft";

/// How many leaders a term may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// One, as the paper has it.
    OneLeader,
    /// Several, one after the other: a vote names term and replica, and the greater of two replicas goes before.
    SomeLeaders,
}

/// An entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its name.
    pub log_id: LogId,
    /// A hash of what it says.
    pub payload: u64,
}

/// What one replica that is running holds after a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaState {
    /// Which.
    pub replica: ReplicaId,
    /// How often it was started.
    pub life: u64,
    /// The vote it holds to.
    pub vote: Vote,
    /// Whether it believes that it leads.
    pub is_leader: bool,
    /// The last entry that is gone from the head of its log.
    pub purged: Option<LogId>,
    /// Its log, by index, without gap behind what is purged.
    pub log: BTreeMap<u64, Logged>,
    /// The last entry that it knows to be committed.
    pub committed: Option<LogId>,
    /// The last entry in its state.
    pub applied: Option<LogId>,
    /// A hash over all entries in its state, carried along by snapshots: of two replicas that applied the same it is the same. 0 if
    /// nobody computes it.
    pub applied_hash: u64,
}

/// Term and replica: one leadership.
type Leadership = (u64, ReplicaId);

/// What is known of an index that is committed.
#[derive(Clone, Copy, Debug)]
struct Committed {
    log_id: LogId,
    /// It was committed by this leadership or an earlier one.
    by: Leadership,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    life: u64,
    vote: Vote,
    applied: Option<LogId>,
    committed: Option<LogId>,
}

/// What one group has shown so far.
#[derive(Clone, Debug)]
pub struct GroupJudge {
    group: GroupId,
    terms: Terms,
    /// What each log id says, and which entry it follows.
    entries: BTreeMap<LogId, (u64, Option<LogId>)>,
    leaders: BTreeMap<Leadership, u64>,
    committed: BTreeMap<u64, Committed>,
    /// By index: what was applied there, as told entry by entry.
    applied: BTreeMap<u64, (LogId, u64)>,
    /// By index: the hash of the state after it.
    hashes: BTreeMap<u64, u64>,
    seen: BTreeMap<ReplicaId, Seen>,
    /// Where each replica stands, as told entry by entry.
    turns: BTreeMap<ReplicaId, Option<LogId>>,
    steps: u64,
}

fn leadership(vote: &Vote) -> Leadership {
    (vote.term, vote.replica)
}

fn index(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

fn shown(id: Option<LogId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| id.to_string())
}

/// One line about a replica.
fn portrait(state: &ReplicaState) -> String {
    let ReplicaState { replica, life, vote, purged, committed, applied, .. } = state;
    let who = if state.is_leader { "leads" } else { "follows" };
    let last = state.log.last_key_value().map(|(_, logged)| logged.log_id);
    format!(
        "{replica} (life {life}) {who}, vote {}.{}{}, log behind {} up to {}, committed {}, applied {}",
        vote.term,
        vote.replica.0,
        if vote.is_committed { "" } else { " not granted" },
        shown(*purged),
        shown(last),
        shown(*committed),
        shown(*applied)
    )
}

impl GroupJudge {
    /// A group of which nothing was seen.
    #[must_use]
    pub fn new(group: GroupId, terms: Terms) -> Self {
        Self {
            group,
            terms,
            entries: BTreeMap::new(),
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            applied: BTreeMap::new(),
            hashes: BTreeMap::new(),
            seen: BTreeMap::new(),
            turns: BTreeMap::new(),
            steps: 0,
        }
    }

    /// How many steps were seen, and how many entries of them are known to be committed.
    #[must_use]
    pub fn seen(&self) -> (u64, usize) {
        (self.steps, self.committed.len())
    }

    fn broken(&self, what: impl std::fmt::Display) -> Result<(), Violation> {
        Err(Violation::broken(JUDGE, format!("{}: {what}", self.group)))
    }

    /// What every replica that is running holds, after a step.
    ///
    /// # Errors
    /// Broken: the first promise that does not hold, with all replicas of the step.
    pub fn step(&mut self, states: &[ReplicaState]) -> Result<(), Violation> {
        self.steps += 1;
        let judged = self.judge(states);
        judged.map_err(|violation| violation.with(states.iter().map(portrait)))
    }

    fn judge(&mut self, states: &[ReplicaState]) -> Result<(), Violation> {
        for (at, state) in states.iter().enumerate() {
            if states[..at].iter().any(|other| other.replica == state.replica) {
                return self.broken(format!("{} runs twice", state.replica));
            }
            self.within_life(state)?;
            self.log_matches(state)?;
            self.elected(state)?;
        }
        states.iter().try_for_each(|state| self.commits(state))?;
        states.iter().try_for_each(|state| self.holds_committed(state))
    }

    /// Within a life nothing is taken back.
    fn within_life(&mut self, state: &ReplicaState) -> Result<(), Violation> {
        let &ReplicaState { replica, life, vote, applied, committed, .. } = state;
        let before = self.seen.insert(replica, Seen { life, vote, applied, committed });
        let Some(before) = before.filter(|before| before.life == life) else { return Ok(()) };
        let rank = |vote: &Vote| (leadership(vote), vote.is_committed);
        if rank(&vote) < rank(&before.vote) {
            return self.broken(format!("{replica} goes back to an earlier vote than {:?}", before.vote));
        }
        if self.terms == Terms::OneLeader
            && vote.term == before.vote.term
            && vote.replica != before.vote.replica
        {
            return self.broken(format!("{replica} votes twice in term {}", vote.term));
        }
        if index(applied) < index(before.applied) {
            return self.broken(format!("{replica} had applied {}, and goes back", shown(before.applied)));
        }
        if index(committed) < index(before.committed) {
            return self.broken(format!(
                "{replica} knew that {} is committed, and goes back",
                shown(before.committed)
            ));
        }
        Ok(())
    }

    /// Each log id says one thing and follows one other.
    fn log_matches(&mut self, state: &ReplicaState) -> Result<(), Violation> {
        let mut before = state.purged;
        for (at, Logged { log_id, payload }) in &state.log {
            let replica = state.replica;
            if log_id.index != *at || before.map_or(0, |id| id.index + 1) != *at {
                return self.broken(format!("the log of {replica} has a gap before {log_id}"));
            }
            if before.is_some_and(|before| (before.term, before.replica) > (log_id.term, log_id.replica)) {
                return self.broken(format!("in the log of {replica}, {log_id} follows {}", shown(before)));
            }
            match self.entries.get(log_id) {
                Some((said, _)) if said != payload => {
                    return self
                        .broken(format!("{log_id} in the log of {replica} says something else than before"));
                }
                Some((_, follows)) if *follows != before => {
                    let (here, there) = (shown(before), shown(*follows));
                    return self.broken(format!(
                        "{log_id} follows {here} in the log of {replica}, and {there} elsewhere"
                    ));
                }
                Some(_) => {}
                None => {
                    self.entries.insert(*log_id, (*payload, before));
                }
            }
            before = Some(*log_id);
        }
        Ok(())
    }

    /// A leadership is of one replica, in one life.
    fn elected(&mut self, state: &ReplicaState) -> Result<(), Violation> {
        let ReplicaState { replica, life, vote, is_leader, .. } = state;
        if !is_leader {
            return Ok(());
        }
        if vote.replica != *replica || !vote.is_committed {
            return self.broken(format!("{replica} leads without the votes: {vote:?}"));
        }
        let of_term = self.leaders.range((vote.term, ReplicaId(0))..=(vote.term, ReplicaId(u64::MAX)));
        for ((term, leader), of_life) in of_term {
            if leader == replica && of_life != life {
                return self.broken(format!(
                    "{replica} led term {term} in life {of_life}, and again in life {life}"
                ));
            }
            if leader != replica && self.terms == Terms::OneLeader {
                return self.broken(format!("{leader} and {replica} both lead term {term}"));
            }
        }
        self.leaders.insert(leadership(vote), *life);
        Ok(())
    }

    /// What a replica knows to be committed is what everybody knows, and what it applied is among it.
    fn commits(&mut self, state: &ReplicaState) -> Result<(), Violation> {
        let ReplicaState { replica, vote, committed, applied, applied_hash, .. } = state;
        let end = (*committed).max_by_index(*applied);
        let Some(end) = end else { return Ok(()) };
        let known = self.committed.last_key_value().map_or(0, |(index, _)| index + 1);
        let named: Vec<LogId> = [*committed, *applied].into_iter().flatten().collect();
        // Below what was known before, only its own end is compared: the rest follows, since logs match.
        let new = state.log.range(known.min(end.index)..=end.index).map(|(_, logged)| logged.log_id);
        for log_id in new.chain(named).collect::<Vec<_>>() {
            let by = leadership(vote);
            match self.committed.get_mut(&log_id.index) {
                Some(one) if one.log_id != log_id => {
                    let other = one.log_id;
                    return self.broken(format!("{other} is committed, and {replica} says that {log_id} is"));
                }
                Some(one) => one.by = one.by.min(by),
                None => {
                    self.committed.insert(log_id.index, Committed { log_id, by });
                }
            }
        }
        let Some(applied) = applied.filter(|_| *applied_hash != 0) else { return Ok(()) };
        match self.hashes.insert(applied.index, *applied_hash) {
            Some(other) if other != *applied_hash => {
                self.broken(format!("{replica} has applied other entries than others up to {applied}"))
            }
            _ => Ok(()),
        }
    }

    /// No replica holds another entry where it knows that one is committed; a leader holds all that earlier leaders committed.
    fn holds_committed(&self, state: &ReplicaState) -> Result<(), Violation> {
        let ReplicaState { replica, vote, purged, committed, applied, .. } = state;
        let own = index((*committed).max_by_index(*applied));
        let from = purged.map_or(0, |purged| purged.index + 1);
        for (at, one) in self.committed.range(from..) {
            let knows = Some(*at) <= own;
            let leads = state.is_leader && one.by < leadership(vote);
            let held = state.log.get(at).map(|logged| logged.log_id);
            if !(knows || leads) || held == Some(one.log_id) {
                continue;
            }
            let (held, id) = (shown(held), one.log_id);
            let how = if leads { "leads" } else { "knows that it is committed" };
            return self.broken(format!("{id} is committed; {replica} {how}, and holds {held} there"));
        }
        Ok(())
    }

    /// A replica was started with its state as it is on disk.
    pub fn started(&mut self, replica: ReplicaId, applied: Option<LogId>) {
        self.turns.insert(replica, applied);
    }

    /// A replica put a snapshot in the place of its state.
    ///
    /// # Errors
    /// Broken: its state held more.
    pub fn installed(&mut self, replica: ReplicaId, upto: LogId) -> Result<(), Violation> {
        let before = self.turns.insert(replica, Some(upto)).flatten();
        if index(before) > Some(upto.index) {
            return self.broken(format!("{replica} had applied {}, and installed {upto}", shown(before)));
        }
        Ok(())
    }

    /// A replica applied an entry.
    ///
    /// # Errors
    /// Broken: it was not the next one, or another replica applied something else at this index.
    pub fn applied(&mut self, replica: ReplicaId, log_id: LogId, payload: u64) -> Result<(), Violation> {
        let before = self.turns.insert(replica, Some(log_id)).flatten();
        if log_id.index != before.map_or(0, |before| before.index + 1) {
            return self.broken(format!("{replica} applied {log_id} after {}", shown(before)));
        }
        if let Some(one) = self.committed.get(&log_id.index).filter(|one| one.log_id != log_id) {
            return self.broken(format!("{} is committed, and {replica} applied {log_id}", one.log_id));
        }
        match self.applied.insert(log_id.index, (log_id, payload)) {
            Some(other) if other != (log_id, payload) => {
                let what = format!("{replica} applied {log_id} where another one applied {}", other.0);
                self.broken(if other.0 == log_id { what + ", and it says something else" } else { what })
            }
            _ => Ok(()),
        }
    }
}

/// Of two ends, the one that is further on.
trait Further {
    fn max_by_index(self, other: Self) -> Self;
}

impl Further for Option<LogId> {
    fn max_by_index(self, other: Self) -> Self {
        if index(self) >= index(other) { self } else { other }
    }
}
