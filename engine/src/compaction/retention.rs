//! Pure: which versions a merge keeps.
//!
//! The rule: for every reader at or above the floor, output and what lies below it answer as input and what lies below it
//! did; above the floor no version is lost.

use crate::ids::TenantId;
use crate::read::Slot;
use crate::stamp::Stamp;
use std::collections::{BTreeMap, BTreeSet};

/// How much history to keep, and whose bytes may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Milliseconds since 1970; set by the engine when it is used.
    pub now_ms: u64,
    /// No floor is above it; set by the engine to the stamp whose readers must be answered after a crash too.
    pub applied: Stamp,
    /// Milliseconds of history of a tenant that has no window of its own.
    pub default_window_ms: u64,
    /// Milliseconds of history, by tenant.
    pub windows: BTreeMap<TenantId, u64>,
    /// Tenants whose bytes are left behind without being opened: dropped for good, or shredded.
    pub dropped: BTreeSet<TenantId>,
}

impl Default for Policy {
    /// Keeps everything: what nobody has spoken of must not go.
    fn default() -> Self {
        let (windows, dropped) = (BTreeMap::new(), BTreeSet::new());
        Self { now_ms: 0, applied: Stamp::MAX, default_window_ms: u64::MAX, windows, dropped }
    }
}

impl Policy {
    /// The stamp at and above which every reader of `tenant` must be answered as before.
    #[must_use]
    pub fn floor(&self, tenant: TenantId) -> Stamp {
        Stamp::new(self.since_ms(tenant), 0).min(self.applied)
    }

    /// Where the history window of `tenant` begins: milliseconds since 1970.
    #[must_use]
    pub fn since_ms(&self, tenant: TenantId) -> u64 {
        let window_ms = self.windows.get(&tenant).copied().unwrap_or(self.default_window_ms);
        self.now_ms.saturating_sub(window_ms)
    }

    /// Whether any of its windows ends: else time alone takes nothing.
    #[must_use]
    pub fn has_windows(&self) -> bool {
        self.default_window_ms != u64::MAX || self.windows.values().any(|window_ms| *window_ms != u64::MAX)
    }
}

/// What to do with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it as it is.
    Keep,
    /// Keep a point tombstone in its place: it has expired, but hides what is older.
    KeepAsDelete,
    /// Leave it behind.
    Drop,
}

/// Decides over the versions of one row, newest first.
#[derive(Clone, Copy, Debug)]
pub struct RowRetention {
    floor: Stamp,
    /// Nothing older of the row can be below the output.
    is_bottom: bool,
    has_met_floor: bool,
}

impl RowRetention {
    /// For a row whose readers may be at `floor` or above.
    #[must_use]
    pub fn new(floor: Stamp, is_bottom: bool) -> Self {
        Self { floor, is_bottom, has_met_floor: false }
    }

    /// Decides over the next older version. `covered` is the newest range tombstone at or below the floor that covers the row.
    pub fn decide(&mut self, stamp: Stamp, slot: Slot<'_>, covered: Option<Stamp>) -> Verdict {
        if stamp > self.floor {
            return Verdict::Keep;
        }
        if std::mem::replace(&mut self.has_met_floor, true) {
            // The newest version at or below the floor answers every reader that could see this one.
            return Verdict::Drop;
        }
        if covered.is_some_and(|tombstone| tombstone > stamp) {
            // The range tombstone hides it and all that is older, here and below.
            return Verdict::Drop;
        }
        match slot {
            Slot::Delete if self.is_bottom => Verdict::Drop,
            Slot::Put { expires_ms, .. } if expires_ms != 0 && expires_ms <= self.floor.ms() => {
                if self.is_bottom { Verdict::Drop } else { Verdict::KeepAsDelete }
            }
            _ => Verdict::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range_tombstone::{RangeTombstone, Tombstones};
    use crate::read::OwnedSlot;
    use crate::read::visibility::{Moment, is_visible};
    use proptest::prelude::*;

    type Version = (u64, OwnedSlot);

    /// What a reader sees of a row with these versions and range tombstones.
    fn read(versions: &[Version], ranges: &[u64], at: u64) -> Option<u64> {
        let (stamp, slot) =
            versions.iter().filter(|(stamp, _)| *stamp <= at).max_by_key(|(stamp, _)| *stamp)?;
        let covered = ranges.iter().copied().filter(|range| *range <= at).max().map(Stamp);
        let moment = Moment { at: Stamp(at), now_ms: Stamp(at).ms() };
        is_visible(slot.as_slot(), Stamp(*stamp), covered, moment).then_some(*stamp)
    }

    fn merge(input: &[Version], ranges: &[u64], floor: Stamp, is_bottom: bool) -> (Vec<Version>, Vec<u64>) {
        let range = |stamp: &u64| RangeTombstone { start: vec![0], end: vec![9], stamp: Stamp(*stamp) };
        let index = Tombstones::new(ranges.iter().map(range).map(std::sync::Arc::new));
        let mut retention = RowRetention::new(floor, is_bottom);
        let mut out = Vec::new();
        for (stamp, slot) in input {
            match retention.decide(Stamp(*stamp), slot.as_slot(), index.covering(&[1], floor)) {
                Verdict::Keep => out.push((*stamp, slot.clone())),
                Verdict::KeepAsDelete => out.push((*stamp, OwnedSlot::Delete)),
                Verdict::Drop => {}
            }
        }
        let kept = ranges.iter().copied().filter(|stamp| Stamp(*stamp) > floor || !is_bottom).collect();
        (out, kept)
    }

    fn ms(n: u64) -> u64 {
        Stamp::new(n, 0).0
    }

    proptest! {
        #[test]
        fn readers_at_the_floor_and_above_see_no_difference(
            stamps in proptest::collection::btree_map(10u64..40, (0u8..3, 1u64..60), 0..8),
            below in proptest::collection::btree_map(1u64..10, (0u8..3, 1u64..60), 0..3),
            ranges in proptest::collection::btree_set(10u64..40, 0..3),
            floor in 5u64..45,
        ) {
            let version = |(stamp, (kind, expires)): (&u64, &(u8, u64))| {
                let put = |expires_ms| OwnedSlot::Put { value: bytes::Bytes::new(), expires_ms };
                (ms(*stamp), match kind { 0 => OwnedSlot::Delete, 1 => put(0), _ => put(*expires) })
            };
            let input: Vec<Version> = stamps.iter().rev().map(version).collect();
            let below: Vec<Version> = below.iter().rev().map(version).collect();
            let ranges: Vec<u64> = ranges.iter().map(|n| ms(*n)).collect();
            let floor = Stamp(ms(floor));
            let (output, kept) = merge(&input, &ranges, floor, below.is_empty());
            let join = |upper: &[Version]| upper.iter().chain(&below).cloned().collect::<Vec<_>>();
            for at in floor.ms()..50 {
                prop_assert_eq!(
                    read(&join(&input), &ranges, ms(at)), read(&join(&output), &kept, ms(at)), "at {}", at
                );
            }
            let above = |all: &[Version]| all.iter().filter(|(stamp, _)| Stamp(*stamp) > floor).cloned().collect::<Vec<_>>();
            prop_assert_eq!(above(&input), above(&output));
            let old = output.iter().filter(|(stamp, _)| Stamp(*stamp) <= floor).count();
            prop_assert!(old <= 1, "{} versions at or below the floor", old);
        }
    }

    #[test]
    fn windows_are_by_tenant() {
        let policy = Policy {
            now_ms: 1_000,
            applied: Stamp::new(950, 0),
            default_window_ms: 100,
            windows: BTreeMap::from([(TenantId(7), 5_000)]),
            dropped: BTreeSet::new(),
        };
        assert_eq!(policy.floor(TenantId(1)), Stamp::new(900, 0));
        assert_eq!(policy.floor(TenantId(7)), Stamp::ZERO);
        let later = Policy { now_ms: 9_000, ..policy };
        assert_eq!(later.floor(TenantId(1)), Stamp::new(950, 0), "the newest stamp stays readable");
        assert_eq!(later.floor(TenantId(7)), Stamp::new(950, 0));
        assert!(later.has_windows() && !Policy::default().has_windows());
    }
}
