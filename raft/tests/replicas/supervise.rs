//! Cores that die: who hears of it, what is built again and when, and what stays down.

use crate::cluster::{CLUSTER, GROUP, Hub, Node, Running, TENANT, birth, lead, leader, perform};
use engine::disk::sim::Faults;
use engine::ids::{KeyEpoch, Owner, Purpose};
use raft::Error;
use raft::group::birth::{Birth, bear};
use raft::group::handle::Group;
use raft::group::restart::{Death, Verdict};
use raft::group::start_fault::StartFault;
use raft::group::start_guard::StartGuard;
use raft::group::supervise::{Dead, Supervisor, Told};
use raft::limits;
#[cfg(feature = "planted")]
use raft::membership::reconcile::{Reconciler, Stepped};
#[cfg(feature = "planted")]
use raft::membership::step::Rest;
use raft::net::envelope::{Frame, cluster_tag};
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::VoteRequest;
use raft::types::{GroupId, ReplicaId, Vote};
#[cfg(feature = "planted")]
use std::collections::BTreeMap;
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
    lead(&running[0], &[GROUP, OTHER]).await;
    for group in [GROUP, OTHER] {
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

/// All that is told in the next seconds.
async fn all_told(supervisor: &mut Supervisor, now_ms: u64) -> Vec<Told> {
    let mut told = Vec::new();
    for _ in 0..300 {
        pause(10).await;
        told.extend(supervisor.look(now_ms));
    }
    told
}

/// The next is the last that is heard of the replica here: it broke, and stays down.
async fn breaks(supervisor: &mut Supervisor, running: &Running, cause: &str) {
    let died = dead(supervisor, 0).await;
    assert_eq!((died.group, died.replica), (GROUP, ReplicaId(2)));
    assert_eq!((died.death, died.verdict), (Death::Storage, Verdict::Fence));
    assert!(died.cause.contains(cause), "{}", died.cause);
    assert!(all_told(supervisor, 0).await.is_empty(), "told once");
    assert_eq!(supervisor.fenced(), &[(GROUP, died.cause)].into());
    assert!(running.registry.get(GROUP).is_none() && !supervisor.is_busy(GROUP));
}

/// The second of three nodes, whose replica of the group has panicked and is to be built again.
async fn panicked() -> (Vec<Node>, Vec<Running>, Supervisor, Arc<Group>) {
    let (nodes, running) = founded().await;
    let (mut supervisor, group) = (Supervisor::new(running[1].ground.clone()), running[1].group(GROUP));
    nodes[1].mine.lay(GROUP);
    leader(&running.iter().collect::<Vec<_>>()).await.put(GROUP, 1, b"while it dies").await;
    let died = dead(&mut supervisor, 0).await;
    assert_eq!((died.death, died.verdict), (Death::Panic, Verdict::Rebuild));
    (nodes, running, supervisor, group)
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

#[test]
fn what_breaks_after_it_has_panicked_is_told_once_whenever_that_is() {
    let broke = Error::StampsEnded;
    perform(async {
        let (_nodes, mut running, mut supervisor, old) = panicked().await;
        // Nothing is built: that would wait for the log.
        running[1].stop_writing();
        old.machine().fence(&broke);
        breaks(&mut supervisor, &running[1], &broke.to_string()).await;
        running[1].go_on_writing();
        let leads = leader_of(&running, OTHER).await;
        running[leads].put(OTHER, 1, b"goes on").await;
        running[1].until("the other goes on", |one| one.get(OTHER, 1).is_some()).await;
    });
    // While the next instance is built: it waits until the log has all that the old one put in.
    perform(async {
        let (_nodes, mut running, mut supervisor, old) = panicked().await;
        running[1].stop_writing();
        assert!(all_told(&mut supervisor, 0).await.is_empty() && supervisor.is_busy(GROUP));
        assert_eq!(old.holders(), 0);
        old.machine().fence(&broke);
        assert!(all_told(&mut supervisor, 0).await.is_empty());
        running[1].go_on_writing();
        breaks(&mut supervisor, &running[1], &broke.to_string()).await;
    });
    // Somebody is at the old instance still when the next one runs.
    perform(async {
        let (_nodes, mut running, mut supervisor, old) = panicked().await;
        rebuilt(&mut supervisor, 0, &mut running[1]).await;
        old.machine().fence(&broke);
        breaks(&mut supervisor, &running[1], "an earlier instance of it broke").await;
    });
}

#[test]
fn whose_log_breaks_after_it_has_panicked_is_told_once() {
    perform(async {
        let (nodes, running, mut supervisor, _) = panicked().await;
        nodes[1].disk.set_faults(Faults { fail_syncs: true, ..Faults::default() });
        let told = all_told(&mut supervisor, 0).await;
        let told: Vec<_> = told
            .iter()
            .map(|told| match told {
                Told::Died(dead) => (dead.group, dead.death, dead.verdict),
                _ => panic!("not dead"),
            })
            .collect();
        let fenced = |group| (group, Death::Storage, Verdict::Fence);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.contains(&fenced(GROUP)) && told.contains(&fenced(OTHER)), "{told:?}");
        let fenced = supervisor.fenced();
        assert!(
            [GROUP, OTHER].iter().all(|group| fenced[group].contains("simulated I/O error")),
            "{fenced:?}"
        );
        assert!(running[1].registry.all().is_empty());
    });
}

/// What it waits for breaks nothing when it is let go meanwhile.
#[test]
fn who_waits_for_a_key_when_it_is_let_go_is_built_again() {
    perform(async {
        let (nodes, mut running) = founded().await;
        let mut supervisor = Supervisor::new(running[1].ground.clone());
        let (key, group) = ((Owner::Tenant(TENANT), Purpose::Log), running[1].group(GROUP));
        nodes[1].keys.forget(key.0, key.1, KeyEpoch(1));
        leader(&running.iter().collect::<Vec<_>>()).await.put(GROUP, 1, b"without it").await;
        running[1].until("it waits", |one| one.group(GROUP).standing().last_index >= Some(3)).await;
        assert!(running[1].get(GROUP, 1).is_none());
        supervisor.handed_over(GROUP, group.standing().vote.term, 0);
        let late_ms = 2 * running[1].ground.pace.election_max_ms;
        let died = dead(&mut supervisor, late_ms).await;
        assert_eq!((died.death, died.verdict), (Death::Leaderless, Verdict::Rebuild));
        assert!(all_told(&mut supervisor, late_ms).await.is_empty());
        crate::rig::give(&nodes[1].keys, key.0, key.1);
        rebuilt(&mut supervisor, late_ms, &mut running[1]).await;
        running[1].until("it follows", |one| has(one, GROUP, 2)).await;
        assert!(all_told(&mut supervisor, late_ms).await.is_empty() && supervisor.fenced().is_empty());
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

/// It stands as it last stood, as the leader: who goes on looking at it would find its peers ever longer silent.
#[cfg(feature = "planted")]
#[test]
fn who_reconciles_what_has_panicked_is_told_that_it_is_gone() {
    perform(async {
        let (_nodes, mut running) = founded().await;
        let mut supervisor = Supervisor::new(running[0].ground.clone());
        let group = running[0].group(GROUP);
        let wanted = group.standing().membership.1.seats;
        let (mut old, words) = (Reconciler::new(group.clone()), BTreeMap::new());
        assert!(old.lives());
        assert_eq!(old.step(&wanted, &words, 0).await, Stepped::Rested(Rest::Done));
        group.panic().await;
        dead(&mut supervisor, 0).await;
        rebuilt(&mut supervisor, 0, &mut running[0]).await;
        assert!(group.standing().is_leader && !old.lives());
        assert_eq!(old.step(&wanted, &words, 10).await, Stepped::NotHere);
        assert!(Reconciler::new(running[0].group(GROUP)).lives());
    });
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
            assert_eq!(died.fault, StartFault::Bug);
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
        assert!(died.iter().all(|dead| dead.fault == StartFault::Disk));
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
