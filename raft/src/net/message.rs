//! Pure: everything one peer says to another, and the number of each. What a message says stands in its body; whom it is for, in the
//! frame around it.
//! Format: peer_message, `docs/formats/peer_message.md`.

use super::body::{Body, append_count, append_u64, append_vote, malformed};
use super::hearsay_message::Hearsay;
use super::refusal::Refusal;
use super::replica_message::{
    Append, AppendReply, Heartbeat, HeartbeatReply, ReadIndex, ReadIndexReply, Transfer, TransferReply,
    VoteReply, VoteRequest,
};
use super::snapshot_message::{
    PieceReply, SnapshotDone, SnapshotFinish, SnapshotOffer, SnapshotPiece, SnapshotWants,
};
use super::word_message::{append_groups, append_words, read_groups, read_words};
use crate::compare::question::{Asked, Told};
use crate::group::rejoin::{Answer, Claim};
use crate::group::word::Word;
use crate::limits;
use crate::types::GroupId;
use bytes::Bytes;
use engine::Stamp;
use engine::error::Damage;
use std::collections::{BTreeMap, BTreeSet};

/// What one peer says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Kind 1.
    Vote(VoteRequest),
    /// Kind 2.
    VoteReply(VoteReply),
    /// Kind 3.
    Append(Append),
    /// Kind 4.
    AppendReply(AppendReply),
    /// Kind 5.
    Transfer(Transfer),
    /// Kind 6.
    TransferReply(TransferReply),
    /// Kind 7.
    ReadIndex(ReadIndex),
    /// Kind 8.
    ReadIndexReply(ReadIndexReply),
    /// Kind 9.
    SnapshotOffer(SnapshotOffer),
    /// Kind 10.
    SnapshotWants(SnapshotWants),
    /// Kind 11.
    SnapshotPiece(SnapshotPiece),
    /// Kind 12.
    PieceReply(PieceReply),
    /// Kind 13.
    SnapshotFinish(SnapshotFinish),
    /// Kind 14.
    SnapshotDone(SnapshotDone),
    /// Signs of life of many groups at once. Kind 15.
    Heartbeats(Vec<Heartbeat>),
    /// Answers to some of them, in any order. Kind 16.
    HeartbeatReplies(Vec<HeartbeatReply>),
    /// Answers any message. Kind 17.
    Refused(Refusal),
    /// What a node that starts says of its disk. Kind 18.
    Claim(Claim),
    /// What a peer remembers of it. Kind 19.
    ClaimAnswer(Answer),
    /// What do your replicas of these groups say of themselves? Kind 20.
    AskWords(BTreeSet<GroupId>),
    /// That, of those that run there. Kind 21.
    Words(BTreeMap<GroupId, Word>),
    /// What was heard of others. Kind 22.
    Hearsay(Hearsay),
    /// It is known now. Kind 23.
    HearsayTaken,
    /// Close the time up to here, if you lead and it is over: a read waits for it. Kind 24.
    CloseTime(Stamp),
    /// What stands in a range of your rows? Kind 25.
    AskState(Asked),
    /// That. Kind 26.
    State(Told),
    /// Whether it is closed. Kind 27.
    TimeClosed(bool),
}

impl Message {
    /// The number of what it is.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Vote(_) => 1,
            Self::VoteReply(_) => 2,
            Self::Append(_) => 3,
            Self::AppendReply(_) => 4,
            Self::Transfer(_) => 5,
            Self::TransferReply(_) => 6,
            Self::ReadIndex(_) => 7,
            Self::ReadIndexReply(_) => 8,
            Self::SnapshotOffer(_) => 9,
            Self::SnapshotWants(_) => 10,
            Self::SnapshotPiece(_) => 11,
            Self::PieceReply(_) => 12,
            Self::SnapshotFinish(_) => 13,
            Self::SnapshotDone(_) => 14,
            Self::Heartbeats(_) => 15,
            Self::HeartbeatReplies(_) => 16,
            Self::Refused(_) => 17,
            Self::Claim(_) => 18,
            Self::ClaimAnswer(_) => 19,
            Self::AskWords(_) => 20,
            Self::Words(_) => 21,
            Self::Hearsay(_) => 22,
            Self::HearsayTaken => 23,
            Self::CloseTime(_) => 24,
            Self::AskState(_) => 25,
            Self::State(_) => 26,
            Self::TimeClosed(_) => 27,
        }
    }

    /// Whether a node may say it that has not been let in yet: it proves nothing of the log of whoever says it.
    #[must_use]
    pub fn proves_nothing(&self) -> bool {
        matches!(self, Self::Claim(_) | Self::ClaimAnswer(_) | Self::Refused(_))
    }

    /// Appends its body.
    ///
    /// # Panics
    /// If it is over a limit, a heartbeat has entries, or the membership is one that no group may have: peers would refuse it.
    pub fn append_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Vote(request) => request.append(out),
            Self::VoteReply(reply) => reply.append(out),
            Self::Append(append) => append.append(out),
            Self::AppendReply(reply) => reply.append(out),
            Self::Transfer(transfer) => transfer.append(out),
            Self::TransferReply(reply) => reply.append(out),
            Self::ReadIndex(ReadIndex {}) | Self::HearsayTaken => {}
            Self::ReadIndexReply(reply) => reply.append(out),
            Self::SnapshotOffer(offer) => offer.append(out),
            Self::SnapshotWants(wants) => wants.append(out),
            Self::SnapshotPiece(piece) => piece.append(out),
            Self::PieceReply(reply) => reply.append(out),
            Self::SnapshotFinish(finish) => append_u64(out, finish.transfer),
            Self::SnapshotDone(done) => append_vote(out, done.vote),
            Self::Heartbeats(all) => {
                append_count(out, all.len(), limits::HEARTBEATS_MAX);
                all.iter().for_each(|heartbeat| heartbeat.append(out));
            }
            Self::HeartbeatReplies(all) => {
                append_count(out, all.len(), limits::HEARTBEATS_MAX);
                all.iter().for_each(|reply| reply.append(out));
            }
            Self::Refused(refusal) => out.push(refusal.number()),
            Self::Claim(claim) => claim.append(out),
            Self::ClaimAnswer(answer) => answer.append(out),
            Self::AskWords(groups) => append_groups(out, groups),
            Self::Words(words) => append_words(out, words),
            Self::Hearsay(hearsay) => hearsay.append(out),
            Self::CloseTime(upto) => append_u64(out, upto.0),
            Self::AskState(asked) => asked.append(out),
            Self::State(told) => told.append(out),
            Self::TimeClosed(is_closed) => out.push(u8::from(*is_closed)),
        }
    }

    /// The message of this kind that `body` is, all of it. Payloads, listing and pieces share the memory of `body`.
    ///
    /// # Errors
    /// `Malformed`: an unknown kind, or not what the format allows. `Rot`: the checksum of a piece disagrees.
    pub fn decode(kind: u8, body: &Bytes) -> Result<Self, Damage> {
        let mut body = Body::new(body);
        let message = Self::read(kind, &mut body)?;
        body.reader.end()?;
        Ok(message)
    }

    fn read(kind: u8, body: &mut Body<'_>) -> Result<Self, Damage> {
        Ok(match kind {
            1 => Self::Vote(VoteRequest::read(body)?),
            2 => Self::VoteReply(VoteReply::read(body)?),
            3 => Self::Append(Append::read(body)?),
            4 => Self::AppendReply(AppendReply::read(body)?),
            5 => Self::Transfer(Transfer::read(body)?),
            6 => Self::TransferReply(TransferReply::read(body)?),
            7 => Self::ReadIndex(ReadIndex {}),
            8 => Self::ReadIndexReply(ReadIndexReply::read(body)?),
            9 => Self::SnapshotOffer(SnapshotOffer::read(body)?),
            10 => Self::SnapshotWants(SnapshotWants::read(body)?),
            11 => Self::SnapshotPiece(SnapshotPiece::read(body)?),
            12 => Self::PieceReply(PieceReply::read(body)?),
            13 => Self::SnapshotFinish(SnapshotFinish { transfer: body.u64()? }),
            14 => Self::SnapshotDone(SnapshotDone { vote: body.vote()? }),
            15 => Self::Heartbeats(list(body, Heartbeat::read)?),
            16 => Self::HeartbeatReplies(list(body, HeartbeatReply::read)?),
            17 => Self::Refused(Refusal::read(body.u8()?)?),
            18 => Self::Claim(Claim::read(body)?),
            19 => Self::ClaimAnswer(Answer::read(body)?),
            20 => Self::AskWords(read_groups(body)?),
            21 => Self::Words(read_words(body)?),
            22 => Self::Hearsay(Hearsay::read(body)?),
            23 => Self::HearsayTaken,
            24 => Self::CloseTime(Stamp(body.u64()?)),
            25 => Self::AskState(Asked::read(body)?),
            26 => Self::State(Told::read(body)?),
            27 => Self::TimeClosed(body.is()?),
            _ => return Err(malformed("a message of an unknown kind")),
        })
    }
}

/// A count, then so many of what `read` reads. Room is made only for what has been read.
fn list<'a, T>(
    body: &mut Body<'a>,
    read: impl Fn(&mut Body<'a>) -> Result<T, Damage>,
) -> Result<Vec<T>, Damage> {
    (0..body.count(limits::HEARTBEATS_MAX)?).map(|_| read(body)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::log::Entry;
    use crate::log::record::INDEX_MAX;
    use crate::net::claim_message::tests::of_a_start;
    use crate::net::hearsay_message::tests::of_others;
    use crate::net::state_message::tests::of_rows;
    use crate::net::word_message::tests::of_themselves;
    use crate::payload::tests::some_membership;
    use crate::types::{GroupId, LogId, ReplicaId, Vote};
    use engine::error::Nature;
    use engine::ids::TableId;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    pub(crate) fn some_id() -> impl Strategy<Value = LogId> {
        let index = prop_oneof![0..=INDEX_MAX, Just(INDEX_MAX), 0..9_u64];
        (any::<u64>(), any::<u64>(), index).prop_map(|(term, replica, index)| LogId {
            term,
            replica: ReplicaId(replica),
            index,
        })
    }

    pub(crate) fn some_vote() -> impl Strategy<Value = Vote> {
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, replica, is_committed)| Vote {
            term,
            replica: ReplicaId(replica),
            is_committed,
        })
    }

    fn some_bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..100).prop_map(Bytes::from)
    }

    /// Any entries, with the one before them.
    fn some_append() -> impl Strategy<Value = Append> {
        let ids = (some_vote(), option::of(some_id()), option::of(some_id()));
        let entries = vec((some_id(), any::<u8>(), any::<u64>(), some_bytes()), 0..4);
        (ids, entries).prop_map(|((vote, prev, commit), entries)| {
            let first = prev.map_or(0, |prev| prev.index + 1);
            let room = usize::try_from(INDEX_MAX.saturating_add(1).saturating_sub(first)).unwrap_or(4);
            let numbered = (first..=INDEX_MAX).zip(entries).take(room);
            let entries = numbered.map(|(index, (id, kind, stamp, payload))| Entry {
                log_id: LogId { index, ..id },
                kind,
                stamp,
                payload,
            });
            Append { vote, prev, entries: entries.collect(), commit }
        })
    }

    fn some_append_reply() -> impl Strategy<Value = AppendReply> {
        prop_oneof![
            Just(AppendReply::Accepted),
            option::of(some_id()).prop_map(AppendReply::Partly),
            Just(AppendReply::Conflict),
            some_vote().prop_map(AppendReply::HigherVote),
        ]
    }

    fn some_refusal() -> impl Strategy<Value = Refusal> {
        (0..Refusal::ALL.len()).prop_map(|n| Refusal::ALL[n])
    }

    fn of_a_vote() -> impl Strategy<Value = Message> {
        (some_vote(), option::of(some_id()), any::<[bool; 3]>()).prop_map(|(vote, last, [reply, a, b])| {
            match reply {
                true => Message::VoteReply(VoteReply { vote, last, is_granted: a }),
                false => Message::Vote(VoteRequest { vote, last, is_transfer: a, is_pre: b }),
            }
        })
    }

    fn of_a_leader() -> impl Strategy<Value = Message> {
        let id = || option::of(some_id());
        prop_oneof![
            (some_vote(), any::<u64>(), id()).prop_map(|(from, to, last)| Message::Transfer(Transfer {
                from,
                to: ReplicaId(to),
                last
            })),
            Just(Message::TransferReply(TransferReply::Accepted)),
            (some_vote(), some_vote()).prop_map(|(expected, actual)| Message::TransferReply(
                TransferReply::VoteChanged { expected, actual }
            )),
            (id(), id()).prop_map(|(expected, actual)| Message::TransferReply(TransferReply::NotFlushed {
                expected,
                actual
            })),
            Just(Message::ReadIndex(ReadIndex {})),
            some_id().prop_map(|id| Message::ReadIndexReply(ReadIndexReply::Read(id))),
            option::of(any::<u64>())
                .prop_map(|leader| Message::ReadIndexReply(ReadIndexReply::NotLeader(leader.map(ReplicaId)))),
            any::<u64>().prop_map(|ms| Message::ReadIndexReply(ReadIndexReply::RetryLater(ms))),
            any::<u64>().prop_map(|upto| Message::CloseTime(Stamp(upto))),
            any::<bool>().prop_map(Message::TimeClosed),
        ]
    }

    fn of_a_snapshot() -> impl Strategy<Value = Message> {
        let id = || option::of(some_id());
        let file = || any::<[u8; 16]>().prop_map(TableId);
        prop_oneof![
            (some_vote(), id(), any::<u64>(), id(), some_membership(), some_bytes()).prop_map(
                |(vote, last, stamp, membership_at, membership, listing)| {
                    let stamp = Stamp(stamp);
                    let offer = SnapshotOffer { vote, last, stamp, membership_at, membership, listing };
                    Message::SnapshotOffer(offer)
                }
            ),
            (any::<u64>(), vec((file(), any::<u64>()), 0..5))
                .prop_map(|(transfer, files)| Message::SnapshotWants(SnapshotWants { transfer, files })),
            (any::<u64>(), file(), any::<u32>(), some_bytes()).prop_map(|(transfer, file, at, bytes)| {
                Message::SnapshotPiece(SnapshotPiece::of(transfer, file, u64::from(at), bytes))
            }),
            Just(Message::PieceReply(PieceReply::Taken)),
            any::<u64>().prop_map(|at| Message::PieceReply(PieceReply::NotWanted { at })),
            any::<u64>().prop_map(|transfer| Message::SnapshotFinish(SnapshotFinish { transfer })),
            some_vote().prop_map(|vote| Message::SnapshotDone(SnapshotDone { vote })),
        ]
    }

    fn of_many_groups() -> impl Strategy<Value = Message> {
        let heartbeat = (any::<[u64; 3]>(), some_append()).prop_map(|([group, from, to], append)| {
            let append = Append { entries: vec![], ..append };
            Heartbeat { group: GroupId(group), from: ReplicaId(from), to: ReplicaId(to), append }
        });
        let reply = prop_oneof![some_append_reply().prop_map(Ok), some_refusal().prop_map(Err)];
        let reply =
            (any::<u64>(), reply).prop_map(|(group, reply)| HeartbeatReply { group: GroupId(group), reply });
        prop_oneof![
            vec(heartbeat, 0..4).prop_map(Message::Heartbeats),
            vec(reply, 0..4).prop_map(Message::HeartbeatReplies),
        ]
    }

    /// Any message.
    pub(crate) fn some_message() -> impl Strategy<Value = Message> {
        prop_oneof![
            of_a_vote(),
            some_append().prop_map(Message::Append),
            some_append_reply().prop_map(Message::AppendReply),
            of_a_leader(),
            of_a_snapshot(),
            of_many_groups(),
            some_refusal().prop_map(Message::Refused),
            of_a_start(),
            of_themselves(),
            of_others(),
            of_rows(),
        ]
    }

    fn body(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        message.append_body(&mut out);
        out
    }

    fn refused(kind: u8, bytes: Vec<u8>) -> &'static str {
        Message::decode(kind, &Bytes::from(bytes)).unwrap_err().detail
    }

    proptest! {
        #[test]
        fn a_message_comes_back_and_no_part_of_it_does(message in some_message(), cut in any::<proptest::sample::Index>()) {
            let mut bytes = body(&message);
            let whole = Bytes::from(bytes.clone());
            prop_assert_eq!(Message::decode(message.kind(), &whole).unwrap(), message.clone());
            if !whole.is_empty() {
                prop_assert!(Message::decode(message.kind(), &whole.slice(..cut.index(whole.len()))).is_err());
            }
            bytes.push(0);
            prop_assert_eq!(refused(message.kind(), bytes), "bytes after the end");
        }

        #[test]
        fn whatever_bytes_stand_there_what_they_say_has_only_these_bytes(kind in any::<u8>(), bytes in vec(0..4_u8, 0..200)) {
            if let Ok(message) = Message::decode(kind, &Bytes::from(bytes.clone())) {
                prop_assert_eq!((message.kind(), body(&message)), (kind, bytes));
            }
        }
    }

    fn entry(index: u64, payload: Bytes) -> Entry {
        Entry { log_id: LogId { term: 1, replica: ReplicaId(1), index }, kind: 1, stamp: 7, payload }
    }

    fn append(entries: Vec<Entry>) -> Message {
        Message::Append(Append { entries, ..Append::default() })
    }

    #[test]
    fn kinds_that_nobody_knows_are_refused() {
        assert_eq!([0, 28, 255].map(|kind| refused(kind, vec![])), ["a message of an unknown kind"; 3]);
    }

    #[test]
    fn payloads_share_the_memory_of_what_was_received() {
        let whole = Bytes::from(body(&append(vec![entry(0, Bytes::from_static(b"sealed bytes"))])));
        let Ok(Message::Append(read)) = Message::decode(3, &whole) else { panic!("it is an append") };
        assert!(whole.as_ptr_range().contains(&read.entries[0].payload.as_ptr()));
    }

    #[test]
    fn counts_and_lengths_that_lie_are_refused_before_room_is_made_for_them() {
        // Of an append, the count of entries stands at 67, the length of the first payload at 104.
        let clean = body(&append(vec![entry(0, Bytes::from_static(b"abc"))]));
        let with = |at: usize, number: u32| {
            let mut bytes = clean.clone();
            bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
            refused(3, bytes)
        };
        assert_eq!(with(67, 2), "the bytes end early");
        assert_eq!(with(67, 0), "bytes after the end");
        assert_eq!(with(67, limits::APPEND_ENTRIES_MAX as u32 + 1), "a count over its limit");
        assert_eq!(with(104, 4), "the bytes end early");
        assert_eq!(with(104, 2), "bytes after the end");
        assert_eq!(with(104, limits::ENTRY_BYTES_MAX as u32 + 1), "a length over its limit");
        assert_eq!(with(104, u32::MAX), "a length over its limit");
        let over = |max: usize| (max as u32 + 1).to_be_bytes();
        for kind in [15, 16] {
            assert_eq!(refused(kind, over(limits::HEARTBEATS_MAX).to_vec()), "a count over its limit");
        }
        let wants = [&[0; 8][..], &over(limits::SNAPSHOT_FILES_MAX)].concat();
        assert_eq!(refused(10, wants), "a count over its limit");
        let piece = [&[0; 8 + 16 + 8 + 4][..], &over(limits::SNAPSHOT_PIECE_BYTES)].concat();
        assert_eq!(refused(11, piece), "a length over its limit");
        let mut offer =
            body(&Message::SnapshotOffer(SnapshotOffer { vote: Vote::default(), ..Default::default() }));
        let length_at = offer.len() - 4;
        offer[length_at..].copy_from_slice(&over(limits::SNAPSHOT_LISTING_BYTES_MAX));
        assert_eq!(refused(9, offer), "a length over its limit");
    }

    #[test]
    fn entries_follow_the_one_before_them_without_gap() {
        for indexes in [[0, 2], [1, 2], [1, 0], [0, 0]] {
            let entries = indexes.map(|index| entry(index, Bytes::new())).to_vec();
            assert_eq!(refused(3, body(&append(entries))), "entries with a gap", "{indexes:?}");
        }
        let last = LogId { index: INDEX_MAX, ..LogId::default() };
        let behind_the_last =
            Append { prev: Some(last), entries: vec![entry(INDEX_MAX, Bytes::new())], ..Append::default() };
        assert_eq!(refused(3, body(&Message::Append(behind_the_last))), "entries with a gap");
    }

    #[test]
    fn a_piece_has_the_checksum_of_its_bytes_and_lies_inside_a_file() {
        let piece = SnapshotPiece::of(1, TableId([2; 16]), 3, Bytes::from_static(b"sealed bytes"));
        let bad = SnapshotPiece { crc32: piece.crc32 ^ 1, ..piece.clone() };
        let found = Message::decode(11, &Bytes::from(body(&Message::SnapshotPiece(bad)))).unwrap_err();
        assert_eq!((found.nature, found.detail), (Nature::Rot, "checksum of a piece"));
        let behind = SnapshotPiece { at: u64::MAX - 3, ..piece };
        assert_eq!(
            refused(11, body(&Message::SnapshotPiece(behind))),
            "a piece behind the end of every file"
        );
    }

    #[test]
    fn nothing_is_written_that_a_peer_would_refuse() {
        let too_many = (0..=limits::APPEND_ENTRIES_MAX as u64).map(|index| entry(index, Bytes::new()));
        let with_entries = Append { entries: vec![entry(0, Bytes::new())], ..Append::default() };
        let piece = Bytes::from(vec![0; limits::SNAPSHOT_PIECE_BYTES + 1]);
        let messages = [
            append(too_many.collect()),
            Message::Heartbeats(vec![Heartbeat { append: with_entries, ..Heartbeat::default() }]),
            Message::Heartbeats(vec![Heartbeat::default(); limits::HEARTBEATS_MAX + 1]),
            Message::SnapshotPiece(SnapshotPiece::of(0, TableId::default(), 0, piece)),
        ];
        for message in messages {
            assert!(std::panic::catch_unwind(|| body(&message)).is_err(), "kind {}", message.kind());
        }
    }
}
