//! The life of one key: every write and deletion that is kept.

use super::checked_row;
use super::view::View;
use crate::error::Result;
use crate::ids::{CollectionId, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::read::merge_cursor::MergeCursor;
use crate::read::{Cursor, Slot};
use crate::redact::redacted_debug;
use crate::stamp::Stamp;
use bytes::Bytes;

/// One event in the life of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub stamp: Stamp,
    /// The value written, with its expiry in milliseconds since 1970 (0 never); `None` if it was deleted, alone or in a range.
    pub value: Option<(Bytes, u64)>,
}

redacted_debug!(Event, stamp; value);

/// Some events of a key, and where to go on if there may be more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Newest first.
    pub events: Vec<Event>,
    /// At a view of this stamp the history goes on; `None` if these are all that is kept.
    pub next: Option<Stamp>,
}

impl View {
    /// The events of a key at or before the view's stamp, newest first: at most `limit` (and `HISTORY_ENTRIES_MAX`) of them, and
    /// of at most `HISTORY_BYTES_MAX` bytes of values, but one at least. For the rest ask a view of [`History::next`].
    ///
    /// # Errors
    /// As [`View::get`]. Events older than the kept history are not there, and not told of.
    pub fn history(
        &self,
        tenant: TenantId,
        collection: CollectionId,
        user_key: &[u8],
        limit: usize,
    ) -> Result<History> {
        let row = checked_row(tenant, collection, user_key)?;
        self.check_row(&row)?;
        self.check(tenant)?;
        let floor = self.floor(tenant);
        let limit = limit.clamp(1, limits::HISTORY_ENTRIES_MAX);
        let range = KeyRange { start: row.clone(), end: Some(key::after_row(&row)) };
        let (cursors, tombstones) = self.sources(tenant, &range)?;
        let deleted: Vec<Stamp> = tombstones.iter().flat_map(|all| all.all_covering(&row)).collect();
        events(MergeCursor::new(cursors), deleted, (&row, self.at()), (floor, limit))
    }
}

/// The events of the row at or before `at`, newest first, as [`View::history`] has them: versions by `cursor`, deletions of ranges that cover the
/// row in `deleted`. Nothing below `floor` is gone on to.
pub(crate) fn events(
    mut cursor: MergeCursor,
    mut deleted: Vec<Stamp>,
    (row, at): (&[u8], Stamp),
    (floor, limit): (Stamp, usize),
) -> Result<History> {
    deleted.retain(|stamp| *stamp <= at);
    deleted.sort_unstable();
    deleted.dedup();
    cursor.seek(&key::version(row, at))?;
    let (mut history, mut bytes) = (History::default(), 0);
    loop {
        let version = cursor.key().map(key::split).filter(|(found, _)| *found == row).map(|(_, stamp)| stamp);
        // A point write at the same stamp as a range tombstone comes after it.
        let deleted = deleted.pop_if(|stamp| version.is_none_or(|version| *stamp > version));
        let Some(stamp) = deleted.or(version) else { return Ok(history) };
        let value = match cursor.slot() {
            Slot::Put { value, expires_ms } if deleted.is_none() => Some((value, expires_ms)),
            _ => None,
        };
        bytes += value.map_or(0, |(value, _)| value.len());
        let is_full = history.events.len() >= limit || bytes > limits::HISTORY_BYTES_MAX;
        // What happened at one stamp stays on one page.
        if let Some(last) = history.events.last().filter(|last| is_full && last.stamp > stamp) {
            // Below the floor only what stands at it is told of for certain.
            history.next = (last.stamp > floor).then_some(Stamp(last.stamp.0 - 1));
            return Ok(history);
        }
        let value = value.map(|(value, expires_ms)| (Bytes::copy_from_slice(value), expires_ms));
        history.events.push(Event { stamp, value });
        if deleted.is_none() {
            cursor.next()?;
            // Files that belong to no tablet may hold the same version twice.
            while cursor.key().map(key::split) == Some((row, stamp)) {
                cursor.next()?;
            }
        }
    }
}
