//! What one call may cost: pages end where much was deleted, and large answers come in parts or are refused.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::ids::LogIndex;
use engine::key::KeyRange;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Pool};
use engine::tablet::view::{Page, Scan, ScanCursor};
use engine::{Error, Stamp, limits};
use rig::{C, Rig, START_MS, T1, TABLET};
use std::sync::Arc;

fn key(n: usize) -> Vec<u8> {
    format!("key{n:06}").into_bytes()
}

/// A tablet in a pool with room for all that these tests write.
fn roomy(seed: u64) -> (Arc<Pool>, Arc<Tablet>) {
    let mut rig = Rig::new(seed);
    (rig.config.memtable_bytes, rig.config.memtable_bytes_per_tablet) = (256 << 20, 128 << 20);
    rig.config.block_bytes = 4 << 10;
    let pool = rig.open();
    let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
    (pool, tablet)
}

/// All pages of a scan, each at the view of its cursor.
fn pages(tablet: &Arc<Tablet>, scan: &Scan) -> Vec<Page> {
    let mut pages = vec![tablet.view(START_MS).unwrap().scan(scan, None).unwrap()];
    while let Some(ScanCursor { at, .. }) = pages[pages.len() - 1].next {
        let cursor = pages[pages.len() - 1].next.clone().unwrap();
        pages.push(tablet.view_as_of(at).unwrap().scan(scan, Some(&cursor)).unwrap());
    }
    pages
}

#[test]
fn a_page_over_deleted_rows_ends_and_the_next_goes_on() {
    let (_pool, tablet) = roomy(1);
    let rows = 2 * limits::SCAN_STEPS_MAX + limits::SCAN_STEPS_MAX / 2;
    for (index, first) in (1..).zip((0..rows).step_by(limits::BATCH_OPERATIONS_MAX)) {
        let mut batch = Batch::new(LogIndex(index));
        for n in first..first + limits::BATCH_OPERATIONS_MAX {
            let stamp = Stamp::new(START_MS + index, (n % limits::BATCH_OPERATIONS_MAX) as u16);
            match n {
                0 | 7 => batch.put(T1, C, &key(n), b"first", stamp, 0).unwrap(),
                _ if n + 1 == rows => batch.put(T1, C, &key(n), b"last", stamp, 0).unwrap(),
                _ => batch.delete(T1, C, &key(n), stamp).unwrap(),
            }
        }
        tablet.apply(&batch).unwrap();
    }
    for is_reverse in [false, true] {
        let pages = pages(&tablet, &Scan { is_reverse, ..Scan::all(T1, C) });
        let mut counts: Vec<_> = pages.iter().map(|page| page.entries.len()).collect();
        let mut found: Vec<_> = pages.into_iter().flat_map(|page| page.entries).map(|one| one.key).collect();
        if is_reverse {
            counts.reverse();
            found.reverse();
        }
        assert_eq!(counts, [2, 0, 1], "reverse {is_reverse}");
        assert_eq!(found, [key(0), key(7), key(rows - 1)]);
    }
}

#[test]
fn a_row_with_many_versions_is_passed_in_few_steps() {
    let (_pool, tablet) = roomy(2);
    let versions = limits::SCAN_STEPS_MAX as u64 + 10;
    for n in 1..=versions {
        let mut batch = Batch::new(LogIndex(n));
        batch.put(T1, C, b"hot", &n.to_be_bytes(), Stamp(Stamp::new(START_MS, 0).0 + n), 0).unwrap();
        if n == 1 {
            batch.put(T1, C, b"a", b"", Stamp(Stamp::new(START_MS, 0).0 + 1), 0).unwrap();
            batch.put(T1, C, b"z", b"", Stamp(Stamp::new(START_MS, 0).0 + 1), 0).unwrap();
        }
        tablet.apply(&batch).unwrap();
    }
    for at in [1, 2, 9, 10, versions / 2, versions - 9, versions] {
        let view = tablet.view_as_of(Stamp(Stamp::new(START_MS, 0).0 + at)).unwrap();
        for is_reverse in [false, true] {
            let page = view.scan(&Scan { is_reverse, ..Scan::all(T1, C) }, None).unwrap();
            assert_eq!((page.entries.len(), &page.next), (3, &None), "reverse {is_reverse} at {at}");
            assert_eq!(page.entries[1].found.value[..], at.to_be_bytes());
        }
    }
}

#[test]
fn large_histories_come_in_parts_and_large_multi_gets_are_refused() {
    let (_pool, tablet) = roomy(3);
    let value = vec![7; limits::VALUE_BYTES_MAX];
    let fit = limits::MULTI_GET_BYTES_MAX / limits::VALUE_BYTES_MAX;
    for n in 0..=fit {
        let mut batch = Batch::new(LogIndex(1 + n as u64));
        let stamp = |step| Stamp::new(START_MS + n as u64, step);
        batch.put(T1, C, &key(n), &value, stamp(0), 0).unwrap();
        batch.put(T1, C, b"hot", &value, stamp(1), 0).unwrap();
        tablet.apply(&batch).unwrap();
    }
    let view = tablet.view(START_MS).unwrap();
    let keys: Vec<_> = (0..=fit).map(key).collect();
    let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
    assert_eq!(view.multi_get(T1, C, &keys[..fit]).unwrap().iter().flatten().count(), fit);
    let error = view.multi_get(T1, C, &keys).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "bytes of a multi-get", .. }), "{error}");
    // The history of one key, page by page.
    let (mut page, mut sizes, mut stamps) = (view.history(T1, C, b"hot", 1_000).unwrap(), vec![], vec![]);
    loop {
        sizes.push(page.events.len());
        stamps.extend(page.events.iter().map(|event| event.stamp));
        let Some(next) = page.next else { break };
        page = tablet.view_as_of(next).unwrap().history(T1, C, b"hot", 1_000).unwrap();
    }
    let at_once = limits::HISTORY_BYTES_MAX / limits::VALUE_BYTES_MAX;
    assert_eq!(sizes, [at_once, at_once, fit + 1 - 2 * at_once]);
    assert!(stamps.into_iter().eq((0..=fit as u64).rev().map(|n| Stamp::new(START_MS + n, 1))));
}

#[test]
fn what_happened_to_a_key_at_one_stamp_stays_on_one_page() {
    let (_pool, tablet) = roomy(4);
    for index in 1..=3 {
        let (mut batch, stamp) = (Batch::new(LogIndex(index)), Stamp::new(START_MS + index, 0));
        batch.delete_range(T1, C, b"", None, stamp).unwrap();
        batch.put(T1, C, b"k", b"v", stamp, 0).unwrap();
        tablet.apply(&batch).unwrap();
    }
    let mut page = tablet.view(START_MS).unwrap().history(T1, C, b"k", 1).unwrap();
    for index in (1..=3).rev() {
        let events: Vec<_> = page.events.iter().map(|event| (event.stamp, event.value.is_some())).collect();
        let stamp = Stamp::new(START_MS + index, 0);
        assert_eq!(events, [(stamp, true), (stamp, false)]);
        assert_eq!(page.next.is_some(), index > 1);
        let Some(next) = page.next else { return };
        page = tablet.view_as_of(next).unwrap().history(T1, C, b"k", 1).unwrap();
    }
}

#[test]
fn large_values_that_nobody_sees_count_like_many_rows() {
    let (_pool, tablet) = roomy(5);
    let (rows, value) = (2_000_u64, vec![7; 64 << 10]);
    for n in 0..rows {
        let mut batch = Batch::new(LogIndex(1 + n));
        batch.put(T1, C, &key(n as usize), &value, Stamp::new(START_MS + n, 0), 0).unwrap();
        tablet.apply(&batch).unwrap();
    }
    let mut batch = Batch::new(LogIndex(1 + rows));
    batch.delete_range(T1, C, b"", None, Stamp::new(START_MS + rows, 0)).unwrap();
    tablet.apply(&batch).unwrap();
    for is_reverse in [false, true] {
        let pages = pages(&tablet, &Scan { is_reverse, ..Scan::all(T1, C) });
        assert_eq!((pages.len(), pages.iter().all(|page| page.entries.is_empty())), (2, true));
    }
}

#[test]
fn a_cursor_from_elsewhere_leads_to_nothing_outside_the_bounds() {
    let (_pool, tablet) = roomy(6);
    let mut batch = Batch::new(LogIndex(1));
    (0..9).for_each(|n| batch.put(T1, C, &key(n), b"v", Stamp::new(START_MS, n as u16), 0).unwrap());
    tablet.apply(&batch).unwrap();
    let view = tablet.view(START_MS).unwrap();
    for (is_reverse, after, want) in [
        (false, 0, vec![3, 4, 5]),
        (false, 4, vec![5]),
        (true, 8, vec![5, 4, 3]),
        (true, 4, vec![3]),
        (false, 8, vec![]),
    ] {
        let (start, end) = (Some(key(3)), Some(key(6)));
        let scan = Scan { is_reverse, start, end, ..Scan::all(T1, C) };
        let cursor = ScanCursor { at: view.at(), now_ms: START_MS, after: key(after) };
        let page = view.scan(&scan, Some(&cursor)).unwrap();
        let found: Vec<_> = page.entries.into_iter().map(|entry| entry.key).collect();
        assert_eq!(
            found,
            want.into_iter().map(key).collect::<Vec<_>>(),
            "after {after}, reverse {is_reverse}"
        );
    }
}
