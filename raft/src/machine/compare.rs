//! What stands in the tablet of a machine at one stamp, range by range: see [`super::range_digest`]. Reads, and changes nothing.

use super::Machine;
use super::range_digest::{Cutter, RangeDigest, RowRange, SeenRow};
use crate::error::{Error, Result};
use crate::limits;
use crate::planted::{self, Planted};
use engine::Stamp;
use engine::tablet::view::{Scan, ScanCursor, View};

/// What stands in some ranges at one stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDigest {
    /// The stamp: everything at or before it, nothing behind it.
    pub at: Stamp,
    /// By range, in the order asked for.
    pub ranges: Vec<RangeDigest>,
}

impl Machine {
    /// Cuts `range` into at most `ranges_max` of about as many rows each, and says what stands in each of them at `at`; `None` is the
    /// last stamp given out here, which the answer names for whoever is asked to compare. Every row of the range is read, page by page,
    /// from one view: call it where blocking is allowed.
    ///
    /// # Errors
    /// `TooLarge`: more than `RANGE_DIGESTS_MAX` ranges. `Unavailable`: `at` is not applied here yet. `Invalid`: history does not reach
    /// back to `at`, or the range is outside the tablet's. `Key`: the tenant's key is not here; one that is shredded has no state to
    /// compare. `Damaged`, disk.
    pub fn range_digest(
        &self,
        at: Option<Stamp>,
        range: &RowRange,
        ranges_max: usize,
    ) -> Result<StateDigest> {
        check(ranges_max)?;
        let (at, view) = self.view_at(at)?;
        let skips = self.skips();
        Ok(StateDigest { at, ranges: cut((&view, at), range, ranges_max, skips)? })
    }

    /// What stands in each of `ranges`, uncut: those that another replica has cut.
    ///
    /// # Errors
    /// As [`Machine::range_digest`].
    pub fn digests_of(&self, at: Option<Stamp>, ranges: &[RowRange]) -> Result<StateDigest> {
        check(ranges.len())?;
        let (at, view) = self.view_at(at)?;
        let (skips, mut digests) = (self.skips(), Vec::with_capacity(ranges.len()));
        for range in ranges {
            digests.extend(cut((&view, at), range, 1, skips)?);
        }
        Ok(StateDigest { at, ranges: digests })
    }

    /// Whether the rows of some keys are left out: a bug that can be planted in some replicas, told by the names of their tablets.
    pub(crate) fn skips(&self) -> bool {
        planted::is(Planted::SkipInRange) && self.tablet().id().0 % 2 == 1
    }

    /// A view of the state at `at`, in which values expire by its milliseconds.
    pub(crate) fn view_at(&self, at: Option<Stamp>) -> Result<(Stamp, View)> {
        // What the note says is in the tablet already.
        let applied = self.applied().last;
        let at = at.unwrap_or(applied);
        if at > applied {
            return Err(engine::Error::NotYet { asked: at, applied }.into());
        }
        let tablet = self.tablet();
        let newest = tablet.view(at.ms())?;
        // Entries that write nothing raise the last stamp too: then nothing was written behind the tablet's.
        if newest.at() <= at {
            return Ok((at, newest));
        }
        let past = ScanCursor { at, now_ms: at.ms(), after: Vec::new() };
        Ok((at, tablet.view_of(&past)?))
    }
}

fn check(ranges: usize) -> Result<()> {
    let (got, max) = (ranges as u64, limits::RANGE_DIGESTS_MAX as u64);
    if got > max { Err(Error::TooLarge { what: "ranges of a digest", got, max }) } else { Ok(()) }
}

/// Whether a replica in which that bug is planted leaves out this row.
pub(crate) fn is_left_out(user_key: &[u8]) -> bool {
    user_key.last().is_some_and(|byte| byte % 8 == 0)
}

/// `view` is of the state at `at`; rows may have expired since, and be gone.
fn cut(
    (view, at): (&View, Stamp),
    range: &RowRange,
    ranges_max: usize,
    skips: bool,
) -> Result<Vec<RangeDigest>> {
    view.reaches_back(range.tenant, at)?;
    let RowRange { tenant, collection, start, end } = range.clone();
    let (limit, bytes_max) = (limits::DIGEST_PAGE_ENTRIES, limits::DIGEST_PAGE_BYTES);
    let scan = Scan { start, end, limit, bytes_max, ..Scan::all(tenant, collection) };
    let mut cutter = Cutter::new(range.clone(), ranges_max);
    let mut resume = None;
    loop {
        let page = view.scan(&scan, resume.as_ref())?;
        for entry in page.entries.iter().filter(|entry| !(skips && is_left_out(&entry.key))) {
            let found = &entry.found;
            let (value, stamp, expires_ms) = (&found.value[..], found.stamp, found.expires_ms);
            cutter.push(&SeenRow { user_key: &entry.key, value, stamp, expires_ms });
        }
        match page.next {
            Some(next) => resume = Some(next),
            None => return Ok(cutter.finish()),
        }
    }
}
