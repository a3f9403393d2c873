//! What a run notes of its nodes while they work, and the judges it asks at once: promises given, entries applied.

use super::clock::EPOCH_MS;
use super::diary::Diary;
use super::operations::{REGISTERS, number};
use crate::check::Violation;
use crate::check::delayed::{DelayedNode, Wish};
use crate::check::digest::Digests;
use crate::check::ledger::{Ledger, Promise, Recovered, Seat};
use crate::check::past::{Look, Versions};
use crate::check::raft::{GroupJudge, Logged, ReplicaState, Terms};
use crate::history::Key;
use bytes::Bytes;
use engine::ids::NodeId;
use engine::key;
use engine::tablet::batch::{Batch, Op};
use engine::{Kind, Stamp};
use raft::group::birth::FIRST;
use raft::limits::CLOCK_PART_MS_MAX;
use raft::log::{Entry, Log};
use raft::machine::note::Note;
use raft::machine::{AppliedEntry, Feed, Machine};
use raft::net::envelope::Frame;
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{Append, AppendReply, Heartbeat};
use raft::types::{GroupId, LogId, ReplicaId, Vote};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh3::xxh3_64;

#[derive(Default)]
struct Notes {
    ledger: Ledger,
    groups: BTreeMap<GroupId, GroupJudge>,
    digests: Digests,
    versions: Versions,
    violation: Option<Violation>,
    /// The judge of the delayed node, as long as there is one.
    late: Option<(NodeId, DelayedNode)>,
    applied: u64,
    installed: u64,
    steps: u64,
    rests: u64,
    late_applied: u64,
    strangers: u64,
    leaders: BTreeMap<GroupId, Vote>,
    /// How far the log of each replica was seen to be purged.
    purged: BTreeMap<(GroupId, ReplicaId), u64>,
    seen: BTreeMap<&'static str, u64>,
}

/// Sees everything. Clones are the same.
#[derive(Clone)]
pub struct Overseer {
    notes: Arc<Mutex<Notes>>,
    diary: Diary,
}

/// What one node's logs hold, read once an entry.
#[derive(Default)]
pub struct Known(BTreeMap<(GroupId, u64), Logged>);

impl Overseer {
    /// It has seen nothing.
    #[must_use]
    pub fn new(diary: Diary) -> Self {
        Self { notes: Arc::default(), diary }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judged(&self, verdict: Result<(), Violation>) {
        if let Err(violation) = verdict {
            self.diary.note("judge", &violation);
            self.notes().violation.get_or_insert(violation);
        }
    }

    /// Notes what a judge outside says.
    pub fn accuse(&self, violation: Violation) {
        self.judged(Err(violation));
    }

    /// The first promise that was broken.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.notes().violation.clone()
    }

    /// What was seen, and how often.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 8] {
        let notes = self.notes();
        [
            ("entries applied", notes.applied),
            ("snapshots installed", notes.installed),
            ("recoveries compared", notes.ledger.compared()),
            ("digests compared", notes.digests.compared()),
            ("steps of a gate", notes.steps),
            ("cuts of a delayed node", notes.rests),
            ("entries applied late", notes.late_applied),
            ("frames of another generation", notes.strangers),
        ]
    }

    /// A rare branch was entered.
    pub fn saw(&self, branch: &'static str) {
        *self.notes().seen.entry(branch).or_default() += 1;
    }

    /// Rare branches, and how often each was entered.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<&'static str, u64> {
        self.notes().seen.clone()
    }

    fn group<T>(&self, group: GroupId, see: impl FnOnce(&mut GroupJudge) -> T) -> T {
        let mut notes = self.notes();
        see(notes.groups.entry(group).or_insert_with(|| GroupJudge::new(group, Terms::SomeLeaders)))
    }

    /// A replica is back, with what its log and its machine hold.
    pub fn recovered(&self, log: &Log, machine: &Machine, replica: ReplicaId) {
        let group = machine.group();
        let Ok(state) = log.state(group) else { return };
        let (first, end) = log.bounds(group).unwrap_or_default();
        let held = (first..end).filter_map(|index| Some((index, log.stamped(group, index).ok()??.0)));
        let applied = machine.applied().applied;
        let now = Recovered { vote: state.vote, purged: state.purged, log: held.collect(), applied };
        let verdict = self.notes().ledger.recovered(Seat { group, replica }, &now);
        self.judged(verdict);
        self.group(group, |judge| judge.started(replica, applied));
        self.late(|node, judge| {
            if node.0 == replica.0 {
                judge.restarted(group, applied.map(|id| id.index));
            }
            Ok(())
        });
    }

    fn late(&self, see: impl FnOnce(NodeId, &mut DelayedNode) -> Result<(), Violation>) {
        let verdict = match &mut self.notes().late {
            Some((node, judge)) => see(*node, judge),
            None => Ok(()),
        };
        self.judged(verdict);
    }

    /// By what time something must be due that is not early: a clock is believed if it is wrong by no more than this.
    fn now_ms(&self) -> u64 {
        EPOCH_MS + self.diary.now_ms() + CLOCK_PART_MS_MAX
    }

    /// A delayed node starts, with its gate where it is stored.
    pub fn gate_recovered(&self, node: NodeId, gate: Stamp, late_ms: u64) {
        let verdict = self.notes().ledger.gate_recovered(node, gate);
        self.judged(verdict);
        let is_first = self.notes().ledger.gate(node).is_none();
        if is_first {
            let wish = Wish { delay_ms: late_ms, hold: None };
            self.notes().late = Some((node, DelayedNode::new(node, wish, gate)));
        }
        self.notes().ledger.gate_opened(node, gate);
        self.late(|_, judge| judge.gate_opened(gate, self.now_ms()));
    }

    /// The gate of the delayed node is open up to a stamp.
    pub fn gate_opened(&self, gate: Stamp) {
        self.notes().steps += 1;
        self.late(|_, judge| judge.gate_opened(gate, self.now_ms()));
        let mut notes = self.notes();
        if let Some((node, _)) = notes.late {
            notes.ledger.gate_opened(node, gate);
        }
    }

    /// The delayed node has applied all that its gate lets through.
    pub fn at_rest(&self) {
        self.notes().rests += 1;
        self.late(|_, judge| judge.at_rest());
    }

    /// A person asks for something else.
    pub fn wish(&self, wish: Wish) {
        self.late(|_, judge| {
            judge.wish(wish);
            Ok(())
        });
    }

    /// What was last asked for, of a delayed node.
    #[must_use]
    pub fn wished(&self) -> Option<Wish> {
        self.notes().late.as_ref().map(|(_, judge)| judge.wished())
    }

    /// The node is delayed no more: its clamps are lifted.
    pub fn lifted(&self) {
        self.notes().late = None;
    }

    fn late_applied(&self, node: NodeId, group: GroupId, log_id: LogId, stamp: Stamp) {
        self.late(|late, judge| {
            // Whoever applies it first says what it is, if no leader has said it before; that all come to the same is for another judge.
            if !judge.knows(group, log_id.index) {
                judge.committed(group, log_id, stamp)?;
            }
            if node == late { judge.applied(group, log_id, self.now_ms()) } else { Ok(()) }
        });
        let mut notes = self.notes();
        notes.late_applied += u64::from(notes.late.as_ref().is_some_and(|(late, _)| *late == node));
    }

    /// A leader says that all up to `upto` is committed, and `log` has it as that leader has. A leader whose keys are away says so long before
    /// anybody applies it, and the delayed node may be the first that does.
    fn late_committed(&self, log: &Log, group: GroupId, upto: u64) {
        let newest = self.notes().late.as_ref().and_then(|(_, judge)| judge.newest(group));
        let Some(newest) = newest else { return };
        for index in newest + 1..=upto {
            let Ok(Some((log_id, stamp))) = log.stamped(group, index) else { return };
            self.late(|_, judge| judge.committed(group, log_id, Stamp(stamp)));
        }
    }

    /// An append was answered. What the replica of `seat` had stored before, up to `before`, may be gone with it: of that it is free.
    pub fn answered(
        &self,
        log: &Log,
        (seat, before): (Seat, Option<LogId>),
        append: &Append,
        answer: &Bytes,
    ) {
        let reply = Frame::decode(answer).ok().and_then(|answer| replied(&answer, seat.group));
        let last = log.state(seat.group).ok().and_then(|state| state.last);
        if let (Some(AppendReply::Accepted), Some(commit), Some(matched)) =
            (&reply, append.commit, matched(append))
        {
            self.late_committed(log, seat.group, commit.index.min(matched.index));
        }
        match reply {
            Some(AppendReply::Accepted)
                if before.is_some_and(|before| before != FIRST && !stands(log, seat.group, before)) =>
            {
                self.saw("tails that conflicted cut off");
                self.notes().ledger.truncated(seat, matched(append));
            }
            // What did not fit the leader's log is gone before its entries come, and before anybody has an answer.
            Some(AppendReply::Conflict) | None if last.map(|id| id.index) < before.map(|id| id.index) => {
                self.saw("tails that conflicted cut off");
                self.notes().ledger.truncated(seat, last);
            }
            _ => {}
        }
    }

    /// An answer was heard: what does it promise? What a later leader has let the replica drop since then, nobody leans on.
    pub fn heard(&self, log: &Log, asked: &Bytes, answer: &Bytes) {
        let (Ok(asked), Ok(answer)) = (Frame::decode(asked), Frame::decode(answer)) else { return };
        if let (Message::Vote(request), Message::VoteReply(reply)) = (&asked.message, &answer.message)
            && reply.is_granted
            && !request.is_pre
        {
            let seat = Seat { group: answer.group, replica: answer.from };
            self.notes().ledger.promised(seat, Promise::Vote(reply.vote));
        }
        for (seat, append) in appends(&asked) {
            if replied(&answer, seat.group) != Some(AppendReply::Accepted) {
                continue;
            }
            let mut notes = self.notes();
            if let Some(matched) = matched(&append).filter(|id| stands(log, seat.group, *id)) {
                notes.ledger.promised(seat, Promise::Acknowledged(matched));
            }
            notes.ledger.promised(seat, Promise::Vote(append.vote));
        }
    }

    /// An answer refuses whoever is of another generation, or of another cluster: of those there are none here.
    pub fn refused(&self, answer: &Bytes) {
        match Frame::decode(answer).map(|answer| answer.message) {
            Ok(Message::Refused(Refusal::OtherGeneration)) => self.notes().strangers += 1,
            Ok(Message::Refused(Refusal::OtherCluster)) => {
                let what = "a frame of this cluster was taken for one of another";
                self.accuse(Violation::broken("disaster", what));
            }
            _ => {}
        }
    }

    /// Judges what replicas answered of the past. Clocks were wrong by at most `clocks_ms`.
    pub fn looked(&self, looks: &[Look], clocks_ms: u64) {
        let verdict = {
            let notes = self.notes();
            looks.iter().try_for_each(|look| notes.versions.judge(look, clocks_ms))
        };
        self.judged(verdict);
    }

    /// Which versions of registers an entry made.
    fn wrote(&self, batch: &Batch) {
        let now_ms = self.diary.now_ms();
        let mut notes = self.notes();
        for op in batch.ops() {
            let (version, value) = match op {
                Op::Put { version, value, .. } => (version, number(value)),
                Op::Delete { version } => (version, None),
                Op::DeleteRange { .. } => continue,
            };
            let (row, stamp) = key::split(version);
            if let Ok((_, REGISTERS, row)) = key::decode_row(row)
                && let Some(key) = number(&row)
            {
                notes.versions.applied(Key(key), stamp, value, now_ms);
            }
        }
    }

    /// A replica has ended for ever.
    pub fn closed(&self, seat: Seat) {
        self.notes().ledger.closed(seat);
    }

    /// What every replica of a group holds now.
    pub fn step(&self, group: GroupId, states: &[ReplicaState]) {
        states.iter().for_each(|state| self.progress(group, state));
        let verdict = self.group(group, |judge| judge.step(states));
        self.judged(verdict);
    }

    /// Whether somebody leads that did not, and whether a log is purged further.
    fn progress(&self, group: GroupId, state: &ReplicaState) {
        let (mut notes, purged) = (self.notes(), state.purged.map_or(0, |id| id.index));
        let before = notes.purged.insert((group, state.replica), purged);
        let is_purged = before.is_some_and(|before| before < purged);
        let before = notes.leaders.get(&group).copied();
        let is_new = state.is_leader && before.is_none_or(|before| before.term < state.vote.term);
        if is_new {
            notes.leaders.insert(group, state.vote);
        }
        let has_changed = is_new && before.is_some_and(|before| before.replica != state.vote.replica);
        let seen =
            [("logs purged", is_purged), ("elections", is_new), ("changes of the leader", has_changed)];
        for (branch, _) in seen.into_iter().filter(|(_, is_seen)| *is_seen) {
            *notes.seen.entry(branch).or_default() += 1;
        }
    }

    /// A replica stands at an entry with a digest.
    pub fn digest(&self, group: GroupId, replica: ReplicaId, machine: &Machine) {
        let note = machine.applied();
        let Some(applied) = note.applied else { return };
        let verdict = self.notes().digests.told(group, replica, applied, &note.digest.bytes());
        self.judged(verdict);
    }
}

/// The appends of a frame, alone or as heartbeats, and whose they are.
#[must_use]
pub fn appends(asked: &Frame) -> Vec<(Seat, Append)> {
    match &asked.message {
        Message::Append(append) => vec![(Seat { group: asked.group, replica: asked.to }, append.clone())],
        Message::Heartbeats(all) => {
            let of = |one: &Heartbeat| (Seat { group: one.group, replica: one.to }, one.append.clone());
            all.iter().map(of).collect()
        }
        _ => Vec::new(),
    }
}

/// What a frame answers to the append of a group.
fn replied(answer: &Frame, group: GroupId) -> Option<AppendReply> {
    match &answer.message {
        Message::AppendReply(reply) => Some(*reply),
        Message::HeartbeatReplies(all) => all.iter().find(|one| one.group == group)?.reply.ok(),
        _ => None,
    }
}

/// Up to where the logs agree once an append is accepted.
fn matched(append: &Append) -> Option<LogId> {
    append.entries.last().map(|entry| entry.log_id).or(append.prev)
}

/// Whether the entry is in the log, or so far back that it is not needed there.
fn stands(log: &Log, group: GroupId, id: LogId) -> bool {
    let is_there = matches!(log.stamped(group, id.index), Ok(Some((there, _))) if there == id);
    let purged =
        |index: u64| log.state(group).is_ok_and(|state| state.purged.is_some_and(|id| id.index >= index));
    is_there || purged(id.index)
}

impl Known {
    /// The log of a group as it stands; `None` if the disk has lost an entry of it to rot, and so there is nothing to compare.
    pub fn log(&mut self, log: &Log, group: GroupId) -> Option<BTreeMap<u64, Logged>> {
        let (first, end) = log.bounds(group).unwrap_or_default();
        let mut held = BTreeMap::new();
        for index in first..end {
            let Ok(Some((log_id, _))) = log.stamped(group, index) else { continue };
            let mut logged = self.0.get(&(group, index)).copied().filter(|known| known.log_id == log_id);
            if logged.is_none() {
                let read = match log.entries(group, index, index + 1, u64::MAX) {
                    Err(error) if error.kind() == Kind::Damaged => return None,
                    read => read.ok().and_then(|mut read| read.pop()),
                };
                let payload = |entry: Entry| xxh3_64(&entry.payload) ^ u64::from(entry.kind);
                logged = read.map(|entry| Logged { log_id, payload: payload(entry) });
            }
            if let Some(logged) = logged {
                self.0.insert((group, index), logged);
                held.insert(index, logged);
            }
        }
        Some(held)
    }
}

/// Tells the overseer what one node applies.
pub struct Watcher {
    /// Who.
    pub overseer: Overseer,
    /// Where.
    pub node: NodeId,
    /// Which knows its replicas.
    pub log: Arc<Log>,
}

impl Watcher {
    fn replica(&self, group: GroupId) -> ReplicaId {
        self.log.state(group).map_or(ReplicaId(0), |state| state.replica)
    }
}

impl Feed for Watcher {
    fn applied(&self, group: GroupId, entry: &AppliedEntry<'_>) {
        let hash = xxh3_64(&entry.batch.encode()) ^ entry.last.0;
        self.overseer.diary.note(self.node, format_args!("{group} applies {} {hash:016x}", entry.log_id));
        self.overseer.notes().applied += 1;
        let verdict =
            self.overseer.group(group, |judge| judge.applied(self.replica(group), entry.log_id, hash));
        self.overseer.judged(verdict);
        self.overseer.wrote(entry.batch);
        self.overseer.late_applied(self.node, group, entry.log_id, entry.last);
    }

    fn installed(&self, group: GroupId, note: &Note) {
        let Some(upto) = note.applied else { return };
        self.overseer.diary.note(self.node, format_args!("{group} installs a snapshot up to {upto}"));
        self.overseer.notes().installed += 1;
        let verdict = self.overseer.group(group, |judge| judge.installed(self.replica(group), upto));
        self.overseer.judged(verdict);
        let seat = Seat { group, replica: self.replica(group) };
        let mut notes = self.overseer.notes();
        notes.ledger.promised(seat, Promise::Installed(upto));
        drop(notes);
        self.overseer.late(|node, judge| {
            if node == self.node {
                judge.restarted(group, Some(upto.index));
            }
            Ok(())
        });
    }
}
