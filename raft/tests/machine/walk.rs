//! Replicas that hold the same are called equal, whatever each has flushed and compacted and however far it is; of those that do not, the odd
//! one is named, and the row.

use crate::compare::{at, key, replica, some_entries};
use crate::rig::{id, seeds};
use crate::world::{A, B, C, Node, Op, World, command, command_of, entry, put, run};
use bytes::Bytes;
use engine::ids::{CollectionId, TenantId};
use engine::limits::KEY_BYTES_MAX;
use raft::compare::question::{Asked, Question, SumOf, Told, WhyNot};
use raft::compare::tell;
use raft::compare::verdict::Difference;
use raft::compare::walk::{Ask, Out, Report, Walk};
use raft::limits::{DIFFERENCES_MAX, STATE_ROWS_MAX};
use raft::machine::Machine;
use raft::machine::range_digest::RowRange;
use raft::net::message::Message;
use raft::types::{GroupId, ReplicaId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Machines that are asked as over the wire, the first is replica 1.
struct Near {
    machines: Vec<Arc<Machine>>,
    silent: BTreeSet<ReplicaId>,
    asked: AtomicUsize,
}

impl Near {
    fn new(machines: &[&Arc<Machine>]) -> Self {
        let machines = machines.iter().map(|machine| Arc::clone(machine)).collect();
        Self { machines, silent: BTreeSet::new(), asked: AtomicUsize::new(0) }
    }
}

fn wired(message: &Message) -> Message {
    let mut body = Vec::new();
    message.append_body(&mut body);
    Message::decode(message.kind(), &Bytes::from(body)).unwrap()
}

impl Ask for Near {
    async fn ask(&self, replica: ReplicaId, what: Question) -> Option<Told> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let machine = self.machines.get(usize::try_from(replica.0).unwrap() - 1).cloned();
        let machine = machine.filter(|_| !self.silent.contains(&replica))?;
        let asked = Message::AskState(Asked { group: GroupId(5), replica, what });
        let Message::AskState(asked) = wired(&asked) else { panic!("a question") };
        tell::await_stamp(&machine, &asked.what).await;
        let Message::State(told) = wired(&Message::State(tell::tell(machine, asked.what).await)) else {
            panic!("an answer")
        };
        Some(told)
    }
}

fn walked(near: &Near, skipped: &(dyn Fn(TenantId) -> bool + Sync)) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let replicas = (1..).map(ReplicaId).take(near.machines.len());
        let mut walk = Walk::new(replicas);
        while walk.step(near, skipped).await {}
        assert!(!walk.step(near, skipped).await, "an end is one");
        walk.report().clone()
    })
}

fn compared(machines: &[&Arc<Machine>]) -> Report {
    walked(&Near::new(machines), &|_| false)
}

#[test]
fn replicas_that_applied_the_same_are_equal_however_they_flushed_and_compacted() {
    for seed in seeds(6) {
        let entries = some_entries(seed, 80);
        let (_one, plain) = replica(seed, &entries, None);
        let (_two, packed) = replica(seed + 1_000, &entries, Some(0));
        let (node, third) = replica(seed + 2_000, &entries, None);
        node.flush(&third);
        let report = compared(&[&plain, &packed, &third]);
        assert!(report.is_equal() && report.left_out.is_empty(), "seed {seed}: {report:?}");
        // Rows of two tenants, and the replies kept.
        assert!(report.ranges >= 3 && report.rows > 20, "seed {seed}: {report:?}");
    }
}

/// A replica with so many rows of `A` and one of `B`, all but for what `change` makes of the commands.
fn many(rows: u64, change: impl Fn(&mut Vec<Op>)) -> (Node, Arc<Machine>) {
    let (node, machine) = World::new(1).founded();
    let firsts = (0..rows).step_by(250);
    for (index, first) in (2..).zip(firsts.clone()) {
        let mut ops: Vec<Op> = (first..rows.min(first + 250)).map(|n| put(&key(n), b"value")).collect();
        if first == 0 {
            change(&mut ops);
        }
        let payload = entry(at(index), &[command(&ops), command_of(B, &[put(b"k", b"v")])]);
        node.commit(&machine, index, &payload).unwrap();
    }
    (node, machine)
}

/// Writes a row that no log holds.
fn spoil(machine: &Machine, user_key: &[u8], value: &[u8]) {
    let mut batch = engine::tablet::batch::Batch::new(engine::ids::LogIndex(1));
    batch.put(A, C, user_key, value, machine.applied().last, 0).unwrap();
    machine.tablet().spoil(&batch);
}

fn is_in(range: &RowRange, user_key: &[u8]) -> bool {
    range.start.as_deref().is_none_or(|start| start <= user_key)
        && range.end.as_deref().is_none_or(|end| user_key < end)
}

#[test]
fn the_replica_whose_row_is_another_is_named_and_the_row() {
    let rows = 2 * STATE_ROWS_MAX as u64 + 500;
    let (_one, first) = many(rows, |_| ());
    let (_two, second) = many(rows, |_| ());
    let (node, third) = many(rows, |_| ());
    assert!(compared(&[&first, &second, &third]).is_equal());
    let bad = STATE_ROWS_MAX as u64 + 77;
    spoil(&third, &key(bad), b"valuE");
    node.flush(&third);
    for (order, odd) in
        [([&first, &second, &third], 3), ([&third, &first, &second], 1), ([&first, &third, &second], 2)]
    {
        let near = Near::new(&order);
        let report = walked(&near, &|_| false);
        assert_eq!((report.differences.len(), report.more), (1, 0), "{report:?}");
        assert_eq!(report.odd(), [ReplicaId(odd)].into());
        let Difference { range, said, .. } = &report.differences[0];
        assert_eq!((range.tenant, range.collection), (A, C));
        assert!(is_in(range, &key(bad)) && !is_in(range, &key(bad - 1)) && !is_in(range, &key(bad + 1)));
        assert!(said.len() == 3 && said.values().all(|sum| sum.rows == 1));
        // Three of them, a few steps, and a narrowing from 4,000 rows to one.
        assert!(near.asked.load(Ordering::SeqCst) < 400);
        assert_eq!(
            (report.rows, report.replicas.len(), report.out.len()),
            (rows + 1, 3, 0),
            "all of it was compared"
        );
    }
}

#[test]
fn rows_too_many_and_too_few_are_found_wherever_they_stand() {
    let (_one, good) = many(600, |_| ());
    let (_two, same) = many(600, |_| ());
    for more in [b"".to_vec(), b"a".to_vec(), key(3), b"z".to_vec(), vec![0xff; KEY_BYTES_MAX]] {
        let (_three, bad) = many(600, |ops| ops.push(Op::Put(more.clone(), b"another".to_vec(), 0)));
        for order in [[&good, &same, &bad], [&bad, &good, &same]] {
            let report = compared(&order);
            // The entry of that row gave out one stamp more, or it did not: only rows of that entry may differ.
            let found = report.differences.iter().filter(|one| is_in(&one.range, &more)).count();
            assert_eq!(found, 1, "{} bytes: {report:?}", more.len());
        }
    }
    let (_three, less) = many(600, |ops| drop(ops.remove(9)));
    let report = compared(&[&less, &good, &same]);
    assert!(report.differs() && report.odd() == [ReplicaId(1)].into(), "{report:?}");
    // What is one collection too many, only one of them can say.
    let (_four, other) = many(600, |_| ());
    let mut batch = engine::tablet::batch::Batch::new(engine::ids::LogIndex(1));
    batch.put(TenantId(77), CollectionId(5), b"k", b"v", other.applied().last, 0).unwrap();
    other.tablet().spoil(&batch);
    let report = compared(&[&good, &same, &other]);
    assert_eq!(report.odd(), [ReplicaId(3)].into());
    assert_eq!(report.differences[0].range.tenant, TenantId(77));
}

#[test]
fn of_a_replica_that_is_all_wrong_the_first_ranges_are_told_and_that_there_are_more() {
    let (_one, good) = many(600, |_| ());
    let (_two, bad) = many(600, |_| ());
    for n in 0..600 {
        spoil(&bad, &key(n), b"wrong");
    }
    let report = compared(&[&good, &bad]);
    assert_eq!((report.differences.len(), report.more > 0), (DIFFERENCES_MAX, true));
    assert_eq!(report.odd().len(), 2, "of two nobody knows which");
}

#[test]
fn one_that_is_further_or_goes_on_meanwhile_is_equal() {
    let entries = some_entries(3, 60);
    let (_one, behind) = replica(1, &entries[..40], None);
    let (_two, ahead) = replica(2, &entries, None);
    let report = compared(&[&behind, &ahead]);
    assert!(report.is_equal() && report.rows > 0, "{report:?}");
    // Whoever says where to cut is further: the other is asked again and again, and then left out.
    let report = compared(&[&ahead, &behind]);
    assert_eq!(report.out, [(ReplicaId(2), Out::Says(WhyNot::Behind))].into());
    assert!(!report.is_equal() && !report.differs());
}

#[test]
fn one_that_is_silent_is_named_and_the_others_are_compared() {
    let entries = some_entries(3, 60);
    let all: Vec<_> = (1..4).map(|seed| replica(seed, &entries, None)).collect();
    let mut near = Near::new(&[&all[0].1, &all[1].1, &all[2].1]);
    near.silent.insert(ReplicaId(1));
    let report = walked(&near, &|_| false);
    assert_eq!(report.out, [(ReplicaId(1), Out::Silent)].into());
    assert!(!report.is_equal() && !report.differs() && report.rows > 0);
    near.silent.insert(ReplicaId(2));
    let report = walked(&near, &|_| false);
    assert_eq!((report.out.len(), report.rows), (2, 0), "one alone is compared to nobody");
}

#[test]
fn a_tenant_that_is_gone_or_skipped_is_left_out_whole() {
    let (_one, good) = many(300, |_| ());
    let (_two, bad) = many(300, |_| ());
    spoil(&bad, &key(5), b"valuE");
    assert!(compared(&[&good, &bad]).differs());
    let report = walked(&Near::new(&[&good, &bad]), &|tenant| tenant == A);
    assert!(report.is_equal() && report.left_out == [A].into() && report.rows == 1, "{report:?}");
    // One of them alone knows that it is gone, and applies nothing of it any more.
    let world = World::new(9);
    let (_three, knows) = world.founded();
    world.shreds.0.lock().unwrap().insert(A);
    let report = compared(&[&knows, &good]);
    assert!(!report.differs() && report.left_out.contains(&A), "{report:?}");
}

#[test]
fn what_has_expired_and_was_dropped_is_asked_for_at_a_later_stamp_or_not_at_all() {
    let expiring = |n: u64| Op::Put(key(n), b"expires".to_vec(), at(50).ms());
    let entries = [
        entry(at(0), &[command(&[expiring(1), expiring(2)])]),
        entry(at(100), &[command(&[put(b"z", b"z")])]),
    ];
    let (_one, plain) = replica(1, &entries, None);
    let (node, packed) = replica(2, &entries, Some(0));
    node.flush(&packed);
    packed.tablet().request_compaction();
    node.parts.pool.settle();
    assert!(compared(&[&plain, &packed]).is_equal());
    let sum = |machine: &Machine, ms| {
        machine.tell(&Question::Sum(SumOf { at: Some(at(ms)), range: RowRange::all(A, C), rows_max: 10 }))
    };
    let Told::Sum(before) = sum(&plain, 20) else { panic!("its history is whole") };
    assert_eq!(before.rows.rows, 2);
    assert_eq!(sum(&packed, 20), Told::Not(WhyNot::HistoryGone));
    assert_eq!(sum(&plain, 100), sum(&packed, 100));
    assert_eq!(sum(&plain, 101), Told::Not(WhyNot::Behind));
    // Nothing was written since, and the tablet's own stamp is older than the one asked for: rows may be gone all the same.
    let closer = entry(at(10_000), &[]);
    for machine in [&plain, &packed] {
        run(machine.apply_command(id(1, 4), &closer)).unwrap();
    }
    assert_eq!(sum(&plain, 10_000), sum(&packed, 10_000));
}

#[test]
fn an_answer_goes_over_so_many_rows_and_no_more() {
    let rows = STATE_ROWS_MAX as u64 + 300;
    let (_one, machine) = many(rows, |_| ());
    let asked = |start: Option<Vec<u8>>, rows_max| {
        let range = RowRange { start, ..RowRange::all(A, C) };
        match machine.tell(&Question::Sum(SumOf { at: None, range, rows_max })) {
            Told::Sum(sum) => (sum.rows.rows, sum.upto),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked(None, 1), (1, Some([&key(0)[..], &[0]].concat())));
    assert_eq!(asked(None, 0).0, 1);
    let (most, next) = asked(None, u32::MAX);
    assert_eq!(most, STATE_ROWS_MAX as u64);
    assert_eq!(asked(next, u32::MAX), (300, None));
}
