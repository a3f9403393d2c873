//! Format: range_tombstones. What decodes encodes to the same bytes, keeps to one tenant, and hides what a plain look says it does.

use engine::key::{after_prefix, tenant_of};
use engine::range_tombstone::{RangeTombstone, Tombstones, newest_only};
use engine::table::tombstones::{bytes_of, decode, encode};
use engine::{Nature, Stamp, limits};
use std::sync::Arc;

/// Tombstones that are looked at one by one.
const LOOKED_AT: usize = 40;

pub fn run(bytes: &[u8]) {
    match decode(bytes) {
        Ok(all) => {
            assert_eq!(encode(&all), bytes);
            assert_eq!(bytes.len(), 4 + all.iter().map(bytes_of).sum::<usize>());
            all.iter().for_each(check);
            look(&all[..all.len().min(LOOKED_AT)]);
        }
        Err(damage) => {
            assert_eq!((damage.nature, damage.place.as_str(), damage.block), (Nature::Malformed, "", None));
        }
    }
}

fn check(one: &RangeTombstone) {
    assert!(one.start < one.end && one.start.len() >= 8);
    assert!(one.start.len().max(one.end.len()) <= limits::BOUND_BYTES_MAX);
    let is_end_of_tenant = after_prefix(&one.start[..8]).is_some_and(|after| after == one.end);
    assert!(is_end_of_tenant || tenant_of(&one.start) == tenant_of(&one.end));
}

fn look(all: &[RangeTombstone]) {
    let index = Tombstones::new(all.iter().cloned().map(Arc::new));
    let newest = Tombstones::new(newest_only(index.all()).into_iter().map(Arc::new));
    assert_eq!(index.is_empty(), all.is_empty());
    assert!(all.is_sorted_by(|a, b| a.start <= b.start));
    for one in all {
        for row in [&one.start[..], &one.end, &one.start[..8], &[]] {
            for at in [one.stamp, Stamp(one.stamp.0.saturating_sub(1)), Stamp::MAX] {
                let covers =
                    |one: &&RangeTombstone| &one.start[..] <= row && row < &one.end[..] && one.stamp <= at;
                let want = all.iter().filter(covers).map(|one| one.stamp).max();
                assert_eq!(index.covering(row, at), want);
                if at == Stamp::MAX {
                    assert_eq!(newest.covering(row, at), want);
                }
            }
        }
    }
}
