//! Pools with a few small tables, and what a test needs to damage them and to look at the damage.

use super::{C, Dice, Rig, START_MS, T1, T2, TABLET};
use engine::ids::{LogIndex, TenantId};
use engine::key::KeyRange;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Pool};
use engine::tablet::view::Scan;
use engine::work::scrub::ScrubReport;
use engine::{Error, Stamp};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Keys that each table has more than the one before.
pub const KEYS: usize = 6;

/// Of one tenant words, which compress; of the other one noise of one length, which makes blocks of one length.
pub fn value(tenant: TenantId, n: usize) -> Vec<u8> {
    match tenant {
        T1 => format!("value {n} of {tenant}").into_bytes(),
        _ => Dice::new(n as u64).bytes(48),
    }
}

pub fn fill(pool: &Pool, index: u64, keys: std::ops::Range<usize>) {
    let tablet = pool.tablet(TABLET).unwrap();
    let mut batch = Batch::new(LogIndex(index));
    let mut stamp = Stamp::new(START_MS + index * 1_000, 0);
    for tenant in [T1, T2] {
        for n in keys.clone() {
            stamp = stamp.next();
            batch.put(tenant, C, format!("k{n:02}").as_bytes(), &value(tenant, n), stamp, 0).unwrap();
        }
    }
    batch.delete_range(T1, C, b"x", Some(b"y"), stamp.next()).unwrap();
    tablet.apply(&batch).unwrap();
    tablet.freeze();
    while tablet.durable().index < LogIndex(index) {
        pool.step();
    }
}

/// A rig with `tables` tables in level 0.
pub fn filled(tables: u64, block_bytes: usize) -> Rig {
    let mut rig = Rig::new(3);
    rig.config.block_bytes = block_bytes;
    let pool = rig.open();
    pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap();
    (1..=tables).for_each(|index| fill(&pool, index, 0..KEYS * index as usize));
    pool.close();
    rig
}

/// The files of tables, by path.
pub fn tables(rig: &Rig) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = rig.disk.files();
    files.into_iter().filter(|(path, _)| path.extension().is_some_and(|name| name == "dpb")).collect()
}

/// Reads everything both ways. What is answered must be right; the errors are returned.
pub fn read_all(pool: &Arc<Pool>, keys: usize) -> Vec<Error> {
    let tablet = pool.tablet(TABLET).unwrap();
    let view = tablet.view(START_MS).unwrap();
    let mut errors = Vec::new();
    for tenant in [T1, T2] {
        for n in 0..keys {
            match view.get(tenant, C, format!("k{n:02}").as_bytes()) {
                Ok(found) => {
                    assert_eq!(found.map(|f| f.value.to_vec()), Some(value(tenant, n)), "wrong data")
                }
                Err(error) => errors.push(error),
            }
        }
        match view.scan(&Scan::all(tenant, C), None) {
            Ok(page) => {
                let got: Vec<_> = page.entries.iter().map(|e| e.found.value.to_vec()).collect();
                let mut want: Vec<_> = (0..keys).map(|n| (format!("k{n:02}"), value(tenant, n))).collect();
                want.sort();
                assert_eq!(got, want.into_iter().map(|(_, v)| v).collect::<Vec<_>>(), "wrong data");
            }
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// Scrubs everything.
pub fn scrub(pool: &Pool, with_keys: bool) -> ScrubReport {
    pool.request_scrub(with_keys);
    while !pool.scrub_report().is_done {
        pool.step();
    }
    pool.scrub_report()
}

/// Where the frames of a table stand: offset and length, by number.
pub fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let u64_at = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let end = u64_at(bytes.len() - 104);
    let mut at = 96;
    let mut all = Vec::new();
    while at < end {
        let n = u32::from_be_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize + 44;
        all.push((at, n));
        at += n;
    }
    all
}

/// Mends the checksum of a frame.
pub fn fix_crc(frame: &mut [u8]) {
    let end = frame.len() - 4;
    let crc = crc32fast::hash(&frame[..end]);
    frame[end..].copy_from_slice(&crc.to_be_bytes());
}
