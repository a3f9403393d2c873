//! Pure: what no replica that keeps the rules can say, though every byte of it is what the format allows. Consensus takes some of this
//! for a bug of its own and ends, so it is refused at the door.
//!
//! A leader speaks under a vote that is its own and committed, and everything it knows of was made by itself or by a leader before it.
//! Who belongs to the group is not asked here: the one that is spoken to may have missed how that changed.

use super::message::Message;
use super::replica_message::{Append, VoteRequest};
use super::snapshot_message::SnapshotOffer;
use crate::command::Command;
use crate::log::Entry;
use crate::types::{LogId, ReplicaId, Vote};
use crate::{limits, payload};

/// What is wrong with `message`, which `from` has sent; `None` if it can be.
#[must_use]
pub fn message_fault(from: ReplicaId, message: &Message) -> Option<&'static str> {
    match message {
        Message::Vote(request) => vote_fault(from, request),
        Message::Append(append) => append_fault(from, append),
        Message::Transfer(transfer) => {
            leader_fault(from, transfer.from).or_else(|| later_than(transfer.from, transfer.last))
        }
        Message::SnapshotOffer(offer) => offer_fault(from, offer),
        _ => None,
    }
}

/// Whether one of `ids` is of a later leader than `committed`, and stands where that or an entry before it does. A leader has all that is
/// committed, and what stands before an entry is of the same leader or of one before.
#[must_use]
pub fn against_committed(committed: Option<LogId>, mut ids: impl Iterator<Item = LogId>) -> bool {
    committed.is_some_and(|here| ids.any(|id| id > here && id.index <= here.index))
}

fn vote_fault(from: ReplicaId, request: &VoteRequest) -> Option<&'static str> {
    let VoteRequest { vote, last, .. } = *request;
    if vote.replica != from {
        return Some("a vote asked for by another than the one it is for");
    }
    if vote.is_committed {
        return Some("a vote asked for that a quorum has given already");
    }
    if vote.term > limits::TERM_MAX {
        return Some("a term that no group comes to");
    }
    later_than(vote, last)
}

/// Of whoever speaks as a leader.
fn leader_fault(from: ReplicaId, vote: Vote) -> Option<&'static str> {
    if vote.replica != from {
        return Some("a leader's word that another says");
    }
    if !vote.is_committed {
        return Some("a leader's word of one that no quorum has voted for");
    }
    if vote.term > limits::TERM_MAX {
        return Some("a term that no group comes to");
    }
    None
}

/// Whether an entry is of a later leader than the one whose vote it is told under.
fn later_than(vote: Vote, id: Option<LogId>) -> Option<&'static str> {
    let is_later = id.is_some_and(|id| (id.term, id.replica) > (vote.term, vote.replica));
    is_later.then_some("an entry of a later leader than the one that tells of it")
}

fn append_fault(from: ReplicaId, append: &Append) -> Option<&'static str> {
    let Append { vote, prev, entries, commit } = append;
    let ids = prev.iter().copied().chain(entries.iter().map(|entry| entry.log_id));
    let falls = |(one, next): (LogId, LogId)| (one.term, one.replica) > (next.term, next.replica);
    if ids.clone().zip(ids.clone().skip(1)).any(falls) {
        return Some("entries whose leaders go back");
    }
    // 0 where the sender does not say: whoever stores an entry gives it its stamp.
    let stamps = || entries.iter().map(|entry| entry.stamp).filter(|stamp| *stamp > 0);
    if stamps().zip(stamps().skip(1)).any(|(one, next)| one > next) {
        return Some("entries whose stamps fall");
    }
    // One that is stored fences every replica when it is applied.
    let is_none = |entry: &Entry| entry.kind == payload::COMMAND && Command::decode(&entry.payload).is_err();
    if entries.iter().any(is_none) {
        return Some("an entry of commands that is none");
    }
    leader_fault(from, *vote).or_else(|| later_than(*vote, ids.last())).or_else(|| later_than(*vote, *commit))
}

fn offer_fault(from: ReplicaId, offer: &SnapshotOffer) -> Option<&'static str> {
    if offer.last.is_none() {
        return Some("a snapshot of nothing");
    }
    if offer.membership_at.map(|id| id.index) > offer.last.map(|id| id.index) {
        return Some("a snapshot with a membership of after it");
    }
    leader_fault(from, offer.vote).or_else(|| later_than(offer.vote, offer.last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::replica_message::{ReadIndex, Transfer};

    const FROM: ReplicaId = ReplicaId(3);

    fn id(term: u64, replica: u64, index: u64) -> LogId {
        LogId { term, replica: ReplicaId(replica), index }
    }

    fn vote(is_committed: bool) -> Vote {
        Vote { term: 7, replica: FROM, is_committed }
    }

    fn entry(log_id: LogId, stamp: u64) -> Entry {
        Entry { log_id, stamp, ..Entry::default() }
    }

    fn append() -> Append {
        let entries = vec![entry(id(5, 2, 10), 0), entry(id(5, 2, 11), 70), entry(id(7, 3, 12), 70)];
        Append { vote: vote(true), prev: Some(id(5, 1, 9)), entries, commit: Some(id(7, 3, 12)) }
    }

    fn asked() -> VoteRequest {
        VoteRequest { vote: vote(false), last: Some(id(7, 2, 5)), ..VoteRequest::default() }
    }

    fn transfer() -> Transfer {
        Transfer { from: vote(true), to: ReplicaId(1), last: Some(id(7, 3, 12)) }
    }

    fn offer() -> SnapshotOffer {
        let (last, membership_at) = (Some(id(7, 3, 12)), Some(id(1, 0, 12)));
        SnapshotOffer { vote: vote(true), last, membership_at, ..SnapshotOffer::default() }
    }

    /// Votes under which `FROM` must not speak, as a leader or as who wants to be one.
    fn votes(is_committed: bool) -> [Vote; 3] {
        let good = vote(is_committed);
        [
            Vote { replica: ReplicaId(2), ..good },
            Vote { is_committed: !is_committed, ..good },
            Vote { term: limits::TERM_MAX + 1, ..good },
        ]
    }

    #[test]
    fn what_keeps_the_rules_is_heard() {
        let bare = Append { prev: None, entries: vec![entry(id(1, 0, 0), 0)], commit: None, ..append() };
        let good = [
            Message::Append(append()),
            Message::Append(bare),
            Message::Vote(asked()),
            Message::Vote(VoteRequest { vote: Vote { term: limits::TERM_MAX, ..vote(false) }, ..asked() }),
            Message::Transfer(transfer()),
            Message::SnapshotOffer(offer()),
            Message::ReadIndex(ReadIndex {}),
        ];
        for message in good {
            assert_eq!(message_fault(FROM, &message), None, "{message:?}");
        }
    }

    #[test]
    fn a_vote_nobody_can_speak_under_is_a_fault() {
        for vote in votes(true) {
            let said = [
                Message::Append(Append { vote, ..append() }),
                Message::Transfer(Transfer { from: vote, ..transfer() }),
                Message::SnapshotOffer(SnapshotOffer { vote, ..offer() }),
            ];
            said.iter().for_each(|message| assert!(message_fault(FROM, message).is_some(), "{message:?}"));
        }
        for vote in votes(false) {
            assert!(
                message_fault(FROM, &Message::Vote(VoteRequest { vote, ..asked() })).is_some(),
                "{vote:?}"
            );
        }
    }

    #[test]
    fn what_a_leader_cannot_know_of_is_a_fault() {
        for later in [id(7, 4, 12), id(8, 0, 12)] {
            let last = Some(later);
            let mut ends = append();
            ends.entries[2].log_id = later;
            let said = [
                Message::Append(ends),
                Message::Append(Append { commit: last, ..append() }),
                Message::Append(Append { prev: last, entries: vec![], ..append() }),
                Message::Vote(VoteRequest { last, ..asked() }),
                Message::Transfer(Transfer { last, ..transfer() }),
                Message::SnapshotOffer(SnapshotOffer { last, ..offer() }),
            ];
            let fault = Some("an entry of a later leader than the one that tells of it");
            said.iter().for_each(|message| assert_eq!(message_fault(FROM, message), fault, "{message:?}"));
        }
    }

    #[test]
    fn what_is_committed_stands_where_it_stands() {
        let against = |id: LogId| against_committed(Some(self::id(5, 2, 10)), [id].into_iter());
        for other in [id(5, 3, 10), id(6, 0, 10), id(5, 3, 9), id(6, 1, 0)] {
            assert!(against(other), "{other}");
        }
        for possible in [id(5, 2, 10), id(5, 2, 9), id(4, 9, 10), id(5, 2, 11), id(6, 1, 11)] {
            assert!(!against(possible), "{possible}");
        }
        assert!(!against_committed(None, [id(9, 9, 0)].into_iter()));
    }

    #[test]
    fn entries_that_go_back_and_snapshots_that_cannot_be_are_faults() {
        let fault = |append| message_fault(FROM, &Message::Append(append));
        let mut falls = append();
        falls.entries[1].log_id = id(4, 9, 11);
        assert_eq!(fault(falls), Some("entries whose leaders go back"));
        assert_eq!(
            fault(Append { prev: Some(id(5, 3, 9)), ..append() }),
            Some("entries whose leaders go back")
        );
        let mut early = append();
        early.entries[2].stamp = 69;
        assert_eq!(fault(early), Some("entries whose stamps fall"));
        let mut garbled = append();
        garbled.entries[1].kind = payload::COMMAND;
        garbled.entries[1].payload = Command::default().encode();
        assert_eq!(fault(garbled.clone()), None);
        garbled.entries[1].payload = garbled.entries[1].payload.slice(1..);
        assert_eq!(fault(garbled), Some("an entry of commands that is none"));
        let fault = |offer| message_fault(FROM, &Message::SnapshotOffer(offer));
        assert_eq!(fault(SnapshotOffer { last: None, ..offer() }), Some("a snapshot of nothing"));
        let late = SnapshotOffer { membership_at: Some(id(1, 0, 13)), ..offer() };
        assert_eq!(fault(late), Some("a snapshot with a membership of after it"));
    }
}
