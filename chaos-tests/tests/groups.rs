//! Groups at work, without faults of the world: what kills one and what does not, and how one comes to its wanted seats.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use bytes::Bytes;
use chaos_tests::seed::{Seed, Swarm};
use chaos_tests::world::clock::Time;
use chaos_tests::world::diary::Diary;
use chaos_tests::world::keys::TENANTS;
use chaos_tests::world::late::Heard;
use chaos_tests::world::net::Net;
use chaos_tests::world::node::{Node, World};
use chaos_tests::world::operations::Do;
use chaos_tests::world::overseer::Overseer;
use engine::Stamp;
use engine::ids::NodeId;
use engine::key::KeyRange;
use raft::command::Counts;
use raft::group::birth::Birth;
use raft::group::handle::Group;
use raft::group::outcome::NotApplied;
use raft::group::restart::{Death, Verdict};
use raft::group::settings::Pace;
use raft::group::supervise::{Supervisor, Told};
use raft::membership::reconcile::{Reconciler, Stepped};
use raft::membership::step::Rest;
use raft::proposal::Reply;
use raft::seal::Unsealed;
use raft::types::{GroupId, Membership, ReplicaId, Role, Seat};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

const GROUPS: u64 = 2;
const NODES: u64 = 3;

fn in_a_world<F: Future<Output = ()>>(seed: u64, test: impl FnOnce() -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(raft::type_config::scope(seed, async { test().await }));
}

fn seats() -> BTreeMap<ReplicaId, Seat> {
    (1..=NODES).map(|n| (ReplicaId(n), Seat { node: NodeId(n), role: Role::Voter })).collect()
}

async fn cluster(seed: u64) -> Vec<Node> {
    // A heartbeat must be answered within the interval of two, 50 ms at this pace.
    let swarm =
        Swarm { loss_permille: 0, duplicate_permille: 0, delay_ms: 0..=15, ..Swarm::draw(Seed(seed)) };
    let time = Time::begin();
    let diary = Diary::new(time);
    let (net, overseer) = (Net::new(&swarm, diary.clone()), Overseer::new(diary.clone()));
    let world =
        World { swarm, time, net, diary, overseer, pace: Pace::TEST, heard: Heard::default(), aim: None };
    let membership = Membership { voters: vec![seats().into_keys().collect()], seats: seats() };
    let mut nodes = Vec::new();
    for n in 1..=NODES {
        let mut node = Node::new(NodeId(n), world.clone());
        let birth = |group| Birth {
            group: GroupId(group),
            replica: ReplicaId(n),
            range: KeyRange::all(),
            founders: Some(membership.clone()),
        };
        node.begin(&(1..=GROUPS).map(birth).collect::<Vec<_>>()).await.unwrap();
        nodes.push(node);
    }
    nodes
}

fn group(node: &Node, id: u64) -> Arc<Group> {
    node.running().unwrap().registry.get(GroupId(id)).unwrap().group().clone()
}

/// The node that leads a group, once one does.
async fn leader(nodes: &[Node], id: u64) -> usize {
    for _ in 0..2_000 {
        let leads = |node: &Node| {
            let registry = &node.running().unwrap().registry;
            registry.get(GroupId(id)).is_some_and(|one| one.group().standing().is_leader)
        };
        if let Some(at) = nodes.iter().position(leads) {
            return at;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no leader of group {id}");
}

fn command(body: Bytes) -> Unsealed {
    let (session, number, valid_until) = ([0; 16], 0, Stamp::ZERO);
    Unsealed { tenant: TENANTS[0], session, number, valid_until, counts: Counts::default(), body }
}

async fn write(nodes: &[Node], id: u64, what: Do) -> Result<Reply, NotApplied> {
    let at = leader(nodes, id).await;
    let batcher = nodes[at].running().unwrap().batcher(GroupId(id)).unwrap();
    batcher.submit(command(what.encode())).await.map(|answer| answer.reply)
}

#[test]
fn a_command_that_panics_fences_its_group_and_no_other() {
    in_a_world(1, || async {
        let nodes = cluster(1).await;
        assert!(matches!(write(&nodes, 1, Do::Write(1, Some(1))).await, Ok(Reply::Ran(_))));
        let outcome = write(&nodes, 1, Do::Panic).await;
        assert!(matches!(outcome, Err(NotApplied::Unknown { .. })), "{outcome:?}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut fenced = 0;
        for node in &nodes {
            let registry = &node.running().unwrap().registry;
            let ground = node.running().unwrap().ground.clone();
            let told = Supervisor::new(ground).look(5_000);
            assert!(registry.get(GroupId(2)).is_some());
            // Without a quorum that lives, the last one is never told that the command is committed.
            let [Told::Died(dead)] = &told[..] else { continue };
            fenced += 1;
            assert_eq!(dead.group, GroupId(1));
            assert!(dead.cause.contains("panicked"), "{}", dead.cause);
            // What a command does it does again: no restart would help.
            assert_eq!((dead.death, dead.verdict), (Death::Storage, Verdict::Fence));
            assert!(registry.get(GroupId(1)).is_none());
        }
        assert!(fenced > 0, "whoever applied it is fenced");
        assert!(matches!(write(&nodes, 2, Do::Write(1, Some(1))).await, Ok(Reply::Ran(_))));
    });
}

/// Lets every node reconcile until none of them has anything to do.
async fn reconcile(nodes: &[Node], wanted: &BTreeMap<ReplicaId, Seat>) -> Vec<Stepped> {
    let mut all: Vec<Reconciler> = nodes.iter().map(|node| Reconciler::new(group(node, 1))).collect();
    let mut done = Vec::new();
    for round in 0..600 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut is_settled = false;
        for (one, node) in all.iter_mut().zip(nodes) {
            let words = &node.running().unwrap().words;
            let words = words.of(GroupId(1), node.clock.true_ms());
            match one.step(wanted, &words, round * 200).await {
                Stepped::NotHere | Stepped::Rested(Rest::CatchingUp(_)) | Stepped::Failed(_) => {}
                Stepped::Rested(Rest::Done) => is_settled = true,
                stepped => done.push(stepped),
            }
        }
        if is_settled {
            return done;
        }
    }
    panic!("not settled: {done:?}");
}

#[test]
fn a_group_comes_to_its_wanted_seats_and_the_leader_goes_last() {
    in_a_world(2, || async {
        let nodes = cluster(2).await;
        let first = leader(&nodes, 1).await;
        let leading = ReplicaId(first as u64 + 1);
        let mut wanted = seats();
        wanted.get_mut(&leading).unwrap().role = Role::Learner;
        let done = reconcile(&nodes, &wanted).await;
        assert!(
            done.iter().any(|one| matches!(one, Stepped::HandedOver { .. } | Stepped::NoHeir(_))),
            "{done:?}"
        );
        let now = leader(&nodes, 1).await;
        assert_ne!(now, first, "a learner does not lead");
        let membership = group(&nodes[now], 1).standing().membership.1;
        assert!(!membership.is_joint() && !membership.is_voter(leading) && membership.voters[0].len() == 2);
        assert!(matches!(write(&nodes, 1, Do::Write(7, Some(7))).await, Ok(Reply::Ran(_))));
        // And back again, once it has caught up for long enough.
        let done = reconcile(&nodes, &seats()).await;
        assert!(!done.is_empty());
        let now = leader(&nodes, 1).await;
        let membership = group(&nodes[now], 1).standing().membership.1;
        assert_eq!((membership.voters[0].len(), &membership.seats), (3, &seats()));
        assert!(matches!(write(&nodes, 1, Do::Write(8, Some(8))).await, Ok(Reply::Ran(_))));
    });
}

#[test]
fn a_change_from_a_membership_that_is_not_the_last_is_refused() {
    in_a_world(3, || async {
        use raft::membership::step::Change;
        let nodes = cluster(3).await;
        let at = leader(&nodes, 1).await;
        let group = group(&nodes[at], 1);
        let seen = group.standing().membership.0;
        let other = ReplicaId(if at == 0 { 2 } else { 1 });
        let seat = Seat { node: NodeId(other.0), role: Role::Voter };
        // A fresh leader has not heard its quorum yet.
        while let Err(NotApplied::RetryLater { .. }) = group.change(Change::SetSeat(other, seat), seen).await
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_ne!(group.standing().membership.0, seen);
        let again = group.change(Change::SetSeat(other, seat), seen).await;
        assert!(matches!(again, Err(NotApplied::Refused { .. })), "{again:?}");
    });
}
