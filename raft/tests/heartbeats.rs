//! The heartbeats of all groups to a peer leave in one message, and each group hears its own answer, or why there is none.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use bytes::Bytes;
use engine::ids::NodeId;
use raft::limits;
use raft::net::envelope::Frame;
use raft::net::heard::Voice;
use raft::net::heartbeats::Heartbeats;
use raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{AppendReply, Heartbeat, HeartbeatReply};
use raft::net::request::Requests;
use raft::types::{GroupId, ReplicaId};
use rig::Rig;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TAG: u64 = 77;
const DEADLINE_MS: u64 = 300;

/// How the peer answers.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// All accepted, but group 2 conflicts, group 3 is refused, and group 4 is forgotten.
    Mixed,
    /// Never.
    Silent,
    /// As one of another cluster.
    Strange,
    /// To something that was asked before.
    Late,
    /// It cannot be reached.
    Cut,
    /// The first message is lost.
    Lossy,
    /// So far away that an answer takes several beats.
    Far,
}

/// A peer that notes what came.
struct Line {
    manner: Manner,
    came: Arc<Mutex<Vec<Vec<GroupId>>>>,
}

impl PeerLink for Line {
    fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>> {
        let frame = Frame::decode(&frame).unwrap();
        assert_eq!((lane, frame.tag, frame.group, frame.to), (Lane::Control, TAG, GroupId(0), ReplicaId(0)));
        let Message::Heartbeats(all) = frame.message.clone() else { panic!("no heartbeats") };
        let is_first = self.came.lock().unwrap().is_empty();
        self.came.lock().unwrap().push(all.iter().map(|one| one.group).collect());
        let reply = |one: &Heartbeat| match one.group.0 {
            2 => Some(Ok(AppendReply::Conflict)),
            3 => Some(Err(Refusal::OtherReplica)),
            4 => None,
            _ => Some(Ok(AppendReply::Accepted)),
        };
        let replies =
            all.iter().filter_map(|one| Some(HeartbeatReply { group: one.group, reply: reply(one)? }));
        let answer = Frame { message: Message::HeartbeatReplies(replies.collect()), ..frame };
        let manner = self.manner;
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let frame = match manner {
                Manner::Mixed => answer.encode(),
                Manner::Silent => std::future::pending().await,
                Manner::Strange => Frame { tag: TAG + 1, ..answer }.encode(),
                Manner::Late => Frame { sequence: answer.sequence + 9, ..answer }.encode(),
                Manner::Lossy if is_first => std::future::pending().await,
                Manner::Lossy => answer.encode(),
                Manner::Far => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    answer.encode()
                }
                Manner::Cut => return Err(Unreachable { node: to, cause: "cut".to_owned() }),
            };
            Ok(Said { by: Voice::default(), frame })
        })
    }
}

fn heartbeat(group: u64) -> Heartbeat {
    Heartbeat { group: GroupId(group), from: ReplicaId(1), to: ReplicaId(2), ..Heartbeat::default() }
}

/// What the groups from 1 to `count` hear, and the groups of each message.
fn beats(manner: Manner, count: u64) -> (Vec<Result<AppendReply, String>>, Vec<Vec<GroupId>>) {
    let came = Arc::new(Mutex::new(Vec::new()));
    let line = Arc::new(Line { manner, came: came.clone() });
    let work = async move {
        let heartbeats = Heartbeats::new(
            Requests::new(line, Arc::default(), (TAG, DEADLINE_MS), Arc::default()),
            Rig::new(1).open(),
            2 * DEADLINE_MS,
        );
        let beat = |group| {
            let heartbeats = heartbeats.clone();
            async move { heartbeats.beat(NodeId(2), heartbeat(group)).await }
        };
        let said = futures_util::future::join_all((1..=count).map(beat)).await;
        // And once more: who drives has gone home meanwhile.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let again = beat(1).await;
        assert_eq!(again.is_ok(), manner == Manner::Mixed);
        said
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    #[cfg(feature = "sim")]
    let work = raft::type_config::scope(3, work);
    let said = runtime.block_on(work);
    let came = came.lock().unwrap().clone();
    (said, came)
}

#[test]
fn a_thousand_groups_cost_one_message_and_each_hears_its_own_answer() {
    let (said, came) = beats(Manner::Mixed, 1_000);
    assert_eq!(came.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1]);
    for (group, said) in (1_u64..).zip(said) {
        match group {
            2 => assert_eq!(said, Ok(AppendReply::Conflict)),
            3 => assert!(said.unwrap_err().contains("refuses")),
            4 => assert!(said.unwrap_err().contains("and not g-4")),
            _ => assert_eq!(said, Ok(AppendReply::Accepted)),
        }
    }
}

#[test]
fn no_answer_and_one_of_somebody_else_are_told_as_such() {
    for (manner, why) in [
        (Manner::Silent, "in time"),
        (Manner::Strange, "something else"),
        (Manner::Late, "something else"),
        (Manner::Cut, "cut"),
    ] {
        let (said, came) = beats(manner, 20);
        assert_eq!(came.len(), 2);
        for said in said {
            let cause = said.unwrap_err();
            assert!(cause.contains(why), "{cause}");
        }
    }
}

#[test]
fn of_one_group_each_heartbeat_has_a_message_of_its_own_and_too_many_are_refused() {
    let came = Arc::new(Mutex::new(Vec::new()));
    let line = Arc::new(Line { manner: Manner::Silent, came: came.clone() });
    let work = async move {
        let heartbeats = Heartbeats::new(
            Requests::new(line, Arc::default(), (TAG, DEADLINE_MS), Arc::default()),
            Rig::new(1).open(),
            2 * DEADLINE_MS,
        );
        let beats = (0..=limits::HEARTBEAT_MESSAGES_MAX).map(|_| heartbeats.beat(NodeId(2), heartbeat(5)));
        futures_util::future::join_all(beats).await
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    #[cfg(feature = "sim")]
    let work = raft::type_config::scope(3, work);
    let said = runtime.block_on(work);
    let refused = said.iter().filter(|said| said.as_ref().is_err_and(|cause| cause.contains("too many")));
    assert_eq!(refused.count(), 1);
    assert_eq!(came.lock().unwrap().len(), limits::HEARTBEAT_MESSAGES_MAX);
}

/// What a heartbeat hears that leaves again every 45 ms, and how many messages left for it and were left when it was answered.
fn repeated(manner: Manner) -> (Result<AppendReply, String>, usize, u64) {
    let came = Arc::new(Mutex::new(Vec::new()));
    let line = Arc::new(Line { manner, came: came.clone() });
    let log = Rig::new(1).open();
    let stats = log.stats().clone();
    let work = async move {
        let requests = Requests::new(line, Arc::default(), (TAG, DEADLINE_MS), Arc::default());
        let heartbeats = Heartbeats::new(requests, log, 45);
        let said = heartbeats.beat(NodeId(2), heartbeat(5)).await;
        // Nothing more leaves once it is answered.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        said
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    #[cfg(feature = "sim")]
    let work = raft::type_config::scope(3, work);
    let said = runtime.block_on(work);
    let came = came.lock().unwrap().len();
    (said, came, stats.read().net.repeated_heartbeats)
}

#[test]
fn a_lost_heartbeat_costs_one_beat_and_a_slow_answer_is_heard() {
    assert_eq!(repeated(Manner::Lossy), (Ok(AppendReply::Accepted), 2, 1));
    assert_eq!(repeated(Manner::Far), (Ok(AppendReply::Accepted), 3, 2));
    let (said, came, again) = repeated(Manner::Silent);
    assert!(said.is_err(), "{said:?}");
    assert_eq!((came, again), (7, 6), "no more once the first is given up");
    // Whoever cannot be reached is not asked again within the same beat.
    let (said, came, again) = repeated(Manner::Cut);
    assert!(said.is_err(), "{said:?}");
    assert_eq!((came, again), (1, 0));
}
