//! Frames that are for somebody else, or for nobody.

use crate::cluster::{CLUSTER, perform};
use crate::door::{Door, GENERATION, GROUP, LEADER, OWN, id, mended};
use bytes::Bytes;
use engine::ids::ClusterId;
use raft::limits;
use raft::net::envelope::{Frame, HEAD_BYTES, cluster_tag};
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{
    Append, AppendReply, Heartbeat, HeartbeatReply, ReadIndex, ReadIndexReply, Transfer, VoteReply,
    VoteRequest,
};
use raft::types::{GroupId, LogId, ReplicaId, Vote};

fn ask() -> Message {
    Message::ReadIndex(ReadIndex {})
}

/// An append that would be taken, of a later leader.
fn lure() -> Message {
    let vote = Vote { term: 8, replica: LEADER, is_committed: true };
    Message::Append(Append { vote, prev: Some(id(3)), entries: vec![], commit: Some(id(3)) })
}

#[test]
fn a_frame_for_somebody_else_is_refused_by_name() {
    perform(async {
        let door = Door::following().await;
        let good = door.frame(lure());
        let other = ClusterId([0xd2; 16]);
        let frames = [
            ("cluster", Frame { tag: cluster_tag(other, GENERATION), ..good.clone() }, Refusal::OtherCluster),
            ("generation", Frame { tag: cluster_tag(CLUSTER, 4), ..good.clone() }, Refusal::OtherGeneration),
            ("generation", Frame { tag: cluster_tag(CLUSTER, 6), ..good.clone() }, Refusal::OtherGeneration),
            ("no tag", Frame { tag: 0, ..good.clone() }, Refusal::OtherCluster),
            ("group", Frame { group: GroupId(4), ..good.clone() }, Refusal::NoSuchGroup),
            ("no group", Frame { group: GroupId(0), ..good.clone() }, Refusal::NoSuchGroup),
            ("to", Frame { to: ReplicaId(3), ..good.clone() }, Refusal::OtherReplica),
            ("to nobody", Frame { to: ReplicaId(0), ..good.clone() }, Refusal::OtherReplica),
            ("from itself", Frame { from: OWN, ..good.clone() }, Refusal::OtherReplica),
            ("from nobody", Frame { from: ReplicaId(0), ..good.clone() }, Refusal::OtherReplica),
        ];
        for (what, frame, refusal) in frames {
            door.refuses(what, frame.encode(), refusal).await;
        }
        assert_eq!(door.says(lure()).await, Message::AppendReply(AppendReply::Accepted), "it was that alone");
    });
}

/// Who is not in the membership known here may be in a later one: it is heard, and by that alone it changes nothing.
#[test]
fn a_replica_that_nobody_knows_changes_nothing_a_leader_has_said() {
    perform(async {
        let door = Door::following().await;
        let stranger = ReplicaId(99);
        let from = |message| Frame { from: stranger, ..door.frame(message) };
        let says = async |message| door.answer(from(message).encode()).await;
        // The guard of a replica that has just started opens.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        let beat = Message::Append(Append {
            vote: crate::door::vote(),
            prev: Some(id(3)),
            entries: vec![],
            commit: Some(id(3)),
        });
        assert_eq!(door.says(beat).await, Message::AppendReply(AppendReply::Accepted));
        let before = door.picture();
        for (is_pre, last) in [(true, id(3)), (false, id(3)), (false, id(900))] {
            let vote = Vote { term: 9, replica: stranger, is_committed: false };
            let last = Some(LogId { term: 7, ..last });
            let request = VoteRequest { vote, last, is_transfer: false, is_pre };
            let Message::VoteReply(VoteReply { is_granted, .. }) = says(Message::Vote(request)).await else {
                panic!("no answer to a vote")
            };
            assert!(!is_granted, "while a leader is heard nobody gets a vote");
        }
        let vote = Vote { term: 6, replica: stranger, is_committed: true };
        let late = Append { vote, prev: None, entries: vec![], commit: None };
        let answer = says(Message::Append(late)).await;
        assert!(matches!(answer, Message::AppendReply(AppendReply::HigherVote(_))), "{answer:?}");
        let answer = says(ask()).await;
        assert_eq!(answer, Message::ReadIndexReply(ReadIndexReply::NotLeader(Some(LEADER))));
        assert_eq!(door.picture(), before);
        // Nor does it lend its name to a leader.
        door.refuses("another's word", from(lure()).encode(), Refusal::Malformed).await;
        door.goes_on().await;
    });
}

#[test]
fn a_frame_that_cannot_be_read_is_refused() {
    perform(async {
        let door = Door::following().await;
        let good = door.frame(lure()).encode();
        for version in [0, 2, u16::MAX] {
            let frame = mended(&good, 4, &version.to_be_bytes());
            door.refuses("version", frame, Refusal::Malformed).await;
        }
        for kind in [0, 18, 255] {
            door.refuses("kind", mended(&good, 6, &[kind]), Refusal::Malformed).await;
        }
        for cut in [0, 1, HEAD_BYTES - 1, HEAD_BYTES, good.len() - 1] {
            door.refuses("cut", good.slice(..cut), Refusal::Malformed).await;
        }
        let long = Bytes::from([&good[..], &[0]].concat());
        door.refuses("a byte more", long, Refusal::Malformed).await;
        let mut flipped = good.to_vec();
        flipped[HEAD_BYTES + 5] ^= 1;
        door.refuses("a flipped bit", flipped.into(), Refusal::Malformed).await;
        // Whole to the checksum, and over what a frame may have.
        let mut over = good.to_vec();
        over.resize(limits::FRAME_BYTES_MAX + 1, 0);
        let length = u32::try_from(over.len() - HEAD_BYTES).unwrap();
        let over = mended(&over.into(), 8, &length.to_be_bytes());
        door.refuses("oversized", over, Refusal::Malformed).await;
        door.goes_on().await;
    });
}

#[test]
fn what_is_no_question_or_what_nobody_can_say_is_refused() {
    perform(async {
        let door = Door::following().await;
        let own = Vote { term: 9, replica: OWN, is_committed: true };
        let asked = VoteRequest {
            vote: Vote { term: 9, replica: LEADER, is_committed: false },
            last: Some(id(3)),
            is_transfer: true,
            is_pre: false,
        };
        let elected = Vote { is_committed: true, ..asked.vote };
        let append = |vote| Message::Append(Append { vote, prev: Some(id(3)), ..Append::default() });
        let said = [
            Message::AppendReply(AppendReply::Accepted),
            Message::Refused(Refusal::Stopped),
            append(own),
            append(asked.vote),
            append(Vote { term: limits::TERM_MAX + 1, ..elected }),
            Message::Vote(VoteRequest { vote: elected, ..asked }),
            Message::Vote(VoteRequest { vote: Vote { is_committed: false, ..own }, ..asked }),
            Message::Vote(VoteRequest { vote: Vote { term: u64::MAX, ..asked.vote }, ..asked }),
            Message::Transfer(Transfer { from: own, to: OWN, last: Some(id(3)) }),
        ];
        for message in said {
            door.refuses_to_hear(&format!("{message:?}"), message.clone(), Refusal::Malformed).await;
        }
        door.goes_on().await;
    });
}

/// Of heartbeats that came together each is judged alone, as if it had come in a frame of its own.
#[test]
fn a_heartbeat_for_somebody_else_is_refused_and_the_others_are_heard() {
    perform(async {
        let door = Door::following().await;
        let append =
            Append { vote: crate::door::vote(), prev: Some(id(3)), entries: vec![], commit: Some(id(3)) };
        let good = Heartbeat { group: GROUP, from: LEADER, to: OWN, append };
        let of_another =
            Append { vote: Vote { replica: ReplicaId(3), ..crate::door::vote() }, ..good.append.clone() };
        let all = [
            (good.clone(), Ok(AppendReply::Accepted)),
            (Heartbeat { group: GroupId(4), ..good.clone() }, Err(Refusal::NoSuchGroup)),
            (Heartbeat { to: ReplicaId(3), ..good.clone() }, Err(Refusal::OtherReplica)),
            (Heartbeat { from: OWN, ..good.clone() }, Err(Refusal::OtherReplica)),
            (Heartbeat { from: ReplicaId(0), ..good.clone() }, Err(Refusal::OtherReplica)),
            (Heartbeat { append: of_another, ..good.clone() }, Err(Refusal::Malformed)),
        ];
        let before = door.picture();
        let heartbeats: Vec<Heartbeat> = all.iter().map(|(heartbeat, _)| heartbeat.clone()).collect();
        let frame = Frame {
            group: GroupId(0),
            from: ReplicaId(0),
            to: ReplicaId(0),
            ..door.frame(Message::Heartbeats(heartbeats))
        };
        let wanted = all.map(|(heartbeat, reply)| HeartbeatReply { group: heartbeat.group, reply });
        assert_eq!(door.answer(frame.encode()).await, Message::HeartbeatReplies(wanted.to_vec()));
        assert_eq!(door.picture(), before);
        let foreign = Frame { tag: cluster_tag(ClusterId([0xd2; 16]), GENERATION), ..frame };
        door.refuses("cluster", foreign.encode(), Refusal::OtherCluster).await;
    });
}
