//! Pure: the evaluated writes of one applied entry.
//! Format: batch, `docs/formats/batch.md`.
//!
//! A batch is built in one buffer with keys already encoded; limits hold while it is built, so a batch that exists can be
//! applied. Within a batch no row has two point writes with one stamp.

use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{CollectionId, LogIndex, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::redact::{Redacted, redacted_debug};
use crate::stamp::Stamp;
use crate::wire::{Reader, append_bytes32};
use std::fmt;

const VERSION: u16 = 1;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;

/// One write of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Sets a row.
    Put {
        /// Its version key.
        version: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// When it expires: milliseconds since 1970, 0 never.
        expires_ms: u64,
    },
    /// Removes a row.
    Delete {
        /// Its version key.
        version: &'a [u8],
    },
    /// Removes all rows of a range that were written before.
    DeleteRange {
        /// First row inside.
        start: &'a [u8],
        /// First row outside.
        end: &'a [u8],
        /// When.
        stamp: Stamp,
    },
}

impl fmt::Debug for Op<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { version, value, expires_ms } => {
                write!(f, "Put {{ {}, {}, expires {expires_ms} }}", version.redacted(), value.redacted())
            }
            Self::Delete { version } => write!(f, "Delete {{ {} }}", version.redacted()),
            Self::DeleteRange { start, end, stamp } => {
                write!(f, "DeleteRange {{ {}, {}, {stamp} }}", start.redacted(), end.redacted())
            }
        }
    }
}

/// The evaluated writes of one applied entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    index: LogIndex,
    note: Option<Vec<u8>>,
    operations: Vec<u8>,
    len: u32,
    least: Stamp,
    greatest: Stamp,
    /// Every stamp is above the one before, so no two writes can meet.
    is_rising: bool,
}

redacted_debug!(Batch, index, len, least, greatest; note, operations);

impl Batch {
    /// A batch of nothing, for the entry at `index`.
    #[must_use]
    pub fn new(index: LogIndex) -> Self {
        let (least, greatest) = (Stamp::MAX, Stamp::ZERO);
        Self { index, note: None, operations: Vec::new(), len: 0, least, greatest, is_rising: true }
    }

    /// Sets a row. `expires_ms` is milliseconds since 1970, 0 never.
    ///
    /// # Errors
    /// `TooLarge`: key, value or batch. Nothing is added.
    pub fn put(
        &mut self,
        tenant: TenantId,
        collection: CollectionId,
        user_key: &[u8],
        value: &[u8],
        stamp: Stamp,
        expires_ms: u64,
    ) -> Result<()> {
        check_size("value bytes", value.len(), limits::VALUE_BYTES_MAX)?;
        self.check_room(user_key.len() * 2 + value.len())?;
        self.append_version(PUT, tenant, collection, user_key, stamp)?;
        self.operations.extend_from_slice(&expires_ms.to_be_bytes());
        append_bytes32(&mut self.operations, value);
        self.count(stamp);
        Ok(())
    }

    /// Removes a row.
    ///
    /// # Errors
    /// `TooLarge`: key or batch. Nothing is added.
    pub fn delete(
        &mut self,
        tenant: TenantId,
        collection: CollectionId,
        user_key: &[u8],
        stamp: Stamp,
    ) -> Result<()> {
        self.check_room(user_key.len() * 2)?;
        self.append_version(DELETE, tenant, collection, user_key, stamp)?;
        self.count(stamp);
        Ok(())
    }

    /// Removes all rows of `collection` from `start` up to `end` (not included; `None` is the collection's end) that were
    /// written before. A point write with the same stamp stays.
    ///
    /// # Errors
    /// `TooLarge`: key or batch. `Invalid`: the range is empty, or has no end that can be written down.
    pub fn delete_range(
        &mut self,
        tenant: TenantId,
        collection: CollectionId,
        start: &[u8],
        end: Option<&[u8]>,
        stamp: Stamp,
    ) -> Result<()> {
        check_size("key bytes", start.len().max(end.map_or(0, <[u8]>::len)), limits::KEY_BYTES_MAX)?;
        self.check_room((start.len() + end.map_or(0, <[u8]>::len)) * 2)?;
        let last = match end {
            Some(end) => Some(key::row(tenant, collection, end)),
            None => key::after_prefix(&key::prefix_start(tenant, collection, b"")),
        };
        let start = key::row(tenant, collection, start);
        let Some(end) = last.filter(|end| start < *end) else {
            return Err(Error::Invalid("a range to delete needs a start before its end"));
        };
        self.operations.push(DELETE_RANGE);
        append_bytes16(&mut self.operations, &start);
        append_bytes16(&mut self.operations, &end);
        self.operations.extend_from_slice(&stamp.0.to_be_bytes());
        self.count(stamp);
        Ok(())
    }

    /// Keeps `note` with the applied position: opaque to the engine, durable with it, given back by
    /// [`Tablet::durable`](super::Tablet::durable). Without one, the note before stays.
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn set_note(&mut self, note: &[u8]) -> Result<()> {
        check_size("note bytes", note.len(), limits::NOTE_BYTES_MAX)?;
        self.note = Some(note.to_vec());
        Ok(())
    }

    fn check_room(&self, more: usize) -> Result<()> {
        // A version key is at most its user key escaped, and 22 bytes; 64 cover every operation's own fields.
        check_size("batch bytes", self.operations.len() + more + 64, limits::BATCH_BYTES_MAX)?;
        check_size("batch operations", self.len as usize + 1, limits::BATCH_OPERATIONS_MAX)
    }

    fn append_version(
        &mut self,
        kind: u8,
        tenant: TenantId,
        collection: CollectionId,
        user_key: &[u8],
        stamp: Stamp,
    ) -> Result<()> {
        check_size("key bytes", user_key.len(), limits::KEY_BYTES_MAX)?;
        self.operations.push(kind);
        let at = self.operations.len();
        self.operations.extend_from_slice(&[0, 0]);
        key::append_row(&mut self.operations, tenant, collection, user_key);
        key::append_stamp(&mut self.operations, stamp);
        let length = u16::try_from(self.operations.len() - at - 2).expect("VERSION_KEY_BYTES_MAX fits u16");
        self.operations[at..at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn count(&mut self, stamp: Stamp) {
        self.is_rising &= self.len == 0 || stamp > self.greatest;
        self.len += 1;
        self.least = self.least.min(stamp);
        self.greatest = self.greatest.max(stamp);
    }

    /// The entry's index.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.index
    }

    /// The note, if it brings one.
    #[must_use]
    pub fn note(&self) -> Option<&[u8]> {
        self.note.as_deref()
    }

    /// Least stamp; [`Stamp::MAX`] of an empty batch.
    #[must_use]
    pub fn least_stamp(&self) -> Stamp {
        self.least
    }

    /// Greatest stamp; [`Stamp::ZERO`] of an empty batch.
    #[must_use]
    pub fn greatest_stamp(&self) -> Stamp {
        self.greatest
    }

    /// Operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it has no operation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of its operations.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.operations.len()
    }

    pub(crate) fn operations(&self) -> &[u8] {
        &self.operations
    }

    /// The operations, in order.
    pub fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        ops_of(&self.operations)
    }

    /// Checks the rule that needs the whole batch: no two point writes of one row with one stamp.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<()> {
        if self.is_rising {
            return Ok(());
        }
        let version = |op| match op {
            Op::Put { version, .. } | Op::Delete { version } => Some(version),
            Op::DeleteRange { .. } => None,
        };
        let mut versions: Vec<&[u8]> = self.ops().filter_map(version).collect();
        versions.sort_unstable();
        match versions.windows(2).any(|pair| pair[0] == pair[1]) {
            true => {
                Err(Error::Invalid("a batch writes one row twice with the same stamp; keep the last write"))
            }
            false => Ok(()),
        }
    }

    /// Whether every row it touches lies inside `range`.
    #[must_use]
    pub fn rows_within(&self, range: &KeyRange) -> bool {
        self.ops().all(|op| match op {
            Op::Put { version, .. } | Op::Delete { version } => range.contains(key::split(version).0),
            Op::DeleteRange { start, end, .. } => {
                range.contains(start) && range.end.as_ref().is_none_or(|last| end <= &last[..])
            }
        })
    }

    /// The batch as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_be_bytes().to_vec();
        out.push(u8::from(self.note.is_some()));
        out.push(0);
        out.extend_from_slice(&self.index.0.to_be_bytes());
        append_bytes32(&mut out, self.note.as_deref().unwrap_or_default());
        out.extend_from_slice(&self.len.to_be_bytes());
        append_bytes32(&mut out, &self.operations);
        out
    }

    /// Reads a batch, checking every rule of a built one.
    ///
    /// # Errors
    /// `Damaged` (`Malformed`), `Unsupported` version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u16()?;
        if version != VERSION {
            return Err(Error::Unsupported {
                what: "batch".to_owned(),
                found: u32::from(version),
                supported: "1",
            });
        }
        let [has_note @ (0 | 1), 0] = reader.array()? else {
            return Err(malformed("reserved bytes of a batch").into());
        };
        let index = LogIndex(reader.u64()?);
        let note = reader.bytes32(limits::NOTE_BYTES_MAX)?;
        let mut batch = Self::new(index);
        match (has_note, note) {
            (1, note) => batch.note = Some(note.to_vec()),
            (_, []) => {}
            _ => return Err(malformed("a note that is not there").into()),
        }
        let len = reader.u32()?;
        batch.operations = reader.bytes32(limits::BATCH_BYTES_MAX)?.to_vec();
        reader.end()?;
        let operations = std::mem::take(&mut batch.operations);
        let mut reader = Reader::new(&operations);
        while reader.left() > 0 {
            batch.count(stamp_of(read_op(&mut reader)?));
        }
        if batch.len != len || batch.len() > limits::BATCH_OPERATIONS_MAX {
            return Err(malformed("another number of operations").into());
        }
        batch.operations = operations;
        batch.check().map_err(|_| malformed("one row twice with the same stamp"))?;
        Ok(batch)
    }
}

/// The operations in a copy of [`Batch::operations`].
pub(crate) fn ops_of(operations: &[u8]) -> impl Iterator<Item = Op<'_>> {
    let mut reader = Reader::new(operations);
    std::iter::from_fn(move || {
        (reader.left() > 0)
            .then(|| read_op(&mut reader).expect("a batch holds what its builder or decoder checked"))
    })
}

fn stamp_of(op: Op<'_>) -> Stamp {
    match op {
        Op::Put { version, .. } | Op::Delete { version } => key::split(version).1,
        Op::DeleteRange { stamp, .. } => stamp,
    }
}

fn read_op<'a>(reader: &mut Reader<'a>) -> Result<Op<'a>, Damage> {
    let kind = reader.u8()?;
    let length = usize::from(reader.u16()?);
    let first = reader.take(length)?;
    match kind {
        PUT => {
            key::check_version(first)?;
            let expires_ms = reader.u64()?;
            Ok(Op::Put { version: first, value: reader.bytes32(limits::VALUE_BYTES_MAX)?, expires_ms })
        }
        DELETE => {
            key::check_version(first)?;
            Ok(Op::Delete { version: first })
        }
        DELETE_RANGE => {
            let length = usize::from(reader.u16()?);
            let end = reader.take(length)?;
            let stamp = Stamp(reader.u64()?);
            let (tenant, collection, _) = key::decode_row(first)?;
            if first >= end {
                return Err(malformed("an empty range"));
            }
            // It ends at a row of its own collection, or where that ends.
            let prefix = key::prefix_start(tenant, collection, b"");
            let is_row = end.starts_with(&prefix) && key::decode_row(end).is_ok();
            if !is_row && key::after_prefix(&prefix).is_none_or(|last| last != end) {
                return Err(malformed("a range that leaves its collection"));
            }
            Ok(Op::DeleteRange { start: first, end, stamp })
        }
        _ => Err(malformed("unknown operation")),
    }
}

fn append_bytes16(out: &mut Vec<u8>, bytes: &[u8]) {
    let n = u16::try_from(bytes.len()).expect("VERSION_KEY_BYTES_MAX fits u16");
    out.extend_from_slice(&n.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn check_size(what: &'static str, got: usize, max: usize) -> Result<()> {
    let (got, max) = (got as u64, max as u64);
    if got > max { Err(Error::TooLarge { what, got, max }) } else { Ok(()) }
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}
