//! Every way in which a proposal or a read is refused, provoked by the one thing that brings it about: whoever is told one kind may act on it.
//! A kind that is new must be provoked here before this compiles.

use crate::cluster::{GROUP, Hub, Node, Running, TENANT, birth, born, founded, leader, perform, seat};
use engine::Stamp;
use engine::clock::Clock as _;
use engine::disk::sim::Faults;
use raft::command::Counts;
use raft::group::handover::hand_over;
use raft::group::outcome::{NotApplied, NotNow};
use raft::group::settings::Pace;
use raft::group::word::Word;
use raft::limits;
use raft::net::inbound::Receiver;
use raft::net::refusal::Refusal;
use raft::proposal::Reply;
use raft::read::door::{Asked, Granted};
use raft::seal::Unsealed;
use raft::types::{ReplicaId, Seat};
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

fn why(granted: Result<Granted, NotNow>) -> NotNow {
    granted.err().expect("it is answered")
}

fn named(running: &Running) -> (ReplicaId, Seat) {
    let replica = running.group(GROUP).replica();
    (replica, seat(replica.0))
}

/// The leader, and the two others.
async fn parted(running: &[Running]) -> (&Running, Vec<&Running>) {
    let leads = leader(&running.iter().collect::<Vec<_>>()).await;
    let replica = leads.group(GROUP).replica();
    (leads, running.iter().filter(|one| one.group(GROUP).replica() != replica).collect())
}

fn node<'a>(nodes: &'a [Node], running: &Running) -> &'a Node {
    let replica = running.group(GROUP).replica();
    nodes.iter().find(|node| node.id.0 == replica.0).unwrap()
}

async fn submitted(running: &Running, number: u64) -> Result<(), NotApplied> {
    let answer = running.submit(GROUP, number, vec![7, 7]);
    tokio::time::timeout(Duration::from_secs(20), answer).await.expect("it is answered").map(drop)
}

/// The names of all kinds. Whoever adds one is told by the compiler to come here, and then to provoke it.
fn kind(refused: &NotApplied) -> &'static str {
    match refused {
        NotApplied::NotLeader { .. } => "not leader",
        NotApplied::Transferring { .. } => "transferring",
        NotApplied::RetryLater { .. } => "retry later",
        NotApplied::Refused { .. } => "refused",
        NotApplied::Unknown { .. } => "unknown",
    }
}

#[test]
fn who_does_not_lead_says_who_does_and_while_nobody_leads_that_nobody_does() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, others) = parted(&running).await;
        let told = submitted(others[0], 1).await.unwrap_err();
        assert_eq!((kind(&told), told), ("not leader", NotApplied::NotLeader { leader: Some(named(leads)) }));
    });
    perform(async {
        // One of three founders, alone: nobody has led yet.
        let mut node = Node::new(1, &Hub::default());
        let alone = born(&mut node, birth(1, 3), 1).await;
        assert_eq!(submitted(&alone, 2).await, Err(NotApplied::NotLeader { leader: None }));
        let read = why(receiver(&alone).door().linearizable(ASKED).await);
        assert_eq!(read, NotNow::NotLeader { leader: None });
    });
}

#[test]
fn while_the_lead_is_handed_over_a_proposal_is_not_taken_and_told_to_whom_it_goes() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        let (leads, others) = parted(&running).await;
        let (group, heir) = (leads.group(GROUP), named(others[0]));
        leads.until("its followers are heard", |one| one.group(GROUP).standing().matched.len() == 3).await;
        rest(1_000).await;
        // Nobody hears that it is to lead: whoever leads waits for that.
        hub.hold(|_| true);
        let under = group.standing().vote;
        let word = Word { is_clock_agreed: true, is_guard_open: true, ..Word::default() };
        let moves = hand_over(&group, heir.0, word);
        let asks = async {
            rest(100).await;
            let times =
                raft::seal::Times { stamp: Stamp::new(crate::cluster::EPOCH_MS, 0), ..Default::default() };
            let command = raft::command::Command {
                stamp: times.stamp,
                closed: times.closed,
                ..raft::command::Command::default()
            };
            group.propose(raft::proposal::Proposal(command.encode()), under).await
        };
        let (_, told) = futures_util::join!(moves, asks);
        let told = told.unwrap_err();
        assert_eq!((kind(&told), told), ("transferring", NotApplied::Transferring { to: Some(heir) }));
    });
}

#[test]
fn who_has_no_quorum_or_a_wrong_clock_or_no_room_is_asked_again_later() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        let (leads, _) = parted(&running).await;
        hub.hold(|_| true);
        rest(2 * Pace::TEST.election_max_ms).await;
        let later = |after_ms| Err(NotApplied::RetryLater { after_ms });
        assert_eq!(submitted(leads, 1).await, later(Pace::TEST.election_max_ms));
        let read = why(receiver(leads).door().linearizable(ASKED).await);
        assert_eq!(read, NotNow::RetryLater { after_ms: Pace::TEST.heartbeat_ms });
        leads.batchers[&GROUP].close();
        assert_eq!(submitted(leads, 2).await, later(limits::RETRY_MS));
    });
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let (leads, _) = parted(&running).await;
        node(&nodes, leads).clock.is_disputed.store(true, Ordering::SeqCst);
        rest(15).await;
        let later = NotApplied::RetryLater { after_ms: Pace::TEST.election_max_ms };
        assert_eq!(submitted(leads, 1).await, Err(later));
    });
}

#[test]
fn what_breaks_a_rule_is_refused_for_good_with_the_rule() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, _) = parted(&running).await;
        let large = vec![0; limits::COMMAND_BYTES_MAX + 1];
        let told = leads.submit(GROUP, 1, large).await.unwrap_err();
        let rule = format!("a command has at most {} bytes", limits::COMMAND_BYTES_MAX);
        assert_eq!((kind(&told), told), ("refused", NotApplied::Refused { rule }));
        // What nobody could apply is not even proposed.
        let under = leads.group(GROUP).standing().vote;
        let nonsense = raft::proposal::Proposal(vec![9; 30].into());
        let told = leads.group(GROUP).propose(nonsense, under).await.unwrap_err();
        assert!(matches!(&told, NotApplied::Refused { rule } if !rule.is_empty()), "{told:?}");
    });
}

#[test]
fn when_the_log_fails_nobody_knows_of_what_was_under_way_and_all_else_stops() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        let (leads, _) = parted(&running).await;
        let disk = node(&nodes, leads).disk.clone();
        disk.set_faults(Faults { capacity_bytes: Some(0), fail_syncs: true, ..Faults::default() });
        let told = submitted(leads, 1).await.unwrap_err();
        assert_eq!(kind(&told), "unknown", "{told:?}");
        leads.until("its consensus has ended", |one| one.group(GROUP).standing().stopped.is_some()).await;
        assert!(leads.offline.log.fenced().is_some());
        let told = leads.group(GROUP).read_index(None, 100).await.unwrap_err();
        assert!(matches!(&told, NotNow::Stopped { cause } if !cause.is_empty()), "{told:?}");
        // The others go on without it.
        let rest: Vec<_> =
            running.iter().filter(|one| one.group(GROUP).standing().stopped.is_none()).collect();
        leader(&rest).await.put(GROUP, 9, b"after").await;
    });
}

#[test]
fn a_replica_that_was_shut_down_has_stopped_for_every_kind_of_read() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, _) = parted(&running).await;
        let (group, door) = (leads.group(GROUP), receiver(leads));
        let at = group.machine().reached().0.unwrap();
        group.shutdown().await;
        let told = why(door.door().linearizable(ASKED).await);
        assert!(matches!(told, NotNow::Stopped { .. } | NotNow::RetryLater { .. }), "{told:?}");
        let told = group.read_index(None, 100).await.unwrap_err();
        assert!(matches!(told, NotNow::Stopped { .. }), "{told:?}");
        let later = raft::types::LogId { index: at.index + 1_000, ..at };
        let told = group.await_read(later, 100).await.unwrap_err();
        assert!(matches!(told, NotNow::Stopped { .. }), "{told:?}");
        let told = submitted(leads, 5).await.unwrap_err();
        assert!(matches!(told, NotApplied::Unknown { .. } | NotApplied::NotLeader { .. }), "{told:?}");
    });
}

#[test]
fn a_leader_that_is_gone_or_silent_is_told_apart() {
    perform(async {
        let (hub, _nodes, running, _) = founded(3).await;
        let (leads, others) = parted(&running).await;
        let (door, leader) = (receiver(others[0]), named(leads));
        let gone = leads.registry.remove(GROUP).unwrap();
        let refuses = NotNow::LeaderRefuses { leader, refusal: Refusal::NoSuchGroup };
        assert_eq!(why(door.door().linearizable(ASKED).await), refuses);
        leads.registry.add(gone);
        hub.deafen([leader.1.node]);
        let asked = Asked { wait_ms: 70, ..ASKED };
        assert_eq!(why(door.door().linearizable(asked).await), NotNow::LeaderSilent { leader });
    });
}

#[test]
fn a_command_of_a_tenant_without_a_key_here_comes_again() {
    perform(async {
        let (_hub, _nodes, running, _) = founded(3).await;
        let (leads, _) = parted(&running).await;
        let (session, counts, valid_until) = ([0; 16], Counts::default(), Stamp::MAX);
        let tenant = engine::ids::TenantId(TENANT.0 + 1_000);
        let command = Unsealed { tenant, session, number: 1, valid_until, counts, body: vec![7].into() };
        let told = leads.batchers[&GROUP].submit(command).await.unwrap_err();
        assert_eq!(told, NotApplied::RetryLater { after_ms: limits::KEY_RETRY_MS });
    });
}

#[test]
fn an_entry_that_another_leader_has_dropped_is_unknown_to_whoever_asked_and_runs_once_when_asked_again() {
    perform(async {
        let (hub, nodes, running, _) = founded(3).await;
        let (old, others) = parted(&running).await;
        let until_ms = node(&nodes, old).clock.now_ms() + 60_000;
        let request = move || Unsealed {
            tenant: TENANT,
            session: [5; 16],
            number: 1,
            valid_until: Stamp::new(until_ms, 0),
            counts: Counts::default(),
            body: vec![70, 7].into(),
        };
        // It is stored at the one that leads, and nowhere else.
        hub.isolate(named(old).1.node);
        let (batcher, before) = (old.batchers[&GROUP].clone(), old.group(GROUP).standing().last_index);
        let asked = tokio::spawn(async move { batcher.submit(request()).await });
        old.until("it is stored", |one| one.group(GROUP).standing().last_index > before).await;
        let next = leader(&others).await;
        next.put(GROUP, 71, b"meanwhile").await;
        hub.release();
        let told = asked.await.unwrap().unwrap_err();
        let cause = "another leader took over before it was committed".to_owned();
        assert_eq!((kind(&told), told.is_certain(), told), ("unknown", false, NotApplied::Unknown { cause }));
        old.until("it follows", |one| one.get(GROUP, 71).is_some()).await;
        assert!(running.iter().all(|one| one.get(GROUP, 70).is_none()), "it is applied nowhere");
        assert!(running.iter().all(|one| one.group(GROUP).standing().stopped.is_none()));
        // The same request runs now, and then is answered as it was.
        let first = next.batchers[&GROUP].submit(request()).await.unwrap();
        let again = next.batchers[&GROUP].submit(request()).await.unwrap();
        assert!(matches!((&first.reply, &again.reply), (Reply::Ran(_), Reply::RanBefore(_))), "{again:?}");
        assert_eq!(next.get(GROUP, 70), Some(vec![7]));
    });
}
