//! Pure: a walk over the versions of a source that lie between two stamps, as if the others were not there.

use super::{Cursor, Slot};
use crate::error::Result;
use crate::key;
use crate::stamp::Stamp;

/// A walk that passes over what is too old or too new.
pub(crate) struct Between<C> {
    inner: C,
    after: Stamp,
    upto: Stamp,
}

impl<C: Cursor> Between<C> {
    /// Over what `inner` has behind `after` and up to `upto`, that itself.
    pub(crate) fn new(inner: C, after: Stamp, upto: Stamp) -> Self {
        Self { inner, after, upto }
    }

    fn is_outside(&self) -> bool {
        let stamp = self.inner.key().map(|version| key::split(version).1);
        stamp.is_some_and(|stamp| stamp <= self.after || stamp > self.upto)
    }

    fn go_on(&mut self) -> Result<()> {
        while self.is_outside() {
            self.inner.next()?;
        }
        Ok(())
    }

    fn go_back(&mut self) -> Result<()> {
        while self.is_outside() {
            self.inner.prev()?;
        }
        Ok(())
    }
}

impl<C: Cursor> Cursor for Between<C> {
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
