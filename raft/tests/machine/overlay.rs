//! What is looked ahead is what will be: at every cut, from every place at which entries are applied, rows and versions are those of a machine
//! that has applied them.

use crate::rig::{Dice, seeds};
use crate::world::{A, B, C, Node, Op, START_MS, World, at, command_of, count, entry, once, put};
use bytes::Bytes;
use engine::Stamp;
use engine::ids::TenantId;
use engine::tablet::view::Scan;
use raft::Error;
use raft::machine::Machine;
use raft::machine::overlay::Overlay;
use raft::seal::Unsealed;

const ENTRIES: u64 = 24;
const BYTES_MAX: usize = 1 << 20;

fn key(n: u64) -> Vec<u8> {
    vec![b'a' + u8::try_from(n % 12).unwrap()]
}

fn some_command(dice: &Dice) -> Unsealed {
    let tenant = if dice.below(3) == 0 { B } else { A };
    let one = key(dice.below(12));
    let ops = match dice.below(8) {
        0 => vec![put(&one, &dice.below(999).to_be_bytes())],
        1 => vec![Op::Delete(one)],
        2 => vec![Op::Range(one, Some(b"h".to_vec()))],
        3 => vec![Op::Range(b"j".to_vec(), None), put(b"k", b"then one")],
        4 => vec![Op::Put(one, b"will go.".to_vec(), START_MS + 30 + dice.below(60))],
        _ => vec![count(&one)],
    };
    match dice.below(4) {
        // Some come twice, and some too late.
        0 => once(dice.below(6), START_MS + 40 + dice.below(3) * 30, &ops),
        _ => command_of(tenant, &ops),
    }
}

fn some_entries(dice: &Dice) -> Vec<Bytes> {
    let one = |index: u64| {
        let commands: Vec<Unsealed> = (0..dice.below(5)).map(|_| some_command(dice)).collect();
        entry(Stamp::new(START_MS + index * 4 + dice.below(6), 0), &commands)
    };
    (2..2 + ENTRIES).map(one).collect()
}

type Rows = Vec<(Vec<u8>, Vec<u8>, Stamp, u64)>;

/// What a machine that has applied all shows at a cut.
fn applied(machine: &Machine, tenant: TenantId, cut: Stamp) -> Rows {
    let tablet = machine.tablet();
    let newest = tablet.view(cut.ms()).unwrap();
    let view = tablet.view_as_of(cut.min(newest.at())).unwrap();
    let page = view.scan(&Scan::all(tenant, C), None).unwrap();
    let of = |entry: engine::tablet::view::Entry| {
        (entry.key, entry.found.value.to_vec(), entry.found.stamp, entry.found.expires_ms)
    };
    // A view as of a stamp below the cut still holds what has expired by the cut.
    let lives = |row: &(Vec<u8>, Vec<u8>, Stamp, u64)| row.3 == 0 || row.3 > cut.ms();
    page.entries.into_iter().map(of).filter(lives).collect()
}

/// What is looked ahead, a few rows at a time.
fn ahead(overlay: &mut Overlay, tenant: TenantId, limit: usize) -> Rows {
    let (mut all, mut start) = (Rows::new(), None);
    loop {
        let scan = Scan { start: start.take(), limit, ..Scan::all(tenant, C) };
        let (rows, next) = overlay.page(&scan).unwrap();
        all.extend(rows.into_iter().map(|(key, row)| (key, row.value.to_vec(), row.stamp, row.expires_ms)));
        match next {
            Some(next) => start = Some(next),
            None => return all,
        }
    }
}

#[test]
fn what_is_looked_ahead_is_what_will_be() {
    let mut differ = 0;
    for seed in seeds(30) {
        let dice = Dice::new(seed);
        let entries = some_entries(&dice);
        let (whole, all) = World::new(seed + 1_000).founded();
        let mut given = Vec::new();
        for (index, payload) in (2..).zip(&entries) {
            let replies = whole.commit(&all, index, payload).unwrap();
            given.extend((0..replies.replies.len() as u64).map(|n| Stamp(replies.first.0 + n)));
        }
        let (node, machine) = World::new(seed).founded();
        let first = dice.below(ENTRIES);
        for (index, payload) in (2..).zip(&entries) {
            match index < 2 + first {
                true => drop(node.commit(&machine, index, payload).unwrap()),
                false => node.append(&machine, index, payload).unwrap(),
            }
            if dice.below(6) == 0 {
                node.flush(&machine);
            }
        }
        let from = machine.applied();
        for _ in 0..8 {
            // Any stamp, also one that divides an entry.
            let span = all.applied().last.0 - from.last.0;
            let near = given.iter().filter(|stamp| **stamp > from.last).nth(dice.below(9) as usize);
            let cut = near.copied().unwrap_or(Stamp(from.last.0 + dice.below(span + 3)));
            let mut overlay = Overlay::build(&machine, &node.parts.log, cut, BYTES_MAX).unwrap();
            for tenant in [A, B] {
                let wanted = applied(&all, tenant, cut);
                for limit in [1, 3, 1_000] {
                    assert_eq!(ahead(&mut overlay, tenant, limit), wanted, "seed {seed} at {cut} {tenant}");
                }
                for n in 0..12 {
                    let row = overlay.get(tenant, C, &key(n)).unwrap();
                    let there = wanted.iter().find(|one| one.0 == key(n));
                    assert_eq!(row.map(|row| row.stamp), there.map(|one| one.2), "seed {seed} at {cut}");
                }
                differ += u64::from(wanted != applied(&all, tenant, from.last));
            }
        }
        assert_eq!(machine.applied(), from, "nothing of it is applied");
    }
    assert!(differ > 50, "there was something to look ahead at: {differ}");
}

fn big(node: &Node, machine: &Machine) {
    for index in 2..12 {
        let rows: Vec<Op> = (0..8).map(|n| put(&[b'a', index as u8, n], &[7; 1_000])).collect();
        node.append(machine, index, &entry(at(index), &[command_of(A, &rows)])).unwrap();
    }
}

#[test]
fn memory_is_bounded() {
    let (node, machine) = World::new(3).founded();
    big(&node, &machine);
    let refused = Overlay::build(&machine, &node.parts.log, at(100), 20_000);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    let mut whole = Overlay::build(&machine, &node.parts.log, at(100), BYTES_MAX).unwrap();
    assert_eq!(ahead(&mut whole, A, 7).len(), 80);
}

#[test]
fn each_entry_may_write_as_much_as_any() {
    let (node, machine) = World::new(4).founded();
    let count = u32::try_from(raft::limits::APPLY_OPERATIONS_MAX).unwrap() - 10;
    for index in [2, 3] {
        node.append(&machine, index, &entry(at(index), &[command_of(A, &[Op::Fill(count, 1)])])).unwrap();
    }
    let mut both = Overlay::build(&machine, &node.parts.log, at(100), 64 << 20).unwrap();
    let rows = ahead(&mut both, A, 1_000);
    assert_eq!(rows.len(), count as usize);
    assert!(rows.iter().all(|row| row.2 == at(3)), "the second is not refused for what the first wrote");
}
