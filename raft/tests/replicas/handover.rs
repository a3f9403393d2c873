//! Handing over the lead: who may be handed it, and that no proposal is lost, whichever way it ends.

use crate::cluster::{GROUP, Hub, Node, Running, TENANT, birth, founded, leader, perform, seat};
use engine::Stamp;
use futures_util::future::join_all;
use raft::command::Counts;
use raft::group::birth::{Birth, bear};
use raft::group::handle::Group;
use raft::group::handover::{NotHandedOver, hand_over};
use raft::group::outcome::NotApplied;
use raft::group::restart::{Death, Verdict};
use raft::group::supervise::{Supervisor, Told};
use raft::group::word::Word;
use raft::limits;
use raft::membership::reconcile::{Reconciler, Stepped};
use raft::membership::step::Change;
use raft::membership::transfer::NotHeir;
use raft::net::link::Lane;
use raft::seal::Unsealed;
use raft::types::{ReplicaId, Role, Seat};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const WORD: Word = Word {
    replica: ReplicaId(0),
    applied: Stamp::ZERO,
    stored: None,
    is_clock_agreed: true,
    is_guard_open: true,
    is_lifted: false,
};

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn three() -> (Hub, Vec<Node>, Vec<Running>, Arc<Group>) {
    let (hub, nodes, running, _) = founded(3).await;
    leader(&running.iter().collect::<Vec<_>>()).await;
    assert!(running[0].group(GROUP).leads());
    let leads = running[0].group(GROUP);
    // Its followers' guards open, and it has heard them.
    pause(1_000).await;
    (hub, nodes, running, leads)
}

fn command(n: u64) -> Unsealed {
    let body = [&[n as u8][..], &n.to_be_bytes()].concat().into();
    let (counts, valid_until) = (Counts::default(), Stamp::MAX);
    Unsealed { tenant: TENANT, session: [0; 16], number: n, valid_until, counts, body }
}

fn heir(refused: Result<(), NotHandedOver>) -> NotHeir {
    match refused {
        Err(NotHandedOver::NoHeir(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_who_may_lead_is_asked_and_everybody_else_is_told_why() {
    perform(async {
        let (hub, _nodes, mut running, leads) = three().await;
        let second = ReplicaId(2);
        assert_eq!(heir(hand_over(&leads, ReplicaId(1), WORD).await), NotHeir::Leads);
        assert_eq!(heir(hand_over(&leads, ReplicaId(9), WORD).await), NotHeir::NoVoter);
        let word = Word { is_clock_agreed: false, ..WORD };
        assert_eq!(heir(hand_over(&leads, second, word).await), NotHeir::Clock);
        let word = Word { is_guard_open: false, ..WORD };
        assert_eq!(heir(hand_over(&leads, second, word).await), NotHeir::Guarded);
        let follows = running[1].group(GROUP);
        assert_eq!(hand_over(&follows, ReplicaId(3), WORD).await, Err(NotHandedOver::NotLeader));

        // A learner, caught up as it is: a group would be without a leader.
        let mut node = Node::new(4, &hub);
        let mut offline = node.open().unwrap();
        let machine = bear(&Birth { founders: None, ..birth(4, 0) }, offline.parts.clone()).await.unwrap();
        offline.machines.insert(GROUP, machine);
        let learns = node.run(offline, 1).await.unwrap();
        let learner = Seat { role: Role::Learner, ..seat(4) };
        let seen = leads.standing().membership.0;
        leads.change(Change::Add(ReplicaId(4), learner), seen).await.unwrap();
        learns.until("it has all", |one| one.group(GROUP).last() == leads.last()).await;
        assert_eq!(heir(hand_over(&leads, ReplicaId(4), WORD).await), NotHeir::NoVoter);

        // A voter that is dead.
        let third = running.pop().unwrap();
        third.stop().await;
        pause(leads.pace().election_min_ms + 100).await;
        assert_eq!(heir(hand_over(&leads, ReplicaId(3), WORD).await), NotHeir::Silent);
        // After all of that it leads, and takes proposals.
        assert!(leads.leads() && leads.pause().is_open());
        let term = leads.standing().vote.term;
        running[0].submit(GROUP, 1, b"\x01goes on".to_vec()).await.unwrap();
        hand_over(&leads, second, WORD).await.unwrap();
        running[1].until("the second leads", |one| one.group(GROUP).leads()).await;
        assert_eq!(running[1].group(GROUP).standing().vote.term, term + 1);
    });
}

#[test]
fn an_heir_that_lags_is_waited_for_and_refused_if_it_does_not_come() {
    perform(async {
        let (hub, _nodes, running, leads) = three().await;
        // What carries entries stands still, and heartbeats do not: everybody lives, and lags.
        hub.hold(|lane| matches!(lane, Lane::Data(_)));
        let waits = running[0].submit(GROUP, 1, b"\x01stored here only".to_vec());
        let begun = tokio::time::Instant::now();
        let tried = async {
            pause(20).await;
            let tried = hand_over(&leads, ReplicaId(2), WORD).await;
            let waited_ms = begun.elapsed().as_millis() as u64;
            assert!(matches!(heir(tried), NotHeir::Behind { .. }));
            assert!(
                (limits::HANDOVER_PAUSE_MS..limits::HANDOVER_PAUSE_MS + 100).contains(&waited_ms),
                "{waited_ms}"
            );
            assert!(leads.leads() && leads.pause().is_open(), "proposals go on");
            hub.release();
        };
        let (answer, ()) = futures_util::join!(waits, tried);
        answer.unwrap();
        // One whose disk is slow, and that comes in time, is waited for.
        running[1].until("it has it", |one| one.group(GROUP).last() == leads.last()).await;
        running[1].stop_writing();
        pause(10).await;
        let slow = running[1].offline.log.clone();
        let waits = running[0].submit(GROUP, 2, b"\x02in time".to_vec());
        let comes = async {
            pause(100).await;
            for _ in 0..1_000 {
                slow.step();
                pause(1).await;
            }
        };
        let tried = async {
            pause(20).await;
            assert_ne!(leads.standing().matched[&ReplicaId(2)], leads.last());
            hand_over(&leads, ReplicaId(2), WORD).await
        };
        let (answer, tried, ()) = futures_util::join!(waits, tried, comes);
        answer.unwrap();
        tried.unwrap();
        running[1].until("the second leads", |one| one.group(GROUP).leads()).await;
        running[1]
            .until("it has both", |one| one.get(GROUP, 1).is_some() && one.get(GROUP, 2).is_some())
            .await;
    });
}

#[test]
fn proposals_pause_and_go_on_and_each_is_answered() {
    perform(async {
        let (_hub, _nodes, running, leads) = three().await;
        let batcher = running[0].batchers[&GROUP].clone();
        let clients = join_all((0..400_u64).map(|n| {
            let batcher = batcher.clone();
            async move {
                pause(n).await;
                (n, batcher.submit(command(n)).await)
            }
        }));
        let moves = async {
            pause(50).await;
            // Refused, and then dropped half way: it goes on each time.
            let word = Word { is_clock_agreed: false, ..WORD };
            assert!(hand_over(&leads, ReplicaId(2), word).await.is_err());
            let dropped = hand_over(&leads, ReplicaId(9), WORD);
            let _ = tokio::time::timeout(Duration::from_millis(1), dropped).await;
            assert!(leads.pause().is_open());
            pause(100).await;
            hand_over(&leads, ReplicaId(2), WORD).await.unwrap();
            assert!(leads.pause().is_open() && !leads.leads());
        };
        let (answers, ()) = futures_util::join!(clients, moves);
        let applied = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
        let away = answers.iter().filter(|(_, answer)| {
            matches!(answer, Err(NotApplied::NotLeader { .. } | NotApplied::Transferring { .. }))
        });
        let away = away.count();
        assert_eq!(applied + away, 400, "none is lost, and none unsure: {answers:?}");
        assert!(applied > 100 && away > 50, "{applied} {away}");
        // Whatever was said to be applied is there, and nothing else.
        running[1].until("the second leads", |one| one.group(GROUP).leads()).await;
        running[1].group(GROUP).read_index(None, 2_000).await.unwrap();
        for n in 100..256 {
            let is_there = answers.iter().any(|(m, answer)| m % 256 == n && answer.is_ok());
            assert_eq!(running[1].get(GROUP, n as u8).is_some(), is_there, "{n}");
        }
    });
}

#[test]
fn while_they_pause_none_is_proposed() {
    perform(async {
        let (_hub, _nodes, running, leads) = three().await;
        let held = leads.pause().hold();
        let last = leads.last();
        let waits = running[0].submit(GROUP, 1, b"\x01later".to_vec());
        let looks = async {
            for _ in 0..10 {
                pause(20).await;
                assert_eq!((leads.last(), running[0].batchers[&GROUP].waiting().0), (last, 1));
            }
            drop(held);
        };
        let (answer, ()) = futures_util::join!(waits, looks);
        answer.unwrap();
    });
}

#[test]
fn a_lead_that_went_nowhere_is_built_again() {
    perform(async {
        // The heir dies at the very moment it is asked, and the group of two has no quorum without it.
        let (hub, _nodes, running, _) = founded(2).await;
        leader(&running.iter().collect::<Vec<_>>()).await;
        let leads = running[0].group(GROUP);
        assert!(leads.leads());
        pause(1_000).await;
        let mut supervisor = Supervisor::new(running[0].ground.clone());
        let max_ms = leads.pace().election_max_ms;
        supervisor.handed_over(GROUP, leads.standing().vote.term, 10_000);
        hub.hold(|_| true);
        let _ = hand_over(&leads, ReplicaId(2), WORD).await;
        assert!(supervisor.look(10_000 + 2 * max_ms - 1).is_empty());
        let told = supervisor.look(10_000 + 2 * max_ms);
        let [Told::Died(dead)] = &told[..] else { panic!("{}", told.len()) };
        assert_eq!((dead.death, dead.verdict), (Death::Leaderless, Verdict::Rebuild));
        hub.release();
        for _ in 0..500 {
            pause(10).await;
            if let Some(Told::Rebuilt(_)) = supervisor.look(20_000).pop() {
                break;
            }
        }
        let has_leader = |one: &Running| {
            one.registry.get(GROUP).is_some_and(|one| one.group().standing().leader.is_some())
        };
        running[0].until("it has a leader again", has_leader).await;
    });
}

#[test]
fn whoever_handed_over_well_is_left_alone() {
    perform(async {
        let (_hub, _nodes, running, leads) = three().await;
        let mut supervisor = Supervisor::new(running[0].ground.clone());
        let mut wanted = leads.standing().membership.1.seats;
        wanted.get_mut(&ReplicaId(1)).unwrap().role = Role::Learner;
        let word = Word { applied: leads.machine().applied().last, ..WORD };
        let words: BTreeMap<_, _> = [2, 3].map(|id| (ReplicaId(id), word)).into();
        let mut reconciler = Reconciler::new(leads.clone());
        // Who hands over must have been near for a while; the time is only told.
        let mut stepped = reconciler.step(&wanted, &words, 0).await;
        for now_ms in [limits::CAUGHT_UP_FOR_MS_MAX, 2 * limits::CAUGHT_UP_FOR_MS_MAX] {
            stepped = reconciler.step(&wanted, &words, now_ms).await;
            if matches!(stepped, Stepped::HandedOver { .. }) {
                break;
            }
        }
        let Stepped::HandedOver { term, .. } = stepped else { panic!("{stepped:?}") };
        running[0].until("another leads", |one| one.group(GROUP).standing().vote.term > term).await;
        running[0].until("it knows who", |one| one.group(GROUP).standing().leader.is_some()).await;
        // Told as late as whoever has waited for it tells it.
        supervisor.handed_over(GROUP, term, 10_000);
        assert!(supervisor.look(10_000 + 2 * leads.pace().election_max_ms).is_empty());
    });
}
