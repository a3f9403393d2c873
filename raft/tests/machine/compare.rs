//! Two replicas that hold the same say so, whatever each has flushed and compacted; of two that differ, the row is found.

use crate::rig::{Dice, id, seeds};
use crate::world::{A, B, C, Node, Op, START_MS, World, command, command_of, entry, once, put, run};
use bytes::Bytes;
use engine::compaction::retention::Policy;
use engine::{Kind, Stamp};
use raft::Error;
use raft::limits::{DIGEST_PAGE_ENTRIES, RANGE_DIGESTS_MAX};
use raft::machine::Machine;
use raft::machine::compare::StateDigest;
use raft::machine::once::COLLECTION;
use raft::machine::range_digest::{RangeDigest, RowRange, differing};
use std::sync::Arc;

/// When these tests begin: long before the clock of the nodes, so that compaction forgets what it may.
const BEGIN_MS: u64 = START_MS - 100_000;
/// Rows of one entry.
const EACH: u64 = 250;

pub fn at(ms: u64) -> Stamp {
    Stamp::new(BEGIN_MS + ms, 0)
}

fn all() -> RowRange {
    RowRange::all(A, C)
}

pub fn key(n: u64) -> Vec<u8> {
    format!("key {n:05}").into_bytes()
}

/// Entries that set, delete and expire rows, each a millisecond after the one before.
pub fn some_entries(seed: u64, count: u64) -> Vec<Bytes> {
    let dice = Dice::new(seed);
    let op = |n: u64| match dice.below(8) {
        0 => Op::Delete(key(dice.below(60))),
        1 => Op::Range(key(dice.below(60)), Some(key(dice.below(60)))),
        2 => Op::Put(key(dice.below(60)), b"expires".to_vec(), BEGIN_MS + n + dice.below(40)),
        _ => put(&key(dice.below(60)), format!("{n} {}", dice.below(9)).as_bytes()),
    };
    let request = |n| once(n, BEGIN_MS + n + dice.below(30), &[op(n), op(n)]);
    (0..count).map(|n| entry(at(n), &[request(n), command(&[op(n)]), command_of(B, &[op(n)])])).collect()
}

/// A replica that has applied these, and made them durable and compacted as the dice fall.
pub fn replica(seed: u64, entries: &[Bytes], window_ms: Option<u64>) -> (Node, Arc<Machine>) {
    let (dice, (node, machine)) = (Dice::new(seed), World::new(seed).founded());
    if let Some(default_window_ms) = window_ms {
        node.parts.pool.set_policy(Policy { default_window_ms, ..Policy::default() });
    }
    for (index, payload) in (2..).zip(entries) {
        node.commit(&machine, index, payload).unwrap();
        if dice.below(9) == 0 {
            node.flush(&machine);
        }
        if window_ms.is_some() && dice.below(20) == 0 {
            machine.tablet().request_compaction();
            node.parts.pool.settle();
        }
    }
    (node, machine)
}

#[test]
fn replicas_that_applied_the_same_say_the_same_however_they_flushed_and_compacted() {
    for seed in seeds(10) {
        let entries = some_entries(seed, 80);
        let (_one, plain) = replica(seed, &entries, None);
        let (node, packed) = replica(seed + 1_000, &entries, Some(0));
        node.flush(&packed);
        packed.tablet().request_compaction();
        node.parts.pool.settle();
        for range in [all(), RowRange::all(B, C), RowRange::all(A, COLLECTION)] {
            for ranges_max in [1, 7, 64] {
                let told = plain.range_digest(None, &range, ranges_max).unwrap();
                assert_eq!(told, packed.range_digest(None, &range, ranges_max).unwrap(), "seed {seed}");
                assert!(told.ranges.len() > 1 || ranges_max == 1, "seed {seed}: {told:?}");
                let asked: Vec<RowRange> = told.ranges.iter().map(|one| one.range.clone()).collect();
                assert_eq!(packed.digests_of(Some(told.at), &asked).unwrap(), told, "seed {seed}");
            }
        }
        // An entry that only closes time moves the stamp at which values expire on both.
        let closer = entry(at(10_000), &[]);
        for machine in [&plain, &packed] {
            run(machine.apply_command(id(1, 82), &closer)).unwrap();
        }
        let told = plain.range_digest(None, &RowRange::all(A, COLLECTION), 4).unwrap();
        assert_eq!(told, packed.range_digest(None, &RowRange::all(A, COLLECTION), 4).unwrap());
        assert_eq!((told.at, told.ranges[0].sum.rows), (at(10_000), 0), "every kept reply has expired");
    }
}

#[test]
fn one_that_is_further_says_what_stood_at_the_stamp_of_the_other() {
    let entries = some_entries(3, 60);
    let (_one, behind) = replica(1, &entries[..40], None);
    let (_two, ahead) = replica(2, &entries, None);
    let told = behind.range_digest(None, &all(), 8).unwrap();
    assert_eq!(told.at, behind.applied().last);
    assert_eq!(ahead.range_digest(Some(told.at), &all(), 8).unwrap(), told);
    assert_ne!(ahead.range_digest(None, &all(), 8).unwrap().ranges, told.ranges);
    // Nobody speaks of what it has not applied, or has forgotten.
    let early = behind.range_digest(Some(ahead.applied().last), &all(), 8).unwrap_err();
    assert_eq!(early.kind(), Kind::Unavailable, "{early}");
    let (node, forgets) = replica(3, &entries, Some(0));
    node.flush(&forgets);
    forgets.tablet().request_compaction();
    node.parts.pool.settle();
    let gone = forgets.range_digest(Some(told.at), &all(), 8).unwrap_err();
    assert!(matches!(gone, Error::Engine(engine::Error::HistoryGone { .. })), "{gone}");
    assert!(forgets.range_digest(None, &all(), 8).is_ok());
}

/// What two replicas do that differ: one cuts, the other tells, and what differs is cut again, down to single rows.
fn found(one: &Machine, other: &Machine, ranges_max: usize) -> (Vec<RangeDigest>, usize) {
    let (mut left, mut rows, mut exchanges) = (vec![all()], Vec::new(), 0);
    while let Some(range) = left.pop() {
        exchanges += 1;
        let StateDigest { at, ranges } = one.range_digest(None, &range, ranges_max).unwrap();
        let asked: Vec<RowRange> = ranges.iter().map(|one| one.range.clone()).collect();
        let theirs = other.digests_of(Some(at), &asked).unwrap();
        for range in differing(&ranges, &theirs.ranges) {
            let ours = ranges.iter().find(|one| one.range == range).unwrap();
            if ours.sum.rows > 1 { left.push(range) } else { rows.push(ours.clone()) }
        }
    }
    (rows, exchanges)
}

/// A replica with many rows, all but for what `change` makes of the commands.
fn many(change: impl Fn(u64, &mut Vec<Op>)) -> (Node, Arc<Machine>) {
    let (node, machine) = World::new(1).founded();
    for (index, first) in (2..).zip((0..3_000).step_by(250)) {
        let mut ops = (first..first + EACH).map(|n| put(&key(n), b"value")).collect();
        change(first, &mut ops);
        node.commit(&machine, index, &entry(at(index), &[command(&ops)])).unwrap();
    }
    (node, machine)
}

#[test]
fn the_row_in_which_two_replicas_differ_is_found_in_a_few_exchanges() {
    const { assert!(3_000 > 2 * DIGEST_PAGE_ENTRIES, "the rows come in several pages") };
    let (_one, good) = many(|_, _| ());
    let at_row = |n: u64, op: Option<Op>| {
        move |first: u64, ops: &mut Vec<Op>| {
            if first == n - n % EACH {
                let place = usize::try_from(n % EACH).unwrap();
                drop(match op.clone() {
                    Some(op) => std::mem::replace(&mut ops[place], op),
                    None => ops.remove(place),
                });
            }
        }
    };
    for n in [0, 1, 1_234, 2_999] {
        let other = Op::Put(key(n), b"valuE".to_vec(), 0);
        let later = Op::Put(key(n), b"value".to_vec(), START_MS * 2);
        for op in [Some(other), Some(later), None] {
            let (_two, bad) = many(at_row(n, op.clone()));
            let (rows, exchanges) = found(&good, &bad, 16);
            assert_eq!(rows.len(), 1, "{op:?}");
            // The range holds that row alone, and reaches to the next.
            let RowRange { start, end, .. } = &rows[0].range;
            let is_in = |row: &[u8]| {
                start.as_deref().is_none_or(|start| start <= row)
                    && end.as_deref().is_none_or(|end| row < end)
            };
            assert!(
                is_in(&key(n)) && (n == 2_999 || !is_in(&key(n + 1))) && (n == 0 || !is_in(&key(n - 1))),
                "{op:?}"
            );
            assert!(exchanges <= 4, "{exchanges}");
        }
    }
    assert_eq!(found(&good, &good, 16), (vec![], 1));
    // A row too many, before all others or between two, is in the range that reaches over it.
    for more in [b"a".to_vec(), b"key 01234+".to_vec(), b"z".to_vec()] {
        let (_two, bad) = many(|first, ops| {
            if first == 0 {
                ops.push(put(&more, b"too many"));
            }
        });
        let (rows, _) = found(&good, &bad, 16);
        assert_eq!(rows.len(), 1);
    }
}

#[test]
fn the_stamp_of_the_newest_version_counts_and_no_older_one() {
    let write = |stamps: &[u64]| {
        let (node, machine) = World::new(1).founded();
        for (index, ms) in (2..).zip(stamps) {
            node.commit(&machine, index, &entry(at(*ms), &[command(&[put(b"k", b"v")])])).unwrap();
        }
        machine.range_digest(None, &all(), 4).unwrap().ranges
    };
    assert_eq!(write(&[0, 2]), write(&[1, 2]));
    assert_eq!(write(&[2]), write(&[1, 2]));
    assert_ne!(write(&[0, 2]), write(&[0, 3]));
}

#[test]
fn ranges_are_few_and_inside_the_tablet() {
    let (_node, machine) = replica(1, &some_entries(1, 5), None);
    let over = machine.range_digest(None, &all(), RANGE_DIGESTS_MAX + 1).unwrap_err();
    assert!(matches!(over, Error::TooLarge { what: "ranges of a digest", .. }), "{over}");
    assert!(machine.digests_of(None, &vec![all(); RANGE_DIGESTS_MAX + 1]).is_err());
    assert!(machine.range_digest(None, &all(), RANGE_DIGESTS_MAX).is_ok());
    let nothing = RowRange { start: Some(b"z".to_vec()), end: Some(b"a".to_vec()), ..all() };
    let told = machine.range_digest(None, &nothing, 4).unwrap();
    assert_eq!((told.ranges.len(), told.ranges[0].sum.rows), (1, 0));
    assert_eq!(machine.range_digest(Some(Stamp::ZERO), &all(), 4).unwrap().ranges[0].sum.rows, 0);
}
