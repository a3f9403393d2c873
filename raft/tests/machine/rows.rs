//! What commands write and read, against a plain map: within one command, across commands, across entries, from memory and from
//! tables.

use crate::world::{A, B, C, Op, START_MS, World, answer, command_of, entry, ran, rows};
use engine::Stamp;
use engine::ids::TenantId;
use proptest::prelude::*;
use raft::proposal::Reply;
use std::collections::BTreeMap;

/// Of a tenant: by key, value and expiry.
type Picture = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

/// Keys that sort close to each other, and the empty one.
fn some_key() -> impl Strategy<Value = Vec<u8>> {
    let keys: [&[u8]; 7] = [b"", b"\0", b"a", b"a\0", b"ab", b"b", b"\xff\xff"];
    proptest::sample::select(keys.map(<[u8]>::to_vec).to_vec())
}

fn some_op() -> impl Strategy<Value = Op> {
    // Milliseconds close to those of the entries: some have expired when they are read.
    let expires = prop_oneof![4 => Just(0), 1 => START_MS..START_MS + 12];
    let value = proptest::collection::vec(any::<u8>(), 0..3);
    prop_oneof![
        4 => (some_key(), value, expires).prop_map(|(key, value, expires)| Op::Put(key, value, expires)),
        2 => some_key().prop_map(Op::Delete),
        2 => (some_key(), proptest::option::of(some_key())).prop_map(|(start, end)| Op::Range(start, end)),
        4 => some_key().prop_map(Op::Get),
    ]
}

/// Does `ops` to the picture, at `stamp`.
fn play(picture: &mut Picture, ops: &[Op], stamp: Stamp) -> Reply {
    let mut reply = Vec::new();
    for op in ops {
        match op {
            Op::Put(key, value, expires_ms) => {
                picture.insert(key.clone(), (value.clone(), *expires_ms));
            }
            Op::Delete(key) => {
                picture.remove(key);
            }
            Op::Range(start, end) => {
                picture.retain(|key, _| key < start || end.as_ref().is_some_and(|end| key >= end));
            }
            Op::Get(key) => {
                let lives = |expires_ms: u64| expires_ms == 0 || expires_ms > stamp.ms();
                let found = picture.get(key).filter(|(_, expires_ms)| lives(*expires_ms));
                reply.extend(answer(found.map(|(value, _)| &value[..])));
            }
            other => unreachable!("{other:?}"),
        }
    }
    ran(&reply)
}

type Entries = Vec<(Vec<(TenantId, Vec<Op>)>, bool)>;

fn some_entries() -> impl Strategy<Value = Entries> {
    let tenant = prop_oneof![3 => Just(A), 1 => Just(B)];
    let ops = proptest::collection::vec(some_op(), 0..7);
    let commands = proptest::collection::vec((tenant, ops), 1..5);
    proptest::collection::vec((commands, any::<bool>()), 1..9)
}

fn check(entries: &Entries) {
    let (node, machine) = World::new(1).founded();
    let mut pictures: BTreeMap<TenantId, Picture> = BTreeMap::new();
    for (index, (commands, is_flushed)) in (2..).zip(entries) {
        let sealed: Vec<_> = commands.iter().map(|(tenant, ops)| command_of(*tenant, ops)).collect();
        let proposed = Stamp::new(START_MS + index, 0);
        let done = node.commit(&machine, index, &entry(proposed, &sealed)).unwrap();
        for (n, (tenant, ops)) in (0..).zip(commands) {
            let expected = play(pictures.entry(*tenant).or_default(), ops, Stamp(done.first.0 + n));
            assert!(done.replies[n as usize] == expected, "entry {index}, command {n}");
        }
        if *is_flushed {
            node.flush(&machine);
        }
        for (tenant, picture) in &pictures {
            let found = rows(&machine, *tenant);
            let expected: Vec<_> =
                picture.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
            assert_eq!(found, expected, "after entry {index}, in {tenant}");
            for (key, (value, expires_ms)) in picture {
                let view = machine.tablet().view(0).unwrap();
                let found = view.get(*tenant, C, key).unwrap().unwrap();
                assert_eq!((&found.value[..], found.expires_ms), (&value[..], *expires_ms));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn commands_do_to_the_tablet_what_they_do_to_a_map(entries in some_entries()) {
        check(&entries);
    }
}

fn key(name: &[u8]) -> Vec<u8> {
    name.to_vec()
}

fn range(start: &[u8], end: &[u8]) -> Op {
    Op::Range(start.to_vec(), Some(end.to_vec()))
}

#[test]
fn ranges_and_writes_in_every_order() {
    let put = |value: &[u8]| Op::Put(key(b"k"), value.to_vec(), 0);
    let (all, get) = (range(b"a", b"z"), Op::Get(key(b"k")));
    let orders: [&[Op]; 8] = [
        &[put(b"1"), all.clone()],
        &[all.clone(), put(b"1")],
        &[put(b"1"), all.clone(), put(b"2")],
        &[all.clone(), put(b"1"), all.clone()],
        &[put(b"1"), range(b"a", b"k"), put(b"2"), range(b"k\0", b"z")],
        &[all.clone(), put(b"1"), Op::Delete(key(b"k"))],
        &[put(b"1"), all.clone(), all.clone(), put(b"2")],
        &[range(b"z", b"a"), put(b"1"), range(b"k", b"k")],
    ];
    for ops in orders {
        let read: Vec<Op> = ops.iter().flat_map(|op| [op.clone(), get.clone()]).collect();
        // In one command; each in one of its own; each in an entry of its own, in memory and in tables.
        check(&vec![(vec![(A, read.clone()), (A, vec![get.clone()])], false)]);
        check(&vec![(read.iter().map(|op| (A, vec![op.clone()])).collect(), false)]);
        for is_flushed in [false, true] {
            check(&read.iter().map(|op| (vec![(A, vec![op.clone()])], is_flushed)).collect());
        }
    }
}
