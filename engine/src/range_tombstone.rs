//! Pure: deletions of whole ranges, and the question which of them hides a row.

use crate::redact::redacted_debug;
use crate::stamp::Stamp;

/// Everything in `start..end` (row keys) with a stamp below `stamp` is deleted. A point write at the same stamp wins.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RangeTombstone {
    /// First row inside.
    pub start: Vec<u8>,
    /// First row outside.
    pub end: Vec<u8>,
    /// When.
    pub stamp: Stamp,
}

redacted_debug!(RangeTombstone, stamp; start, end);

#[derive(Clone, PartialEq, Eq)]
struct Fragment {
    start: Vec<u8>,
    end: Vec<u8>,
    /// Newest first.
    stamps: Vec<Stamp>,
}

redacted_debug!(Fragment, stamps; start, end);

/// Range tombstones cut into fragments that do not overlap, for look-ups by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(Vec<Fragment>);

impl Tombstones {
    /// Index of `all`, which may overlap and come in any order; empty ranges vanish.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = RangeTombstone>) -> Self {
        let all: Vec<_> = all.into_iter().filter(|one| one.start < one.end).collect();
        let mut cuts: Vec<&[u8]> = all.iter().flat_map(|one| [&one.start[..], &one.end[..]]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut stamps: Vec<Vec<Stamp>> = vec![Vec::new(); cuts.len()];
        for one in &all {
            let first = cuts.partition_point(|cut| *cut < &one.start[..]);
            let last = cuts.partition_point(|cut| *cut < &one.end[..]);
            stamps[first..last].iter_mut().for_each(|stamps| stamps.push(one.stamp));
        }
        let pieces = cuts.windows(2).zip(stamps).filter(|(_, stamps)| !stamps.is_empty());
        let fragments = pieces.map(|(cut, mut stamps)| {
            stamps.sort_unstable_by(|a, b| b.cmp(a));
            stamps.dedup();
            Fragment { start: cut[0].to_vec(), end: cut[1].to_vec(), stamps }
        });
        Self(fragments.collect())
    }

    /// Stamps of all tombstones that cover `row`, newest first.
    #[must_use]
    pub fn all_covering(&self, row: &[u8]) -> &[Stamp] {
        let after = self.0.partition_point(|fragment| &fragment.start[..] <= row);
        let fragment = after.checked_sub(1).map(|at| &self.0[at]).filter(|fragment| row < &fragment.end[..]);
        fragment.map_or(&[], |fragment| &fragment.stamps)
    }

    /// The newest tombstone at or before `at` that covers `row`.
    #[must_use]
    pub fn covering(&self, row: &[u8], at: Stamp) -> Option<Stamp> {
        self.all_covering(row).iter().copied().find(|stamp| *stamp <= at)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fragments as tombstones that either do not overlap or cover the same rows: by start, newest first.
    #[must_use]
    pub fn fragments(&self) -> Vec<RangeTombstone> {
        let each = |fragment: &Fragment| {
            let Fragment { start, end, stamps } = fragment.clone();
            stamps.into_iter().map(move |stamp| RangeTombstone {
                start: start.clone(),
                end: end.clone(),
                stamp,
            })
        };
        self.0.iter().flat_map(each).collect()
    }

    /// Bytes it holds in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|one| one.start.len() + one.end.len() + one.stamps.len() * 8 + 72).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn answers_as_looking_at_every_tombstone_does(
            all in proptest::collection::vec((0u8..20, 0u8..20, 1u64..9), 0..12),
            row in 0u8..20,
            at in 0u64..10,
        ) {
            let tombstone = |(a, b, stamp): &(u8, u8, u64)| RangeTombstone {
                start: vec![*a.min(b)], end: vec![*a.max(b)], stamp: Stamp(*stamp),
            };
            let covers = |one: &RangeTombstone| one.start[0] <= row && row < one.end[0] && one.stamp <= Stamp(at);
            let want = all.iter().map(tombstone).filter(covers).map(|one| one.stamp).max();
            let index = Tombstones::new(all.iter().map(tombstone));
            prop_assert_eq!(index.covering(&[row], Stamp(at)), want);
            let again = Tombstones::new(index.fragments());
            prop_assert_eq!(again.covering(&[row], Stamp(at)), want);
            for pair in index.fragments().windows(2) {
                let is_same = pair[0].start == pair[1].start && pair[0].end == pair[1].end && pair[0].stamp > pair[1].stamp;
                prop_assert!(is_same || pair[0].end <= pair[1].start);
            }
        }
    }
}
