//! A delayed replica at work: what its log stores is told to the rules, and what they say is told to consensus.

use super::clamp::{Accepted, Clamp, Offer};
use super::stamp_index::{StampIndex, Stamped};
use crate::error::Result;
use crate::log::Log;
use crate::machine::note::Note;
use crate::types::{GroupId, LogId, Vote};
use engine::Stamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the gate of the node stands.
pub trait GateStamp: Send + Sync + 'static {
    /// Nothing above this stamp may be applied. It was stored before it was said.
    fn stamp(&self) -> Stamp;
}

/// The delayed replica of one group.
pub struct Delayed {
    log: Arc<Log>,
    group: GroupId,
    gate: Arc<dyn GateStamp>,
    clamp: Mutex<Clamp>,
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
        let clamp = Mutex::new(Clamp::new(stamps, marked.or(note.applied)));
        let own = Self { log, group, gate, clamp };
        own.follow(&mut own.clamp())?;
        Ok(own)
    }

    fn clamp(&self) -> MutexGuard<'_, Clamp> {
        self.clamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, index: u64) -> Option<Stamped> {
        let (log_id, stamp) = self.log.stamped(self.group, index).ok()??;
        Some(Stamped { log_id, stamp: Stamp(stamp) })
    }

    /// Brings the rules to where the log is: what was truncated goes, what was stored comes.
    fn follow(&self, clamp: &mut Clamp) -> Result<()> {
        let (first, end) = self.log.bounds(self.group)?;
        let mut last = clamp.stamps().last();
        let mut is_cut = false;
        while let Some(known) = last
            && known.log_id.index >= first
            && self.stored(known.log_id.index) != Some(known)
        {
            is_cut = true;
            last = known.log_id.index.checked_sub(1).and_then(|index| self.stored(index));
        }
        if is_cut {
            clamp.truncate(last)?;
        }
        let from = last.map_or(first, |known| known.log_id.index + 1);
        (from.max(first)..end).filter_map(|index| self.stored(index)).try_for_each(|entry| clamp.push(entry))
    }

    /// What the replica may be told is committed.
    #[must_use]
    pub fn told(&self) -> Option<LogId> {
        let mut clamp = self.clamp();
        // Of what it does not know it says nothing: what was told stands.
        clamp.deliver(self.gate.stamp(), |index| self.stored(index)).unwrap_or_else(|_| clamp.told())
    }

    /// An append of the leader with `vote` was accepted up to `matched`; `commit` is what the leader knows to be committed.
    ///
    /// # Errors
    /// `AgainstCommitted`: the group must be fenced.
    pub fn accepted(&self, vote: Vote, matched: LogId, commit: Option<LogId>) -> Result<()> {
        let mut clamp = self.clamp();
        self.follow(&mut clamp)?;
        clamp.accepted(&Accepted { vote, leader_commit: commit, matched: Some(matched) })
    }

    /// Whether a snapshot that holds all up to `stamp` may come. If not, the replica is parked.
    #[must_use]
    pub fn takes(&self, stamp: Stamp) -> bool {
        self.clamp().offer(stamp, self.gate.stamp(), false) != Offer::Park
    }

    /// A snapshot is installed.
    ///
    /// # Errors
    /// `AgainstCommitted`.
    pub fn installed(&self, last: LogId, stamp: Stamp) -> Result<()> {
        self.clamp().installed(Stamped { log_id: last, stamp })
    }

    /// The greatest entry proven committed and stored here.
    #[must_use]
    pub fn proven(&self) -> Option<LogId> {
        self.clamp().proven()
    }

    /// Whether it waits for a person's decision.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.clamp().is_parked()
    }

    /// It is told all that is proven from now on: it is being promoted.
    pub fn lift(&self) {
        self.clamp().lift();
    }

    /// What a silent leader would be heard to say, to bring the replica to where it may be: its vote, and what may be told.
    #[must_use]
    pub fn nudge(&self) -> Option<(Vote, LogId)> {
        let told = self.told()?;
        let nudge = self.clamp().nudge()?;
        Some((nudge.vote, told))
    }
}
