//! What stops a group, and no other: an order that cannot be, a body that does not open, a key that does not come.

use crate::consensus::apply_as_consensus;
use crate::rig::id;
use crate::world::{
    A, B, GROUP, Node, START_MS, World, at, command, command_of, entry, founder, get, give, keyring, once,
    put, ran, rows, run,
};
use bytes::Bytes;
use engine::Kind;
use engine::disk::sim::Faults;
use engine::error::Nature;
use engine::ids::{Owner, Purpose};
use raft::command::Command;
use raft::machine::Machine;
use raft::proposal::Reply;
use raft::types::{GroupId, LogId};
use raft::{Error, limits};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn two_groups() -> (World, Node, Arc<Machine>, Arc<Machine>) {
    let world = World::new(1);
    let node = world.start().unwrap();
    let machine = node.bear(&founder(GROUP)).unwrap();
    let other = node.bear(&founder(GroupId(6))).unwrap();
    node.commit(&machine, 2, &entry(at(0), &[command(&[put(b"k", b"v")])])).unwrap();
    (world, node, machine, other)
}

/// The group takes nothing any more, says why, and stands where it stood; the other goes on.
#[track_caller]
fn assert_stopped(machine: &Arc<Machine>, other: &Arc<Machine>, cause: &str) {
    assert!(machine.fenced().unwrap().contains(cause), "{:?}", machine.fenced());
    assert_eq!(machine.applied().applied, Some(id(1, 2)));
    let next = [(id(1, 3), entry(at(1), &[]))];
    let refused = apply_as_consensus(machine, &next).unwrap_err().to_string();
    assert!(refused.contains("is fenced here"), "{refused}");
    let install = machine.install(None, machine.checkpoint().unwrap());
    assert!(matches!(install, Err(Error::GroupFenced { group: GROUP, .. })));
    assert_eq!(other.fenced(), None);
    run(other.apply_blank(id(1, 2))).unwrap();
}

#[test]
fn an_entry_out_of_order_stops_its_group() {
    let term_back = LogId { term: 0, ..id(1, 3) };
    for wrong in [id(1, 2), id(1, 4), id(2, 4), id(1, 1), id(1, 0), term_back] {
        let (_world, _node, machine, other) = two_groups();
        let applied = run(machine.apply_command(wrong, &entry(at(1), &[])));
        assert!(matches!(applied, Err(Error::OutOfOrder { entry, .. }) if entry == wrong), "{wrong}");
        assert!(matches!(run(machine.apply_blank(wrong)), Err(Error::OutOfOrder { .. })));
        assert_eq!(machine.fenced(), None, "whoever drives it fences it");
        apply_as_consensus(&machine, &[(wrong, entry(at(1), &[]))]).unwrap_err();
        assert_stopped(&machine, &other, "is to be applied after 1.1.2");
    }
}

#[test]
fn entries_before_the_wrong_one_stand() {
    let (_world, _node, machine, other) = two_groups();
    let good = entry(at(1), &[command(&[put(b"k", b"w")])]);
    let all = [(id(1, 3), good.clone()), (id(1, 3), good)];
    apply_as_consensus(&machine, &all).unwrap_err();
    assert_eq!(machine.applied().applied, Some(id(1, 3)));
    assert_eq!(rows(&machine, A), [(b"k".to_vec(), b"w".to_vec())]);
    assert!(machine.fenced().is_some() && other.fenced().is_none());
}

#[test]
fn a_body_that_does_not_open_stops_its_group() {
    let good = entry(at(1), &[command(&[put(b"k", b"w")])]);
    for flipped in [25, good.len() - 1] {
        let (_world, _node, machine, other) = two_groups();
        let mut bytes = good.to_vec();
        bytes[flipped] ^= 1;
        let bad = Bytes::from(bytes);
        match run(machine.apply_command(id(1, 3), &bad)) {
            Err(Error::Engine(engine::Error::Damaged(damage))) => assert_eq!(damage.nature, Nature::Tampered),
            other => panic!("{other:?}"),
        }
        apply_as_consensus(&machine, &[(id(1, 3), bad)]).unwrap_err();
        assert_stopped(&machine, &other, "TAMPERED");
    }
}

#[test]
fn what_is_no_command_stops_its_group() {
    let (_world, _node, machine, other) = two_groups();
    apply_as_consensus(&machine, &[(id(1, 3), Bytes::from_static(b"no command"))]).unwrap_err();
    assert_stopped(&machine, &other, "MALFORMED");
}

#[test]
fn a_group_that_is_fenced_comes_back_where_it_stood() {
    let (world, node, machine, other) = two_groups();
    node.flush(&machine);
    machine.fence(&Error::StampsEnded);
    drop((node, machine, other));
    let node = world.start().unwrap();
    let machines = raft::group::birth::find(&node.parts, &BTreeSet::new()).unwrap().machines;
    let machine = machines.iter().find(|one| one.group() == GROUP).unwrap();
    assert_eq!((machine.fenced(), machine.applied().applied), (None, Some(id(1, 2))));
}

#[test]
fn a_key_that_is_on_its_way_is_awaited() {
    let world = World { keys: keyring(&[A]), ..World::new(1) };
    let (_node, machine) = world.founded();
    let payload = entry(at(0), &[command(&[put(b"k", b"v")]), command_of(B, &[get(b"k")])]);
    let keys = world.keys.clone();
    let replies = run(async {
        let comes = async {
            tokio::time::sleep(Duration::from_millis(limits::KEY_WAIT_MS_MAX - 1_000)).await;
            give(&keys, Owner::Tenant(B), Purpose::Log);
            give(&keys, Owner::Tenant(B), Purpose::Data);
        };
        tokio::join!(machine.apply_command(id(1, 2), &payload), comes).0
    });
    assert_eq!(replies.unwrap().replies, [ran(b""), ran(b"\0")]);
}

#[test]
fn a_key_that_does_not_come_ends_the_wait() {
    let world = World { keys: keyring(&[A]), ..World::new(1) };
    let (_node, machine) = world.founded();
    let payload = entry(at(0), &[command(&[put(b"k", b"v")]), command_of(B, &[get(b"k")])]);
    run(async {
        let began = tokio::time::Instant::now();
        let error = machine.apply_command(id(1, 2), &payload).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Key);
        assert_eq!(began.elapsed(), Duration::from_millis(limits::KEY_WAIT_MS_MAX));
    });
    // Nothing of the entry is there, not even what could be opened.
    assert_eq!((rows(&machine, A), machine.applied().last.0), (vec![], 0));
    // Whoever waits is let go when the group stops.
    run(async {
        let stops = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            machine.fence(&Error::StampsEnded);
        };
        let (applied, ()) = tokio::join!(machine.apply_command(id(1, 2), &payload), stops);
        assert!(matches!(applied, Err(Error::GroupFenced { .. })));
    });
}

#[test]
fn a_shredded_tenant_is_passed_over_and_needs_no_key() {
    let world = World { keys: keyring(&[A]), ..World::new(1) };
    world.shreds.0.lock().unwrap().insert(B);
    let (node, machine) = world.founded();
    let theirs = raft::seal::Unsealed { tenant: B, ..once(1, START_MS + 900, &[put(b"k", b"theirs")]) };
    let commands = [command(&[put(b"k", b"v")]), theirs, command(&[get(b"k")])];
    let replies = node.commit(&machine, 2, &entry(at(0), &commands)).unwrap();
    assert_eq!(replies.replies, [ran(b""), Reply::Shredded, ran(b"\x01\0\0\0\x01v")]);
    assert_eq!((rows(&machine, A).len(), machine.applied().last.0), (1, at(0).0 + 2));
    // A replica that applied it while it could differs only where the tenant is.
    let before = World::new(1);
    let (node, opened) = before.founded();
    node.commit(&opened, 2, &entry(at(0), &commands)).unwrap();
    assert_eq!(opened.applied().last, machine.applied().last);
    let differing = opened.applied().digest.differing(&machine.applied().digest);
    assert_eq!(differing, [raft::machine::digest::Digest::bucket(B)]);
}

#[test]
fn an_entry_waits_for_the_meta_group_and_stops_its_group_if_that_does_not_come() {
    let (_world, node, machine, other) = two_groups();
    let meta = node.bear(&founder(GroupId::META)).unwrap();
    let needing =
        |index| Command { meta_index: index, ..Command::decode(&entry(at(1), &[])).unwrap() }.encode();
    let waits = || node.parts.log.stats().read().machine.meta_waits;
    run(machine.apply_command(id(1, 3), &needing(1))).unwrap();
    assert_eq!(waits(), 0, "it is there");
    let waiting = needing(4);
    run(async {
        let come = async {
            for index in 2..=4 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                assert_eq!(
                    machine.applied().applied,
                    Some(id(1, 3)),
                    "entry {index} is not the one it waits for"
                );
                meta.apply_blank(id(1, index)).await.unwrap();
            }
        };
        let (applied, ()) = tokio::join!(machine.apply_command(id(1, 4), &waiting), come);
        applied.unwrap();
    });
    assert_eq!((waits(), machine.meta_needed()), (1, 4));
    let behind = run(machine.apply_command(id(1, 5), &needing(9)));
    assert_eq!(machine.meta_needed(), 4, "what was not applied has needed nothing");
    assert!(matches!(behind, Err(Error::MetaBehind { group: GROUP, needs: 9, reached: 4 })), "{behind:?}");
    // The meta group itself waits for nobody.
    run(meta.apply_command(id(1, 5), &needing(9))).unwrap();
    assert_eq!((machine.applied().applied, other.fenced()), (Some(id(1, 4)), None));
}

/// A machine whose tablet takes no writes, because its disk is full.
fn full() -> (World, Node, Arc<Machine>) {
    let world = World::new(1);
    let (node, machine) = world.founded();
    node.commit(&machine, 2, &entry(at(0), &[command(&[put(b"k", b"before")])])).unwrap();
    let capacity_bytes = Some(world.disk.bytes_taken());
    world.disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
    node.flush(&machine);
    let stopped = run(async {
        let entry = entry(at(1), &[command(&[put(b"k", b"v")])]);
        tokio::time::timeout(
            Duration::from_millis(limits::STOPPED_LOOK_MS * 2),
            machine.apply_command(id(1, 3), &entry),
        )
        .await
        .map(drop)
    });
    assert!(stopped.is_err(), "it waits");
    assert!(node.parts.log.stats().read().machine.stalled_times > 0);
    assert_eq!((machine.applied().applied, machine.fenced()), (Some(id(1, 2)), None));
    (world, node, machine)
}

#[test]
fn an_entry_for_a_full_disk_waits_for_room() {
    let (world, node, machine) = full();
    let entry = entry(at(1), &[command(&[put(b"k", b"v")])]);
    run(async {
        let comes = async {
            tokio::time::sleep(Duration::from_millis(limits::STOPPED_MS_MAX - 1_000)).await;
            world.disk.set_faults(Faults::default());
            node.clock.advance(limits::STOPPED_MS_MAX);
            node.parts.pool.settle();
        };
        tokio::join!(machine.apply_command(id(1, 3), &entry), comes).0.unwrap();
    });
    assert_eq!(rows(&machine, A), [(b"k".to_vec(), b"v".to_vec())]);
}

#[test]
fn a_disk_that_stays_full_fences_the_group_after_a_minute_and_nothing_of_the_entry_is_there() {
    let (_world, _node, machine) = full();
    let entry = entry(at(1), &[command(&[put(b"k", b"v")])]);
    let began_to_end = run(async {
        let began = tokio::time::Instant::now();
        let error = machine.apply_command(id(1, 3), &entry).await.unwrap_err();
        assert!(matches!(error, Error::Engine(engine::Error::WritesStopped { .. })), "{error}");
        began.elapsed()
    });
    assert_eq!(began_to_end, Duration::from_millis(limits::STOPPED_MS_MAX));
    apply_as_consensus(&machine, &[(id(1, 3), entry)]).unwrap_err();
    assert!(machine.fenced().is_some());
    assert_eq!(rows(&machine, A), [(b"k".to_vec(), b"before".to_vec())]);
}
