//! Entries that do not open: with a key that is not here, of a tenant that is shredded, or changed.

use crate::consensus::apply_as_consensus;
use crate::rig::{CLUSTER, id};
use crate::world::{
    A, B, GROUP, Node, Op, START_MS, World, at, command, command_of, count, entry, get, give, keyring, once,
    put, ran, rows,
};
use bytes::Bytes;
use engine::Stamp;
use engine::entropy::Seeded;
use engine::ids::{Owner, Purpose};
use engine::sealed::Sealer;
use raft::command::Command;
use raft::machine::note::Note;
use raft::machine::operations::Operations;
use raft::machine::{AppliedEntry, Feed, Machine};
use raft::proposal::Reply;
use raft::seal::{self, Times, Unsealed};
use raft::types::GroupId;
use std::sync::{Arc, Mutex};

#[test]
fn a_missing_key_stops_the_group_which_goes_on_after_a_start_with_the_key() {
    let world = World { keys: keyring(&[A]), ..World::new(1) };
    let (node, machine) = world.founded();
    node.commit(&machine, 2, &entry(at(0), &[command(&[put(b"k", b"before")])])).unwrap();
    node.flush(&machine);
    let commands = [command(&[put(b"k", b"v")]), command_of(B, &[put(b"k", b"theirs")])];
    let payload = entry(at(1), &commands);
    node.append(&machine, 3, &payload).unwrap();
    let before = machine.applied();
    apply_as_consensus(&machine, &[(id(1, 3), payload)]).unwrap_err();
    let cause = machine.fenced().unwrap();
    assert!(cause.contains("key"), "{cause}");
    // Nothing of it is there, not even what opened, and nothing comes behind it.
    assert_eq!((machine.applied(), rows(&machine, A)), (before, vec![(b"k".to_vec(), b"before".to_vec())]));
    let refused = apply_as_consensus(&machine, &[(id(1, 4), entry(at(2), &[]))]).unwrap_err().to_string();
    assert!(refused.contains("is fenced here"), "{refused}");
    drop((node, machine));
    give(&world.keys, Owner::Tenant(B), Purpose::Log);
    give(&world.keys, Owner::Tenant(B), Purpose::Data);
    let (node, machine) = world.reopen();
    assert_eq!(machine.fenced(), None);
    node.replay(&machine);
    assert_eq!(machine.applied().applied, Some(id(1, 3)));
    assert_eq!(rows(&machine, A), [(b"k".to_vec(), b"v".to_vec())]);
    assert_eq!(rows(&machine, B), [(b"k".to_vec(), b"theirs".to_vec())]);
}

/// How many writes came with each entry.
#[derive(Default)]
struct Heard(Mutex<Vec<usize>>);

impl Feed for Heard {
    fn applied(&self, _: GroupId, entry: &AppliedEntry<'_>) {
        self.0.lock().unwrap().push(entry.batch.len());
    }
}

/// What a replica made of entries between which it lost its power as often as `restarts` says: replies, writes told, and its note.
fn made_of(world: &World, entries: &[Bytes], restarts: usize) -> (Vec<Vec<Reply>>, Vec<usize>, Note) {
    let heard = Arc::new(Heard::default());
    let (mut node, first) = world.founded();
    let open = |node: &mut Node, machine: &Machine| {
        node.parts.feed = heard.clone();
        Machine::open(GROUP, machine.tablet(), node.parts.clone()).unwrap()
    };
    let mut machine = open(&mut node, &first);
    drop(first);
    let mut replies = Vec::new();
    for (n, payload) in entries.iter().enumerate() {
        replies.push(node.commit(&machine, 2 + n as u64, payload).unwrap().replies);
        if n < restarts {
            node.flush(&machine);
            drop((node, machine));
            let found = world.reopen();
            node = found.0;
            machine = open(&mut node, &found.1);
        }
    }
    (replies, heard.0.lock().unwrap().clone(), machine.applied())
}

#[test]
fn what_a_shredded_tenant_asked_for_is_nothing_everywhere_and_said_so() {
    let theirs = |op: Op| Unsealed { tenant: B, ..once(1, START_MS + 900, &[op]) };
    let both = [command(&[put(b"k", b"v")]), theirs(count(b"k")), command(&[get(b"k")])];
    let alone = [theirs(put(b"x", b"theirs"))];
    let entries = [entry(at(0), &both), entry(at(1), &alone), entry(at(2), &both)];
    let shredding = |keys: &[_], seed| {
        let world = World { keys: keyring(keys), ..World::new(seed) };
        world.shreds.0.lock().unwrap().insert(B);
        world
    };
    // The rule says it, not whether a key is left somewhere.
    let without = made_of(&shredding(&[A], 1), &entries, 0);
    let with = made_of(&shredding(&[A, B], 2), &entries, 2);
    let seen = ran(b"\x01\0\0\0\x01v");
    let three = vec![ran(b""), Reply::Shredded, seen];
    assert_eq!(without.0, [three.clone(), vec![Reply::Shredded], three]);
    assert_eq!(without.1, [1, 0, 1], "the feed hears of every entry, and of no write of theirs");
    assert_eq!(without, with);
    assert_eq!((without.2.digest, without.2.last), (with.2.digest, Stamp(at(2).0 + 2)));
}

#[test]
fn what_is_applied_as_nothing_is_counted_at_every_replica() {
    let world = World::new(1);
    world.shreds.0.lock().unwrap().insert(B);
    let (node, machine) = world.founded();
    let both =
        [command_of(B, &[put(b"k", b"theirs")]), command(&[put(b"k", b"v")]), command_of(B, &[count(b"k")])];
    let replies = node.commit(&machine, 2, &entry(at(0), &both)).unwrap().replies;
    assert_eq!(replies, [Reply::Shredded, ran(b""), Reply::Shredded]);
    let figures = node.parts.log.stats().read().machine;
    assert_eq!((figures.shredded_commands, figures.ran_commands), (2, 1));
    assert_eq!((rows(&machine, B), machine.fenced()), (vec![], None));
}

fn sealed_for(group: GroupId, seed: u64, stamp: Stamp, commands: &[Unsealed]) -> Command {
    let sealer = Sealer::new(CLUSTER, keyring(&[A, B]), Arc::new(Seeded::new(seed))).unwrap();
    let times = Times { stamp, closed: stamp, meta_index: 3 };
    seal::seal(&sealer, &Seeded::new(seed), group, times, commands).unwrap()
}

#[test]
fn whatever_was_changed_in_an_entry_is_named_as_tampered_and_fences_the_group() {
    let commands = [once(1, START_MS + 900, &[put(b"k", b"w")]), command_of(B, &[put(b"k", b"theirs")])];
    let good = sealed_for(GROUP, 1, at(1), &commands);
    let (other, elsewhere) =
        (sealed_for(GROUP, 2, at(1), &commands), sealed_for(GroupId(6), 1, at(1), &commands));
    let changed = |change: &dyn Fn(&mut Command)| {
        let mut command = good.clone();
        change(&mut command);
        command
    };
    let flipped = |bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Bytes::from(bytes)
    };
    let cases = [
        ("body", changed(&|one| one.parts[0].sealed = flipped(&one.parts[0].sealed))),
        ("second body", changed(&|one| one.parts[1].sealed = flipped(&one.parts[1].sealed))),
        ("name", changed(&|one| one.entry[0] ^= 1)),
        ("stamp", changed(&|one| one.stamp = one.stamp.next())),
        ("closed", changed(&|one| one.closed = one.closed.next())),
        ("meta index", changed(&|one| one.meta_index = 0)),
        ("session", changed(&|one| one.rows[0].session = [4; 16])),
        ("number", changed(&|one| one.rows[0].number = 2)),
        ("valid until", changed(&|one| one.rows[0].valid_until = at(901))),
        ("counts", changed(&|one| one.parts[0].counts.puts = 9)),
        (
            "whose",
            changed(&|one| (one.rows[0].part, one.rows[1].part) = (one.rows[1].part, one.rows[0].part)),
        ),
        ("body of another entry", changed(&|one| one.parts[0].sealed = other.parts[0].sealed.clone())),
        ("body of another group", changed(&|one| one.parts[0].sealed = elsewhere.parts[0].sealed.clone())),
        ("body of another tenant", changed(&|one| one.parts[0].sealed = good.parts[1].sealed.clone())),
        ("entry of another group", elsewhere.clone()),
    ];
    for (what, command) in cases {
        let world = World::new(1);
        let (node, machine) = world.founded();
        node.parts.meta.reaches(3);
        node.commit(&machine, 2, &entry(at(0), &[command_of(A, &[put(b"k", b"v")])])).unwrap();
        let before = machine.applied();
        apply_as_consensus(&machine, &[(id(1, 3), command.encode())]).unwrap_err();
        let cause = machine.fenced().unwrap();
        // Whose key a body was sealed with stands in it.
        let name = if what == "body of another tenant" { "WRONG_KEY" } else { "TAMPERED" };
        assert!(cause.contains(name), "{what}: {cause}");
        assert_eq!(machine.applied(), before, "{what}");
        assert_eq!(rows(&machine, A), [(b"k".to_vec(), b"v".to_vec())], "{what}");
    }
    let (node, machine) = World::new(1).founded();
    node.parts.meta.reaches(3);
    apply_as_consensus(&machine, &[(id(1, 2), good.encode())]).unwrap();
    assert_eq!(rows(&machine, A), [(b"k".to_vec(), b"w".to_vec())], "as it was it opens");
}

/// Panics at every command.
struct Falls;

impl Operations for Falls {
    fn evaluate(
        &self,
        _: engine::ids::TenantId,
        _: &[u8],
        _: &mut raft::machine::operations::Rows<'_>,
    ) -> raft::Result<Bytes> {
        panic!("a command nobody thought of")
    }
}

#[test]
fn a_command_whose_evaluation_panics_fences_its_group_and_takes_nothing_with_it() {
    let world = World::new(1);
    let (mut node, machine) = world.founded();
    node.parts.operations = Arc::new(Falls);
    let machine = Machine::open(GROUP, machine.tablet(), node.parts.clone()).unwrap();
    let before = machine.applied();
    apply_as_consensus(&machine, &[(id(1, 2), entry(at(0), &[command(&[put(b"k", b"v")])]))]).unwrap_err();
    assert!(machine.fenced().unwrap().contains("panicked"));
    assert_eq!((machine.applied(), rows(&machine, A)), (before, vec![]));
}
