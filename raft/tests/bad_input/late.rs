//! A replica of a delayed node that is offered what is newer than the gate.

use crate::cluster::perform;
use crate::door::{Door, GROUP, id, vote};
use crate::snapshots::{JOINS, Sent, donor};
use engine::Stamp;
use raft::group::lifecycle::Stage;
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{Append, AppendReply};
use raft::read::door::Asked;

/// Entry 2 is as old as the gate wants, the others are newer.
const GATE: Stamp = Stamp((1_003 << 16) - 1);

/// A replica that was filled up to entry 2 while that was old enough, and then offered a snapshot up to entry 4.
async fn parked() -> (Door, Sent) {
    let (_node, old) = donor(GROUP, &[id(2)]).await;
    let (_other, new) = donor(GROUP, &[id(2), id(3), id(4)]).await;
    let (door, new) = (Door::late(JOINS, GATE).await, Sent::of(&new));
    door.installs(&Sent::of(&old)).await;
    assert_eq!(door.running.group(GROUP).stage(), Stage::Serving);
    let tablets = door.tablets();
    for times in 1..=2 {
        let offer = Message::SnapshotOffer(new.offer.clone());
        door.refuses_to_hear("newer than the gate", offer, Refusal::Parked).await;
        assert_eq!(door.running.group(GROUP).stage(), Stage::Parked);
        let figures = door.running.offline.log.stats().read();
        assert_eq!((figures.delay.parked_snapshots, figures.net.refused_parked_messages), (times, times));
        assert_eq!(door.tablets(), tablets, "not a byte of it is taken");
    }
    (door, new)
}

#[test]
fn a_snapshot_newer_than_the_gate_parks_its_replica_until_a_person_accepts_it() {
    perform(async {
        let (door, new) = parked().await;
        let receiver = door.running.registry.get(GROUP).unwrap();
        let delayed = receiver.delayed().unwrap();
        assert!(delayed.is_parked() && door.running.group(GROUP).machine().fenced().is_none());
        assert!(
            receiver.door().linearizable(Asked { wall_ms: 0, wait_ms: 50 }).await.is_err(),
            "it is not read"
        );
        let keeper = door.running.keeper.as_ref().unwrap();
        assert_eq!(keeper.void_until_ms(), 0);
        delayed.accept();
        door.installs(&new).await;
        assert!(!delayed.is_parked() && keeper.void_until_ms() > 0, "what is here is not late before that");
        assert_eq!(door.running.group(GROUP).stage(), Stage::Serving);
        // Once is once.
        let (_node, newer) = donor(GROUP, &[id(2), id(3), id(4), id(5)]).await;
        let offer = Message::SnapshotOffer(Sent::of(&newer).offer);
        door.refuses_to_hear("the next one", offer, Refusal::Parked).await;
    });
}

#[test]
fn a_parked_replica_goes_on_by_itself_if_the_entries_come_after_all() {
    perform(async {
        let (door, _) = parked().await;
        let entries = vec![door.command_at(1_004, 3, b"zlater"), door.command_at(1_005, 4, b"zlater")];
        let append = Append { vote: vote(), prev: Some(id(2)), entries, commit: Some(id(4)) };
        let answer = door.says(Message::Append(append)).await;
        assert_eq!(answer, Message::AppendReply(AppendReply::Accepted));
        let group = door.running.group(GROUP);
        assert_eq!((group.stage(), group.last()), (Stage::Serving, Some(id(4))), "stored");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(group.machine().reached().0, Some(id(2)), "and not applied: the gate is closed");
        let proven = door.running.registry.get(GROUP).unwrap().delayed().unwrap().proven();
        assert_eq!(proven, Some(id(4)));
    });
}
