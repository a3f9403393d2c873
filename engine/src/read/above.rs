//! Pure: a walk over the versions of a source that are newer than a stamp, as if the others were not there.

use super::{Cursor, Slot};
use crate::error::Result;
use crate::key;
use crate::stamp::Stamp;

/// A walk that passes over what is old.
pub(crate) struct Above<C> {
    inner: C,
    after: Stamp,
}

impl<C: Cursor> Above<C> {
    /// Over what `inner` has behind `after`.
    pub(crate) fn new(inner: C, after: Stamp) -> Self {
        Self { inner, after }
    }

    fn is_old(&self) -> bool {
        self.inner.key().is_some_and(|version| key::split(version).1 <= self.after)
    }

    fn go_on(&mut self) -> Result<()> {
        while self.is_old() {
            self.inner.next()?;
        }
        Ok(())
    }

    fn go_back(&mut self) -> Result<()> {
        while self.is_old() {
            self.inner.prev()?;
        }
        Ok(())
    }
}

impl<C: Cursor> Cursor for Above<C> {
    fn seek(&mut self, target: &[u8]) -> Result<()> {
        self.inner.seek(target)?;
        self.go_on()
    }

    fn seek_before(&mut self, target: Option<&[u8]>) -> Result<()> {
        self.inner.seek_before(target)?;
        self.go_back()
    }

    fn next(&mut self) -> Result<()> {
        self.inner.next()?;
        self.go_on()
    }

    fn prev(&mut self) -> Result<()> {
        self.inner.prev()?;
        self.go_back()
    }

    fn key(&self) -> Option<&[u8]> {
        self.inner.key()
    }

    fn slot(&self) -> Slot<'_> {
        self.inner.slot()
    }
}
