//! A request that comes again runs once.

use crate::world::{A, START_MS, World, at, command, count, entry, get, install, once, ran, rows, run};
use bytes::Bytes;
use engine::Stamp;
use raft::limits::RETRY_WINDOW_MS_MAX;
use raft::proposal::Reply;

fn before(number: u64) -> Reply {
    Reply::RanBefore(Bytes::copy_from_slice(&number.to_be_bytes()))
}

fn number(n: u64) -> Reply {
    ran(&n.to_be_bytes())
}

const UNTIL: u64 = START_MS + 1_000;

#[test]
fn a_retry_is_answered_as_the_first_was() {
    let world = World::new(1);
    let (node, machine) = world.founded();
    let ask = |n| once(n, UNTIL, &[count(b"n")]);
    // In the same entry.
    let replies = node.commit(&machine, 2, &entry(at(0), &[ask(1), ask(1), ask(2)])).unwrap();
    assert_eq!(replies.replies, [number(1), before(1), number(2)]);
    // In another.
    let replies = node.commit(&machine, 3, &entry(at(1), &[ask(2), ask(1)])).unwrap();
    assert_eq!(replies.replies, [before(2), before(1)]);
    // From a table.
    node.flush(&machine);
    let replies = node.commit(&machine, 4, &entry(at(2), &[ask(2), ask(3)])).unwrap();
    assert_eq!(replies.replies, [before(2), number(3)]);
    // After a start: entries 2 and 3 are in a table, 4 is applied again.
    drop((node, machine));
    let (node, machine) = world.reopen();
    node.replay(&machine);
    let replies = node.commit(&machine, 5, &entry(at(3), &[ask(1), ask(2), ask(3)])).unwrap();
    assert_eq!(replies.replies, [before(1), before(2), before(3)]);
    // Whatever it asks for now, the number names the request; and nobody else's session does.
    let other = once(3, UNTIL, &[get(b"none")]);
    let stranger = raft::seal::Unsealed { session: [4; 16], ..ask(3) };
    let replies = node.commit(&machine, 6, &entry(at(4), &[other, stranger])).unwrap();
    assert_eq!(replies.replies, [before(3), number(4)]);
    let neighbour = raft::seal::Unsealed { tenant: crate::world::B, ..ask(3) };
    let replies = node.commit(&machine, 7, &entry(at(5), &[neighbour])).unwrap();
    assert_eq!(replies.replies, [number(1)], "another tenant's request of the same name");
}

#[test]
fn a_retry_runs_once_where_a_snapshot_came() {
    let (donor, donated) = World::new(1).founded();
    let ask = |n| once(n, UNTIL, &[count(b"n")]);
    donor.commit(&donated, 2, &entry(at(0), &[ask(1)])).unwrap();
    donor.flush(&donated);
    let (node, machine) = World::new(2).founded();
    let note = install(&machine, &donated.checkpoint().unwrap()).unwrap();
    assert_eq!(note, donated.applied());
    let again = entry(at(1), &[ask(1), ask(2)]);
    let replies = run(machine.apply_command(crate::rig::id(1, 3), &again)).unwrap();
    assert_eq!(replies.replies, [before(1), number(2)]);
    donor.commit(&donated, 3, &again).unwrap();
    assert_eq!(machine.applied(), donated.applied());
    drop(node);
}

#[test]
fn one_that_comes_too_late_or_wants_to_be_kept_too_long_does_not_run() {
    let (node, machine) = World::new(1).founded();
    let until = |ms| once(7, START_MS + ms, &[count(b"n")]);
    let entry_at = |ms, commands: &[raft::seal::Unsealed]| entry(at(ms), commands);
    // Valid at its last stamp, and not at the one behind it.
    let replies = node.commit(&machine, 2, &entry_at(100, &[until(100), until(100)])).unwrap();
    assert_eq!(replies.replies, [number(1), Reply::Expired]);
    let edge = RETRY_WINDOW_MS_MAX + 200;
    let commands = [until(edge + 1), until(edge)];
    let replies = node.commit(&machine, 3, &entry_at(200, &commands)).unwrap();
    assert_eq!(replies.replies, [Reply::WindowTooLong, number(2)]);
    assert_eq!(rows(&machine, A), [(b"n".to_vec(), 2_u64.to_be_bytes().to_vec())]);
    // No command that did not run has left anything but its stamp.
    assert_eq!(machine.applied().last, at(200).next());
}

#[test]
fn a_reply_is_kept_for_as_long_as_the_request_may_run_and_no_longer() {
    let (node, machine) = World::new(1).founded();
    let until = Stamp::new(START_MS + 50, 7);
    let ask = |valid_until| raft::seal::Unsealed { valid_until, ..once(1, 0, &[count(b"n")]) };
    node.commit(&machine, 2, &entry(at(0), &[ask(until)])).unwrap();
    let replies = node.commit(&machine, 3, &entry(until, &[ask(until), ask(until)])).unwrap();
    assert_eq!(replies.replies, [before(1), Reply::Expired]);
    // Whoever gives an old request a later end is remembered only as long as it first asked for.
    let later = ask(Stamp::new(START_MS + 900, 0));
    let replies = node.commit(&machine, 4, &entry(Stamp::new(START_MS + 51, 0), &[later])).unwrap();
    assert_eq!(replies.replies, [number(2)]);
}

#[test]
fn one_of_nobody_runs_each_time() {
    let (node, machine) = World::new(1).founded();
    let ask = command(&[count(b"n")]);
    let replies = node.commit(&machine, 2, &entry(at(0), &[ask.clone(), ask])).unwrap();
    assert_eq!(replies.replies, [number(1), number(2)]);
}
