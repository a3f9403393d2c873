//! What the replicas of peers last said of themselves: how far they have applied and stored, and whether they may lead. Consensus asks
//! none of it; a leader that lets a learner count, or hands over, must know it, and so must whoever throws log away that a delayed replica
//! still needs.

use super::link::Lane;
use super::message::Message;
use super::request::{Address, Requests};
use crate::group::registry::Registry;
use crate::group::word::Word;
use crate::limits::{HEARTBEATS_MAX, WORD_MS_MAX};
use crate::log::purge::DelayedNeed;
use crate::types::{GroupId, Membership, ReplicaId, Role};
use engine::ids::NodeId;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was said by replicas elsewhere.
#[derive(Debug, Default)]
pub struct Words {
    held: Mutex<BTreeMap<(GroupId, ReplicaId), Said>>,
}

/// The last word of one replica.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// `None`: it was asked, and has never answered.
    word: Option<Word>,
    /// When it was heard, or else asked first, ms of the monotonic clock.
    at_ms: u64,
}

impl Words {
    fn held(&self) -> MutexGuard<'_, BTreeMap<(GroupId, ReplicaId), Said>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every node once of its replicas of the groups that are led here, and of its delayed replicas of all groups that have a
    /// replica here, at `now_ms` of the monotonic clock. A node that does not answer costs nothing but the deadline. Call it once a
    /// second.
    pub async fn ask(&self, requests: &Requests, registry: &Registry, now_ms: u64) {
        let (durable, asked) = (registry.durable(), self.wanted(registry, now_ms));
        let ask = async |(node, groups): (NodeId, Vec<(GroupId, ReplicaId)>)| {
            for some in groups.chunks(HEARTBEATS_MAX) {
                let of = Message::AskWords(some.iter().map(|(group, _)| *group).collect());
                match requests.call(node, Lane::Control, Address::default(), (durable, of)).await {
                    Ok(Message::Words(words)) => self.hear(some, &words, now_ms),
                    Ok(_) => tracing::warn!(%node, "an answer that says nothing of its replicas"),
                    Err(cause) => tracing::debug!(%node, %cause, "no word of its replicas"),
                }
            }
        };
        join_all(asked.into_iter().map(ask)).await;
    }

    /// By node, the replicas there of which something must be known. What is known of others is forgotten.
    fn wanted(&self, registry: &Registry, now_ms: u64) -> BTreeMap<NodeId, Vec<(GroupId, ReplicaId)>> {
        let (mut wanted, mut all) = (BTreeMap::<NodeId, Vec<_>>::new(), BTreeSet::new());
        for receiver in registry.all() {
            let (group, standing) = (receiver.group(), receiver.group().standing());
            for (replica, seat) in &standing.membership.1.seats {
                let is_wanted = standing.is_leader || seat.role == Role::Delayed;
                if is_wanted && *replica != group.replica() {
                    wanted.entry(seat.node).or_default().push((group.id(), *replica));
                    all.insert((group.id(), *replica));
                }
            }
        }
        let mut held = self.held();
        held.retain(|of, _| all.contains(of));
        for of in all {
            held.entry(of).or_insert(Said { word: None, at_ms: now_ms });
        }
        wanted
    }

    fn hear(&self, asked: &[(GroupId, ReplicaId)], words: &BTreeMap<GroupId, Word>, now_ms: u64) {
        let mut held = self.held();
        for (group, replica) in asked {
            let word = words.get(group).copied().filter(|word| word.replica == *replica);
            if let (Some(said), Some(_)) = (held.get_mut(&(*group, *replica)), word) {
                *said = Said { word, at_ms: now_ms };
            }
        }
    }

    /// What the replicas of a group said of themselves of late, at `now_ms` of the monotonic clock.
    #[must_use]
    pub fn of(&self, group: GroupId, now_ms: u64) -> BTreeMap<ReplicaId, Word> {
        let held = self.held();
        let all = held.range((group, ReplicaId(0))..=(group, ReplicaId(u64::MAX)));
        let fresh = all.filter(|(_, said)| now_ms.saturating_sub(said.at_ms) <= WORD_MS_MAX);
        fresh.filter_map(|((_, replica), said)| Some((*replica, said.word?))).collect()
    }

    /// What the delayed replicas of a group need of its log, at `now_ms` of the monotonic clock. One that was never heard needs all of it.
    #[must_use]
    pub fn delayed(&self, group: GroupId, membership: &Membership, now_ms: u64) -> Vec<DelayedNeed> {
        let held = self.held();
        let seats = membership.seats.iter().filter(|(_, seat)| seat.role == Role::Delayed);
        let need = |replica: &ReplicaId| match held.get(&(group, *replica)) {
            Some(said) => DelayedNeed {
                replica: *replica,
                stored: said.word.and_then(|word| word.stored).map(|id| id.index),
                away_ms: now_ms.saturating_sub(said.at_ms),
            },
            None => DelayedNeed { replica: *replica, stored: None, away_ms: 0 },
        };
        seats.map(|(replica, _)| need(replica)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LogId, Seat};

    const G: GroupId = GroupId(4);

    fn word(replica: u64, stored: u64) -> Word {
        let stored = LogId { term: 1, replica: ReplicaId(1), index: stored };
        Word { replica: ReplicaId(replica), stored: Some(stored), ..Word::default() }
    }

    #[test]
    fn a_word_counts_for_the_replica_that_was_asked_and_for_a_while() {
        let words = Words::default();
        let asked = [(G, ReplicaId(2)), (G, ReplicaId(3))];
        for of in asked {
            words.held().insert(of, Said { word: None, at_ms: 1_000 });
        }
        assert!(words.of(G, 1_000).is_empty());
        words.hear(&asked[..1], &[(G, word(2, 9))].into(), 1_500);
        words.hear(&asked[1..], &[(G, word(7, 9))].into(), 1_500);
        assert_eq!(words.of(G, 1_500), [(ReplicaId(2), word(2, 9))].into());
        assert_eq!(words.of(G, 1_500 + WORD_MS_MAX).len(), 1);
        assert!(words.of(G, 1_501 + WORD_MS_MAX).is_empty());
    }

    #[test]
    fn a_delayed_replica_that_is_silent_needs_what_it_last_said_and_how_long_that_is() {
        let words = Words::default();
        let seat = |role| Seat { node: NodeId(9), role };
        let seats = [(2, Role::Delayed), (3, Role::Delayed), (4, Role::Voter)];
        let seats = seats.map(|(replica, role)| (ReplicaId(replica), seat(role)));
        let membership = Membership { voters: vec![[ReplicaId(4)].into()], seats: seats.into() };
        words.held().insert((G, ReplicaId(2)), Said { word: Some(word(2, 30)), at_ms: 1_000 });
        let need = |replica, stored, away_ms| DelayedNeed { replica: ReplicaId(replica), stored, away_ms };
        assert_eq!(words.delayed(G, &membership, 5_000), [need(2, Some(30), 4_000), need(3, None, 0)]);
    }
}
