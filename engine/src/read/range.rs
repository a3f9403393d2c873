//! Scans: the visible rows of a range, forward or backward, over one merged walk.

use super::merge_cursor::MergeCursor;
use super::visibility::{Moment, covering, is_visible};
use super::{Cursor, OwnedSlot};
use crate::error::Result;
use crate::key::{self, KeyRange};
use crate::range_tombstone::Tombstones;
use crate::redact::redacted_debug;
use crate::stamp::Stamp;
use bytes::Bytes;
use std::sync::Arc;

/// Steps over versions of one row before seeking past them: a seek costs about this many.
const STEPS_BEFORE_SEEK: usize = 8;

/// A row that a reader sees.
#[derive(Clone, PartialEq, Eq)]
pub struct VisibleRow {
    /// Its row key.
    pub row: Vec<u8>,
    /// When its value was written.
    pub stamp: Stamp,
    /// The value.
    pub value: Bytes,
    /// When the value expires: milliseconds since 1970, 0 never.
    pub expires_ms: u64,
}

redacted_debug!(VisibleRow, stamp, expires_ms; row, value);

/// Walks over the visible rows of a range.
pub struct Scanner {
    cursor: MergeCursor,
    tombstones: Vec<Arc<Tombstones>>,
    range: KeyRange,
    moment: Moment,
    is_reverse: bool,
    has_started: bool,
    row: Vec<u8>,
    target: Vec<u8>,
}

impl Scanner {
    /// A scan of `range` at `moment`; `tombstones` are those of every source of `cursor`.
    #[must_use]
    pub fn new(
        cursor: MergeCursor,
        tombstones: Vec<Arc<Tombstones>>,
        range: KeyRange,
        moment: Moment,
        is_reverse: bool,
    ) -> Self {
        let tombstones = tombstones.into_iter().filter(|one| !one.is_empty()).collect();
        let (row, target) = (Vec::new(), Vec::new());
        Self { cursor, tombstones, range, moment, is_reverse, has_started: false, row, target }
    }

    /// The next visible row, or `None` at the end of the range.
    ///
    /// # Errors
    /// What reading a source returns. The scan cannot go on after it.
    pub fn next_row(&mut self) -> Result<Option<VisibleRow>> {
        if !self.has_started {
            self.has_started = true;
            if self.is_reverse {
                self.cursor.seek_before(self.range.end.as_deref())?;
            } else {
                self.cursor.seek(&self.range.start)?;
            }
        }
        if self.is_reverse { self.next_backward() } else { self.next_forward() }
    }

    fn next_forward(&mut self) -> Result<Option<VisibleRow>> {
        loop {
            let Some(version) = self.cursor.key() else { return Ok(None) };
            let (row, stamp) = key::split(version);
            if !self.range.contains(row) {
                return Ok(None);
            }
            self.row.clear();
            self.row.extend_from_slice(row);
            if stamp > self.moment.at {
                self.skip_to(self.moment.at)?;
                continue;
            }
            let covered = covering(&self.tombstones, &self.row, self.moment.at);
            let slot = self.cursor.slot();
            let found = is_visible(slot, stamp, covered, self.moment).then(|| slot.to_owned());
            self.skip_row()?;
            if let Some(OwnedSlot::Put { value, expires_ms }) = found {
                return Ok(Some(VisibleRow { row: self.row.clone(), stamp, value, expires_ms }));
            }
        }
    }

    /// Forward to the first version of `self.row` at or before `at`, or to the next row.
    fn skip_to(&mut self, at: Stamp) -> Result<()> {
        self.target.clear();
        self.target.extend_from_slice(&self.row);
        key::append_stamp(&mut self.target, at);
        for _ in 0..STEPS_BEFORE_SEEK {
            self.cursor.next()?;
            if self.cursor.key().is_none_or(|version| version >= &self.target[..]) {
                return Ok(());
            }
        }
        self.cursor.seek(&self.target)
    }

    /// Forward past every version of `self.row`.
    fn skip_row(&mut self) -> Result<()> {
        for _ in 0..STEPS_BEFORE_SEEK {
            self.cursor.next()?;
            if self.cursor.key().is_none_or(|version| key::split(version).0 != &self.row[..]) {
                return Ok(());
            }
        }
        self.cursor.seek(&key::after_row(&self.row))
    }

    fn next_backward(&mut self) -> Result<Option<VisibleRow>> {
        loop {
            let Some(version) = self.cursor.key() else { return Ok(None) };
            let (row, _) = key::split(version);
            if !self.range.contains(row) {
                return Ok(None);
            }
            self.row.clear();
            self.row.extend_from_slice(row);
            // Backward, versions come oldest first: the last one at or before the moment is the newest of them.
            let mut newest = None;
            while let Some(version) = self.cursor.key() {
                let (row, stamp) = key::split(version);
                if row != &self.row[..] {
                    break;
                }
                if stamp <= self.moment.at {
                    newest = Some((stamp, self.cursor.slot().to_owned()));
                }
                self.cursor.prev()?;
            }
            let Some((stamp, slot)) = newest else { continue };
            let covered = covering(&self.tombstones, &self.row, self.moment.at);
            if !is_visible(slot.as_slot(), stamp, covered, self.moment) {
                continue;
            }
            if let OwnedSlot::Put { value, expires_ms } = slot {
                return Ok(Some(VisibleRow { row: self.row.clone(), stamp, value, expires_ms }));
            }
        }
    }
}
