//! Scans: the visible rows of a range, forward or backward, over one merged walk.

use super::merge_cursor::MergeCursor;
use super::visibility::{Moment, covering, is_visible};
use super::{Cursor, OwnedSlot, Slot};
use crate::error::Result;
use crate::key::{self, KeyRange};
use crate::range_tombstone::Tombstones;
use crate::redact::redacted_debug;
use crate::stamp::Stamp;
use bytes::Bytes;
use std::sync::Arc;

/// Steps over versions of one row before seeking past them: a seek costs about this many.
const STEPS_BEFORE_SEEK: usize = 8;
/// Bytes of a value that count as one step.
const STEP_VALUE_BYTES: usize = 1 << 10;

/// What a reader sees of a row.
#[derive(Clone, PartialEq, Eq)]
pub struct VisibleRow {
    /// When its value was written.
    pub stamp: Stamp,
    /// The value.
    pub value: Bytes,
    /// When the value expires: milliseconds since 1970, 0 never.
    pub expires_ms: u64,
}

redacted_debug!(VisibleRow, stamp, expires_ms; value);

/// What one call to a scan gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// The next visible row; its key is [`Scanner::last_row`].
    Row(VisibleRow),
    /// As many steps as allowed were taken, and no row was found on them. [`Scanner::last_row`] tells where to go on.
    Paused,
    /// The range has no more rows.
    End,
}

/// Walks over the visible rows of a range.
pub struct Scanner {
    cursor: MergeCursor,
    tombstones: Vec<Arc<Tombstones>>,
    range: KeyRange,
    moment: Moment,
    is_reverse: bool,
    has_started: bool,
    /// Versions that may still be stepped over before the scan pauses.
    steps_left: usize,
    row: Vec<u8>,
    target: Vec<u8>,
}

impl Scanner {
    /// A scan of `range` at `moment`; `tombstones` are those of every source of `cursor`. After `steps_max` versions it pauses
    /// at the end of a row.
    #[must_use]
    pub fn new(
        cursor: MergeCursor,
        tombstones: Vec<Arc<Tombstones>>,
        range: KeyRange,
        moment: Moment,
        is_reverse: bool,
        steps_max: usize,
    ) -> Self {
        let tombstones = tombstones.into_iter().filter(|one| !one.is_empty()).collect();
        let (row, target) = (Vec::new(), Vec::new());
        let has_started = false;
        Self {
            cursor,
            tombstones,
            range,
            moment,
            is_reverse,
            has_started,
            steps_left: steps_max,
            row,
            target,
        }
    }

    /// The row looked at last, seen or not. Empty before the first.
    #[must_use]
    pub fn last_row(&self) -> &[u8] {
        &self.row
    }

    /// The next visible row.
    ///
    /// # Errors
    /// What reading a source returns. The scan cannot go on after it.
    pub fn next_row(&mut self) -> Result<Scanned> {
        if !self.has_started {
            self.has_started = true;
            if self.is_reverse {
                self.cursor.seek_before(self.range.end.as_deref())?;
            } else {
                self.cursor.seek(&self.range.start)?;
            }
        }
        loop {
            let Some(version) = self.cursor.key() else { return Ok(Scanned::End) };
            let (row, stamp) = key::split(version);
            if !self.range.contains(row) {
                return Ok(Scanned::End);
            }
            if self.steps_left == 0 {
                return Ok(Scanned::Paused);
            }
            self.row.clear();
            self.row.extend_from_slice(row);
            let newest = if self.is_reverse { self.pass_backward()? } else { self.pass_forward(stamp)? };
            if let Some((stamp, OwnedSlot::Put { value, expires_ms })) = newest {
                return Ok(Scanned::Row(VisibleRow { stamp, value, expires_ms }));
            }
        }
    }

    /// What a reader sees where the walk stands, if `stamp` is that of the newest version at or before the moment. What it does
    /// not see is not copied.
    fn seen(&self, stamp: Stamp) -> Option<(Stamp, OwnedSlot)> {
        let slot = self.cursor.slot();
        let covered = covering(&self.tombstones, &self.row, self.moment.at);
        is_visible(slot, stamp, covered, self.moment).then(|| (stamp, slot.to_owned()))
    }

    /// One version on. A large value counts as many: it was read all the same.
    fn step(&mut self) -> Result<()> {
        let value_bytes = if let Slot::Put { value, .. } = self.cursor.slot() { value.len() } else { 0 };
        self.steps_left = self.steps_left.saturating_sub(1 + value_bytes / STEP_VALUE_BYTES);
        if self.is_reverse { self.cursor.prev() } else { self.cursor.next() }
    }

    /// The stamp of the version at which the walk stands, if that is still one of `self.row`.
    fn stamp_here(&self) -> Option<Stamp> {
        let (row, stamp) = key::split(self.cursor.key()?);
        (row == &self.row[..]).then_some(stamp)
    }

    /// Sets out for the first version of `self.row` at or before the moment.
    fn aim(&mut self) {
        self.target.clear();
        self.target.extend_from_slice(&self.row);
        key::append_stamp(&mut self.target, self.moment.at);
    }

    /// Forward over `self.row`, whose newest version has `stamp`: what is seen of it.
    fn pass_forward(&mut self, stamp: Stamp) -> Result<Option<(Stamp, OwnedSlot)>> {
        if stamp > self.moment.at {
            self.aim();
            self.skip_to_target()?;
        }
        let Some(stamp) = self.stamp_here() else { return Ok(None) };
        let found = self.seen(stamp);
        self.skip_row()?;
        Ok(found)
    }

    fn skip_to_target(&mut self) -> Result<()> {
        for _ in 0..STEPS_BEFORE_SEEK {
            self.step()?;
            if self.cursor.key().is_none_or(|version| version >= &self.target[..]) {
                return Ok(());
            }
        }
        self.cursor.seek(&self.target)
    }

    /// Forward past every version of `self.row`.
    fn skip_row(&mut self) -> Result<()> {
        for _ in 0..STEPS_BEFORE_SEEK {
            self.step()?;
            if self.stamp_here().is_none() {
                return Ok(());
            }
        }
        self.cursor.seek(&key::after_row(&self.row))
    }

    /// Backward over `self.row`: what is seen of it. Its versions come oldest first, and the last one at or before the moment is
    /// the newest of them.
    fn pass_backward(&mut self) -> Result<Option<(Stamp, OwnedSlot)>> {
        let mut newest = None;
        for _ in 0..STEPS_BEFORE_SEEK {
            let Some(stamp) = self.stamp_here() else { break };
            if stamp <= self.moment.at {
                newest = self.seen(stamp);
            }
            self.step()?;
        }
        if self.stamp_here().is_some() {
            self.aim();
            self.cursor.seek(&self.target)?;
            newest = self.stamp_here().and_then(|stamp| self.seen(stamp));
            self.cursor.seek_before(Some(&self.row))?;
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CollectionId, TenantId};
    use crate::read::BoxedCursor;
    use crate::read::merge_cursor::tests::ListCursor;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const WHOSE: (TenantId, CollectionId) = (TenantId(1), CollectionId(1));

    fn row(n: u8) -> Vec<u8> {
        key::row(WHOSE.0, WHOSE.1, &[n])
    }

    /// Versions of rows: by stamp, whether it is a value.
    type Rows = BTreeMap<u8, BTreeMap<u64, bool>>;

    /// The rows that a scan pausing after `steps` gives, and between how many pauses.
    fn scanned(rows: &Rows, at: u64, is_reverse: bool, steps: usize) -> (Vec<(Vec<u8>, Stamp)>, usize) {
        let versions = rows.iter().flat_map(|(n, all)| all.iter().rev().map(move |(s, put)| (*n, *s, *put)));
        let slot = |is_put| match is_put {
            true => OwnedSlot::Put { value: Bytes::new(), expires_ms: 0 },
            false => OwnedSlot::Delete,
        };
        let entries: Vec<_> =
            versions.map(|(n, s, put)| (key::version(&row(n), Stamp(s)), slot(put))).collect();
        let mut range = KeyRange::prefix(WHOSE.0, WHOSE.1, b"");
        let moment = Moment { at: Stamp(at), now_ms: 0 };
        let (mut found, mut pauses) = (Vec::new(), 0);
        loop {
            let walk = MergeCursor::new(vec![Box::new(ListCursor::new(entries.clone())) as BoxedCursor]);
            let mut scanner = Scanner::new(walk, Vec::new(), range.clone(), moment, is_reverse, steps);
            loop {
                match scanner.next_row().unwrap() {
                    Scanned::Row(row) => found.push((scanner.last_row().to_vec(), row.stamp)),
                    Scanned::End => return (found, pauses),
                    Scanned::Paused => break,
                }
            }
            pauses += 1;
            match is_reverse {
                true => range.end = Some(scanner.last_row().to_vec()),
                false => range.start = key::after_row(scanner.last_row()),
            }
        }
    }

    proptest! {
        #[test]
        fn a_scan_that_pauses_gives_what_one_that_does_not_gives(
            rows in proptest::collection::btree_map(
                any::<u8>(), proptest::collection::btree_map(1u64..60, any::<bool>(), 1..40), 0..12),
            at in 0u64..61,
            is_reverse in any::<bool>(),
            steps in 1usize..60,
        ) {
            let newest = |all: &BTreeMap<u64, bool>| all.range(..=at).next_back().map(|(s, put)| (*s, *put));
            let seen = rows.iter().filter_map(|(n, all)| newest(all).map(|(s, put)| (*n, s, put)));
            let mut want: Vec<_> = seen.filter(|one| one.2).map(|(n, s, _)| (row(n), Stamp(s))).collect();
            if is_reverse { want.reverse(); }
            let (whole, no_pauses) = scanned(&rows, at, is_reverse, usize::MAX);
            prop_assert_eq!((&whole, no_pauses), (&want, 0));
            let (in_parts, pauses) = scanned(&rows, at, is_reverse, steps);
            prop_assert_eq!(in_parts, want);
            // A row takes one step at least.
            prop_assert!(pauses <= rows.len() && (pauses + 1) * steps >= rows.len());
        }
    }
}
