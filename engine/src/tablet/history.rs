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

impl View {
    /// The events of a key at or before the view's stamp, newest first, at most `limit` (and `HISTORY_ENTRIES_MAX`).
    ///
    /// # Errors
    /// As [`View::get`]. Events older than the kept history are not there, and not told of.
    pub fn history(
        &self,
        tenant: TenantId,
        collection: CollectionId,
        user_key: &[u8],
        limit: usize,
    ) -> Result<Vec<Event>> {
        let row = checked_row(tenant, collection, user_key)?;
        self.check_row(&row)?;
        self.check(tenant)?;
        let limit = limit.min(limits::HISTORY_ENTRIES_MAX);
        let range = KeyRange { start: row.clone(), end: Some(key::after_row(&row)) };
        let (cursors, tombstones) = self.sources(tenant, &range)?;
        let mut deleted: Vec<Stamp> = tombstones.iter().flat_map(|all| all.all_covering(&row)).collect();
        deleted.retain(|stamp| *stamp <= self.at());
        deleted.sort_unstable();
        deleted.dedup();
        let mut cursor = MergeCursor::new(cursors);
        cursor.seek(&key::version(&row, self.at()))?;
        let mut events = Vec::new();
        while events.len() < limit {
            let version =
                cursor.key().map(key::split).filter(|(found, _)| *found == &row[..]).map(|(_, stamp)| stamp);
            // A point write at the same stamp as a range tombstone comes after it.
            if let Some(stamp) = deleted.pop_if(|stamp| version.is_none_or(|version| *stamp > version)) {
                events.push(Event { stamp, value: None });
                continue;
            }
            let Some(stamp) = version else { break };
            let value = match cursor.slot() {
                Slot::Put { value, expires_ms } => Some((Bytes::copy_from_slice(value), expires_ms)),
                Slot::Delete => None,
            };
            events.push(Event { stamp, value });
            cursor.next()?;
        }
        Ok(events)
    }
}
