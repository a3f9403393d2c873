//! A table that cannot be read is made whole in its place: from a copy, verified to the byte, or by itself once the disk is back.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::disk::Disk;
use engine::disk::sim::Faults;
use engine::ids::TableId;
use engine::tablet::pool::Pool;
use engine::{Error, Kind, Nature, limits};
use rig::tables::{KEYS, filled, frames, read_all, scrub, tables};
use rig::{Rig, TABLET};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ROWS: usize = KEYS * 2;

fn id_of(path: &Path) -> TableId {
    TableId::parse(path.file_stem().unwrap().to_str().unwrap()).unwrap()
}

/// A rig with two tables, and the older one's path and bytes.
fn two_tables() -> (Rig, PathBuf, Vec<u8>) {
    let rig = filled(2, 256);
    let (path, bytes) = tables(&rig).into_iter().min_by_key(|(_, bytes)| bytes.len()).unwrap();
    (rig, path, bytes)
}

fn rot(rig: &Rig, path: &Path, at: usize) {
    rig.disk.tamper(path, |bytes| bytes[at] ^= 1).unwrap();
}

/// Everything is read and merged, and goes on being so after a crash; no file is left over.
fn assert_mended(rig: &Rig, pool: Arc<Pool>) {
    assert_eq!(pool.tablet(TABLET).unwrap().damaged(), []);
    assert!(read_all(&pool, ROWS).is_empty());
    assert!(scrub(&pool, true).findings.is_empty());
    drop(pool);
    rig.disk.crash();
    rig.disk.restart();
    let pool = rig.open();
    assert!(read_all(&pool, ROWS).is_empty());
    pool.settle();
    let tablet = pool.tablet(TABLET).unwrap();
    assert_eq!(tables(rig).len(), tablet.stats().tables_by_level.iter().sum::<usize>());
    tablet.request_compaction();
    pool.settle();
    assert_eq!(tablet.stats().tables_by_level[0], 0, "compaction goes around nothing");
    assert!(read_all(&pool, ROWS).is_empty());
}

#[test]
fn a_damaged_block_a_damaged_end_and_a_missing_file_are_mended_in_place() {
    for harm in 0..3 {
        let (rig, path, clean) = two_tables();
        match harm {
            0 => rot(&rig, &path, frames(&clean)[0].0 + 30),
            1 => rot(&rig, &path, clean.len() - 1),
            _ => rig.disk.remove(&path).unwrap(),
        }
        let pool = rig.open();
        assert!(!read_all(&pool, ROWS).is_empty());
        // Background work meets the damage too, and sets the table aside.
        pool.tablet(TABLET).unwrap().request_compaction();
        pool.settle();
        assert_eq!(pool.tablet(TABLET).unwrap().damaged(), [id_of(&path)]);
        let held = pool.tablet(TABLET).unwrap().view(0).unwrap();
        pool.repair(id_of(&path), &mut &clean[..]).unwrap();
        drop(held);
        assert_mended(&rig, pool);
    }
}

#[test]
fn what_is_not_the_file_to_the_byte_is_refused_and_changes_nothing() {
    let (rig, path, clean) = two_tables();
    let other = tables(&rig).into_values().find(|bytes| *bytes != clean).unwrap();
    rot(&rig, &path, clean.len() - 1);
    let before = rig.disk.files();
    let pool = rig.open();
    let mut changed = clean.clone();
    changed[200] ^= 4;
    let copies = [(&other[..], Nature::Rot), (&changed[..], Nature::Rot), (&clean[1..], Nature::Missing)];
    for (copy, nature) in copies {
        let refused = pool.repair(id_of(&path), &mut &copy[..]).unwrap_err();
        assert!(matches!(&refused, Error::Damaged(damage) if damage.nature == nature), "{refused}");
        pool.settle();
        assert_eq!(rig.disk.files(), before);
        assert!(!read_all(&pool, ROWS).is_empty(), "it is still told");
    }
    let unknown = pool.repair(TableId([9; 16]), &mut &clean[..]).unwrap_err();
    assert_eq!(unknown.kind(), Kind::Invalid, "{unknown}");
    pool.repair(id_of(&path), &mut &clean[..]).unwrap();
    assert_mended(&rig, pool);
}

#[test]
fn a_repair_that_a_crash_or_an_error_cuts_short_is_whole_or_absent() {
    for is_crash in [true, false] {
        for after in 1..20 {
            let (rig, path, clean) = two_tables();
            rot(&rig, &path, clean.len() - 1);
            let mut pool = rig.open();
            let at = rig.disk.operations() + after;
            let faults = match is_crash {
                true => Faults { crash_at: Some(at), ..Faults::default() },
                false => Faults { fail_at: BTreeSet::from([at]), ..Faults::default() },
            };
            rig.disk.set_faults(faults);
            let outcome = pool.repair(id_of(&path), &mut &clean[..]);
            if is_crash {
                drop(pool);
                rig.disk.crash();
                rig.disk.restart();
                pool = rig.open();
            }
            rig.disk.set_faults(Faults::default());
            if outcome.is_err() {
                pool.settle();
                pool.repair(id_of(&path), &mut &clean[..]).unwrap();
            }
            assert_mended(&rig, pool);
        }
    }
}

#[test]
fn a_table_that_the_disk_did_not_give_is_opened_again_by_itself() {
    let (rig, ..) = two_tables();
    let operations = rig.disk.operations();
    let pool = rig.open();
    let opening = operations + 1..=rig.disk.operations();
    drop(pool);
    let mut shut = 0;
    for at in opening {
        let before = rig.disk.operations() - operations;
        rig.disk.set_faults(Faults { fail_at: BTreeSet::from([at + before]), ..Faults::default() });
        let Ok(pool) = rig.try_open() else { continue };
        let damaged = pool.tablet(TABLET).map(|tablet| tablet.damaged()).unwrap_or_default();
        if damaged.is_empty() {
            continue;
        }
        shut += 1;
        assert!(!read_all(&pool, ROWS).is_empty());
        let next = rig.disk.operations() + 1;
        rig.disk.set_faults(Faults { fail_at: (next..next + 100).collect(), ..Faults::default() });
        pool.settle();
        rig.disk.set_faults(Faults::default());
        pool.settle();
        assert_eq!(pool.tablet(TABLET).unwrap().damaged().len(), damaged.len(), "not at once");
        rig.clock.advance(limits::TIDY_LOOK_MS);
        pool.settle();
        assert_eq!(pool.tablet(TABLET).unwrap().damaged(), []);
        assert!(read_all(&pool, ROWS).is_empty());
    }
    assert!(shut > 1, "{shut} opens in which a table was shut");
}
