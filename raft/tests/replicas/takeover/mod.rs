//! The disaster start: one that survives goes on alone, or a group is born from a cut; and who is of before is refused.

mod late;

use crate::cluster::{GROUP, Offline, Running, birth, born, founded, leader, perform, seat};
use engine::Stamp;
use engine::disk::sim::Faults;
use engine::entropy::Seeded;
use engine::ids::NodeId;
use raft::Error;
use raft::command::Command;
use raft::group::birth;
use raft::group::takeover::{self, Cut, Survivor, bear_from_cut, greatest_stamp};
use raft::log::Entry;
use raft::machine::replay::Needs;
use raft::membership::step::Change;
use raft::net::message::Message;
use raft::payload;
use raft::types::{GroupId, LogId, ReplicaId, Role, Seat};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

const NEW: GroupId = GroupId(8);

fn survivor(upto: Option<LogId>, seen: Stamp) -> Survivor {
    Survivor { group: GROUP, node: NodeId(1), upto, seen, reach: 0 }
}

async fn survive(offline: &Offline, wanted: &Survivor) -> raft::Result<LogId> {
    let durable = offline.machines[&GROUP].durable().unwrap();
    takeover::survive(&offline.log, &durable, &Seeded::new(77), wanted).await
}

/// Whether `asks` is answered by the replica on `node`.
async fn is_heard(asks: &Running, replica: u64, node: u64) -> Result<(), String> {
    let read = Message::ReadIndex(raft::net::replica_message::ReadIndex {});
    Ok(asks.group(GROUP).peers().ask(ReplicaId(replica), seat(node), read).await.map(|_| ())?)
}

#[test]
fn a_survivor_goes_on_alone_and_who_was_before_is_refused() {
    perform(async {
        let (_hub, mut nodes, running, last) = founded(3).await;
        for (running, node) in running.into_iter().zip(&nodes) {
            running.crash(node).await;
        }
        // Alone it cannot lead.
        let one = nodes[0].start(1).await;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert!(!one.group(GROUP).standing().is_leader);
        one.crash(&nodes[0]).await;

        let offline = nodes[0].open().unwrap();
        // Others have seen stamps that are not here.
        let seen = Stamp::new(last.ms() + 60_000, 5);
        survive(&offline, &survivor(None, seen)).await.unwrap();
        offline.crash(&nodes[0]);
        // A minute has passed: whose clock is behind its own log must not lead.
        nodes[0].clock.ahead_ms.store(60_000, Ordering::SeqCst);
        let one = nodes[0].start(2).await;
        let answer = one.put(GROUP, 20, b"after").await;
        assert!(answer.stamp.ms() > seen.ms() + 250, "{} {seen}", answer.stamp);
        (0..10).for_each(|key| assert_eq!(one.get(GROUP, key).as_deref(), Some(&b"before"[..]), "{key}"));
        let (_, membership) = one.group(GROUP).standing().membership;
        assert_eq!(membership.voters, [BTreeSet::from([ReplicaId(1)])]);

        // The other two come back as they were, and elect one of them: no word passes between the generations.
        let (two, three) = (nodes[1].start(1).await, nodes[2].start(1).await);
        let leads = leader(&[&two, &three]).await;
        for (asks, replica, node) in [(&one, 2, 2), (&two, 1, 1)] {
            let refused = is_heard(asks, replica, node).await.unwrap_err();
            assert!(refused.contains("another generation"), "{refused}");
        }
        is_heard(&two, 3, 3).await.unwrap();
        leads.put(GROUP, 30, b"of the old").await;
        one.put(GROUP, 21, b"after").await;
        assert_eq!((one.get(GROUP, 30), leads.get(GROUP, 21)), (None, None));
        two.crash(&nodes[1]).await;
        three.crash(&nodes[2]).await;

        // Wiped, it joins under a new id.
        nodes[1].wipe();
        nodes[1].clock.ahead_ms.store(60_000, Ordering::SeqCst);
        let two = born(&mut nodes[1], birth(4, 0), 2).await;
        let group = one.group(GROUP);
        let seen = |group: &raft::group::handle::Group| group.standing().membership.0;
        group
            .change(Change::Add(ReplicaId(4), Seat { role: Role::Learner, ..seat(2) }), seen(&group))
            .await
            .unwrap();
        two.until("caught up", |two| two.get(GROUP, 21).is_some()).await;
        let voters = BTreeSet::from([ReplicaId(1), ReplicaId(4)]);
        group.change(Change::SetVoters(voters), seen(&group)).await.unwrap();
        one.put(GROUP, 22, b"with two").await;
        let level = |two: &Running| two.group(GROUP).machine().applied() == group.machine().applied();
        two.until("the same", level).await;
        assert_eq!(two.get(GROUP, 0).as_deref(), Some(&b"before"[..]));
    });
}

#[test]
fn a_survivor_drops_what_it_is_told_to_and_nothing_that_is_applied() {
    perform(async {
        let (_hub, mut nodes, running, _) = founded(1).await;
        let [one] = <[Running; 1]>::try_from(running).ok().unwrap();
        let kept = one.put(GROUP, 11, b"kept").await.log_id;
        let mut dropped = one.put(GROUP, 12, b"dropped").await;
        for key in 12..20 {
            dropped = one.put(GROUP, key, b"dropped").await;
        }
        one.crash(&nodes[0]).await;
        let offline = nodes[0].open().unwrap();
        // Nothing was flushed: all of it is in the log alone, and all of it known to be committed.
        assert!(offline.log.state(GROUP).unwrap().committed.unwrap().index >= kept.index);
        let elsewhere = LogId { index: kept.index + 90, ..kept };
        let refused = survive(&offline, &survivor(Some(elsewhere), Stamp::ZERO)).await;
        assert!(matches!(refused, Err(Error::Gap { .. })), "{refused:?}");
        survive(&offline, &survivor(Some(kept), Stamp::ZERO)).await.unwrap();
        offline.crash(&nodes[0]);
        let one = nodes[0].start(2).await;
        let after = one.put(GROUP, 30, b"after").await;
        assert_eq!(one.get(GROUP, 11).as_deref(), Some(&b"kept"[..]));
        (12..20).for_each(|key| assert_eq!(one.get(GROUP, key), None, "{key}"));
        assert!(after.stamp > dropped.stamp, "a stamp again that was given out");

        let machine = one.group(GROUP).machine().clone();
        machine.tablet().freeze();
        one.offline.parts.pool.settle();
        one.crash(&nodes[0]).await;
        let offline = nodes[0].open().unwrap();
        let refused = survive(&offline, &survivor(Some(kept), Stamp::ZERO)).await;
        assert!(matches!(refused, Err(Error::BelowApplied { .. })), "{refused:?}");
        offline.crash(&nodes[0]);
    });
}

#[test]
fn wherever_a_survivor_falls_it_goes_on_when_it_is_asked_again() {
    perform(async {
        let (_hub, nodes, running, _) = founded(3).await;
        for (running, node) in running.into_iter().zip(&nodes) {
            running.crash(node).await;
        }
        let (mut falls, mut at) = (0, 1);
        loop {
            let mut node = nodes[0].twin(at);
            let offline = node.open().unwrap();
            node.disk.set_faults(Faults { crash_at: Some(node.disk.operations() + at), ..Faults::default() });
            let done = survive(&offline, &survivor(None, Stamp::ZERO)).await;
            node.disk.set_faults(Faults::default());
            offline.crash(&node);
            if done.is_err() {
                falls += 1;
                let offline = node.open().unwrap();
                survive(&offline, &survivor(None, Stamp::ZERO)).await.unwrap();
                offline.crash(&node);
            }
            let one = node.start(2).await;
            one.put(GROUP, 20, b"after").await;
            (0..10).for_each(|key| assert!(one.get(GROUP, key).is_some(), "{key} after a fall at {at}"));
            one.crash(&node).await;
            if done.is_ok() {
                break;
            }
            at += 1;
        }
        assert!(falls >= 2, "{falls}");
    });
}

fn cut(seen: Stamp) -> Cut {
    Cut { group: NEW, replica: ReplicaId(1), node: NodeId(1), seen }
}

#[test]
fn a_group_born_from_a_cut_has_its_rows_and_nothing_behind_it() {
    perform(async {
        let (_hub, mut nodes, running, last) = founded(1).await;
        let [one] = <[Running; 1]>::try_from(running).ok().unwrap();
        let mut offline = one.stop().await;
        let old = offline.machines[&GROUP].clone();
        let refused = bear_from_cut(&old, &Cut { group: GROUP, ..cut(last) }, offline.parts.clone()).await;
        assert!(matches!(refused, Err(Error::Invalid(_))));
        let files = offline.parts.pool.tables_present();
        let seen = greatest_stamp(&offline.log, offline.machines.values()).unwrap();
        assert_eq!(seen, last);
        let far = Stamp::new(seen.ms() + 90_000, 0);
        let machine = bear_from_cut(&old, &cut(far), offline.parts.clone()).await.unwrap();
        assert!(offline.parts.pool.tables_present().len() <= files.len() + 1, "files were copied");
        offline.machines.insert(NEW, machine);
        // The old one is still there, until it is ended.
        birth::end((GROUP, ReplicaId(1)), &offline.log, &offline.parts.pool).await.unwrap();
        offline.machines.remove(&GROUP);
        let one = nodes[0].run(offline, 2).await.unwrap();
        let answer = one.put(NEW, 20, b"after").await;
        assert!(answer.stamp.ms() > far.ms() + 250);
        (0..10).for_each(|key| assert_eq!(one.get(NEW, key).as_deref(), Some(&b"before"[..]), "{key}"));
        one.crash(&nodes[0]).await;
        let one = nodes[0].start(2).await;
        assert_eq!(one.offline.machines.len(), 1);
        one.until("led again", |one| one.group(NEW).standing().is_leader).await;
        one.until("replayed", |one| one.get(NEW, 20).is_some()).await;
        (0..10).for_each(|key| assert_eq!(one.get(NEW, key).as_deref(), Some(&b"before"[..]), "{key}"));
    });
}

#[test]
fn wherever_a_birth_from_a_cut_falls_it_is_finished_when_it_is_asked_again() {
    perform(async {
        let (_hub, nodes, running, _) = founded(1).await;
        let [one] = <[Running; 1]>::try_from(running).ok().unwrap();
        let machine = one.group(GROUP).machine().clone();
        machine.tablet().freeze();
        one.offline.parts.pool.settle();
        machine.note_durable().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        one.crash(&nodes[0]).await;
        let (mut falls, mut at) = (0, 1);
        loop {
            let mut node = nodes[0].twin(at);
            let offline = node.open().unwrap();
            node.disk.set_faults(Faults { crash_at: Some(node.disk.operations() + at), ..Faults::default() });
            let old = offline.machines[&GROUP].clone();
            let done = bear_from_cut(&old, &cut(Stamp::ZERO), offline.parts.clone()).await;
            let is_done = done.is_ok();
            drop((done, old));
            node.disk.set_faults(Faults::default());
            offline.crash(&node);
            let mut offline = node.open().unwrap();
            let old = offline.machines.remove(&GROUP).unwrap();
            if !is_done {
                falls += 1;
                let machine = bear_from_cut(&old, &cut(Stamp::ZERO), offline.parts.clone()).await.unwrap();
                offline.machines.insert(NEW, machine);
            }
            assert_eq!(offline.parts.pool.tablets().len(), 2, "one of each group");
            drop(old);
            birth::end((GROUP, ReplicaId(1)), &offline.log, &offline.parts.pool).await.unwrap();
            let one = node.run(offline, 2).await.unwrap();
            one.put(NEW, 20, b"after").await;
            (0..10).for_each(|key| assert!(one.get(NEW, key).is_some(), "{key} after a fall at {at}"));
            one.crash(&node).await;
            if is_done {
                break;
            }
            at += 1;
        }
        println!("{falls} falls");
        assert!(falls >= 6, "{falls}");
    });
}

#[test]
fn what_waits_for_what_nobody_has_is_known_and_a_survivor_is_filled_up_to_it() {
    perform(async {
        let (_hub, mut nodes, running, last) = founded(1).await;
        let [one] = <[Running; 1]>::try_from(running).ok().unwrap();
        one.crash(&nodes[0]).await;
        let offline = nodes[0].open().unwrap();
        let end = offline.log.state(GROUP).unwrap().last.unwrap();
        let waiting = |index, at: u64, meta_index| {
            let stamp = Stamp(last.0 + at);
            let command = Command { entry: [9; 16], stamp, closed: stamp, meta_index, ..Command::default() };
            let log_id = LogId { index, ..end };
            let entry = Entry { log_id, kind: payload::COMMAND, stamp: stamp.0, payload: command.encode() };
            offline.log.append(GROUP, vec![entry], Box::new(|_| ())).unwrap();
        };
        waiting(end.index + 1, 10, 40);
        waiting(end.index + 2, 20, 500);
        let machine = &offline.machines[&GROUP];
        let needs = |reach| machine.needs(&offline.log, reach).unwrap();
        assert_eq!(needs(500), Needs { most: 500, upto: None });
        assert_eq!(needs(499), Needs { most: 500, upto: Some(Stamp(last.0 + 10)) });
        assert_eq!(needs(39), Needs { most: 500, upto: Some(last) });
        let waits = takeover::waits_behind(&offline.log, offline.machines.values()).unwrap();
        assert_eq!(waits, Some(last), "no replica of the meta group is here");
        // Nothing was applied by that.
        assert!(machine.applied().applied.unwrap() < end);

        let wanted = |reach| Survivor { reach, ..survivor(None, Stamp::ZERO) };
        let refused = survive(&offline, &wanted(end.index + 20_000)).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        survive(&offline, &wanted(end.index + 50)).await.unwrap();
        assert_eq!(offline.log.state(GROUP).unwrap().last.unwrap().index, end.index + 50);
        survive(&offline, &wanted(3)).await.unwrap();
        assert_eq!(offline.log.state(GROUP).unwrap().last.unwrap().index, end.index + 52);
        offline.crash(&nodes[0]);
    });
}
