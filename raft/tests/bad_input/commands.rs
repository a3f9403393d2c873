//! Commands that are answered with a refusal, alone: the group goes on, and so do the commands beside them.

use crate::world::{
    A, B, C, GROUP, Op, START_MS, World, at, command, command_of, count, entry, founder, get, once, put, ran,
    rows,
};
use engine::key::{self, KeyRange};
use raft::group::birth::Birth;
use raft::group::outcome::NotApplied;
use raft::limits::{COMMAND_BYTES_MAX, RETRY_WINDOW_MS_MAX};
use raft::proposal::Reply;
use raft::seal::Unsealed;

fn number(n: u64) -> Reply {
    ran(&n.to_be_bytes())
}

#[test]
fn a_command_outside_the_range_of_its_group_is_refused_alone() {
    let world = World::new(1);
    let node = world.start().unwrap();
    let range = KeyRange { start: key::row(A, C, b"f"), end: Some(key::row(A, C, b"m")) };
    let machine = node.bear(&Birth { range, ..founder(GROUP) }).unwrap();
    let clear = |start: &[u8], end: Option<&[u8]>| Op::Range(start.to_vec(), end.map(<[u8]>::to_vec));
    node.commit(&machine, 2, &entry(at(0), &[command(&[put(b"f", b"first"), put(b"l", b"last")])])).unwrap();
    let outside = [
        command(&[put(b"e", b"v")]),
        command(&[put(b"m", b"v")]),
        command(&[Op::Delete(b"z".to_vec())]),
        command(&[get(b"a")]),
        command(&[count(b"m")]),
        command(&[clear(b"a", Some(b"g"))]),
        command(&[clear(b"g", Some(b"n"))]),
        command(&[clear(b"f", None)]),
        command_of(B, &[put(b"g", b"v")]),
        // What it did inside before is taken back.
        command(&[put(b"g", b"v"), Op::Delete(b"f".to_vec()), clear(b"f", Some(b"m")), put(b"m", b"v")]),
        // Its outcome could not be kept in this group.
        once(1, START_MS + 500, &[put(b"g", b"v")]),
    ];
    let inside = command(&[put(b"h", b"v"), get(b"l"), clear(b"i", Some(b"m"))]);
    let commands: Vec<Unsealed> = outside.iter().cloned().chain([inside]).collect();
    let replies = node.commit(&machine, 3, &entry(at(1), &commands)).unwrap().replies;
    let (last, refused) = replies.split_last().unwrap();
    assert_eq!(refused, vec![Reply::OutsideRange; outside.len()]);
    assert_eq!(*last, ran(b"\x01\0\0\0\x04last"));
    let expected = [(b"f".to_vec(), b"first".to_vec()), (b"h".to_vec(), b"v".to_vec())];
    let page = machine.tablet().view(0).unwrap();
    let read = |key: &[u8]| page.get(A, C, key).unwrap().map(|found| found.value.to_vec());
    expected.iter().for_each(|(key, value)| assert_eq!(read(key).as_ref(), Some(value)));
    assert_eq!((read(b"g"), read(b"l"), machine.fenced()), (None, None, None));
    // Whatever follows is applied.
    node.commit(&machine, 4, &entry(at(2), &[command(&[put(b"k", b"v")])])).unwrap();
}

#[test]
fn a_request_that_is_late_early_or_another_than_before_does_not_run() {
    let (node, machine) = World::new(1).founded();
    let ask = |number, until_ms| once(number, START_MS + until_ms, &[count(b"n")]);
    // At 100 ms: past; at the last stamp; too far ahead; at the edge.
    let edge = RETRY_WINDOW_MS_MAX + 100;
    let commands = [ask(1, 99), ask(2, 100), ask(3, edge + 1), ask(4, edge), ask(5, u64::MAX >> 20)];
    let replies = node.commit(&machine, 2, &entry(at(100), &commands)).unwrap().replies;
    let expected = [Reply::Expired, Reply::Expired, Reply::WindowTooLong, number(1), Reply::WindowTooLong];
    assert_eq!(replies, expected);
    assert_eq!(rows(&machine, A), [(b"n".to_vec(), 1_u64.to_be_bytes().to_vec())]);
    // One that says another time at its second try neither runs again nor is answered as if it were the same.
    let first = node.commit(&machine, 3, &entry(at(101), &[ask(9, 500)])).unwrap().replies;
    assert_eq!(first, [number(2)]);
    let tries = [ask(9, 400), ask(9, 501), ask(9, edge), ask(9, 500)];
    let before = Reply::RanBefore(2_u64.to_be_bytes().to_vec().into());
    let expected = [Reply::OtherWindow, Reply::OtherWindow, Reply::OtherWindow, before];
    for (index, ms) in [(4, 200), (5, 399)] {
        let replies = node.commit(&machine, index, &entry(at(ms), &tries)).unwrap().replies;
        assert_eq!(replies, expected);
        node.flush(&machine);
    }
    // In one entry with the first try too.
    let both = [ask(10, 900), ask(10, 901)];
    let replies = node.commit(&machine, 6, &entry(at(402), &both)).unwrap().replies;
    assert_eq!(replies, [number(3), Reply::OtherWindow]);
    assert_eq!(rows(&machine, A), [(b"n".to_vec(), 3_u64.to_be_bytes().to_vec())]);
    assert_eq!(machine.fenced(), None);
}

#[test]
fn a_command_over_the_limits_is_not_proposed() {
    crate::cluster::perform(async {
        let door = crate::door::Door::following().await;
        let before = door.picture();
        let large = Unsealed { body: vec![0; COMMAND_BYTES_MAX + 1].into(), ..command(&[]) };
        let refused = door.running.batchers[&crate::door::GROUP].submit(large).await;
        assert!(matches!(refused, Err(NotApplied::Refused { .. })), "{refused:?}");
        assert_eq!(door.picture(), before);
        door.goes_on().await;
    });
}
