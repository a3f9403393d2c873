//! Reading: one order over many sources, and what of it is visible.

pub(crate) mod between;
pub mod block_cache;
pub(crate) mod level_cursor;
pub mod merge_cursor;
pub mod range;
pub mod visibility;

use crate::error::Result;
use crate::redact::Redacted;
use bytes::Bytes;
use std::fmt;

/// What stands at a version key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Slot<'a> {
    /// A value.
    Put {
        /// Its bytes.
        value: &'a [u8],
        /// From this millisecond since 1970 on it is absent; 0 is never.
        expires_ms: u64,
    },
    /// A point tombstone.
    Delete,
}

/// A [`Slot`] of its own.
#[derive(Clone, PartialEq, Eq)]
pub enum OwnedSlot {
    /// A value.
    Put {
        /// Its bytes.
        value: Bytes,
        /// From this millisecond since 1970 on it is absent; 0 is never.
        expires_ms: u64,
    },
    /// A point tombstone.
    Delete,
}

impl fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { value, expires_ms } => {
                write!(f, "Put {{ {}, expires {expires_ms} }}", value.redacted())
            }
            Self::Delete => f.write_str("Delete"),
        }
    }
}

impl fmt::Debug for OwnedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slot().fmt(f)
    }
}

impl Slot<'_> {
    /// A copy that owns its value.
    #[must_use]
    pub fn to_owned(&self) -> OwnedSlot {
        match *self {
            Self::Put { value, expires_ms } => {
                OwnedSlot::Put { value: Bytes::copy_from_slice(value), expires_ms }
            }
            Self::Delete => OwnedSlot::Delete,
        }
    }
}

impl OwnedSlot {
    /// The same, borrowed.
    #[must_use]
    pub fn as_slot(&self) -> Slot<'_> {
        match self {
            Self::Put { value, expires_ms } => Slot::Put { value, expires_ms: *expires_ms },
            Self::Delete => Slot::Delete,
        }
    }
}

/// Moves over version keys in byte order, so the newest version of a row first. Stands nowhere at first; [`Cursor::key`] is
/// `None` there and past either end.
pub trait Cursor {
    /// To the first key at or after `target`.
    ///
    /// # Errors
    /// What reading the source returns, here and below.
    fn seek(&mut self, target: &[u8]) -> Result<()>;

    /// To the last key before `target`; `None` is past the last key, so: to the very last.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    fn seek_before(&mut self, target: Option<&[u8]>) -> Result<()>;

    /// One forward. Only where there is a key.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    fn next(&mut self) -> Result<()>;

    /// One back. Only where there is a key.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    fn prev(&mut self) -> Result<()>;

    /// The version key here.
    fn key(&self) -> Option<&[u8]>;

    /// What stands here. Only where there is a key.
    fn slot(&self) -> Slot<'_>;
}

/// A cursor that can go to another thread.
pub type BoxedCursor = Box<dyn Cursor + Send>;
