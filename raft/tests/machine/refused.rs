//! A command that is too large for its entry is refused alone, and leaves nothing.

use crate::world::{
    A, C, Op, START_MS, World, at, command, count, entry, fill_key, get, once, put, ran, rows,
};
use raft::limits::{APPLY_OPERATIONS_MAX, REPLY_BYTES_MAX};
use raft::machine::operations::{Rows, Unapplied};
use raft::proposal::Reply;

const MIB: u32 = 1 << 20;

fn number(n: u64) -> Reply {
    ran(&n.to_be_bytes())
}

/// `large` between two commands that stand, and again afterwards as the same request.
#[track_caller]
fn assert_refused_alone(large: &[Op]) {
    let world = World::new(1);
    let (node, machine) = world.founded();
    let before = [put(b"a", b"first"), put(b"f", b"stays"), count(b"n")];
    // It touches what the first has written, and rows of its own.
    let ops =
        [&[put(b"a", b"second"), put(b"b", b"b"), Op::Delete(b"f".to_vec()), count(b"n")], large].concat();
    let request = once(1, START_MS + 500, &ops);
    let ranged = [&[Op::Range(b"a".to_vec(), None)], large].concat();
    let after = [get(b"a"), get(b"b"), get(b"f"), count(b"n")];
    let commands = [command(&before), request.clone(), command(&ranged), command(&after)];
    let replies = node.commit(&machine, 2, &entry(at(0), &commands)).unwrap().replies;
    let seen = [&b"\x01\0\0\0\x05first\0\x01\0\0\0\x05stays"[..], &2_u64.to_be_bytes()].concat();
    assert_eq!(replies, [number(1), Reply::TooLarge, Reply::TooLarge, ran(&seen)]);
    let expected = [(&b"a"[..], &b"first"[..]), (b"f", b"stays"), (b"n", &2_u64.to_be_bytes())];
    let expected = expected.map(|(key, value)| (key.to_vec(), value.to_vec()));
    assert_eq!(rows(&machine, A), expected);
    assert_eq!(machine.applied().last.0, at(0).0 + 3, "it has taken its stamp");
    // Its outcome was not kept: it may come again, and is refused again.
    let replies = node.commit(&machine, 3, &entry(at(1), &[request])).unwrap().replies;
    assert_eq!(replies, [Reply::TooLarge]);
    assert_eq!(rows(&machine, A), expected);
    assert_eq!(machine.fenced(), None);
}

#[test]
fn too_many_bytes() {
    assert_refused_alone(&[Op::Fill(7, MIB)]);
}

#[test]
fn too_many_operations() {
    assert_refused_alone(&[Op::Fill(u32::try_from(APPLY_OPERATIONS_MAX).unwrap(), 0)]);
}

#[test]
fn ranges_with_long_ends() {
    // Ends of zeros, which take twice their bytes: two thousand are more than a batch holds.
    assert_refused_alone(&[Op::Ranges(2_000, 4_000)]);
}

#[test]
fn keys_values_and_replies_over_their_bounds() {
    assert_refused_alone(&[Op::Put(vec![1; engine::limits::KEY_BYTES_MAX + 1], vec![], 0)]);
    assert_refused_alone(&[Op::Delete(vec![1; engine::limits::KEY_BYTES_MAX + 1])]);
    assert_refused_alone(&[Op::Range(vec![], Some(vec![1; engine::limits::KEY_BYTES_MAX + 1]))]);
    assert_refused_alone(&[Op::Fill(1, MIB + 1)]);
    assert_refused_alone(&[Op::Answer(u32::try_from(REPLY_BYTES_MAX).unwrap() + 1)]);
}

#[test]
fn what_fits_is_taken_to_the_last_byte_and_operation() {
    for fill in [Op::Fill(6, MIB), Op::Fill(u32::try_from(APPLY_OPERATIONS_MAX).unwrap() - 1, 8)] {
        let (node, machine) = World::new(1).founded();
        let request = once(1, START_MS + 500, &[fill]);
        let replies = node.commit(&machine, 2, &entry(at(0), &[request.clone(), request])).unwrap().replies;
        assert_eq!(replies, [ran(b""), Reply::RanBefore(bytes::Bytes::new())]);
        assert!(machine.tablet().view(0).unwrap().get(A, C, &fill_key(5)).unwrap().is_some());
    }
    let (node, machine) = World::new(1).founded();
    let most = u32::try_from(REPLY_BYTES_MAX).unwrap();
    let request = once(1, START_MS + 500, &[Op::Answer(most)]);
    let replies = node.commit(&machine, 2, &entry(at(0), &[request.clone(), request])).unwrap().replies;
    let reply = bytes::Bytes::from(vec![7; most as usize]);
    assert_eq!(replies, [Reply::Ran(reply.clone()), Reply::RanBefore(reply)]);
}

#[test]
fn commands_that_fit_alone_and_not_together_are_refused_from_the_first_that_does_not() {
    let (node, machine) = World::new(1).founded();
    let fill = |key: &[u8]| command(&[Op::Fill(4, MIB), put(key, b"")]);
    let small = command(&[put(b"small", b"")]);
    let commands = [fill(b"x"), fill(b"y"), small];
    let replies = node.commit(&machine, 2, &entry(at(0), &commands)).unwrap().replies;
    assert_eq!(replies, [ran(b""), Reply::TooLarge, ran(b"")]);
    let view = machine.tablet().view(0).unwrap();
    let has = |key: &[u8]| view.get(A, C, key).unwrap().is_some();
    assert!(has(b"x") && !has(b"y") && has(b"small") && has(&fill_key(3)));
}

#[test]
fn one_that_is_refused_takes_no_room_from_those_behind_it() {
    let (node, machine) = World::new(1).founded();
    let commands = [Op::Fill(7, MIB), Op::Fill(6, MIB)].map(|fill| command(&[fill]));
    let replies = node.commit(&machine, 2, &entry(at(0), &commands)).unwrap().replies;
    assert_eq!(replies, [Reply::TooLarge, ran(b"")]);
}

#[test]
fn a_key_too_long_to_be_written_is_not_there() {
    let (node, machine) = World::new(1).founded();
    let command = command(&[Op::GetLong(u32::try_from(engine::limits::KEY_BYTES_MAX).unwrap() + 1)]);
    let replies = node.commit(&machine, 2, &entry(at(0), &[command])).unwrap().replies;
    assert_eq!(replies, [ran(b"\0")], "whoever asks for it must not stop the group");
}

#[test]
fn what_cannot_go_on_is_not_taken_for_a_refusal() {
    let (node, machine) = World::new(1).founded();
    let failed = node.commit(&machine, 2, &entry(at(0), &[command(&[Op::Fail])]));
    assert!(matches!(failed, Err(raft::Error::Invalid("what cannot go on"))));
    assert_eq!(machine.applied().applied, Some(raft::group::birth::FIRST));
}

/// What [`Rows`] lets through is a batch that the tablet takes, however it is woven.
#[test]
fn what_rows_take_a_batch_takes() {
    let (_node, machine) = World::new(1).founded();
    let view = machine.tablet().view(0).unwrap();
    let zeros = vec![0; engine::limits::KEY_BYTES_MAX];
    for kind in 0..4 {
        let mut unapplied = Unapplied::default();
        let mut rows = Rows::new(&view, &mut unapplied, at(1));
        let mut taken = 0_u16;
        while taken < 9_000 {
            let key = [&zeros[2..], &taken.to_be_bytes()].concat();
            let done = match kind {
                0 => rows.put(A, C, &key, b"", 0),
                1 => rows.delete(A, C, &key),
                2 => rows.delete_range(A, C, b"", Some(&key)),
                _ => rows.delete_range(A, C, &key, None),
            };
            if done.is_err() {
                break;
            }
            taken += 1;
        }
        assert!(rows.is_over() && taken > 400, "kind {kind}: {taken}");
        assert!(unapplied.batch(engine::ids::LogIndex(9)).is_ok(), "kind {kind}: {taken} taken");
    }
}
