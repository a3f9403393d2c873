//! A replica that does not get on: it takes no more than it can hold, answers heartbeats all the same, and goes on where it was.

use crate::cluster::{TENANT, perform};
use crate::door::{Door, GROUP, id, vote};
use crate::rig;
use engine::ids::{KeyEpoch, Owner, Purpose};
use raft::group::settings::Pace;
use raft::net::message::Message;
use raft::net::refusal::Refusal;
use raft::net::replica_message::{Append, AppendReply};

/// One entry in an append of its own, which says that it is committed.
fn append(door: &Door, index: u64) -> Message {
    let entries = vec![door.command(index, b"zgoes on")];
    Message::Append(Append { vote: vote(), prev: Some(id(index - 1)), entries, commit: Some(id(index)) })
}

#[test]
fn a_replica_that_does_not_apply_refuses_entries_and_hears_heartbeats_until_it_does() {
    perform(async {
        let door = Door::following().await;
        // Whoever leads has the key.
        let most = (Pace::TEST.apply_pieces / 2).max(1);
        let appends: Vec<Message> = (4..4 + most + 2).map(|index| append(&door, index)).collect();
        for purpose in [Purpose::Log, Purpose::Data] {
            door.keys.forget(Owner::Tenant(TENANT), purpose, KeyEpoch(1));
        }
        let mut taken = 3;
        for append in &appends {
            match door.says(append.clone()).await {
                Message::AppendReply(AppendReply::Accepted) => taken += 1,
                Message::Refused(Refusal::Overloaded) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!((4..=3 + most).contains(&taken), "{taken} are here, of which {most} may wait");
        let next = appends[usize::try_from(taken - 3).unwrap()].clone();
        door.refuses_to_hear("more than may wait", next.clone(), Refusal::Overloaded).await;
        let beat = Append { vote: vote(), prev: Some(id(taken)), entries: vec![], commit: Some(id(taken)) };
        assert_eq!(door.says(Message::Append(beat)).await, Message::AppendReply(AppendReply::Accepted));
        assert_eq!(door.running.group(GROUP).machine().reached().0, Some(id(3)));
        for purpose in [Purpose::Log, Purpose::Data] {
            rig::give(&door.keys, Owner::Tenant(TENANT), purpose);
        }
        let reached = move |index| {
            move |one: &crate::cluster::Running| one.group(GROUP).machine().reached().0 == Some(id(index))
        };
        door.running.until("what waited is applied", reached(taken)).await;
        assert_eq!(door.says(next).await, Message::AppendReply(AppendReply::Accepted));
        door.running.until("and the next", reached(taken + 1)).await;
    });
}

#[test]
fn a_replica_without_space_refuses_entries_and_snapshots_and_hears_heartbeats() {
    perform(async {
        let door = Door::following().await;
        let (_node, newer) = crate::snapshots::donor(GROUP, &[id(2), id(3), id(4)]).await;
        let offer = Message::SnapshotOffer(crate::snapshots::Sent::of(&newer).offer);
        door.running.offline.log.set_short_of_space(true);
        door.refuses_to_hear("an entry", append(&door, 4), Refusal::Overloaded).await;
        door.refuses_to_hear("a snapshot", offer, Refusal::Overloaded).await;
        let beat = Append { vote: vote(), prev: Some(id(3)), entries: vec![], commit: Some(id(3)) };
        assert_eq!(door.says(Message::Append(beat)).await, Message::AppendReply(AppendReply::Accepted));
        door.running.offline.log.set_short_of_space(false);
        door.goes_on().await;
    });
}
