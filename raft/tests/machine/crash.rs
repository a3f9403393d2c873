//! The power goes at every operation of the disk, while entries are logged, applied and flushed, and while a snapshot comes and is
//! installed: what is found stands at a note that there was, and going on from there ends where everybody else ends.

use crate::rig::id;
use crate::world::{
    A, B, GROUP, Node, Op, START_MS, World, at, carry, command, command_of, count, entry, founder, get,
    install, joiner, once, put, rows, run,
};
use bytes::Bytes;
use engine::disk::sim::Faults;
use engine::ids::LogIndex;
use raft::group::birth::{self, FIRST};
use raft::log::store::Watch;
use raft::machine::Machine;
use raft::machine::note::Note;
use raft::machine::snapshot::Parcel;
use raft::seal::Unsealed;
use raft::{Error, GroupId, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const OTHER: GroupId = GroupId(6);

/// Entries that everything here applies, from 2 on.
fn entries() -> Vec<Bytes> {
    let commands: Vec<Vec<Unsealed>> = vec![
        vec![command(&[put(b"a", b"1"), put(b"b", b"1")]), once(1, START_MS + 900, &[count(b"n")])],
        vec![command(&[Op::Range(b"a".to_vec(), Some(b"b".to_vec()))]), command_of(B, &[put(b"x", b"y")])],
        vec![once(1, START_MS + 900, &[count(b"n")]), command(&[get(b"b"), put(b"c", b"3")])],
        vec![command(&[Op::Delete(b"b".to_vec()), count(b"n")])],
        vec![once(2, START_MS + 900, &[count(b"n")]), command_of(B, &[Op::Range(vec![], None)])],
    ];
    (0..).zip(commands).map(|(n, commands)| entry(at(n), &commands)).collect()
}

/// Every note that there may be, by applied index; and what is there in the end.
fn notes() -> BTreeMap<u64, Note> {
    let (node, machine) = World::new(1).founded();
    let mut notes = BTreeMap::from([(FIRST.index, machine.applied())]);
    for (index, payload) in (2..).zip(entries()) {
        node.commit(&machine, index, &payload).unwrap();
        notes.insert(index, machine.applied());
    }
    assert_eq!(rows(&machine, A).len(), 2);
    notes
}

/// Goes on to the last entry and compares.
#[track_caller]
fn assert_ends_alike(node: &Node, machine: &Machine, notes: &BTreeMap<u64, Note>, what: &str) {
    for (index, payload) in (2..).zip(entries()) {
        let next = machine.applied().applied.map_or(0, |last| last.index + 1);
        let (_, end) = node.parts.log.bounds(machine.group()).unwrap();
        if index < next {
            continue;
        }
        match index < end {
            true => run(machine.apply_command(id(1, index), &payload)).map(drop).unwrap(),
            false => node.commit(machine, index, &payload).map(drop).unwrap(),
        }
        assert_eq!(&machine.applied(), &notes[&index], "{what}");
    }
    let (expected, (_node, all)) = (notes.values().last().unwrap(), World::new(1).founded());
    for (index, payload) in (2..).zip(entries()) {
        run(all.apply_command(id(1, index), &payload)).unwrap();
    }
    assert_eq!(&machine.applied(), expected, "{what}");
    assert_eq!((rows(machine, A), rows(machine, B)), (rows(&all, A), rows(&all, B)), "{what}");
}

/// Applies all, and flushes after each; the last is in memory.
fn work(node: &Node, machine: &Machine) -> Result<()> {
    for (index, payload) in (2..).zip(entries()) {
        node.commit(machine, index, &payload)?;
        if index < 6 {
            node.flush(machine);
            machine.note_durable()?;
        }
    }
    Ok(())
}

#[test]
fn a_flush_that_is_cut_short_leaves_a_note_there_was() {
    let notes = notes();
    let base = World::new(1);
    drop(base.founded());
    let (mut durable_at, mut crashes) = (BTreeMap::<u64, u64>::new(), 0);
    for crash_at in 1.. {
        let world = base.copy(crash_at);
        let (node, machine) = world.reopen();
        let from = world.disk.operations();
        world.disk.set_faults(Faults { crash_at: Some(from + crash_at), ..Faults::default() });
        let done = work(&node, &machine);
        let (acknowledged, durable) = (machine.applied(), machine.durable().unwrap());
        drop((node, machine));
        let has_crashed = world.disk.is_down();
        if !has_crashed {
            done.unwrap();
            world.disk.crash();
        }
        crashes += 1;
        world.disk.restart();
        let (node, machine) = world.reopen();
        let note = machine.applied();
        let index = note.applied.unwrap().index;
        assert_eq!(&note, &notes[&index], "crash at {crash_at}: a note that there never was");
        assert!(note.applied >= durable.applied, "crash at {crash_at}: what was durable is lost");
        let (_, end) = node.parts.log.bounds(machine.group()).unwrap();
        assert!(index < end, "crash at {crash_at}: the tablet knows of an entry that the log has lost");
        assert!(acknowledged.applied.unwrap().index < end, "crash at {crash_at}: an applied entry is lost");
        *durable_at.entry(index).or_default() += 1;
        node.replay(&machine);
        assert_eq!(machine.applied(), notes[&(end - 1)], "crash at {crash_at}");
        assert_ends_alike(&node, &machine, &notes, &format!("crash at {crash_at}"));
        if !has_crashed {
            break;
        }
    }
    assert!(crashes > 40 && durable_at.len() >= 5, "{crashes} crashes, {durable_at:?}");
}

#[test]
fn nothing_is_durable_here_that_is_not_in_the_log() {
    let world = World::new(1);
    let (node, machine) = world.founded();
    let entries = entries();
    node.commit(&machine, 2, &entries[0]).unwrap();
    // Applied before its log says that it is durable here: a quorum of others has it.
    run(machine.apply_command(id(1, 3), &entries[1])).unwrap();
    node.flush(&machine);
    assert_eq!(machine.durable().unwrap().applied, Some(FIRST), "no table for a half of what is in memory");
    let world_now = world.copy(2);
    assert_eq!(world_now.reopen().1.applied().applied, Some(FIRST));
    Watch::durable(&*machine, id(1, 3));
    node.flush(&machine);
    assert_eq!(machine.durable().unwrap().applied, Some(id(1, 3)));
    assert_eq!(machine.tablet().durable().index, LogIndex(4));
    // A start knows of no more than its log has: entry 3 was never put into it, and 4 is not yet.
    drop((node, machine));
    let (node, machine) = world.reopen();
    run(machine.apply_command(id(1, 4), &entries[2])).unwrap();
    node.flush(&machine);
    assert_eq!(machine.durable().unwrap().applied, Some(id(1, 3)));
}

/// One that has all but the last entry, in tables, the newest version of some in each.
fn donor() -> (Node, Arc<Machine>) {
    let (node, machine) = World::new(1).founded();
    for (index, payload) in (2..).zip(entries()).take(4) {
        node.commit(&machine, index, &payload).unwrap();
        if index % 2 == 1 {
            node.flush(&machine);
        }
    }
    (node, machine)
}

/// Whoever receives: a replica that has joined, or one that fell behind.
fn receivers() -> Vec<World> {
    let joined = World::new(3);
    let node = joined.start().unwrap();
    node.bear(&joiner()).unwrap();
    let behind = World::new(4);
    let (node, machine) = behind.founded();
    node.commit(&machine, 2, &entries()[0]).unwrap();
    node.flush(&machine);
    node.commit(&machine, 3, &entries()[1]).unwrap();
    vec![joined, behind]
}

/// As consensus does it: the snapshot, then the hole in the log.
fn receive(node: &Node, machine: &Machine, parcel: &Parcel) -> Result<()> {
    install(machine, parcel)?;
    assert_eq!(node.parts.pool.tablets().len(), 1, "the old one is dropped");
    node.parts.log.purge(machine.group(), parcel.note().applied.unwrap())?;
    node.parts.log.step();
    node.parts.pool.settle();
    Ok(())
}

#[test]
fn an_install_that_is_cut_short_is_all_or_nothing() {
    let notes = notes();
    let (_donor, donated) = donor();
    let parcel = donated.checkpoint().unwrap();
    assert_eq!(parcel.note(), &notes[&5]);
    let Parcel::Here(checkpoint, _) = &parcel else { unreachable!() };
    assert!(checkpoint.files().len() > 1, "more than one file comes");
    for base in receivers() {
        let (mut was_old, mut was_new) = (0, 0);
        for crash_at in 1.. {
            let world = base.copy(crash_at);
            let (node, machine) = world.reopen();
            node.replay(&machine);
            let old = machine.durable().unwrap();
            let from = world.disk.operations();
            world.disk.set_faults(Faults { crash_at: Some(from + crash_at), ..Faults::default() });
            let done = receive(&node, &machine, &parcel);
            drop((node, machine));
            let has_crashed = world.disk.is_down();
            if !has_crashed {
                done.unwrap();
                world.disk.crash();
            }
            world.disk.restart();
            let (node, machine) = world.reopen();
            let note = machine.applied();
            if note == notes[&5] {
                was_new += 1;
            } else {
                assert_eq!(note, old, "crash at {crash_at}: neither the old nor the new");
                was_old += 1;
                // What the crash tore in the spool is thrown away by the first that looks at it, and comes again.
                let again = receive(&node, &machine, &parcel).or_else(|_| receive(&node, &machine, &parcel));
                again.unwrap();
            }
            assert_eq!(machine.applied(), notes[&5], "crash at {crash_at}");
            node.parts.log.purge(machine.group(), id(1, 5)).unwrap();
            node.parts.log.step();
            assert_ends_alike(&node, &machine, &notes, &format!("crash at {crash_at}"));
            // And it is found again.
            drop((node, machine));
            assert_eq!(world.reopen().1.applied(), notes[&5]);
            if !has_crashed {
                break;
            }
        }
        assert!(was_old > 10 && was_new > 3, "{was_old} old, {was_new} new");
    }
}

#[test]
fn a_snapshot_that_is_not_what_it_was_said_to_be_changes_nothing() {
    let (node, donated) = donor();
    let parcel = donated.checkpoint().unwrap();
    // It holds another entry than it was said to.
    let world = World::new(2);
    let (other, machine) = world.founded();
    let before = machine.applied();
    for said in [None, Some(FIRST), Some(id(1, 4)), Some(id(2, 5)), Some(id(1, 6))] {
        let spooled = carry(&machine, &parcel, 4_096).unwrap();
        assert!(matches!(machine.install(said, spooled), Err(Error::Invalid(_))), "{said:?}");
        assert_eq!(machine.applied(), before);
        assert_eq!(other.parts.pool.tablets().len(), 1);
    }
    // It holds less than what is here.
    let newer = entries()[4].clone();
    install(&machine, &parcel).unwrap();
    run(machine.apply_command(id(1, 6), &newer)).unwrap();
    let (before, here) = (machine.applied(), rows(&machine, A));
    let spooled = carry(&machine, &parcel, 4_096).unwrap();
    assert!(matches!(machine.install(parcel.note().applied, spooled), Err(Error::Invalid(_))));
    assert_eq!((machine.applied(), rows(&machine, A)), (before, here));
    // One that is here already is installed again at each start, and changes nothing.
    machine.install(parcel.note().applied, parcel).unwrap();
    assert_eq!(machine.applied().applied, Some(id(1, 6)));
    drop(node);
}

/// A node on which the donor's group lives too, and is behind what comes.
#[test]
fn a_snapshot_of_another_group_is_refused_and_never_taken_for_that_groups_own() {
    let (_donor, donated) = donor();
    let parcel = donated.checkpoint().unwrap();
    let base = World::new(2);
    let node = base.start().unwrap();
    node.bear(&founder(GROUP)).unwrap();
    node.bear(&founder(OTHER)).unwrap();
    drop(node);
    for crash_at in 1.. {
        let world = base.copy(crash_at);
        let node = world.start().unwrap();
        let machines = birth::find(&node.parts, &BTreeSet::new()).unwrap().machines;
        let machine = machines.iter().find(|one| one.group() == OTHER).unwrap();
        let spooled = carry(machine, &parcel, 4_096).unwrap();
        let from = world.disk.operations();
        world.disk.set_faults(Faults { crash_at: Some(from + crash_at), ..Faults::default() });
        let refused = machine.install(parcel.note().applied, spooled).unwrap_err();
        let has_crashed = world.disk.is_down();
        if !has_crashed {
            assert!(matches!(refused, Error::WrongGroup { group: OTHER, found: GROUP }), "{refused}");
            assert_eq!(node.parts.pool.tablets().len(), 2, "nothing of it stays");
            assert_eq!(machine.applied().applied, Some(FIRST));
            world.disk.crash();
        }
        drop((machines, node));
        world.disk.restart();
        let node = world.start().unwrap();
        let machines = birth::find(&node.parts, &BTreeSet::new()).unwrap().machines;
        assert!(machines.len() == 2 && machines.iter().all(|one| one.applied().applied == Some(FIRST)));
        if !has_crashed {
            break;
        }
    }
}
