//! What yesterday's peer sent, today's reads, and would send again to the byte.
//!
//! Each fixture is a list: of each item its length, u32 big-endian, then its bytes. An item of `peer_message.bin` is the kind, then
//! the body; one of `entry_payload.bin` the kind, then the payload; one of `peer_frame.bin` a whole frame. A fixture is never
//! changed. A new one is made by `DEWPOND_WRITE_FIXTURES=1 cargo test -p raft --test golden_wire`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use bytes::Bytes;
use engine::Stamp;
use engine::error::Nature;
use engine::ids::{CollectionId, NodeId, TableId, TenantId};
use raft::compare::question::{Asked, Question, Sum, SumOf, Told, WhyNot};
use raft::group::rejoin::{Answer, Claim, GroupClaim, GroupWord, LogMark};
use raft::group::word::Word;
use raft::log::Entry;
use raft::machine::range_digest::{RowRange, RowSum};
use raft::net::envelope::{Frame, cluster_tag};
use raft::net::hearsay_message::Hearsay;
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{
    Append, AppendReply, Heartbeat, HeartbeatReply, ReadIndex, ReadIndexReply, Transfer, TransferReply,
    VoteReply, VoteRequest,
};
use raft::net::snapshot_message::{
    PieceReply, SnapshotDone, SnapshotFinish, SnapshotOffer, SnapshotPiece, SnapshotWants,
};
use raft::payload::{self, decode_membership, encode_membership};
use raft::types::{GroupId, Membership, ReplicaId, Role, Seat, Vote};
use rig::{CLUSTER, id, items, listed, stored};
use std::collections::{BTreeMap, BTreeSet};

fn vote(is_committed: bool) -> Vote {
    Vote { term: 5, replica: ReplicaId(3), is_committed }
}

fn membership() -> Membership {
    let seat = |replica, node, role| (ReplicaId(replica), Seat { node: NodeId(node), role });
    Membership {
        voters: vec![[1, 2].map(ReplicaId).into(), [2, 3].map(ReplicaId).into()],
        seats: [
            seat(1, 11, Role::Voter),
            seat(2, 12, Role::Voter),
            seat(3, 13, Role::Learner),
            seat(4, 14, Role::Delayed),
        ]
        .into(),
    }
}

fn append() -> Append {
    let entry = |index, kind, payload: &'static [u8]| Entry {
        log_id: id(5, index),
        kind,
        stamp: 0x0102_0304_0506_0708,
        payload: Bytes::from_static(payload),
    };
    let entries = vec![entry(77, payload::BLANK, b""), entry(78, payload::COMMAND, b"sealed bytes")];
    Append { vote: vote(true), prev: Some(id(4, 76)), entries, commit: Some(id(4, 70)) }
}

fn of_a_group() -> Vec<Message> {
    vec![
        Message::Vote(VoteRequest {
            vote: vote(false),
            last: Some(id(5, 77)),
            is_transfer: true,
            is_pre: false,
        }),
        Message::Vote(VoteRequest { vote: vote(false), last: None, is_transfer: false, is_pre: true }),
        Message::VoteReply(VoteReply { vote: vote(false), last: Some(id(5, 77)), is_granted: true }),
        Message::Append(append()),
        Message::Append(Append { vote: vote(true), prev: None, entries: vec![], commit: None }),
        Message::AppendReply(AppendReply::Accepted),
        Message::AppendReply(AppendReply::Partly(Some(id(5, 77)))),
        Message::AppendReply(AppendReply::Partly(None)),
        Message::AppendReply(AppendReply::Conflict),
        Message::AppendReply(AppendReply::HigherVote(vote(false))),
        Message::Transfer(Transfer { from: vote(true), to: ReplicaId(4), last: Some(id(5, 77)) }),
        Message::TransferReply(TransferReply::Accepted),
        Message::TransferReply(TransferReply::VoteChanged { expected: vote(true), actual: vote(false) }),
        Message::TransferReply(TransferReply::NotFlushed { expected: Some(id(5, 77)), actual: None }),
        Message::ReadIndex(ReadIndex {}),
        Message::ReadIndexReply(ReadIndexReply::Read(id(5, 77))),
        Message::ReadIndexReply(ReadIndexReply::NotLeader(Some(ReplicaId(4)))),
        Message::ReadIndexReply(ReadIndexReply::NotLeader(None)),
        Message::ReadIndexReply(ReadIndexReply::RetryLater(250)),
    ]
}

fn messages() -> Vec<Message> {
    let offer = SnapshotOffer {
        vote: vote(true),
        last: Some(id(5, 77)),
        stamp: Stamp(0x0102_0304_0506_0708),
        membership_at: Some(id(4, 60)),
        membership: membership(),
        listing: Bytes::from_static(b"a listing"),
    };
    let file = TableId([0x7a; 16]);
    let piece = SnapshotPiece::of(9, file, 4_096, Bytes::from_static(b"bytes of a table"));
    let (group, from, to) = (GroupId(0x1234), ReplicaId(3), ReplicaId(4));
    let heartbeat = Heartbeat { group, from, to, append: Append { entries: vec![], ..append() } };
    let reply = |reply| HeartbeatReply { group, reply };
    let mut all = of_a_group();
    all.extend([
        Message::SnapshotOffer(offer),
        Message::SnapshotWants(SnapshotWants {
            transfer: 9,
            files: vec![(file, 4_096), (TableId([1; 16]), 0)],
        }),
        Message::SnapshotPiece(piece),
        Message::PieceReply(PieceReply::Taken),
        Message::PieceReply(PieceReply::NotWanted { at: 8_192 }),
        Message::SnapshotFinish(SnapshotFinish { transfer: 9 }),
        Message::SnapshotDone(SnapshotDone { vote: vote(true) }),
        Message::Heartbeats(vec![]),
        Message::Heartbeats(vec![heartbeat.clone(), Heartbeat { group: GroupId(0x1235), ..heartbeat }]),
        Message::HeartbeatReplies(vec![
            reply(Ok(AppendReply::Accepted)),
            reply(Ok(AppendReply::Partly(Some(id(5, 77))))),
            reply(Err(Refusal::NoSuchGroup)),
        ]),
    ]);
    all.extend(Refusal::ALL[..9].iter().copied().map(Message::Refused));
    all
}

fn frames() -> Vec<Frame> {
    let tag = cluster_tag(CLUSTER, 3);
    let (group, from, to) = (GroupId(0x1234), ReplicaId(3), ReplicaId(4));
    let frame = |message| Frame { tag, group, from, to, sequence: 17, durable: 1 << 40, message };
    vec![frame(Message::Append(append())), frame(Message::ReadIndex(ReadIndex {}))]
}

fn with_kind(message: &Message) -> Vec<u8> {
    let mut out = vec![message.kind()];
    message.append_body(&mut out);
    out
}

#[test]
fn entry_payload_version_1() {
    let payloads = [
        vec![payload::BLANK],
        [&[payload::COMMAND][..], b"sealed bytes"].concat(),
        [&[payload::MEMBERSHIP][..], &encode_membership(&membership())].concat(),
        [&[payload::MEMBERSHIP][..], &encode_membership(&Membership::default())].concat(),
    ];
    let list = stored("entry_payload.bin", || listed(&payloads));
    assert_eq!(listed(&payloads), list);
    let stored_payloads = items(&list);
    assert_eq!(decode_membership(&stored_payloads[2][1..]), Ok(membership()));
    assert_eq!(decode_membership(&stored_payloads[3][1..]), Ok(Membership::default()));
    // A voter whose seat is not there.
    let damaged = stored("entry_payload.damaged.bin", || {
        let mut bytes = encode_membership(&membership());
        bytes[19] = 9;
        bytes
    });
    let found = decode_membership(&damaged).unwrap_err();
    assert_eq!((found.nature, found.detail), (Nature::Malformed, "a voter without a seat"));
}

#[test]
fn peer_message_version_1() {
    let all: Vec<Vec<u8>> = messages().iter().map(with_kind).collect();
    let list = stored("peer_message.bin", || listed(&all));
    assert_eq!(listed(&all), list);
    let decoded = items(&list).into_iter().map(|item| Message::decode(item[0], &item.slice(1..)).unwrap());
    assert!(decoded.eq(messages()));
    // It came after the fixture was written.
    assert_eq!(with_kind(&Message::Refused(Refusal::Ahead)), [17, 10]);
    assert_eq!(with_kind(&Message::Refused(Refusal::Outlived)), [17, 11]);
    assert_eq!(Refusal::ALL.len(), 11);
    assert_eq!(with_kind(&Message::CloseTime(Stamp(0x0102))), [24, 0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(with_kind(&Message::TimeClosed(true)), [27, 1]);
    let kinds: Vec<u8> = (1..=17).collect();
    let mut has = all.iter().map(|item| item[0]).collect::<Vec<_>>();
    has.dedup();
    assert_eq!(has, kinds, "every kind stands in the fixture");
    // The piece of a file, one byte of it changed.
    let damaged = stored("peer_message.damaged.bin", || {
        let mut bytes = with_kind(&messages()[21]);
        *bytes.last_mut().unwrap() ^= 0x20;
        bytes
    });
    let damaged = Bytes::from(damaged);
    assert_eq!(Message::decode(damaged[0], &damaged.slice(1..)).unwrap_err().nature, Nature::Rot);
}

fn claims() -> [Message; 4] {
    let here = GroupClaim {
        replica: ReplicaId(3),
        vote: Some(vote(true)),
        last: Some(id(5, 77)),
        applied: Some(id(4, 70)),
        manifest: 71,
        manifest_noted: 61,
        is_from_snapshot: true,
    };
    let claim = Claim {
        node: NodeId(11),
        log: [0x10; 16],
        log_end: 812_041,
        incarnation: 7,
        boot_nonce: [0xb0; 16],
        groups: [(GroupId(1), here), (GroupId(2), GroupClaim::default())].into(),
    };
    let word = GroupWord {
        replica: ReplicaId(3),
        is_leader: true,
        is_voter: true,
        matched: Some((vote(true), id(5, 77))),
        granted: Some(vote(false)),
        manifest: 61,
    };
    let answer = Answer {
        is_meta_voter: true,
        logs: [([0x10; 16], LogMark { position: 931_180, incarnation: 7 })].into(),
        alive: Some([0xa1; 16]),
        groups: [(GroupId(1), word), (GroupId(2), GroupWord::default())].into(),
    };
    [
        Message::Claim(claim),
        Message::Claim(Claim::default()),
        Message::ClaimAnswer(answer),
        Message::ClaimAnswer(Answer::default()),
    ]
}

#[test]
fn peer_claim_version_1() {
    let all: Vec<Vec<u8>> = claims().iter().map(with_kind).collect();
    let list = stored("peer_claim.bin", || listed(&all));
    assert_eq!(listed(&all), list);
    let decoded = items(&list).into_iter().map(|item| Message::decode(item[0], &item.slice(1..)).unwrap());
    assert!(decoded.eq(claims()));
    // Two groups of a claim, the second named as the first.
    let damaged = stored("peer_claim.damaged.bin", || {
        let mut bytes = with_kind(&claims()[0]);
        let second = 1 + 60 + 100;
        bytes[second + 7] = 1;
        bytes
    });
    let damaged = Bytes::from(damaged);
    let found = Message::decode(damaged[0], &damaged.slice(1..)).unwrap_err();
    assert_eq!((found.nature, found.detail), (Nature::Malformed, "rows that do not rise"));
}

#[test]
fn peer_word_version_1() {
    let word = Word {
        replica: ReplicaId(3),
        applied: Stamp(0x0102_0304_0506_0708),
        stored: Some(id(5, 77)),
        is_clock_agreed: true,
        is_guard_open: true,
        is_lifted: false,
    };
    let messages = [
        Message::AskWords([GroupId(1), GroupId(2)].into()),
        Message::AskWords(BTreeSet::new()),
        Message::Words([(GroupId(1), word), (GroupId(2), Word::default())].into()),
        Message::Words(BTreeMap::new()),
    ];
    let all: Vec<Vec<u8>> = messages.iter().map(with_kind).collect();
    let list = stored("peer_word.bin", || listed(&all));
    assert_eq!(listed(&all), list);
    let decoded = items(&list).into_iter().map(|item| Message::decode(item[0], &item.slice(1..)).unwrap());
    assert!(decoded.eq(messages));
    // Whether its guard is open: neither yes nor no.
    let damaged = stored("peer_word.damaged.bin", || {
        let mut bytes = all[2].clone();
        let flags = 1 + 4 + 8 + 8 + 8 + 25;
        bytes[flags + 1] = 2;
        bytes
    });
    let damaged = Bytes::from(damaged);
    let found = Message::decode(damaged[0], &damaged.slice(1..)).unwrap_err();
    assert_eq!((found.nature, found.detail), (Nature::Malformed, "neither yes nor no"));
}

#[test]
fn peer_hearsay_version_1() {
    let mark = |position, incarnation| LogMark { position, incarnation };
    let marks = [((NodeId(11), [0x10; 16]), mark(931_180, 7)), ((NodeId(12), [0x20; 16]), mark(812_041, 0))];
    let manifests = [((GroupId(1), ReplicaId(3)), 71), ((GroupId(2), ReplicaId(9)), 1)];
    let messages = [
        Message::Hearsay(Hearsay { marks: marks.into(), manifests: manifests.into() }),
        Message::Hearsay(Hearsay::default()),
        Message::HearsayTaken,
    ];
    let all: Vec<Vec<u8>> = messages.iter().map(with_kind).collect();
    let list = stored("peer_hearsay.bin", || listed(&all));
    assert_eq!(listed(&all), list);
    let decoded = items(&list).into_iter().map(|item| Message::decode(item[0], &item.slice(1..)).unwrap());
    assert!(decoded.eq(messages));
    // Two marks, the second of the node and log of the first.
    let damaged = stored("peer_hearsay.damaged.bin", || {
        let mut bytes = all[0].clone();
        let (first, second) = (1 + 4, 1 + 4 + 40);
        bytes.copy_within(first..first + 24, second);
        bytes
    });
    let damaged = Bytes::from(damaged);
    let found = Message::decode(damaged[0], &damaged.slice(1..)).unwrap_err();
    assert_eq!((found.nature, found.detail), (Nature::Malformed, "rows that do not rise"));
}

#[test]
fn peer_state_version_1() {
    let asked = |what| Message::AskState(Asked { group: GroupId(2), replica: ReplicaId(3), what });
    let of = (TenantId(7), CollectionId(5));
    let whole = RowRange::all(of.0, of.1);
    let part = RowRange { start: Some(b"from".to_vec()), end: Some(b"to".to_vec()), ..whole.clone() };
    let at = Stamp(0x0102_0304_0506_0708);
    let rows = RowSum { rows: 9, sum: 0x1112_1314_1516_1718_191a_1b1c_1d1e_1f20 };
    let mut messages = vec![
        asked(Question::Next(None)),
        asked(Question::Next(Some(of))),
        asked(Question::Sum(SumOf { at: None, range: whole, rows_max: 4_000 })),
        asked(Question::Sum(SumOf { at: Some(at), range: part, rows_max: 1 })),
        Message::State(Told::Next(None)),
        Message::State(Told::Next(Some(of))),
        Message::State(Told::Sum(Sum { at, rows, upto: None })),
        Message::State(Told::Sum(Sum { at, rows, upto: Some(b"to".to_vec()) })),
    ];
    messages.extend(WhyNot::ALL.map(|why| Message::State(Told::Not(why))));
    let all: Vec<Vec<u8>> = messages.iter().map(with_kind).collect();
    let list = stored("peer_state.bin", || listed(&all));
    assert_eq!(listed(&all), list);
    let decoded = items(&list).into_iter().map(|item| Message::decode(item[0], &item.slice(1..)).unwrap());
    assert!(decoded.eq(messages));
    // Whether a stamp is asked for: no, and there stands one.
    let damaged = stored("peer_state.damaged.bin", || {
        let mut bytes = all[3].clone();
        bytes[1 + 17] = 0;
        bytes
    });
    let damaged = Bytes::from(damaged);
    let found = Message::decode(damaged[0], &damaged.slice(1..)).unwrap_err();
    assert_eq!((found.nature, found.detail), (Nature::Malformed, "a stamp that is none, and says something"));
}

#[test]
fn peer_frame_version_1() {
    let all: Vec<Vec<u8>> = frames().iter().map(|frame| frame.encode().to_vec()).collect();
    let list = stored("peer_frame.bin", || listed(&all));
    assert_eq!(listed(&all), list);
    assert!(items(&list).iter().map(|item| Frame::decode(item).unwrap()).eq(frames()));
    // The replica it is for, one bit of it changed.
    let damaged = stored("peer_frame.damaged.bin", || {
        let mut bytes = frames()[0].encode().to_vec();
        bytes[47] ^= 1;
        bytes
    });
    assert_eq!(Frame::decode(&Bytes::from(damaged)).unwrap_err().nature, Nature::Rot);
}
