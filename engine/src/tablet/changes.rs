//! What was written to a range of rows behind a stamp: values, deletions, and deletions of whole ranges, in the order of their stamps.
//!
//! A walk goes once over the rows and keeps of what it finds the oldest, up to a bound: so it may tell less than all, but up to the stamp
//! that it names nothing is missing. Whoever wants more walks again, behind that stamp.

use super::checked_row;
use super::view::View;
use crate::error::{Error, Result};
use crate::ids::{CollectionId, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::range_tombstone::{RangeTombstone, Tombstones};
use crate::read::merge_cursor::MergeCursor;
use crate::read::{Cursor, Slot};
use crate::redact::redacted_debug;
use crate::stamp::Stamp;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a value that count as one step.
const STEP_VALUE_BYTES: usize = 1 << 10;
/// Bytes that a change takes beside its keys and its value.
const CHANGE_BYTES: usize = 64;

/// Which changes are asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangesAsked {
    /// Whose.
    pub tenant: TenantId,
    /// Of which collection.
    pub collection: CollectionId,
    /// First user key inside.
    pub start: Vec<u8>,
    /// First user key outside; `None` is after the collection's last.
    pub end: Option<Vec<u8>>,
    /// Only what is behind this stamp.
    pub after: Stamp,
    /// Changes at most; more than `CHANGES_MAX` are never given. All of the oldest stamp are, however many they are.
    pub limit: usize,
    /// Bytes of keys and values at most; the same holds.
    pub bytes_max: usize,
}

redacted_debug!(ChangesAsked, tenant, collection, after, limit, bytes_max; start, end);

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// A row was written.
    Put {
        /// Its user key.
        key: Vec<u8>,
        /// Its value.
        value: Bytes,
        /// When it expires: milliseconds since 1970, 0 never.
        expires_ms: u64,
    },
    /// A row was deleted.
    Delete {
        /// Its user key.
        key: Vec<u8>,
    },
    /// All rows of a range were deleted, but for those written at the same stamp.
    DeleteRange {
        /// First user key inside.
        start: Vec<u8>,
        /// First user key outside; `None` is after the collection's last.
        end: Option<Vec<u8>>,
    },
}

// A tenant's byte never reaches a line of the log.
impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Put { .. } => "Put",
            Self::Delete { .. } => "Delete",
            Self::DeleteRange { .. } => "DeleteRange",
        })
    }
}

impl Change {
    /// Bytes that it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        CHANGE_BYTES
            + match self {
                Self::Put { key, value, .. } => key.len() + value.len(),
                Self::Delete { key } => key.len(),
                Self::DeleteRange { start, end } => start.len() + end.as_ref().map_or(0, Vec::len),
            }
    }
}

/// Some changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// By stamp; of one stamp, deletions of ranges first.
    pub changes: Vec<(Stamp, Change)>,
    /// None is missing up to here.
    pub upto: Stamp,
    /// Up to the stamp of the view, that is.
    pub is_all: bool,
}

/// The oldest changes behind a stamp, as many as there is room for.
struct Oldest {
    by_stamp: BTreeMap<Stamp, Vec<Change>>,
    len: usize,
    bytes: usize,
    limit: usize,
    bytes_max: usize,
    /// Only up to here anything is taken still.
    upto: Stamp,
}

impl Oldest {
    /// Whether a change of `stamp` would be kept.
    fn wants(&self, stamp: Stamp) -> bool {
        stamp <= self.upto
    }

    fn push(&mut self, stamp: Stamp, change: Change) {
        self.len += 1;
        self.bytes += change.bytes();
        self.by_stamp.entry(stamp).or_default().push(change);
        // What happened at one stamp stays together.
        while (self.len > self.limit || self.bytes > self.bytes_max) && self.by_stamp.len() > 1 {
            let Some((newest, changes)) = self.by_stamp.pop_last() else { return };
            self.len -= changes.len();
            self.bytes -= changes.iter().map(Change::bytes).sum::<usize>();
            self.upto = Stamp(newest.0 - 1);
        }
    }
}

/// A walk over the rows of a range, for what was written to them behind a stamp.
pub struct ChangeWalk {
    /// Pins what is read.
    _view: Arc<View>,
    cursor: MergeCursor,
    range: KeyRange,
    after: Stamp,
    at: Stamp,
    has_begun: bool,
    oldest: Oldest,
    /// The row that was looked at last.
    row: Vec<u8>,
}

impl View {
    /// Begins a walk for the changes behind a stamp, up to that of this view.
    ///
    /// # Errors
    /// As [`View::get`]; `HistoryGone`: behind that stamp something may be gone.
    pub fn changes(self: &Arc<Self>, asked: &ChangesAsked) -> Result<ChangeWalk> {
        let floor = self.floor(asked.tenant);
        if asked.after < floor {
            return Err(Error::HistoryGone { oldest: floor });
        }
        let bound = |user_key: &[u8]| checked_row(asked.tenant, asked.collection, user_key);
        let mut range = KeyRange::prefix(asked.tenant, asked.collection, b"");
        range.start = bound(&asked.start)?;
        if let Some(end) = &asked.end {
            range.end = Some(bound(end)?);
        }
        let range = self.held(&range)?;
        let (cursors, tombstones) = self.sources_after(asked.tenant, &range, asked.after)?;
        let mut walk = ChangeWalk {
            _view: self.clone(),
            cursor: MergeCursor::new(cursors),
            after: asked.after,
            at: self.at(),
            has_begun: false,
            oldest: Oldest {
                by_stamp: BTreeMap::new(),
                len: 0,
                bytes: 0,
                limit: asked.limit.clamp(1, limits::CHANGES_MAX),
                bytes_max: asked.bytes_max,
                upto: self.at(),
            },
            range,
            row: Vec::new(),
        };
        walk.take_ranges(&tombstones)?;
        Ok(walk)
    }
}

impl ChangeWalk {
    /// Goes on, over so many versions as one scan call does. `None`: there are more.
    ///
    /// # Errors
    /// What reading a source returns. The walk cannot go on after it.
    pub fn step(&mut self) -> Result<Option<Changes>> {
        if !self.has_begun {
            self.has_begun = true;
            self.cursor.seek(&self.range.start)?;
        }
        let mut left = limits::SCAN_STEPS_MAX;
        while left > 0 {
            let Some(version) = self.cursor.key() else { return Ok(Some(self.told())) };
            let (row, stamp) = key::split(version);
            if !self.range.contains(row) {
                return Ok(Some(self.told()));
            }
            let mut value_bytes = 0;
            if stamp > self.after && self.oldest.wants(stamp) {
                self.row.clear();
                self.row.extend_from_slice(row);
                let (_, _, key) = key::decode_row(&self.row)?;
                let change = match self.cursor.slot() {
                    Slot::Put { value, expires_ms } => {
                        value_bytes = value.len();
                        Change::Put { key, value: Bytes::copy_from_slice(value), expires_ms }
                    }
                    Slot::Delete => Change::Delete { key },
                };
                self.oldest.push(stamp, change);
            }
            left = left.saturating_sub(1 + value_bytes / STEP_VALUE_BYTES);
            self.cursor.next()?;
        }
        Ok(None)
    }

    /// Takes the deletions of ranges. Those that were cut when files were cut are put together again.
    fn take_ranges(&mut self, tombstones: &[Arc<Tombstones>]) -> Result<()> {
        let is_asked = |one: &&Arc<RangeTombstone>| one.stamp > self.after && one.stamp <= self.at;
        let cut = |one: &Arc<RangeTombstone>| {
            let rows = KeyRange { start: one.start.clone(), end: Some(one.end.clone()) };
            (one.stamp, rows.intersect(&self.range))
        };
        let all = tombstones.iter().flat_map(|all| all.all().iter().filter(is_asked).map(cut));
        let mut pieces: Vec<(Stamp, KeyRange)> = all.filter(|(_, rows)| !rows.is_empty()).collect();
        pieces.sort_unstable_by(|a, b| (a.0, &a.1.start, &a.1.end).cmp(&(b.0, &b.1.start, &b.1.end)));
        let mut whole: Vec<(Stamp, KeyRange)> = Vec::with_capacity(pieces.len());
        for (stamp, rows) in pieces {
            match whole.last_mut() {
                Some((of, last))
                    if *of == stamp && last.end.as_ref().is_none_or(|end| rows.start <= *end) =>
                {
                    last.end = last.end.take().max(rows.end);
                }
                _ => whole.push((stamp, rows)),
            }
        }
        for (stamp, rows) in whole {
            if self.oldest.wants(stamp) {
                let start = user_bound(&rows.start).unwrap_or_default();
                let end = rows.end.as_deref().and_then(user_bound);
                self.oldest.push(stamp, Change::DeleteRange { start, end });
            }
        }
        Ok(())
    }

    fn told(&mut self) -> Changes {
        let by_stamp = std::mem::take(&mut self.oldest.by_stamp);
        let each = by_stamp
            .into_iter()
            .flat_map(|(stamp, changes)| changes.into_iter().map(move |change| (stamp, change)));
        let upto = self.oldest.upto;
        Changes { changes: each.collect(), upto, is_all: upto == self.at }
    }
}

/// The user key at which a bound of rows lies; `None`: it lies before all of a collection, or behind.
#[must_use]
pub fn user_bound(bound: &[u8]) -> Option<Vec<u8>> {
    if let Ok((_, _, key)) = key::decode_row(bound) {
        return Some(key);
    }
    // Right behind a row: so before the next key that there can be.
    let row = bound.get(..bound.len().checked_sub(9)?)?;
    let (_, _, mut key) = key::decode_row(row).ok().filter(|_| key::after_row(row) == bound)?;
    key.push(0);
    Some(key)
}
