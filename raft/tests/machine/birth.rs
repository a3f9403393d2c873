//! How a replica comes to be and is found again, crashed after every operation of the disk.

use crate::world::{GROUP, World, at, command, entry, founder, joiner, put, run};
use engine::Stamp;
use engine::disk::sim::Faults;
use engine::ids::{LogIndex, TabletId};
use engine::key::KeyRange;
use engine::manifest::edit::Applied;
use engine::tablet::pool::NewTablet;
use raft::Error;
use raft::group::birth::Here;
use raft::group::birth::{self, Birth, FIRST};
use raft::log::GroupState;
use raft::machine::note::Note;
use raft::types::{GroupId, LogId, ReplicaId};
use std::collections::BTreeSet;

/// What a replica is born as.
fn born(world: &World, birth: &Birth) -> (GroupState, Note) {
    let node = world.start().unwrap();
    // Whoever starts looks first, and is told what is half born.
    let Here { machines, half_born, .. } = birth::find(&node.parts, &BTreeSet::new()).unwrap();
    assert!(machines.len() + half_born.len() <= 1);
    assert!(half_born.iter().all(|one| *one == (birth.group, birth.replica)));
    let machine = node.bear(birth).unwrap();
    assert_eq!(node.parts.pool.tablets().len(), 1);
    (node.parts.log.state(GROUP).unwrap(), machine.applied())
}

#[test]
fn a_birth_that_is_cut_short_is_done_again() {
    for birth in [founder(GROUP), joiner()] {
        let expected = born(&World::new(1), &birth);
        for crash_at in 1.. {
            let world = World::new(crash_at);
            let node = world.start().unwrap();
            let base = world.disk.operations();
            world.disk.set_faults(Faults { crash_at: Some(base + crash_at), ..Faults::default() });
            let done = node.bear(&birth);
            drop(node);
            let has_crashed = world.disk.is_down();
            if !has_crashed {
                assert!(done.is_ok() && crash_at > 3);
                world.disk.crash();
            }
            world.disk.restart();
            assert_eq!(born(&world, &birth), expected, "crash at {crash_at}");
            // It is found, and lives.
            let (_node, machine) = world.reopen();
            assert_eq!(machine.applied(), expected.1);
            if !has_crashed {
                break;
            }
        }
    }
}

#[test]
fn a_founder_stands_behind_the_entry_that_nobody_made() {
    let (state, note) = born(&World::new(1), &founder(GROUP));
    assert_eq!((note.applied, note.membership_at), (Some(FIRST), Some(FIRST)));
    assert_eq!(Some(note.membership), founder(GROUP).founders);
    assert_eq!((state.purged, state.last), (Some(FIRST), Some(FIRST)));
    let vote = state.vote.unwrap();
    assert_eq!((vote.term, vote.replica, vote.is_committed), (1, ReplicaId(0), false));
    let (state, note) = born(&World::new(1), &joiner());
    assert_eq!(note, Note::empty(GROUP));
    assert_eq!((state.replica, state.vote, state.last), (ReplicaId(2), None, None));
}

#[test]
fn whoever_lives_is_born_again_as_it_is() {
    let world = World::new(1);
    let (node, machine) = world.founded();
    node.commit(&machine, 2, &entry(at(0), &[command(&[put(b"k", b"v")])])).unwrap();
    node.flush(&machine);
    let note = machine.applied();
    assert_eq!(node.bear(&founder(GROUP)).unwrap().applied(), note);
    let another = Birth { replica: ReplicaId(9), ..founder(GROUP) };
    assert!(matches!(node.bear(&another), Err(Error::ReplicaLives { .. })));
    // Once it has ended its id is used up, and nothing of it is left.
    let log = node.parts.log.clone();
    run(async {
        tokio::select! {
            biased;
            ended = birth::end((GROUP, ReplicaId(1)), &log, &node.parts.pool) => ended.unwrap(),
            () = async { loop { log.step(); tokio::task::yield_now().await; } } => unreachable!(),
        }
    });
    assert!(node.parts.pool.tablets().is_empty());
    assert!(matches!(node.bear(&founder(GROUP)), Err(Error::ReplicaUsed { .. })));
    assert_eq!(node.bear(&another).unwrap().applied().applied, Some(FIRST));
}

#[test]
fn of_two_tablets_of_a_group_the_further_is_taken() {
    for (first, second) in [(7, 3), (3, 7), (7, 7)] {
        let world = World::new(1);
        let node = world.start().unwrap();
        let tablet = |id, group, index| {
            let note = Note { applied: Some(LogId { index, ..FIRST }), ..Note::empty(group) }.encode();
            let applied = Applied { index: LogIndex(index + 1), stamp: Stamp::ZERO, note };
            NewTablet { id: TabletId(id), range: KeyRange::all(), applied }
        };
        let other = GroupId(6);
        let wanted = [tablet(1, GROUP, first), tablet(2, other, 1), tablet(3, GROUP, second)];
        node.parts.pool.create(&wanted).unwrap();
        let found = birth::tablets(&node.parts.pool).unwrap();
        let applied = found[&GROUP].applied();
        assert_eq!((found.len(), applied.index), (2, LogIndex(8)));
        assert_eq!(found[&other].id(), TabletId(2));
        assert_eq!(node.parts.pool.tablets().len(), 2, "the other is dropped");
        assert!(birth::tablet_of(&node.parts.pool, GroupId(7)).unwrap().is_none());
    }
}

#[test]
fn the_tablet_of_a_replica_that_is_gone_is_dropped_at_a_start() {
    let world = World::new(1);
    let (node, machine) = world.founded();
    node.parts.log.close_replica(GROUP, Box::new(|_| ())).unwrap();
    node.parts.log.step();
    drop((node, machine));
    let node = world.start().unwrap();
    let Here { machines, half_born, .. } = birth::find(&node.parts, &BTreeSet::new()).unwrap();
    assert!(machines.is_empty() && half_born.is_empty() && node.parts.pool.tablets().is_empty());
}

#[test]
fn a_catalog_that_was_put_back_is_told() {
    let world = World::new(1);
    let (node, machine) = world.founded();
    let older = world.catalog.deep_clone(Some(world.disk.clone()));
    node.commit(&machine, 2, &entry(at(0), &[command(&[put(b"k", b"v")])])).unwrap();
    node.flush(&machine);
    machine.note_durable().unwrap();
    node.parts.log.step();
    drop((node, machine));
    let older = World { catalog: older, ..world };
    let node = older.start().unwrap();
    let found = birth::find(&node.parts, &BTreeSet::new()).err().unwrap();
    assert!(matches!(found, Error::CatalogOlder { known: 3, durable: 2, .. }), "{found}");
}
