//! A delayed replica at work: what its log stores is told to the rules, and what they say is told to consensus.

use super::clamp::{Accepted, Clamp, Offer};
use super::gate::GroupProgress;
use super::stamp_index::{StampIndex, Stamped};
use crate::error::Result;
use crate::log::Log;
use crate::machine::note::Note;
use crate::planted::{self, Planted};
use crate::types::{GroupId, LogId, Vote};
use engine::Stamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the gate of the node stands.
pub trait GateStamp: Send + Sync + 'static {
    /// Nothing above this stamp may be applied. It was stored before it was said.
    fn stamp(&self) -> Stamp;

    /// What is about to be taken is as new as `stamp`, and newer than the gate: until the gate has passed that, the node is not late.
    /// Stored when it returns.
    ///
    /// # Errors
    /// It could not be stored: nothing may be taken.
    fn will_take(&self, stamp: Stamp) -> Result<()>;
}

/// The delayed replica of one group.
pub struct Delayed {
    log: Arc<Log>,
    group: GroupId,
    gate: Arc<dyn GateStamp>,
    state: Mutex<State>,
    /// A person takes the next snapshot, however new it is.
    is_accepted: AtomicBool,
    is_lifted: AtomicBool,
}

struct State {
    clamp: Clamp,
    /// What the replica began with, or the last snapshot brought. What was stored before it counts no more.
    base: Option<Stamped>,
}

impl Delayed {
    /// The replica whose machine stands where `note` says.
    ///
    /// # Errors
    /// `NoSuchGroup`.
    pub fn new(log: Arc<Log>, group: GroupId, note: &Note, gate: Arc<dyn GateStamp>) -> Result<Self> {
        let begin = note.applied.map(|log_id| Stamped { log_id, stamp: note.last });
        let stamps = begin.map_or_else(StampIndex::default, StampIndex::after);
        // What was told before a restart stands in the log, as it was told: consensus has replayed that much already.
        let marked =
            log.state(group)?.committed.filter(|id| Some(id.index) > note.applied.map(|id| id.index));
        let state = State { clamp: Clamp::new(stamps, marked.or(note.applied)), base: begin };
        let (is_accepted, is_lifted) = (AtomicBool::new(false), AtomicBool::new(false));
        let own = Self { log, group, gate, state: Mutex::new(state), is_accepted, is_lifted };
        own.follow(&mut own.state())?;
        Ok(own)
    }

    /// The same replica once more, whose machine stands where `note` says: for the instance after one that has died. What a person has
    /// decided of it stands.
    ///
    /// # Errors
    /// `NoSuchGroup`.
    pub(crate) fn again(&self, note: &Note) -> Result<Self> {
        let again = Self::new(self.log.clone(), self.group, note, self.gate.clone())?;
        again.is_accepted.store(self.is_accepted.load(Ordering::SeqCst), Ordering::SeqCst);
        if self.is_lifted() {
            again.lift();
        }
        Ok(again)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, index: u64) -> Option<Stamped> {
        let (log_id, stamp) = self.log.stamped(self.group, index).ok()??;
        Some(Stamped { log_id, stamp: Stamp(stamp) })
    }

    /// Brings the rules to where the log is: what was truncated goes, what was stored comes. How much of the tail was truncated is not
    /// known, so all that is not proven is read again.
    fn follow(&self, state: &mut State) -> Result<()> {
        let State { clamp, base } = state;
        let (first, end) = self.log.bounds(self.group)?;
        let first = first.max(base.map_or(0, |base| base.log_id.index + 1));
        let mut last = clamp.stamps().last();
        let is_there = |known: Stamped| self.stored(known.log_id.index) == Some(known);
        if last.is_some_and(|last| last.log_id.index >= first && !is_there(last)) {
            last = match clamp.committed() {
                None => *base,
                // What lies before the log was applied; its stamp counts no more.
                Some(log_id) if log_id.index < first => {
                    base.filter(|base| base.log_id == log_id).or(Some(Stamped { log_id, stamp: Stamp::ZERO }))
                }
                // If it is another one, that is told by its name.
                Some(log_id) => self.stored(log_id.index).filter(|stored| stored.log_id == log_id),
            };
            clamp.truncate(last)?;
        }
        let from = last.map_or(first, |known| known.log_id.index + 1);
        (from.max(first)..end).filter_map(|index| self.stored(index)).try_for_each(|entry| clamp.push(entry))
    }

    /// What the replica may be told is committed.
    #[must_use]
    pub fn told(&self) -> Option<LogId> {
        self.deliver(&mut self.state())
    }

    fn deliver(&self, state: &mut State) -> Option<LogId> {
        let State { clamp, .. } = state;
        // Of what it does not know it says nothing: what was told stands.
        let told = clamp.deliver(self.gate.stamp(), |index| self.stored(index));
        let told = told.unwrap_or_else(|_| clamp.told());
        match told.filter(|_| planted::is(Planted::GateEarly)) {
            Some(told) => {
                let next = self.stored(told.index + 1).map(|next| next.log_id);
                next.filter(|next| Some(next.index) <= clamp.proven().map(|proven| proven.index))
                    .or(Some(told))
            }
            None => told,
        }
    }

    /// How far the group has come, for the gate. `note` is where its machine stands. What it may be told now counts as told: it must
    /// be handed on, with the next append or by a nudge.
    #[must_use]
    pub fn progress(&self, note: &Note) -> GroupProgress {
        let mut state = self.state();
        let told = self.deliver(&mut state).map(|told| told.index);
        let applied = note.applied.map(|applied| applied.index);
        // What is proven may be purged once it is applied; nothing of the group comes at or below the machine's last stamp.
        let closed = state.clamp.proven().and_then(|proven| match applied >= Some(proven.index) {
            true => Some(note.last),
            false => self.stored(proven.index).map(|stored| stored.stamp),
        });
        GroupProgress { closed, told_at: state.clamp.told_at(), told, applied }
    }

    /// An append of the leader with `vote` was accepted up to `matched`; `commit` is what the leader knows to be committed.
    ///
    /// # Errors
    /// `AgainstCommitted`: the group must be fenced.
    pub fn accepted(&self, vote: Vote, matched: LogId, commit: Option<LogId>) -> Result<()> {
        let mut state = self.state();
        self.follow(&mut state)?;
        state.clamp.accepted(&Accepted { vote, leader_commit: commit, matched: Some(matched) })
    }

    /// Whether a snapshot that holds all up to `stamp` may come. If not, the replica is parked. That the node is not late because of
    /// it is stored before this says yes.
    ///
    /// # Errors
    /// As [`GateStamp::will_take`].
    pub fn takes(&self, stamp: Stamp) -> Result<bool> {
        let is_accepted = self.is_accepted.load(Ordering::SeqCst);
        let offer = self.state().clamp.offer(stamp, self.gate.stamp(), is_accepted);
        match offer {
            Offer::Take => Ok(true),
            Offer::TakeVoid(stamp) => self.gate.will_take(stamp).map(|()| true),
            Offer::Park => Ok(false),
        }
    }

    /// A person takes the next snapshot, however new it is: the node is not late until the gate has passed it.
    pub fn accept(&self) {
        self.is_accepted.store(true, Ordering::SeqCst);
    }

    /// A snapshot is here, in the place of what was or because it brought nothing new.
    ///
    /// # Errors
    /// `AgainstCommitted`.
    pub fn installed(&self, last: LogId, stamp: Stamp) -> Result<()> {
        let mut state = self.state();
        let told = state.clamp.told();
        if told.is_some_and(|told| told.index >= last.index) {
            return Ok(());
        }
        let last = Stamped { log_id: last, stamp };
        state.clamp.installed(last)?;
        state.base = Some(last);
        self.is_accepted.store(false, Ordering::SeqCst);
        self.follow(&mut state)
    }

    /// The greatest entry proven committed and stored here.
    #[must_use]
    pub fn proven(&self) -> Option<LogId> {
        self.state().clamp.proven()
    }

    /// Whether it waits for a person's decision.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.state().clamp.is_parked()
    }

    /// It is told all that is proven from now on: it is being promoted.
    pub fn lift(&self) {
        self.state().clamp.lift();
        self.is_lifted.store(true, Ordering::SeqCst);
    }

    /// Whether it is told all that is proven.
    #[must_use]
    pub fn is_lifted(&self) -> bool {
        self.is_lifted.load(Ordering::SeqCst)
    }

    /// What a silent leader would be heard to say, to bring the replica to where it may be: its vote, and what may be told.
    #[must_use]
    pub fn nudge(&self) -> Option<(Vote, LogId)> {
        let mut state = self.state();
        let told = self.deliver(&mut state)?;
        let nudge = state.clamp.nudge()?;
        Some((nudge.vote, told))
    }
}
