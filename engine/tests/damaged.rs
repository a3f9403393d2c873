//! Damage: every flipped bit of a table and a manifest is noticed; blocks and files that are moved, cut or forged are refused, by
//! name; and no reader ever gets other bytes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::ids::{LogIndex, TableId};
use engine::tablet::batch::Batch;
use engine::{Error, Nature, Stamp};
use rig::tables::{KEYS, filled, fix_crc, frames, read_all, scrub, tables};
use rig::{C, START_MS, T1, TABLET};

/// The block that byte `at` of a table is in, if it is in one.
fn block_at(frames: &[(usize, usize)], at: usize) -> Option<u32> {
    (0..).zip(frames).find(|(_, (start, n))| (*start..start + n).contains(&at)).map(|(number, _)| number)
}

#[test]
fn every_flipped_bit_of_a_table_is_noticed_and_its_block_is_named() {
    let rig = filled(1, 256);
    let (path, clean) = tables(&rig).pop_first().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let frames = frames(&clean);
    let (mut unread, mut named) = (0, 0);
    for bit in 0..clean.len() * 8 {
        let block = block_at(&frames, bit / 8);
        rig.disk.tamper(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
        let pool = rig.open();
        let errors = read_all(&pool, KEYS);
        unread += usize::from(errors.is_empty());
        named += usize::from(block.is_some() && !errors.is_empty());
        for error in &errors {
            let Error::Damaged(damage) = error else { panic!("bit {bit}: {error}") };
            assert!(damage.place.contains(name), "bit {bit}: {damage}");
            assert_eq!((damage.nature, damage.block), (Nature::Rot, block), "bit {bit}: {damage}");
        }
        for with_keys in [false, true] {
            let report = scrub(&pool, with_keys);
            let [damage] = &report.findings[..] else { panic!("bit {bit}: {:?}", report.findings) };
            assert!(damage.place.contains(name), "bit {bit}: {damage}");
            assert_eq!((damage.nature, damage.block), (Nature::Rot, block), "bit {bit}: {damage}");
        }
        pool.close();
        rig.disk.tamper(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
    }
    // Only what no read touched may go unread: the digest at the end of a stripe and the like.
    assert!(unread * 3 < clean.len() * 8, "{unread} bits of {} did not stop a read", clean.len() * 8);
    assert!(frames.len() > 6 && named > 7_000, "{named} bits in {} blocks stopped a read", frames.len());
    let pool = rig.open();
    assert!(read_all(&pool, KEYS).is_empty(), "the control");
    assert_eq!(scrub(&pool, true).findings_count, 0, "the control");
}

#[test]
fn rot_in_two_blocks_is_told_of_both() {
    let rig = filled(1, 256);
    let (path, clean) = tables(&rig).pop_first().unwrap();
    let frames = frames(&clean);
    let mut pairs = 0;
    for (first, (at, n)) in (0..).zip(&frames) {
        for (second, (other, m)) in (0..).zip(&frames).skip(first as usize + 1) {
            // Inside the ciphertext: a head that is rotten may hide the frames after it.
            rig.disk
                .tamper(&path, |bytes| {
                    bytes[at + n / 2] ^= 0x40;
                    bytes[other + m / 2] ^= 0x02;
                })
                .unwrap();
            let pool = rig.open();
            for with_keys in [false, true] {
                let findings = scrub(&pool, with_keys).findings;
                let blocks: Vec<_> = findings.iter().map(|damage| (damage.nature, damage.block)).collect();
                assert_eq!(blocks, [(Nature::Rot, Some(first)), (Nature::Rot, Some(second))]);
            }
            for error in read_all(&pool, KEYS) {
                let Error::Damaged(damage) = &error else { panic!("{error}") };
                assert!([Some(first), Some(second)].contains(&damage.block), "{damage}");
            }
            pool.close();
            rig.disk.tamper(&path, |bytes| bytes.clone_from(&clean)).unwrap();
            pairs += 1;
        }
    }
    assert!(pairs > 15, "{pairs} pairs");
}

#[test]
fn every_flipped_bit_of_the_catalog_is_noticed() {
    let rig = filled(1, 256);
    for (key, value) in rig.catalog.all() {
        for bit in 0..value.len() * 8 {
            rig.catalog.tamper(&key, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            match rig.try_open() {
                Err(_) => {}
                Ok(pool) => {
                    assert!(pool.unreadable().contains_key(&TABLET), "row {key:?} bit {bit}");
                    assert!(pool.tablet(TABLET).is_err());
                    assert_eq!(pool.settle(), 0, "nothing is removed while a manifest cannot be read");
                }
            }
            rig.catalog.tamper(&key, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        }
    }
    assert!(read_all(&rig.open(), KEYS).is_empty(), "the control");
}

#[test]
fn a_cut_table_is_refused_wherever_it_is_cut() {
    let rig = filled(1, 256);
    let (path, clean) = tables(&rig).pop_first().unwrap();
    for length in (0..clean.len()).step_by(7) {
        rig.disk.tamper(&path, |bytes| bytes.truncate(length)).unwrap();
        let pool = rig.open();
        let errors = read_all(&pool, KEYS);
        assert_eq!(errors.len(), (KEYS + 1) * 2, "cut to {length}");
        assert!(errors.iter().all(|error| matches!(error, Error::Damaged(_))), "{errors:?}");
        pool.close();
        rig.disk.tamper(&path, |bytes| *bytes = clean.clone()).unwrap();
    }
    rig.disk.tamper(&path, |bytes| bytes.push(0)).unwrap();
    assert!(!read_all(&rig.open(), KEYS).is_empty());
}

#[test]
fn a_block_changed_with_its_checksum_is_tampered() {
    let rig = filled(1, 256);
    let (path, clean) = tables(&rig).pop_first().unwrap();
    for (number, (at, n)) in frames(&clean).into_iter().enumerate() {
        // Nonce, ciphertext, tag: everything that the clear head does not name.
        for offset in [16, 24, n - 5] {
            rig.disk
                .tamper(&path, |bytes| {
                    bytes[at + offset] ^= 1;
                    fix_crc(&mut bytes[at..at + n]);
                })
                .unwrap();
            let pool = rig.open();
            let found = read_all(&pool, KEYS);
            for error in &found {
                let Error::Damaged(damage) = error else { panic!("{error}") };
                assert_eq!(
                    (damage.nature, damage.block),
                    (Nature::Tampered, Some(number as u32)),
                    "{damage}"
                );
            }
            assert!(
                !found.is_empty() || scrub(&pool, true).findings_count > 0,
                "block {number} offset {offset}"
            );
            pool.close();
            rig.disk.tamper(&path, |bytes| *bytes = clean.clone()).unwrap();
        }
    }
}

#[test]
fn blocks_swapped_inside_and_between_files_are_refused() {
    // Values of one length make blocks of one length, which can change places.
    let rig = filled(2, 256);
    let all: Vec<_> = tables(&rig).into_iter().collect();
    let keys = KEYS * 2;
    let mut swaps = 0;
    for (path, bytes) in &all {
        let here = frames(bytes);
        for (other_path, other) in &all {
            for (number, (at, n)) in here.iter().enumerate() {
                for (other_number, (from, m)) in frames(other).iter().enumerate() {
                    if n != m || (path == other_path && number == other_number) {
                        continue;
                    }
                    let mut forged = bytes.clone();
                    forged[*at..at + n].copy_from_slice(&other[*from..from + m]);
                    rig.disk.tamper(path, |now| now.clone_from(&forged)).unwrap();
                    let pool = rig.open();
                    let errors = read_all(&pool, keys);
                    let wanted = if path == other_path || number != other_number {
                        Nature::WrongPlace
                    } else {
                        Nature::Tampered
                    };
                    for error in &errors {
                        let Error::Damaged(damage) = error else { panic!("{error}") };
                        assert!(damage.nature == wanted || damage.nature == Nature::WrongPlace, "{damage}");
                    }
                    assert!(scrub(&pool, true).findings_count > 0);
                    assert!(
                        scrub(&pool, false).findings_count > 0,
                        "keyless: the digest over all seals disagrees"
                    );
                    swaps += usize::from(!errors.is_empty());
                    pool.close();
                }
            }
        }
        rig.disk.tamper(path, |now| now.clone_from(bytes)).unwrap();
    }
    assert!(swaps > 3, "{swaps} swaps stopped a read");
}

#[test]
fn a_file_in_the_place_of_another_is_refused() {
    let rig = filled(2, 256);
    let all: Vec<_> = tables(&rig).into_iter().collect();
    let [(first, a), (second, b)] = &all[..] else { panic!("two tables") };
    rig.disk.tamper(first, |bytes| bytes.clone_from(b)).unwrap();
    rig.disk.tamper(second, |bytes| bytes.clone_from(a)).unwrap();
    let pool = rig.open();
    let errors = read_all(&pool, KEYS * 2);
    assert_eq!(errors.len(), (KEYS * 2 + 1) * 2);
    for error in errors {
        assert!(matches!(&error, Error::Damaged(damage) if damage.nature == Nature::WrongPlace), "{error}");
    }
    assert_eq!(pool.tablet(TABLET).unwrap().damaged().len(), 2);
}

#[test]
fn a_missing_file_is_named_and_the_others_are_served() {
    let rig = filled(2, 256);
    let (path, _) = tables(&rig).pop_first().unwrap();
    let id = TableId::parse(path.file_stem().unwrap().to_str().unwrap()).unwrap();
    engine::disk::Disk::remove(&rig.disk, &path).unwrap();
    let pool = rig.open();
    assert_eq!(pool.tablet(TABLET).unwrap().damaged(), [id]);
    let errors = read_all(&pool, KEYS * 2);
    assert!(!errors.is_empty());
    for error in errors {
        assert!(
            matches!(&error, Error::Damaged(damage) if damage.nature == Nature::Missing && damage.place.contains(&id.to_string()))
        );
    }
    // New rows, and rows whose newest version is elsewhere, are served.
    let tablet = pool.tablet(TABLET).unwrap();
    let mut batch = Batch::new(LogIndex(9));
    batch.put(T1, C, b"new", b"v", Stamp::new(START_MS * 2, 0), 0).unwrap();
    tablet.apply(&batch).unwrap();
    assert!(tablet.view(START_MS).unwrap().get(T1, C, b"new").unwrap().is_some());
    // Compaction goes around the damage and does not spread it.
    tablet.freeze();
    tablet.request_compaction();
    pool.settle();
    assert_eq!(tablet.damaged(), [id]);
}

#[test]
fn edits_of_a_manifest_cannot_be_reordered_repeated_or_left_out() {
    let rig = filled(3, 256);
    let rows: Vec<_> = rig.catalog.all().into_iter().filter(|(key, _)| key[0] == 1).collect();
    assert!(rows.len() >= 4, "{} edits", rows.len());
    let refused = |what: &str| {
        let pool = rig.open();
        assert!(pool.unreadable().contains_key(&TABLET), "{what}");
    };
    for n in 0..rows.len() - 1 {
        let (a, b) = (&rows[n], &rows[n + 1]);
        rig.catalog.tamper(&a.0, |bytes| bytes.clone_from(&b.1));
        refused("an edit in the place of the one before");
        rig.catalog.tamper(&b.0, |bytes| bytes.clone_from(&a.1));
        refused("two edits swapped");
        rig.catalog.tamper(&a.0, |bytes| bytes.clone_from(&a.1));
        refused("an edit repeated");
        rig.catalog.tamper(&b.0, |bytes| bytes.clone_from(&b.1));
    }
    let middle = engine::catalog::Change::Remove { key: rows[1].0.clone() };
    engine::catalog::Catalog::commit(&rig.catalog, &[middle]).unwrap();
    refused("an edit left out");
}
