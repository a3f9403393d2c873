//! What is counted between nodes: frames, heartbeats, refusals, snapshots, claims.

use super::{figures, rest, risen, since, two};
use crate::cluster::{CLUSTER, GROUP, Hub, Node, Running, Waiting, birth, born, founded, perform, seat};
use crate::rig::Rig;
use bytes::Bytes;
use engine::ids::NodeId;
use engine::work::Done;
use raft::group::rejoin::Verdict;
use raft::membership::step::Change;
use raft::net::envelope::{Frame, cluster_tag};
use raft::net::heard::Voice;
use raft::net::heartbeats::Heartbeats;
use raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{AppendReply, Heartbeat, HeartbeatReply, ReadIndex};
use raft::net::request::Requests;
use raft::types::{GroupId, ReplicaId, Role, Seat};

/// A peer that accepts every heartbeat: node 2. Node 3 refuses all, and others are not there.
struct Line;

impl PeerLink for Line {
    fn call(&self, to: NodeId, _: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>> {
        let frame = Frame::decode(&frame).unwrap();
        let message = match &frame.message {
            Message::Heartbeats(all) if to == NodeId(2) => {
                let reply =
                    |one: &Heartbeat| HeartbeatReply { group: one.group, reply: Ok(AppendReply::Accepted) };
                Message::HeartbeatReplies(all.iter().map(reply).collect())
            }
            _ => Message::Refused(Refusal::NotReady),
        };
        let said = Said { by: Voice::default(), frame: Frame { message, ..frame }.encode() };
        let cut = Unreachable { node: to, cause: "cut".to_owned() };
        Box::pin(std::future::ready(if to.0 < 4 { Ok(said) } else { Err(cut) }))
    }
}

#[test]
fn heartbeats_count_one_by_one_and_their_messages_once() {
    perform(async {
        let log = Rig::new(1).open();
        let before = log.stats().read();
        let requests =
            Requests::new(std::sync::Arc::new(Line), Default::default(), (7, 300), log.stats().clone());
        let heartbeats = Heartbeats::new(requests, log.clone(), 200);
        for (to, groups, is_ok) in [(2, 50, true), (3, 20, false), (4, 10, false)] {
            let beat = |group| {
                let heartbeat = Heartbeat { group: GroupId(group), ..Heartbeat::default() };
                heartbeats.beat(NodeId(to), heartbeat)
            };
            let said = futures_util::future::join_all((0..groups).map(beat)).await;
            assert!(said.iter().all(|said| said.is_ok() == is_ok));
        }
        let wanted = [
            ("net_sent_heartbeats", 80),
            ("net_heartbeat_messages", 3),
            ("net_asked_frames", 3),
            ("net_answered_frames", 1),
            ("net_denied_frames", 1),
            ("net_lost_frames", 1),
        ];
        assert_eq!(risen(&before, log.stats(), &["net"]), wanted.into());
    });
}

#[test]
fn what_is_refused_here_counts_by_its_reason() {
    perform(async {
        let mut node = Node::new(2, &Hub::default());
        let one = born(&mut node, birth(2, 3), 5).await;
        let before = figures(&one);
        let tag = cluster_tag(CLUSTER, 5);
        let (from, to, message) = (ReplicaId(1), ReplicaId(2), Message::ReadIndex(ReadIndex {}));
        let good = Frame { tag, group: GROUP, from, to, sequence: 1, durable: 0, message };
        let heartbeat = |group, to| Heartbeat { group, from, to: ReplicaId(to), ..Heartbeat::default() };
        let many = vec![heartbeat(GroupId(8), 2), heartbeat(GROUP, 3)];
        let none = (GroupId(0), ReplicaId(0));
        for frame in [
            Frame { tag: 0, ..good.clone() },
            Frame { tag: cluster_tag(CLUSTER, 4), ..good.clone() },
            Frame { tag: cluster_tag(CLUSTER, 6), ..good.clone() },
            Frame { group: GroupId(9), ..good.clone() },
            Frame { to: ReplicaId(3), ..good.clone() },
            Frame {
                group: none.0,
                from: none.1,
                to: none.1,
                message: Message::Heartbeats(many),
                ..good.clone()
            },
        ] {
            one.registry.serve(&Voice::default(), frame.encode()).await;
        }
        one.registry.serve(&Voice::default(), Bytes::from_static(b"no frame")).await;
        let risen = since(&before, &one, &["net_served", "net_refused"]);
        let wanted = [
            ("net_served_frames", 7),
            ("net_refused_other_cluster_messages", 1),
            ("net_refused_other_generation_messages", 2),
            ("net_refused_no_such_group_messages", 2),
            ("net_refused_other_replica_messages", 2),
            ("net_refused_malformed_messages", 1),
        ];
        assert_eq!(risen, wanted.into());
    });
}

/// Makes all durable that is applied, and purges the log up to it, as far as consensus goes along.
async fn purge(one: &Running) {
    let group = one.group(GROUP);
    group.machine().tablet().freeze();
    while one.offline.parts.pool.step() != Done::Nothing {}
    let applied = group.machine().durable().unwrap().applied.unwrap();
    for _ in 0..500 {
        group.purge(applied.index).await.unwrap();
        rest(20).await;
        if group.extent().unwrap().first > applied.index {
            return;
        }
    }
    panic!("it is not purged");
}

#[test]
fn a_snapshot_counts_by_its_bytes_at_both_ends_and_once_when_it_is_installed() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        let (leads, _) = two(&running).await;
        for key in 10..20 {
            leads.put(GROUP, key, &[key; 5_000]).await;
        }
        rest(500).await;
        purge(leads).await;
        let before = figures(leads);
        let mut node = Node::new(4, &hub);
        let filled = born(&mut node, birth(4, 0), 1).await;
        let (seen, learner) =
            (leads.group(GROUP).standing().membership.0, Seat { role: Role::Learner, ..seat(4) });
        leads.group(GROUP).change(Change::Add(ReplicaId(4), learner), seen).await.unwrap();
        filled.until("it is filled", |one| one.get(GROUP, 19).is_some()).await;
        leads.until("all is sent", |one| figures(one).net.sent_snapshots == 1).await;
        let files = leads.group(GROUP).machine().tablet().checkpoint().unwrap();
        let bytes: u64 = files.files().iter().map(|file| file.bytes).sum();
        assert!(bytes > 1_000);
        let wanted = [("net_sent_snapshots", 1), ("net_sent_snapshot_bytes", bytes)];
        let sent = since(&before, leads, &["net_sent_snapshot", "net_skipped"]);
        assert_eq!(sent, wanted.into());
        let (net, machine) = (figures(&filled).net, figures(&filled).machine);
        assert_eq!((net.received_snapshot_bytes, machine.installed_snapshots), (bytes, 1));
        assert_eq!(machine.ran_commands, 0, "what came by a snapshot was applied elsewhere");
    });
}

#[test]
fn claims_count_where_they_are_asked_and_where_they_are_answered() {
    perform(async {
        let (_hub, mut nodes, running, _) = founded(3).await;
        for (one, node) in running.into_iter().zip(&nodes) {
            one.crash(node).await;
        }
        let first = nodes[0].seek_admission(&[2, 3], 1).unwrap();
        first.admission.ask(&first.requests).await;
        let wanted = [("rejoin_asked_claims", 2), ("rejoin_lost_claims", 2)];
        let none = raft::stats::Figures::default();
        let counted = |waiting: &Waiting| risen(&none, waiting.stats(), &["rejoin"]);
        assert_eq!(counted(&first), wanted.into());
        let second = nodes[1].seek_admission(&[1, 3], 1).unwrap();
        first.admission.ask(&first.requests).await;
        let wanted = [("rejoin_asked_claims", 4), ("rejoin_answered_claims", 1), ("rejoin_lost_claims", 3)];
        assert_eq!(counted(&first), wanted.into());
        assert_eq!(counted(&second), [("rejoin_served_claims", 1)].into());
        // A stranger is told so, and one whose disk was wiped too.
        let stranger = nodes[2].twin(1).seek_admission(&[1], 2).unwrap();
        stranger.admission.ask(&stranger.requests).await;
        assert_eq!(counted(&stranger)["rejoin_refused_claims"], 2);
        stranger.admission.end();
    });
}

#[test]
fn a_node_that_must_not_run_says_so() {
    perform(async {
        let (_hub, mut nodes, mut running, _) = founded(3).await;
        running.pop().unwrap().crash(&nodes[2]).await;
        nodes[2].wipe();
        let waiting = nodes[2].seek_admission(&[1, 2], 1).unwrap();
        assert_eq!(waiting.stats().read().rejoin.refused_flag, 0);
        let verdict = waiting.admission.ask(&waiting.requests).await;
        assert!(matches!(verdict, Verdict::Refused(_)), "{verdict}");
        let rejoin = waiting.stats().read().rejoin;
        assert_eq!((rejoin.refused_flag, rejoin.asked_claims, rejoin.answered_claims), (1, 2, 2));
        rest(1).await;
    });
}
