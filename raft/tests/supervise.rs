//! Cores that die: who hears of it, what is built again and when, and what stays down.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cluster;
mod rig;

use cluster::{CLUSTER, GROUP, Hub, Node, Running, birth, leader, perform};
use engine::disk::sim::Faults;
use raft::group::birth::{Birth, bear};
use raft::group::handle::Group;
use raft::group::restart::{Death, Verdict};
use raft::group::start_guard::StartGuard;
use raft::group::supervise::{Dead, Supervisor, Told};
use raft::limits;
use raft::net::envelope::{Frame, cluster_tag};
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::VoteRequest;
use raft::types::{GroupId, ReplicaId, Vote};
use std::sync::Arc;
use std::time::Duration;

/// Another group of the same nodes.
const OTHER: GroupId = GroupId(4);

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Three nodes with two groups.
async fn founded() -> (Vec<Node>, Vec<Running>) {
    let hub = Hub::default();
    let (mut nodes, mut running) = (Vec::new(), Vec::new());
    for n in 1..=3 {
        let mut node = Node::new(n, &hub);
        let mut offline = node.open().unwrap();
        for group in [GROUP, OTHER] {
            let birth = Birth { group, ..birth(n, 3) };
            offline.machines.insert(group, bear(&birth, offline.parts.clone()).await.unwrap());
        }
        running.push(node.run(offline, 1).await.unwrap());
        nodes.push(node);
    }
    for group in [GROUP, OTHER] {
        running[0].group(group).elect().await.unwrap();
        running[0].put(group, 0, b"first").await;
    }
    (nodes, running)
}

/// Looks until something is told.
async fn told(supervisor: &mut Supervisor, now_ms: u64) -> Told {
    for _ in 0..500 {
        pause(2).await;
        let mut told = supervisor.look(now_ms);
        assert!(told.len() <= 1);
        if let Some(one) = told.pop() {
            return one;
        }
    }
    panic!("nothing is told");
}

async fn dead(supervisor: &mut Supervisor, now_ms: u64) -> Dead {
    match told(supervisor, now_ms).await {
        Told::Died(dead) => dead,
        _ => panic!("something else"),
    }
}

async fn rebuilt(supervisor: &mut Supervisor, now_ms: u64, running: &mut Running) {
    match told(supervisor, now_ms).await {
        Told::Rebuilt(receiver) => running.gather(&receiver),
        Told::Died(dead) => panic!("{dead:?}"),
        _ => panic!("something else"),
    }
}

fn has(one: &Running, group: GroupId, keys: u8) -> bool {
    (0..keys).all(|key| one.get(group, key).is_some())
}

/// Whether the replica of node 1 gives a vote to that of node 2 now: what it answers.
async fn vote(running: &Running) -> Message {
    let standing = running.group(GROUP).standing();
    let vote = Vote { term: standing.vote.term + 1, replica: ReplicaId(2), is_committed: false };
    let request = VoteRequest { vote, last: standing.committed, is_pre: false, is_transfer: false };
    let (from, to, message) = (ReplicaId(2), ReplicaId(1), Message::Vote(request));
    let frame =
        Frame { tag: cluster_tag(CLUSTER, 1), group: GROUP, from, to, sequence: 1, durable: 0, message };
    Frame::decode(&running.registry.serve(&raft::net::heard::Voice::default(), frame.encode()).await)
        .unwrap()
        .message
}

#[test]
fn what_panics_where_an_entry_is_applied_is_told_and_built_again_and_nothing_is_lost() {
    perform(async {
        let (nodes, mut running) = founded().await;
        let mut supervisor = Supervisor::new(running[0].ground.clone());
        assert!(supervisor.look(0).is_empty());
        let before = running[0].group(GROUP);
        // On the leader, and on a follower afterwards.
        for (at, key) in [(0, 1), (1, 2)] {
            let mut supervisor = Supervisor::new(running[at].ground.clone());
            let leads = leader_of(&running, GROUP).await;
            nodes[at].mine.lay(GROUP);
            let body = [&[key][..], b"while it dies"].concat();
            let answered = running[leads].submit(GROUP, 7, body).await;
            let died = dead(&mut supervisor, 0).await;
            assert_eq!(
                (died.group, died.replica, died.death),
                (GROUP, ReplicaId(at as u64 + 1), Death::Panic)
            );
            assert_eq!(
                (died.cause.as_str(), died.verdict),
                ("the machine panicked: a mine", Verdict::Rebuild)
            );
            assert!(answered.is_ok() || !answered.unwrap_err().is_certain());
            assert!(running[at].registry.get(GROUP).is_none(), "it hears nothing any more");
            // The other group of the node goes on meanwhile.
            let leads = leader_of(&running, OTHER).await;
            running[leads].put(OTHER, key, b"goes on").await;
            assert!(running[at].registry.get(OTHER).is_some());
            rebuilt(&mut supervisor, 0, &mut running[at]).await;
        }
        assert!(!Arc::ptr_eq(&before, &running[0].group(GROUP)), "another instance");
        for key in 3..6 {
            leader(&running.iter().collect::<Vec<_>>()).await.put(GROUP, key, b"after").await;
        }
        for one in &running {
            one.until("all of both", |one| has(one, GROUP, 6) && has(one, OTHER, 3)).await;
            assert!(one.group(GROUP).death().is_none());
        }
        let digest = |one: &Running| one.group(GROUP).machine().applied().digest.whole();
        running[0].until("they are level", |one| digest(one) == digest(&running[1])).await;
    });
}

async fn leader_of(running: &[Running], group: GroupId) -> usize {
    for _ in 0..3_000 {
        let leads = |one: &Running| one.registry.get(group).is_some_and(|one| one.group().leads());
        if let Some(at) = running.iter().position(leads) {
            return at;
        }
        pause(10).await;
    }
    panic!("no leader of {group}");
}

#[cfg(feature = "planted")]
#[test]
fn a_core_that_panics_stands_behind_a_fresh_guard_and_the_fourth_time_it_stays_down() {
    perform(async {
        let (_nodes, mut running) = founded().await;
        let mut supervisor = Supervisor::new(running[0].ground.clone());
        // The guard of its first instance has opened long ago.
        pause(5_000).await;
        let times = limits::RESTARTS_MAX as u64;
        for n in 0..times {
            let group = running[0].group(GROUP);
            group.panic().await;
            let died = dead(&mut supervisor, n * 1_000).await;
            assert_eq!((died.group, died.death, died.verdict), (GROUP, Death::Panic, Verdict::Rebuild));
            assert_eq!(died.cause, "consensus panicked");
            rebuilt(&mut supervisor, n * 1_000, &mut running[0]).await;
            assert_eq!(group.holders(), 0);
            // It may have granted a lease: for one lease and a tenth it gives no vote.
            let guard_ms = StartGuard::built(0, running[0].ground.pace.election_max_ms).opens_at_ms();
            assert_eq!(vote(&running[0]).await, Message::Refused(Refusal::NotReady));
            pause(guard_ms + 20).await;
            assert!(matches!(vote(&running[0]).await, Message::VoteReply(_)));
            leader(&running.iter().collect::<Vec<_>>()).await.put(GROUP, n as u8 + 1, b"between").await;
            running[0].until("it follows", |one| has(one, GROUP, n as u8 + 2)).await;
        }
        let before = running[0].group(GROUP).standing().applied.unwrap();
        running[0].group(GROUP).panic().await;
        let died = dead(&mut supervisor, limits::RESTARTS_WITHIN_MS - 1).await;
        assert_eq!((died.death, died.verdict), (Death::Panic, Verdict::Fence));
        for _ in 0..500 {
            pause(10).await;
            assert!(supervisor.look(limits::RESTARTS_WITHIN_MS * 3).is_empty());
        }
        assert!(running[0].registry.get(GROUP).is_none() && supervisor.fenced().contains_key(&GROUP));
        assert!(running[0].offline.log.state(GROUP).unwrap().last >= Some(before), "its log stays");
        let leads = leader_of(&running, OTHER).await;
        running[leads].put(OTHER, 9, b"goes on").await;
        running[0].until("the other goes on", |one| one.get(OTHER, 9).is_some()).await;
    });
}

#[cfg(feature = "planted")]
#[test]
fn what_holds_an_old_instance_holds_up_the_next_and_is_told_after_a_minute() {
    perform(async {
        let (_nodes, mut running) = founded().await;
        let mut supervisor = Supervisor::new(running[2].ground.clone());
        let group = running[2].group(GROUP);
        let held = group.hold();
        group.panic().await;
        assert_eq!(dead(&mut supervisor, 1_000).await.verdict, Verdict::Rebuild);
        // Time is only told here: nobody waits a minute.
        let tablets = running[2].offline.parts.pool.tablets().len();
        for now_ms in [1_000, 30_000, 1_000 + limits::TOKEN_LATE_MS - 1] {
            pause(200).await;
            assert!(supervisor.look(now_ms).is_empty(), "{now_ms}");
        }
        let late = supervisor.look(1_000 + limits::TOKEN_LATE_MS).pop().unwrap();
        assert!(matches!(late, Told::Late { group: GROUP, holders: 1 }));
        for now_ms in [100_000, 10_000_000] {
            pause(200).await;
            assert!(supervisor.look(now_ms).is_empty(), "told once, and nothing is touched");
        }
        assert_eq!(running[2].offline.parts.pool.tablets().len(), tablets);
        assert!(running[2].registry.get(GROUP).is_none());
        drop(held);
        rebuilt(&mut supervisor, 10_000_000, &mut running[2]).await;
        leader(&running.iter().collect::<Vec<_>>()).await.put(GROUP, 1, b"after").await;
        running[2].until("it follows", |one| has(one, GROUP, 2)).await;
    });
}

#[test]
fn an_error_of_storage_fences_at_once() {
    perform(async {
        let (nodes, running) = founded().await;
        let mut supervisor = Supervisor::new(running[0].ground.clone());
        nodes[0].disk.set_faults(Faults { fail_syncs: true, ..Faults::default() });
        let body = [&[1][..], b"in vain"].concat();
        let _ = tokio::time::timeout(Duration::from_millis(500), running[0].submit(GROUP, 1, body)).await;
        let died = supervisor.look(0);
        let died: Vec<&Dead> = died
            .iter()
            .map(|told| match told {
                Told::Died(dead) => dead,
                _ => panic!("not dead"),
            })
            .collect();
        // One log: nothing that any of its groups says can be believed.
        assert_eq!(died.iter().map(|dead| dead.group).collect::<Vec<_>>(), [GROUP, OTHER]);
        assert!(died.iter().all(|dead| (dead.death, dead.verdict) == (Death::Storage, Verdict::Fence)));
        for _ in 0..200 {
            pause(10).await;
            assert!(supervisor.look(20_000_000).is_empty());
        }
        assert!(running[0].registry.all().is_empty());
    });
}

/// What the log still has to make durable counts for the next instance as if it were: it is waited for.
#[cfg(feature = "planted")]
#[test]
fn the_next_instance_waits_until_the_log_has_what_the_old_one_put_in() {
    perform(async {
        let (_nodes, mut running) = founded().await;
        let mut supervisor = Supervisor::new(running[1].ground.clone());
        running[1].stop_writing();
        let leads = leader(&running.iter().collect::<Vec<_>>()).await;
        leads.put(GROUP, 1, b"with the third").await;
        let group: Arc<Group> = running[1].group(GROUP);
        running[1].until("it has it in memory", |one| one.offline.log.waiting_bytes() > 0).await;
        group.panic().await;
        assert_eq!(dead(&mut supervisor, 0).await.verdict, Verdict::Rebuild);
        for _ in 0..100 {
            pause(10).await;
            assert!(supervisor.look(0).is_empty());
        }
        assert_eq!(group.holders(), 0);
        running[1].go_on_writing();
        rebuilt(&mut supervisor, 0, &mut running[1]).await;
        running[1].until("it follows", |one| has(one, GROUP, 2)).await;
    });
}
