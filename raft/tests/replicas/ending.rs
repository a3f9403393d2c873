//! The end of a replica: who may end, what it waits for, and what a crash on the way leaves. And what a replica does at which stage.

use crate::cluster::{GROUP, Node, Running, birth, founded, leader, perform, seat};
use engine::disk::sim::Faults;
use raft::Error;
use raft::group::birth::{Birth, bear};
use raft::group::ending::{NotRemoved, Removed};
use raft::group::handle::Group;
use raft::group::lifecycle::{Event, Stage};
use raft::group::outcome::{NotApplied, NotNow};
use raft::group::supervise::{Supervisor, Told};
use raft::limits;
use raft::membership::step::Change;
use raft::net::envelope::{Frame, cluster_tag};
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::VoteRequest;
use raft::types::{LogId, ReplicaId, Role, Seat, Vote};
use std::sync::Arc;
use std::time::Duration;

const SECOND: ReplicaId = ReplicaId(2);

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn change(group: &Group, change: Change) -> LogId {
    for _ in 0..500 {
        let seen = group.standing().membership.0;
        match group.change(change.clone(), seen).await {
            Ok(id) => return id,
            Err(NotApplied::RetryLater { .. }) => pause(20).await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never changed");
}

/// Takes the second replica out of the group of three, which the first leads.
async fn taken_out(leads: &Group) -> Removed {
    assert_eq!(Removed::ask(leads, SECOND, 500).await, Err(NotRemoved::Member));
    change(leads, Change::SetVoters([1, 3].map(ReplicaId).into())).await;
    assert_eq!(Removed::ask(leads, SECOND, 500).await, Err(NotRemoved::Member), "it has a seat still");
    change(leads, Change::Remove(SECOND)).await;
    Removed::ask(leads, SECOND, 500).await.unwrap()
}

async fn gone(supervisor: &mut Supervisor) {
    for _ in 0..500 {
        pause(2).await;
        if let Some(told) = supervisor.look(0).pop() {
            assert!(matches!(told, Told::Gone { group: GROUP, replica: SECOND }));
            return;
        }
    }
    panic!("never gone");
}

fn first_leads(running: &[Running]) -> Arc<Group> {
    assert!(running[0].group(GROUP).leads());
    running[0].group(GROUP)
}

#[cfg(feature = "planted")]
#[test]
fn an_end_waits_for_the_committed_membership_and_for_all_that_holds_the_machine() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        leader(&running.iter().collect::<Vec<_>>()).await;
        let leads = first_leads(&running);
        // Who follows knows only what was so.
        let follower = Removed::ask(&running[2].group(GROUP), SECOND, 500).await;
        assert!(matches!(follower, Err(NotRemoved::NotNow(NotNow::NotLeader { .. }))), "{follower:?}");
        let removed = taken_out(&leads).await;
        // Nor does a leader that does not hear its quorum.
        hub.hold(|_| true);
        pause(2_000).await;
        let asked = Removed::ask(&leads, SECOND, 500).await;
        assert!(matches!(asked, Err(NotRemoved::NotNow(_))), "{asked:?}");
        hub.release();

        let (group, parts) = (running[1].group(GROUP), &running[1].offline.parts);
        let mut supervisor = Supervisor::new(running[1].ground.clone());
        let life = group.machine().life().clone();
        assert_eq!(life.stage(), Stage::Serving);
        let held = group.machine_token().unwrap();
        supervisor.end(removed, 1_000);
        assert!(running[1].registry.get(GROUP).is_none() && supervisor.is_busy(GROUP));
        assert_eq!(life.stage(), Stage::Leaving);
        for now_ms in [1_000, 2_000, 1_000 + limits::TOKEN_LATE_MS - 1] {
            pause(100).await;
            assert!(supervisor.look(now_ms).is_empty(), "{now_ms}");
        }
        let late = supervisor.look(1_000 + limits::TOKEN_LATE_MS);
        assert!(matches!(&late[..], [Told::Late { group: GROUP, holders: 1 }]));
        pause(1_000).await;
        assert!(supervisor.look(100_000_000).is_empty());
        assert_eq!(parts.log.state(GROUP).unwrap().replica, SECOND, "not closed");
        assert_eq!(parts.pool.tablets().len(), 1, "its files stay");
        // Asked again nothing else happens.
        supervisor.end(removed, 100_000_001);
        drop(held);
        gone(&mut supervisor).await;
        assert_eq!((life.stage(), supervisor.is_busy(GROUP)), (Stage::Gone, false));
        assert!(matches!(parts.log.state(GROUP), Err(Error::NoSuchGroup(_))));
        assert!(parts.pool.tablets().is_empty());
        let again = bear(&birth(2, 3), parts.clone()).await;
        assert!(matches!(again, Err(Error::ReplicaUsed { .. })), "its id is never used again");
        supervisor.end(removed, 0);
        assert!(!supervisor.is_busy(GROUP));
        running[0].put(GROUP, 77, b"goes on").await;
    });
}

#[test]
fn a_crash_at_any_step_of_an_end_leaves_it_to_be_done_or_done() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        leader(&running.iter().collect::<Vec<_>>()).await;
        let removed = taken_out(&first_leads(&running)).await;
        pause(200).await;
        let (mut undone, mut unswept, mut done) = (0, 0, 0);
        for at in 1..40 {
            // The second node as it stands now, alone: nobody hears it.
            let mut node: Node = nodes[1].twin(at);
            node.disk.crash();
            let one = node.start(1).await;
            let mut supervisor = Supervisor::new(one.ground.clone());
            let crash_at = Some(node.disk.operations() + at);
            node.disk.set_faults(Faults { crash_at, ..Faults::default() });
            supervisor.end(removed, 0);
            let mut is_gone = false;
            for _ in 0..50 {
                pause(2).await;
                is_gone |= supervisor.look(0).iter().any(|told| matches!(told, Told::Gone { .. }));
            }
            node.disk.set_faults(Faults::default());
            one.crash(&node).await;
            let mut offline = node.open().unwrap();
            let lives = offline.log.state(GROUP).is_ok();
            assert!(!(is_gone && lives), "what was told holds");
            // A start finds a replica with its files, or neither.
            assert_eq!(offline.parts.pool.tablets().len(), usize::from(lives), "after a crash at {at}");
            assert_eq!(offline.machines.remove(&GROUP).is_some(), lives);
            match (lives, is_gone) {
                (true, _) => undone += 1,
                (false, false) => unswept += 1,
                (false, true) => done += 1,
            }
            offline.crash(&node);
        }
        assert!(undone > 0 && unswept > 0 && done > 0, "{undone} {unswept} {done}");
    });
}

/// Who joins as replica 4 is filled first, and read afterwards.
#[test]
fn a_replica_is_read_when_it_is_filled_and_votes_while_it_takes_part() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        leader(&running.iter().collect::<Vec<_>>()).await;
        let leads = first_leads(&running);
        let read = leads.read_index(None, 500).await.unwrap();
        let mut node = Node::new(4, &hub);
        let mut offline = node.open().unwrap();
        let machine = bear(&Birth { founders: None, ..birth(4, 0) }, offline.parts.clone()).await.unwrap();
        offline.machines.insert(GROUP, machine);
        let late = node.run(offline, 1).await.unwrap();
        let joins = late.group(GROUP);
        assert_eq!(joins.stage(), Stage::Joining);
        let refused = joins.await_read(read, 100).await;
        assert_eq!(refused, Err(NotNow::NotServing { stage: Stage::Joining }));
        let (replica, learner) = (ReplicaId(4), Seat { role: Role::Learner, ..seat(4) });
        change(&leads, Change::Add(replica, learner)).await;
        late.until("it is filled", |one| one.group(GROUP).stage() == Stage::Serving).await;
        joins.await_read(read, 5_000).await.unwrap();
        assert!(late.get(GROUP, 9).is_some());

        // It votes, as far as consensus lets it, until its stage forbids it.
        pause(3_000).await;
        let vote = async || {
            let term = joins.standing().vote.term;
            let vote = Vote { term: term + 1, replica: ReplicaId(3), is_committed: false };
            let request = VoteRequest { vote, last: joins.last(), is_pre: true, is_transfer: false };
            let (from, to, tag) = (ReplicaId(3), replica, cluster_tag(crate::cluster::CLUSTER, 1));
            let message = Message::Vote(request);
            let frame = Frame { tag, group: GROUP, from, to, sequence: 1, durable: 0, message };
            Frame::decode(&late.registry.serve(&raft::net::heard::Voice::default(), frame.encode()).await)
                .unwrap()
                .message
        };
        assert!(matches!(vote().await, Message::VoteReply(_)));
        joins.machine().life().happens(Event::Outlived).unwrap();
        assert_eq!(vote().await, Message::Refused(Refusal::NotReady), "one that is parked does not");
        joins.machine().life().happens(Event::Mended).unwrap();
        assert!(matches!(vote().await, Message::VoteReply(_)));
        joins.machine().life().happens(Event::Removed).unwrap();
        assert_eq!(vote().await, Message::Refused(Refusal::Stopped));
        let refused = joins.await_read(read, 100).await;
        assert_eq!(refused, Err(NotNow::NotServing { stage: Stage::Leaving }));
    });
}

/// What breaks fences the replica in its life too, and it can only leave.
#[test]
fn a_fenced_replica_is_at_its_stage_and_can_end() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        leader(&running.iter().collect::<Vec<_>>()).await;
        let removed = taken_out(&first_leads(&running)).await;
        let mut supervisor = Supervisor::new(running[1].ground.clone());
        let group = running[1].group(GROUP);
        group.machine().fence(&Error::Invalid("a broken invariant"));
        assert_eq!(group.stage(), Stage::Fenced);
        assert!(matches!(&supervisor.look(0)[..], [Told::Died(_)]));
        assert!(supervisor.fenced().contains_key(&GROUP));
        // Before or after its parts are gone.
        supervisor.end(removed, 0);
        gone(&mut supervisor).await;
        assert_eq!((group.stage(), supervisor.fenced().len()), (Stage::Gone, 0));
        assert!(running[1].offline.parts.pool.tablets().is_empty());
    });
}
