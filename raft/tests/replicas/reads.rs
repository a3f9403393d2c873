//! Reads of replicas at work: who answers which, with what for a proof, and what the others are told.

use crate::cluster::{COLLECTION, EPOCH_MS, GROUP, Node, Running, TENANT, founded, leader, perform};
use engine::Stamp;
use engine::ids::NodeId;
use engine::tablet::view::View;
use raft::group::closing::close_upto;
use raft::group::handover::hand_over;
use raft::group::outcome::NotNow;
use raft::group::settings::Pace;
use raft::group::word::Word;
use raft::net::inbound::Receiver;
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{ReadIndex, ReadIndexReply};
use raft::read::door::{Asked, Granted, Proof};
use raft::types::ReplicaId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const ASKED: Asked = Asked { wall_ms: 0, wait_ms: 400 };

async fn rest(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn receiver(running: &Running) -> Arc<Receiver> {
    running.registry.get(GROUP).unwrap()
}

fn seen(view: &View, key: u8) -> Option<Vec<u8>> {
    view.get(TENANT, COLLECTION, &[key]).unwrap().map(|found| found.value.to_vec())
}

fn why(granted: Result<Granted, NotNow>) -> NotNow {
    granted.err().expect("it is answered")
}

/// The leader, and another one.
async fn two(running: &[Running]) -> (&Running, &Running) {
    let leads = leader(&running.iter().collect::<Vec<_>>()).await;
    let other = running.iter().find(|one| !one.group(GROUP).standing().is_leader).unwrap();
    (leads, other)
}

fn at(nodes: &[Node], running: &Running) -> usize {
    let replica = running.group(GROUP).replica();
    nodes.iter().position(|node| node.id.0 == replica.0).unwrap()
}

#[test]
fn a_leader_reads_by_its_lease_and_after_a_sleep_by_a_round() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let (leads, _) = two(&running).await;
        let (door, clock) = (receiver(leads), nodes[at(&nodes, leads)].clock.clone());
        let proof = async || door.door().linearizable(ASKED).await.unwrap().proof;
        leads.put(GROUP, 3, b"after").await;
        let granted = door.door().linearizable(ASKED).await.unwrap();
        assert_eq!((seen(&granted.view, 3), granted.proof), (Some(b"after".to_vec()), Proof::Lease));
        clock.slept_ms.store(20, Ordering::SeqCst);
        assert_eq!(proof().await, Proof::Lease, "no sleep, but clocks of different rate");
        clock.slept_ms.store(41, Ordering::SeqCst);
        assert_eq!(proof().await, Proof::Round);
        rest(Pace::TEST.election_max_ms - 50).await;
        assert_eq!(proof().await, Proof::Round, "for one lease");
        rest(60).await;
        assert_eq!(proof().await, Proof::Lease);
    });
}

#[test]
fn a_leader_that_hears_no_quorum_answers_for_the_rest_of_its_lease_and_no_longer() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        let (leads, _) = two(&running).await;
        let door = receiver(leads);
        hub.hold(|_| true);
        assert_eq!(door.door().linearizable(ASKED).await.unwrap().proof, Proof::Lease);
        rest(Pace::TEST.election_max_ms * 8 / 10).await;
        let why = why(door.door().linearizable(ASKED).await);
        assert_eq!(why, NotNow::RetryLater { after_ms: Pace::TEST.heartbeat_ms });
        hub.release();
        let leads = leader(&running.iter().collect::<Vec<_>>()).await;
        leads.until("a quorum is heard", |one| one.group(GROUP).standing().is_leader).await;
    });
}

#[test]
fn a_follower_asks_the_leader_and_sees_what_was_acknowledged() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        for n in 0..20_u8 {
            leads.put(GROUP, 3, &[n]).await;
            let granted = receiver(follows).door().linearizable(ASKED).await.unwrap();
            assert_eq!(seen(&granted.view, 3), Some(vec![n]));
            assert_eq!(granted.proof, Proof::Leader(leads.group(GROUP).replica()));
        }
    });
}

#[test]
fn a_follower_says_what_is_the_matter_with_the_leader() {
    perform(async {
        let (hub, nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let (door, seat) = (receiver(follows), crate::cluster::seat(leads.group(GROUP).replica().0));
        let named = (leads.group(GROUP).replica(), seat);
        // It hears no quorum: it says so itself, before whoever asked stops waiting.
        let lease_ms = Pace::TEST.election_max_ms * 8 / 10;
        let others = nodes.iter().map(|node| node.id).filter(|id| *id != seat.node);
        hub.deafen(others);
        rest(lease_ms - 100).await;
        let mut told = Vec::new();
        for _ in 0..2 {
            told.push(door.door().linearizable(ASKED).await.map(|granted| granted.proof));
            rest(100).await;
        }
        let retry = NotNow::RetryLater { after_ms: Pace::TEST.heartbeat_ms };
        assert_eq!(told, [Ok(Proof::Leader(named.0)), Err(retry)]);
        hub.release();
        let (leads, follows) = two(&running).await;
        let (door, seat) = (receiver(follows), crate::cluster::seat(leads.group(GROUP).replica().0));
        let named = (leads.group(GROUP).replica(), seat);
        // It runs there no more.
        let gone = leads.registry.remove(GROUP).unwrap();
        let refuses = NotNow::LeaderRefuses { leader: named, refusal: Refusal::NoSuchGroup };
        assert_eq!(why(door.door().linearizable(ASKED).await), refuses);
        leads.registry.add(gone);
        // It is not heard at all.
        hub.deafen([seat.node]);
        let began = tokio::time::Instant::now();
        let asked = Asked { wait_ms: 70, ..ASKED };
        assert_eq!(why(door.door().linearizable(asked).await), NotNow::LeaderSilent { leader: named });
        assert_eq!(began.elapsed().as_millis(), 70, "its own deadline");
    });
}

#[test]
fn who_does_not_lead_names_who_does_to_a_peer_that_asks() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let leader = leads.group(GROUP).replica();
        let other = (1..=3).map(ReplicaId).find(|id| *id != leader && *id != follows.group(GROUP).replica());
        let other = other.unwrap();
        let group = follows.group(GROUP);
        let asks = group.peers();
        let ask = async |to: ReplicaId| {
            asks.ask(to, crate::cluster::seat(to.0), Message::ReadIndex(ReadIndex {})).await.unwrap()
        };
        let reply = ask(other).await;
        assert_eq!(reply, Message::ReadIndexReply(ReadIndexReply::NotLeader(Some(leader))));
        let reply = ask(leader).await;
        assert!(matches!(reply, Message::ReadIndexReply(ReadIndexReply::Read(_))), "{reply:?}");
    });
}

#[test]
fn a_bounded_read_is_answered_with_proof_waits_for_it_or_goes_elsewhere() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let (door, clock) = (receiver(follows), nodes[at(&nodes, follows)].clock.clone());
        let better = Some(NodeId(leads.group(GROUP).replica().0));
        let granted = door.door().bounded(1_000, ASKED).await.unwrap();
        assert_eq!(seen(&granted.view, 9), Some(b"before".to_vec()));
        assert!(matches!(granted.proof, Proof::Closed(_)));
        rest(2_000).await;
        // Nothing closes the time.
        let began = tokio::time::Instant::now();
        assert_eq!(why(door.door().bounded(500, ASKED).await), NotNow::Elsewhere { better });
        assert!((400..420).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        let patient = Asked { wait_ms: 60_000, ..ASKED };
        let began = tokio::time::Instant::now();
        assert!(door.door().bounded(500, patient).await.is_err());
        assert!((5_000..5_020).contains(&began.elapsed().as_millis()), "a tick at most");
        // While it waits, somebody does.
        let (group, batcher) = (leads.group(GROUP), leads.batchers[&GROUP].clone());
        let upto = Stamp::end_of_ms(nodes[0].now_ms() + 99);
        tokio::spawn(async move {
            rest(100).await;
            assert_eq!(close_upto(&group, &batcher, upto).await, Ok(true));
        });
        let granted = door.door().bounded(500, ASKED).await.unwrap();
        assert_eq!(granted.proof, Proof::Closed(upto));
        clock.is_lonely.store(true, Ordering::SeqCst);
        assert_eq!(why(door.door().bounded(60_000, ASKED).await), NotNow::Elsewhere { better });
    });
}

#[test]
fn a_read_of_the_past_finds_what_was_there_and_the_leader_closes_what_is_late() {
    perform(async {
        let (_hub, nodes, running, first) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let (door, batcher) = (receiver(leads), leads.batchers[&GROUP].clone());
        // Each node has a clock of its own, and that of the one that leads counts.
        let clock = &nodes[at(&nodes, leads)];
        let second = leads.put(GROUP, 9, b"second").await.stamp;
        rest(300).await;
        let past = async |at: Stamp| door.door().as_of(at, 1_000, &batcher).await;
        for (at, wanted) in [
            (Stamp(first.0 - 1), None),
            (first, Some("before")),
            (Stamp(second.0 - 1), Some("before")),
            (second, Some("second")),
            // Behind it nothing was written: the leader must say that nothing will be.
            (second.next(), Some("second")),
            (Stamp::new(clock.now_ms() - 1, 0), Some("second")),
        ] {
            let view = past(at).await.unwrap().view;
            let wanted = wanted.map(|wanted: &str| wanted.as_bytes().to_vec());
            assert_eq!(seen(&view, 9), wanted, "{at}");
        }
        // What it closed stays closed: no write comes at or below it.
        let closed = leads.group(GROUP).machine().applied().last;
        assert!(leads.put(GROUP, 9, b"third").await.stamp > closed);
        // A stamp ahead is waited for, if it is not too far.
        let (now_ms, began) = (clock.now_ms(), tokio::time::Instant::now());
        assert!(past(Stamp::new(now_ms + 200, 0)).await.is_ok());
        assert!((201..230).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        let far = Stamp::new(clock.now_ms() + 251, 0);
        assert_eq!(why(past(far).await), NotNow::TooFarAhead { ahead_ms: 251 });
        // A follower asks the leader to close it.
        let (other, theirs) = (receiver(follows), follows.batchers[&GROUP].clone());
        let late = Stamp::new(clock.now_ms(), 0);
        rest(50).await;
        let view = other.door().as_of(late, 300, &theirs).await.unwrap().view;
        assert_eq!((seen(&view, 9), late.ms() > EPOCH_MS), (Some(b"third".to_vec()), true));
    });
}

#[test]
fn many_reads_of_the_past_at_once_need_few_entries() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let (leads, _) = two(&running).await;
        let (door, batcher) = (receiver(leads), leads.batchers[&GROUP].clone());
        // Each node has a clock of its own, and that of the one that leads counts.
        let clock = &nodes[at(&nodes, leads)];
        rest(500).await;
        let (before, now_ms) = (leads.group(GROUP).standing().last_index, clock.now_ms());
        let past = (0..100_u64).map(|n| {
            let (door, batcher) = (door.clone(), batcher.clone());
            let read =
                async move { door.door().as_of(Stamp::new(now_ms - n, 0), 1_000, &batcher).await.is_ok() };
            tokio::spawn(read)
        });
        for read in past.collect::<Vec<_>>() {
            assert!(read.await.unwrap());
        }
        assert!(leads.group(GROUP).standing().last_index <= before.map(|index| index + 2));
    });
}

#[test]
fn who_leads_no_more_says_so() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        let door = receiver(leads);
        let word = Word { is_clock_agreed: true, is_guard_open: true, ..Word::default() };
        hand_over(&leads.group(GROUP), follows.group(GROUP).replica(), word).await.unwrap();
        // Until it hears the new one it may not answer, by whatever lease.
        let told = door.door().linearizable(ASKED).await.map(|granted| granted.proof);
        assert!(matches!(told, Err(NotNow::NotLeader { .. }) | Ok(Proof::Leader(_))), "{told:?}");
        follows.until("the other leads", |one| one.group(GROUP).standing().is_leader).await;
    });
}

#[test]
fn a_follower_lets_the_leader_close_the_time_for_a_read_of_the_past() {
    perform(async {
        let (hub, nodes, running, _) = founded(3).await;
        let (leads, follows) = two(&running).await;
        rest(1_000).await;
        let at = Stamp::end_of_ms(nodes[0].now_ms() - 1);
        let (door, batcher) = (receiver(follows), follows.batchers[&GROUP].clone());
        let before = leads.offline.log.stats().read().read.closed_times;
        rest(2).await;
        let granted = door.door().as_of(at, 300, &batcher).await.unwrap();
        assert!(matches!(granted.proof, Proof::Closed(closed) if closed >= at), "{:?}", granted.proof);
        assert_eq!(leads.offline.log.stats().read().read.closed_times, before + 1);
        // Asked for what is long over it closes what is over by now: no entry comes with a stamp that others have left behind.
        let long_ago = Stamp::end_of_ms(leads.group(GROUP).machine().applied().last.ms() + 100);
        rest(600).await;
        let granted = door.door().as_of(long_ago, 300, &batcher).await.unwrap();
        assert!(
            matches!(granted.proof, Proof::Closed(closed) if closed.ms() > long_ago.ms() + 400),
            "{:?}",
            granted.proof
        );
        // The leader's own clock must have passed it.
        nodes
            .iter()
            .find(|node| node.id == NodeId(follows.group(GROUP).replica().0))
            .unwrap()
            .clock
            .ahead_ms
            .store(200, Ordering::SeqCst);
        let at = Stamp::end_of_ms(nodes[0].now_ms() + 150);
        let late = door.door().as_of(at, 100, &batcher).await;
        assert!(matches!(late, Err(NotNow::Elsewhere { better: Some(_) })));
        let granted = door.door().as_of(at, 300, &batcher).await.unwrap();
        assert!(matches!(granted.proof, Proof::Closed(closed) if closed >= at));
        hub.hold(|_| true);
        let at = Stamp::end_of_ms(nodes[0].now_ms() + 100);
        rest(2).await;
        let silent = door.door().as_of(at, 300, &batcher).await;
        assert!(matches!(silent, Err(NotNow::Elsewhere { .. })));
    });
}
