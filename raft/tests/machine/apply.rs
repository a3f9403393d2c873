//! Entries applied: what they answer, which stamps they give out, and that every machine comes to the same.

use crate::consensus::apply_as_consensus;
use crate::rig::{Dice, id, seeds};
use crate::world::{
    A, B, C, GROUP, Op, START_MS, World, at, command, command_of, count, entry, get, put, ran, rows, run,
};
use bytes::Bytes;
use engine::Stamp;
use engine::ids::NodeId;
use raft::machine::{AppliedEntry, Feed, Machine};
use raft::proposal::Reply;
use raft::seal::Unsealed;
use raft::types::{GroupId, LogId, Membership, ReplicaId, Role, Seat};
use std::sync::{Arc, Mutex};

#[test]
fn commands_are_answered_in_order_and_see_what_was_before_them() {
    let (node, machine) = World::new(1).founded();
    let first =
        [command(&[put(b"k", b"one")]), command(&[get(b"k"), get(b"none")]), command_of(B, &[get(b"k")])];
    let replies = node.commit(&machine, 2, &entry(at(0), &first)).unwrap();
    assert_eq!(replies.first, at(0));
    assert_eq!(replies.replies, [ran(b""), ran(b"\x01\0\0\0\x03one\0"), ran(b"\0")]);
    // What is in the tablet is seen too, flushed or not.
    for index in [3, 4] {
        let replies = node.commit(&machine, index, &entry(at(index), &[command(&[get(b"k")])])).unwrap();
        assert_eq!((replies.first, &replies.replies[..]), (at(index), &[ran(b"\x01\0\0\0\x03one")][..]));
        node.flush(&machine);
    }
    assert_eq!(rows(&machine, A), [(b"k".to_vec(), b"one".to_vec())]);
    assert_eq!(rows(&machine, B), []);
    let note = machine.applied();
    assert_eq!((note.applied, note.last), (Some(id(1, 4)), at(4)));
}

#[test]
fn each_version_bears_the_stamp_of_its_command() {
    let (node, machine) = World::new(1).founded();
    let commands = [command(&[put(b"a", b"1")]), command(&[put(b"b", b"2")]), command(&[put(b"a", b"3")])];
    node.commit(&machine, 2, &entry(at(0), &commands)).unwrap();
    let stamp = |key: &[u8], at: Stamp| {
        machine.tablet().view_as_of(at).unwrap().get(A, C, key).unwrap().map(|found| found.stamp)
    };
    let [first, second, third] = [0, 1, 2].map(|n| Stamp(at(0).0 + n));
    assert_eq!((stamp(b"a", third), stamp(b"b", third)), (Some(third), Some(second)));
    assert_eq!((stamp(b"a", first), stamp(b"b", first)), (Some(first), None));
}

/// Some entries with stamps that go back, jump, and stand at the end of a millisecond.
fn some_entries(seed: u64, entries: u64) -> Vec<(LogId, Bytes)> {
    let dice = Dice::new(seed);
    let stamp = |dice: &Dice| {
        let counter = [0, 3, 0xfffe, 0xffff][usize::try_from(dice.below(4)).unwrap()];
        Stamp::new(START_MS + dice.below(40), counter)
    };
    let one = |dice: &Dice| -> Unsealed {
        let key = [b'a' + u8::try_from(dice.below(4)).unwrap()];
        let ops = match dice.below(5) {
            0 => vec![put(&key, &dice.below(999).to_be_bytes()), get(&key)],
            1 => vec![Op::Delete(key.to_vec())],
            2 => vec![Op::Range(key.to_vec(), None), get(b"a")],
            _ => vec![count(&key)],
        };
        command_of(if dice.below(3) == 0 { B } else { A }, &ops)
    };
    let entry_of = |index| {
        let commands: Vec<Unsealed> = (0..dice.below(5)).map(|_| one(&dice)).collect();
        (id(1, index), entry(stamp(&dice), &commands))
    };
    (2..2 + entries).map(entry_of).collect()
}

#[test]
fn machines_that_apply_the_same_entries_come_to_the_same_however_they_are_grouped() {
    for seed in seeds(20) {
        let entries = some_entries(seed, 30);
        let dice = Dice::new(seed ^ 0x77);
        // One gets them one by one, flushes now and then, and is stopped and started.
        let world = World::new(seed);
        let (mut node, mut machine) = world.founded();
        let (mut last, mut given) = (Stamp::ZERO, 0);
        for (id, payload) in &entries {
            let count = raft::command::Command::stamps(payload).unwrap().2;
            let replies = node.commit(&machine, id.index, payload).unwrap();
            assert_eq!(replies.replies.len(), count);
            if count > 0 {
                assert!(replies.first > last, "seed {seed}: a stamp that does not rise");
                last = Stamp(replies.first.0 + count as u64 - 1);
                assert_eq!(replies.first.ms(), last.ms(), "seed {seed}: an entry crosses a millisecond");
                given += 1;
            } else {
                last = last.max(replies.first);
            }
            assert_eq!(machine.applied().last, last, "seed {seed}");
            if dice.below(4) == 0 {
                node.flush(&machine);
            }
            if dice.below(8) == 0 {
                drop((node, machine));
                (node, machine) = world.reopen();
                node.replay(&machine);
            }
        }
        assert!(given > 10);
        // Another gets them all at once, as consensus hands them over.
        let other = World::new(seed + 1_000);
        let (_node, all) = other.founded();
        apply_as_consensus(&all, &entries).unwrap();
        assert_eq!(all.applied(), machine.applied(), "seed {seed}");
        assert_eq!((rows(&all, A), rows(&all, B)), (rows(&machine, A), rows(&machine, B)), "seed {seed}");
    }
}

#[test]
fn an_entry_without_commands_closes_time() {
    let (node, machine) = World::new(1).founded();
    node.commit(&machine, 2, &entry(at(5), &[])).unwrap();
    assert_eq!(machine.applied().last, at(5));
    let replies = node.commit(&machine, 3, &entry(at(1), &[command(&[])])).unwrap();
    assert_eq!(replies.first, at(5).next());
    node.commit(&machine, 4, &entry(at(2), &[])).unwrap();
    assert_eq!(machine.applied().last, at(5).next());
}

#[test]
fn blank_entries_and_memberships_move_the_note_and_nothing_else() {
    let world = World::new(1);
    let (node, machine) = world.founded();
    node.commit(&machine, 2, &entry(at(0), &[command(&[put(b"k", b"v")])])).unwrap();
    let before = machine.applied();
    let replies = run(machine.apply_blank(id(2, 3))).unwrap();
    assert_eq!((replies.first, replies.replies), (at(0), vec![]));
    let seats = [(ReplicaId(4), Seat { node: NodeId(1), role: Role::Voter })];
    let membership = Membership { voters: vec![[ReplicaId(4)].into()], seats: seats.into() };
    run(machine.apply_membership(id(2, 4), membership.clone())).unwrap();
    let note = machine.applied();
    assert_eq!(
        (note.applied, note.membership_at, &note.membership),
        (Some(id(2, 4)), Some(id(2, 4)), &membership)
    );
    assert_eq!((note.digest, note.last), (before.digest, before.last));
    // All of it is durable together, and not before the log is.
    node.flush(&machine);
    assert_eq!(machine.durable().unwrap().applied, Some(raft::group::birth::FIRST));
    raft::log::store::Watch::durable(&*machine, id(2, 4));
    node.flush(&machine);
    assert_eq!(machine.durable().unwrap(), note);
    machine.note_durable().unwrap();
    drop((node, machine));
    assert_eq!(world.reopen().1.applied(), note);
}

#[test]
fn digests_tell_a_difference_and_whose_it_is() {
    let digest = |commands: &[Unsealed]| {
        let (node, machine) = World::new(1).founded();
        node.commit(&machine, 2, &entry(at(0), commands)).unwrap();
        machine.applied().digest
    };
    let base = digest(&[command(&[put(b"k", b"v")]), command_of(B, &[get(b"k")])]);
    assert_eq!(base, digest(&[command(&[put(b"k", b"v")]), command_of(B, &[get(b"k")])]));
    let bucket = |tenant| raft::machine::digest::Digest::bucket(tenant);
    for other in [
        vec![put(b"k", b"w")],
        vec![put(b"l", b"v")],
        vec![Op::Put(b"k".to_vec(), b"v".to_vec(), 7)],
        vec![Op::Delete(b"k".to_vec())],
        vec![Op::Range(b"k".to_vec(), None)],
        vec![put(b"k", b"v"), get(b"x")],
        vec![],
    ] {
        let other = digest(&[command(&other), command_of(B, &[get(b"k")])]);
        assert_eq!(base.differing(&other), [bucket(A)]);
    }
    let other = digest(&[command(&[put(b"k", b"v")]), command_of(B, &[get(b"k"), get(b"k")])]);
    assert_eq!(base.differing(&other), [bucket(B)]);
    // The same at another stamp.
    let (node, machine) = World::new(1).founded();
    let commands = [command(&[put(b"k", b"v")]), command_of(B, &[get(b"k")])];
    node.commit(&machine, 2, &entry(at(1), &commands)).unwrap();
    assert_eq!(base.differing(&machine.applied().digest).len(), 2);
}

#[test]
fn no_two_outcomes_count_as_the_same() {
    let reply = |bytes: &'static [u8]| Bytes::from_static(bytes);
    let all = [
        Reply::Ran(reply(b"")),
        Reply::Ran(reply(b"before ")),
        Reply::Ran(reply(b"before x")),
        Reply::RanBefore(reply(b"")),
        Reply::RanBefore(reply(b"x")),
        Reply::Expired,
        Reply::Shredded,
        Reply::WindowTooLong,
        Reply::TooLarge,
        Reply::OutsideRange,
        Reply::OtherWindow,
    ];
    let distinct: std::collections::BTreeSet<Vec<u8>> = all.iter().map(Reply::digest).collect();
    assert_eq!(distinct.len(), all.len());
}

/// Writes down what it hears.
#[derive(Default)]
struct Heard(Mutex<Vec<(LogId, Stamp, usize)>>);

impl Feed for Heard {
    fn applied(&self, group: GroupId, entry: &AppliedEntry<'_>) {
        assert_eq!((group, entry.last), (GROUP, entry.closed));
        self.0.lock().unwrap().push((entry.log_id, entry.last, entry.batch.len()));
    }
}

#[test]
fn the_feed_hears_of_every_entry_in_order() {
    let (mut node, machine) = World::new(1).founded();
    let heard = Arc::new(Heard::default());
    node.parts.feed = heard.clone();
    let machine = Machine::open(GROUP, machine.tablet(), node.parts.clone()).unwrap();
    node.commit(&machine, 2, &entry(at(0), &[command(&[put(b"a", b"")]), command(&[put(b"b", b"")])]))
        .unwrap();
    run(machine.apply_blank(id(1, 3))).unwrap();
    node.parts.log.append(GROUP, vec![], Box::new(|_| ())).unwrap();
    run(machine.apply_command(id(1, 4), &entry(at(9), &[]))).unwrap();
    let expected = [(id(1, 2), at(0).next(), 2), (id(1, 3), at(0).next(), 0), (id(1, 4), at(9), 0)];
    assert_eq!(*heard.0.lock().unwrap(), expected);
}
