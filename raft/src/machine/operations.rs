//! What a command means is the business of the layer above: it evaluates one, reading what is applied before it, and says what it
//! writes and answers. It must depend on nothing else, so that every replica comes to the same.

use super::digest::Digest;
use crate::error::{Error, Result};
use crate::limits;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, LogIndex, TenantId};
use engine::key::{self, KeyRange};
use engine::tablet::batch::Batch;
use engine::tablet::view::View;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Evaluates commands.
pub trait Operations: Send + Sync + 'static {
    /// Evaluates the command `body` of `tenant`: reads and writes through `rows`, and returns what the caller is answered. A body
    /// that makes no sense is answered so; it must not panic.
    ///
    /// # Errors
    /// Only what makes it impossible to go on: damage, a key that is missing, a disk. The group stops with it.
    fn evaluate(&self, tenant: TenantId, body: &[u8], rows: &mut Rows<'_>) -> Result<Bytes>;
}

/// One row as a command sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its value.
    pub value: Bytes,
    /// When it was written.
    pub stamp: Stamp,
    /// When it expires: milliseconds since 1970, 0 never.
    pub expires_ms: u64,
}

/// One write of a command.
struct Write {
    tenant: TenantId,
    collection: CollectionId,
    user_key: Vec<u8>,
    /// `None`: deleted.
    value: Option<Bytes>,
    stamp: Stamp,
    expires_ms: u64,
}

/// A range that a command deleted.
struct Cleared {
    tenant: TenantId,
    collection: CollectionId,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    /// As row keys.
    rows: (Vec<u8>, Vec<u8>),
    stamp: Stamp,
}

/// The writes of one entry, or of some that follow one another, which are not in the tablet yet.
#[derive(Default)]
pub struct Unapplied {
    writes: Vec<Write>,
    /// By row: the newest of its writes.
    newest: BTreeMap<Vec<u8>, usize>,
    cleared: Vec<Cleared>,
    bytes: usize,
    /// How many operations and bytes there were before the entry.
    before: (usize, usize),
}

impl Unapplied {
    /// Operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len() + self.cleared.len()
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What comes now is of another entry, which may write as much as any.
    pub fn begin_entry(&mut self) {
        self.before = (self.len(), self.bytes);
    }

    /// User keys that are written of the rows from `start` to before `end`, and the bytes of each with its value.
    pub(super) fn keys_between<'a>(
        &'a self,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], usize)> {
        let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        let written = self.newest.range::<[u8], _>(bounds).map(|(_, at)| &self.writes[*at]);
        written.map(|one| (&one.user_key[..], one.user_key.len() + one.value.as_ref().map_or(0, Bytes::len)))
    }

    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts every write in the digest.
    pub fn fold_into(&self, digest: &mut Digest) {
        for one in &self.cleared {
            let end = one.end.as_deref().unwrap_or_default();
            digest.fold(one.tenant, one.stamp, &[b"range", &one.collection.0.to_be_bytes(), &one.start, end]);
        }
        for one in &self.writes {
            let (what, value): (&[u8], &[u8]) = match &one.value {
                Some(value) => (b"put", value),
                None => (b"delete", b""),
            };
            let (place, expires) = (one.collection.0.to_be_bytes(), one.expires_ms.to_be_bytes());
            digest.fold(one.tenant, one.stamp, &[what, &place, &one.user_key, value, &expires]);
        }
    }

    /// The batch of the entry at `index`.
    ///
    /// # Errors
    /// `TooLarge`: more than a batch holds; [`Rows`] lets nobody write so much.
    pub fn batch(&self, index: LogIndex) -> Result<Batch> {
        let mut batch = Batch::new(index);
        for one in &self.cleared {
            batch.delete_range(one.tenant, one.collection, &one.start, one.end.as_deref(), one.stamp)?;
        }
        for one in &self.writes {
            let Write { tenant, collection, user_key, stamp, expires_ms, .. } = one;
            match &one.value {
                Some(value) => batch.put(*tenant, *collection, user_key, value, *stamp, *expires_ms)?,
                None => batch.delete(*tenant, *collection, user_key, *stamp)?,
            }
        }
        Ok(batch)
    }

    fn push(&mut self, row: Vec<u8>, write: Write) {
        self.bytes += row.len() + write.value.as_ref().map_or(0, Bytes::len) + WRITE_BYTES;
        match self.newest.get(&row) {
            // A command that writes a row twice has written it once.
            Some(at) if self.writes[*at].stamp == write.stamp => self.writes[*at] = write,
            _ => {
                self.newest.insert(row, self.writes.len());
                self.writes.push(write);
            }
        }
    }

    /// Takes back what the command of `stamp` wrote, of which the first write was number `writes`.
    fn undo(&mut self, stamp: Stamp, writes: usize, bytes: usize) {
        self.writes.truncate(writes);
        self.cleared.retain(|one| one.stamp != stamp);
        self.bytes = bytes;
        self.newest.clear();
        for (at, one) in self.writes.iter().enumerate() {
            self.newest.insert(key::row(one.tenant, one.collection, &one.user_key), at);
        }
    }
}

/// What a write costs in a batch beside its key and value.
const WRITE_BYTES: usize = 64;

/// What one command may read and write.
pub struct Rows<'a> {
    view: &'a View,
    unapplied: &'a mut Unapplied,
    stamp: Stamp,
    /// Where it began, for taking it back.
    began: (usize, usize),
    /// What the group holds; `None` is all.
    range: Option<&'a KeyRange>,
    is_over: bool,
}

impl<'a> Rows<'a> {
    /// For the command of this stamp: reads `view`, in which nothing is expired, and what is not applied yet.
    #[must_use]
    pub fn new(view: &'a View, unapplied: &'a mut Unapplied, stamp: Stamp) -> Self {
        let began = (unapplied.writes.len(), unapplied.bytes);
        Self { view, unapplied, stamp, began, range: None, is_over: false }
    }

    /// The same for a group that holds `range` alone.
    #[must_use]
    pub fn within(self, range: &'a KeyRange) -> Self {
        Self { range: Some(range), ..self }
    }

    /// The command's stamp; its milliseconds are the time at which values expire for it.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether it wanted to write more than fits its entry.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes back all it wrote.
    pub fn undo(self) {
        self.unapplied.undo(self.stamp, self.began.0, self.began.1);
    }

    /// A row, as all commands before have left it. A key over `KEY_BYTES_MAX` has none: whoever asks for it stops no group.
    ///
    /// # Errors
    /// `OutsideRange`: the command is refused if it hands this on. What the engine says.
    pub fn get(&self, tenant: TenantId, collection: CollectionId, user_key: &[u8]) -> Result<Option<Row>> {
        if user_key.len() > engine::limits::KEY_BYTES_MAX {
            return Ok(None);
        }
        let row = key::row(tenant, collection, user_key);
        self.check_inside(&row, None)?;
        let covers = |one: &&Cleared| one.rows.0 <= row && row < one.rows.1;
        let cleared = self.unapplied.cleared.iter().rev().find(covers).map(|one| one.stamp);
        let is_expired = |expires_ms: u64| expires_ms != 0 && expires_ms <= self.stamp.ms();
        let newest = self.unapplied.newest.get(&row).map(|at| &self.unapplied.writes[*at]);
        if let Some(write) = newest.filter(|write| cleared.is_none_or(|stamp| stamp <= write.stamp)) {
            let value = write.value.clone().filter(|_| !is_expired(write.expires_ms));
            return Ok(value.map(|value| Row { value, stamp: write.stamp, expires_ms: write.expires_ms }));
        }
        if cleared.is_some() {
            return Ok(None);
        }
        let found = self.view.get(tenant, collection, user_key)?;
        let found = found.filter(|found| !is_expired(found.expires_ms));
        Ok(found.map(|found| Row { value: found.value, stamp: found.stamp, expires_ms: found.expires_ms }))
    }

    /// Sets a row. `expires_ms` is milliseconds since 1970, 0 never.
    ///
    /// # Errors
    /// `TooLarge`, `OutsideRange`: the command is refused if it hands this on.
    pub fn put(
        &mut self,
        tenant: TenantId,
        collection: CollectionId,
        user_key: &[u8],
        value: &[u8],
        expires_ms: u64,
    ) -> Result<()> {
        self.write(tenant, collection, user_key, Some(Bytes::copy_from_slice(value)), expires_ms)
    }

    /// Removes a row.
    ///
    /// # Errors
    /// As [`Rows::put`].
    pub fn delete(&mut self, tenant: TenantId, collection: CollectionId, user_key: &[u8]) -> Result<()> {
        self.write(tenant, collection, user_key, None, 0)
    }

    fn write(
        &mut self,
        tenant: TenantId,
        collection: CollectionId,
        user_key: &[u8],
        value: Option<Bytes>,
        expires_ms: u64,
    ) -> Result<()> {
        self.check("key bytes", user_key.len(), engine::limits::KEY_BYTES_MAX)?;
        let bytes = value.as_ref().map_or(0, Bytes::len);
        self.check("value bytes", bytes, engine::limits::VALUE_BYTES_MAX)?;
        self.check_room(user_key.len() * 2 + bytes)?;
        let (stamp, user_key) = (self.stamp, user_key.to_vec());
        let row = key::row(tenant, collection, &user_key);
        self.check_inside(&row, None)?;
        self.unapplied.push(row, Write { tenant, collection, user_key, value, stamp, expires_ms });
        Ok(())
    }

    /// Removes all rows of `collection` from `start` up to `end` (not included; `None` is its end), those that this command wrote
    /// before among them. The group must hold all of the range.
    ///
    /// # Errors
    /// As [`Rows::put`]. An empty range removes nothing.
    pub fn delete_range(
        &mut self,
        tenant: TenantId,
        collection: CollectionId,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<()> {
        let longest = start.len().max(end.map_or(0, <[u8]>::len));
        self.check("key bytes", longest, engine::limits::KEY_BYTES_MAX)?;
        self.check_room(longest * 4)?;
        let first = key::row(tenant, collection, start);
        let last = match end {
            Some(end) => Some(key::row(tenant, collection, end)),
            None => key::after_prefix(&key::prefix_start(tenant, collection, b"")),
        };
        let Some(last) = last.filter(|last| first < *last) else { return Ok(()) };
        self.check_inside(&first, Some(&last))?;
        // A point write of the same stamp would survive the range: those before it must not.
        for (_, at) in self.unapplied.newest.range(first.clone()..last.clone()) {
            let write = &mut self.unapplied.writes[*at];
            if write.stamp == self.stamp {
                (write.value, write.expires_ms) = (None, 0);
            }
        }
        self.unapplied.bytes += first.len() + last.len() + WRITE_BYTES;
        let (start, end, stamp) = (start.to_vec(), end.map(<[u8]>::to_vec), self.stamp);
        self.unapplied.cleared.push(Cleared { tenant, collection, start, end, rows: (first, last), stamp });
        Ok(())
    }

    /// Whether what the command answers is not longer than may be kept.
    ///
    /// # Errors
    /// `TooLarge`: the command is refused.
    pub fn check_reply(&mut self, bytes: usize) -> Result<()> {
        self.check("bytes of a reply", bytes, limits::REPLY_BYTES_MAX)
    }

    /// `row`, or all rows from it up to `end`.
    fn check_inside(&self, row: &[u8], end: Option<&[u8]>) -> Result<()> {
        let ends_inside = |range: &KeyRange| match (end, &range.end) {
            (Some(end), Some(last)) => end <= &last[..],
            _ => true,
        };
        if self.range.is_none_or(|range| range.contains(row) && ends_inside(range)) {
            return Ok(());
        }
        Err(Error::OutsideRange)
    }

    fn check(&mut self, what: &'static str, got: usize, max: usize) -> Result<()> {
        if got <= max {
            return Ok(());
        }
        self.is_over = true;
        Err(Error::TooLarge { what, got: got as u64, max: max as u64 })
    }

    fn check_room(&mut self, more: usize) -> Result<()> {
        let (operations, bytes) = self.unapplied.before;
        let (operations, bytes) = (self.unapplied.len() - operations, self.unapplied.bytes - bytes);
        self.check("bytes of an entry's writes", bytes + more + 128, limits::APPLY_BYTES_MAX)?;
        self.check("operations of an entry", operations + 1, limits::APPLY_OPERATIONS_MAX)
    }
}
