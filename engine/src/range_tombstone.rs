//! Pure: deletions of whole ranges, and the question which of them hides a row.

use crate::redact::redacted_debug;
use crate::stamp::Stamp;
use std::collections::BTreeMap;
use std::sync::Arc;

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

/// Range tombstones indexed for look-ups by row. They are kept as they are, overlapping or not, so that what they cost grows
/// with their number: a balanced tree over their order by start knows of each part the greatest end and the stamps in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    /// By start, then end, then newest first.
    all: Vec<Arc<RangeTombstone>>,
    /// Node `n` has children `2n` and `2n + 1`; the root is 1 and the leaves are `all`, from `leaves` on.
    nodes: Vec<Part>,
    leaves: usize,
}

/// What is known of a part of the tombstones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    /// Which tombstone has the greatest end; `None` of an empty part.
    last: Option<u32>,
    oldest: Stamp,
    newest: Stamp,
}

impl Tombstones {
    /// Index of `all`, which may come in any order; empty ranges vanish.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = Arc<RangeTombstone>>) -> Self {
        let mut all: Vec<_> = all.into_iter().filter(|one| one.start < one.end).collect();
        all.sort_by(|a, b| (&a.start, &a.end, b.stamp).cmp(&(&b.start, &b.end, a.stamp)));
        all.dedup();
        let leaves = all.len().next_power_of_two();
        let mut nodes = vec![Part::default(); if all.is_empty() { 0 } else { 2 * leaves }];
        for (at, one) in all.iter().enumerate() {
            let last = Some(u32::try_from(at).expect("memory holds fewer than 2^32 tombstones"));
            nodes[leaves + at] = Part { last, oldest: one.stamp, newest: one.stamp };
        }
        for node in (1..leaves.min(nodes.len())).rev() {
            nodes[node] = join(&all, nodes[2 * node], nodes[2 * node + 1]);
        }
        Self { all, nodes, leaves }
    }

    fn end(&self, at: u32) -> &[u8] {
        &self.all[at as usize].end
    }

    /// Stamps of all tombstones that cover `row`, newest first.
    #[must_use]
    pub fn all_covering(&self, row: &[u8]) -> Vec<Stamp> {
        let begun = self.all.partition_point(|one| &one.start[..] <= row);
        let mut stamps = Vec::new();
        let mut left = if self.nodes.is_empty() { Vec::new() } else { vec![1] };
        while let Some(node) = left.pop() {
            let reaches = self.nodes[node].last.is_some_and(|last| self.end(last) > row);
            if !reaches || self.first_of(node) >= begun {
                continue;
            }
            match node.checked_sub(self.leaves) {
                Some(at) => stamps.push(self.all[at].stamp),
                None => left.extend([2 * node, 2 * node + 1]),
            }
        }
        stamps.sort_unstable_by(|a, b| b.cmp(a));
        stamps.dedup();
        stamps
    }

    /// The newest tombstone at or before `at` that covers `row`.
    #[must_use]
    pub fn covering(&self, row: &[u8], at: Stamp) -> Option<Stamp> {
        if self.nodes.is_empty() {
            return None;
        }
        let begun = self.all.partition_point(|one| &one.start[..] <= row);
        let mut best = None;
        self.search(1, (row, begun), at, &mut best);
        best
    }

    /// Looks below `node` for a newer stamp than `best`, at most `at`, of a tombstone that covers the row; only the first `begun`
    /// begin at or before it. As deep as the tree, which is balanced.
    fn search(&self, node: usize, (row, begun): (&[u8], usize), at: Stamp, best: &mut Option<Stamp>) {
        let part = self.nodes[node];
        let is_hopeless = self.first_of(node) >= begun
            || part.oldest > at
            || best.is_some_and(|best| part.newest <= best)
            || part.last.is_none_or(|last| self.end(last) <= row);
        if is_hopeless {
            return;
        }
        if node >= self.leaves {
            *best = Some(part.newest);
            return;
        }
        let (first, second) = match self.nodes[2 * node].newest >= self.nodes[2 * node + 1].newest {
            true => (2 * node, 2 * node + 1),
            false => (2 * node + 1, 2 * node),
        };
        self.search(first, (row, begun), at, best);
        self.search(second, (row, begun), at, best);
    }

    /// The first leaf below `node`.
    fn first_of(&self, node: usize) -> usize {
        let depth_below = self.leaves.ilog2() - node.ilog2();
        (node << depth_below) - self.leaves
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The tombstones, by start.
    #[must_use]
    pub fn all(&self) -> &[Arc<RangeTombstone>] {
        &self.all
    }

    /// Bytes it holds in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bounds: usize = self.all.iter().map(|one| one.start.len() + one.end.len() + 96).sum();
        bounds + self.nodes.len() * size_of::<Part>()
    }
}

fn join(all: &[Arc<RangeTombstone>], a: Part, b: Part) -> Part {
    let (Some(last), Some(other)) = (a.last, b.last) else { return if a.last.is_some() { a } else { b } };
    let is_first = all[last as usize].end >= all[other as usize].end;
    Part {
        last: Some(if is_first { last } else { other }),
        oldest: a.oldest.min(b.oldest),
        newest: a.newest.max(b.newest),
    }
}

/// What `all` hide from a reader to whom they are all past: of each row only the newest counts. Pieces that do not overlap, by
/// start; at most twice as many as there were.
#[must_use]
pub fn newest_only(all: &[Arc<RangeTombstone>]) -> Vec<RangeTombstone> {
    let mut edges: Vec<(&[u8], bool, Stamp)> = all
        .iter()
        .filter(|one| one.start < one.end)
        .flat_map(|one| [(&one.start[..], true, one.stamp), (&one.end[..], false, one.stamp)])
        .collect();
    edges.sort_unstable();
    let mut open: BTreeMap<Stamp, usize> = BTreeMap::new();
    let mut pieces: Vec<RangeTombstone> = Vec::new();
    let mut since: Option<(&[u8], Stamp)> = None;
    let mut edges = edges.into_iter().peekable();
    while let Some((at, is_start, stamp)) = edges.next() {
        let count = open.entry(stamp).or_default();
        *count = if is_start { *count + 1 } else { count.wrapping_sub(1) };
        if *count == 0 {
            open.remove(&stamp);
        }
        if edges.peek().is_some_and(|(next, ..)| *next == at) {
            continue;
        }
        let newest = open.last_key_value().map(|(stamp, _)| *stamp);
        if since.map(|(_, stamp)| stamp) == newest {
            continue;
        }
        if let Some((start, stamp)) = since.take() {
            pieces.push(RangeTombstone { start: start.to_vec(), end: at.to_vec(), stamp });
        }
        since = newest.map(|stamp| (at, stamp));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tombstone((a, b, stamp): &(u8, u8, u64)) -> Arc<RangeTombstone> {
        Arc::new(RangeTombstone { start: vec![*a.min(b)], end: vec![*a.max(b)], stamp: Stamp(*stamp) })
    }

    fn covers(one: &RangeTombstone, row: u8) -> bool {
        one.start[0] <= row && row < one.end[0]
    }

    proptest! {
        #[test]
        fn answers_as_looking_at_every_tombstone_does(
            all in proptest::collection::vec((0u8..20, 0u8..20, 1u64..9), 0..40),
            row in 0u8..20,
            at in 0u64..10,
        ) {
            let all: Vec<_> = all.iter().map(tombstone).collect();
            let over: std::collections::BTreeSet<Stamp> =
                all.iter().filter(|one| covers(one, row)).map(|one| one.stamp).collect();
            let want = over.iter().copied().rfind(|stamp| *stamp <= Stamp(at));
            let index = Tombstones::new(all.clone());
            prop_assert_eq!(index.covering(&[row], Stamp(at)), want);
            prop_assert_eq!(index.all_covering(&[row]), over.iter().rev().copied().collect::<Vec<_>>());
            prop_assert!(index.all().is_sorted_by(|a, b| a.start <= b.start));
            prop_assert_eq!(&Tombstones::new(index.all().iter().cloned()), &index);
        }

        #[test]
        fn of_each_row_only_the_newest_is_left(
            all in proptest::collection::vec((0u8..20, 0u8..20, 1u64..9), 0..20),
        ) {
            let all: Vec<_> = all.iter().map(tombstone).collect();
            let pieces = newest_only(&all);
            prop_assert!(pieces.len() <= 2 * all.len());
            for pair in pieces.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
                prop_assert!(pair[0].end < pair[1].start || pair[0].stamp != pair[1].stamp, "could be one");
            }
            for row in 0..20 {
                let newest = all.iter().filter(|one| covers(one, row)).map(|one| one.stamp).max();
                prop_assert_eq!(pieces.iter().find(|one| covers(one, row)).map(|one| one.stamp), newest);
            }
        }
    }
}
