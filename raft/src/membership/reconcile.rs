//! Brings a group from the seats it has to those that are wanted, one safe step at a time, each made only if the membership is still the
//! one that was looked at. Runs where the group is led; elsewhere it rests.

use super::catch_up::{CatchUp, Nearness};
use super::step::{Change, Known, Picture, Rest, step};
use super::transfer::NotHeir;
use crate::group::handle::{Group, Standing};
use crate::group::handover::{self, NotHandedOver, hand_over};
use crate::group::outcome::NotApplied;
use crate::group::word::Word;
use crate::types::{LogId, ReplicaId, Seat};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// Another replica leads, or this one is gone: it is that one's to do.
    NotHere,
    /// Nothing now, and why.
    Rested(Rest),
    /// Changed, by this entry.
    Changed(Change, LogId),
    /// The lead was handed over, or asked to be.
    HandedOver {
        /// To whom.
        to: ReplicaId,
        /// In which term it was led here: the next leader has a later one.
        term: u64,
    },
    /// The lead should be handed over, and may not be now.
    NoHeir(NotHeir),
    /// It was tried. Asked again it looks anew.
    Failed(NotApplied),
}

/// Reconciles one group.
pub struct Reconciler {
    group: Arc<Group>,
    catching_up: BTreeMap<ReplicaId, CatchUp>,
    /// The membership that was last seen, and since when.
    seen: Option<(Option<LogId>, u64)>,
}

impl Reconciler {
    /// That of `group`.
    #[must_use]
    pub fn new(group: Arc<Group>) -> Self {
        Self { group, catching_up: BTreeMap::new(), seen: None }
    }

    /// Whether what it reconciles still runs. If not, the replica may have been built again: that takes a new one.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.group.death().is_none() && !self.group.machine().is_over()
    }

    /// Takes one step towards `wanted`, at `now_ms` of the monotonic clock. `words` are what the replicas last said of themselves.
    pub async fn step(
        &mut self,
        wanted: &BTreeMap<ReplicaId, Seat>,
        words: &BTreeMap<ReplicaId, Word>,
        now_ms: u64,
    ) -> Stepped {
        let standing = self.group.standing();
        // What is gone stands as it last stood, also as a leader.
        if !standing.is_leader || !self.lives() {
            self.catching_up.clear();
            return Stepped::NotHere;
        }
        let (at, now) = &standing.membership;
        let since = self.seen.filter(|(seen, _)| seen == at).map_or(now_ms, |(_, since)| since);
        self.seen = Some((*at, since));
        let known = self.known(&standing, words, now_ms);
        let picture = Picture {
            now,
            wanted,
            known: &known,
            leader: self.group.replica(),
            unchanged_ms: now_ms.saturating_sub(since),
        };
        match step(&picture) {
            Err(rest) => Stepped::Rested(rest),
            Ok(Change::HandOver(to)) => self.hand_over(to, standing.vote.term, words).await,
            Ok(change) => {
                // Before: what has begun goes on, though nobody may wait for it.
                if let Change::Add(replica, _) = &change {
                    self.catching_up.insert(*replica, CatchUp::added(now_ms));
                }
                match self.group.change(change.clone(), *at).await {
                    Ok(log_id) => Stepped::Changed(change, log_id),
                    Err(error) => Stepped::Failed(error),
                }
            }
        }
    }

    fn known(
        &mut self,
        standing: &Standing,
        words: &BTreeMap<ReplicaId, Word>,
        now_ms: u64,
    ) -> BTreeMap<ReplicaId, Known> {
        let seats = &standing.membership.1.seats;
        let applied = self.group.machine().applied().last;
        self.catching_up.retain(|replica, _| seats.contains_key(replica));
        let mut known = BTreeMap::new();
        for replica in seats.keys().copied() {
            let word = words.get(&replica).copied().unwrap_or_default();
            let matched = standing.matched.get(&replica).copied().flatten();
            let last = standing.last_index.map_or(0, |last| last + 1);
            let unmatched = last.saturating_sub(matched.map_or(0, |id| id.index + 1));
            // As old as the stamps between: nothing else tells the time of both.
            let age_ms = |word: &Word| applied.ms().saturating_sub(word.applied.ms());
            let nearness = Nearness { unmatched, applied_age_ms: words.get(&replica).map(age_ms) };
            let is_caught_up = self.catching_up.entry(replica).or_default().observe(nearness, now_ms);
            let is_live = handover::is_live(&self.group, standing, replica);
            known.insert(replica, Known { is_live, is_caught_up, is_lifted: word.is_lifted });
        }
        known
    }

    async fn hand_over(&self, to: ReplicaId, term: u64, words: &BTreeMap<ReplicaId, Word>) -> Stepped {
        let word = words.get(&to).copied().unwrap_or_default();
        match hand_over(&self.group, to, word).await {
            Ok(()) => Stepped::HandedOver { to, term },
            Err(NotHandedOver::NotLeader) => Stepped::NotHere,
            Err(NotHandedOver::NoHeir(reason)) => Stepped::NoHeir(reason),
            Err(error @ NotHandedOver::Busy) => {
                tracing::debug!(%to, %error, "the lead stays");
                Stepped::Failed(NotApplied::RetryLater { after_ms: self.group.pace().heartbeat_ms })
            }
            Err(NotHandedOver::Stopped { cause }) => Stepped::Failed(NotApplied::Unknown { cause }),
        }
    }
}
