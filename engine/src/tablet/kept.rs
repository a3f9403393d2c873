//! What a tablet keeps behind a stamp, all tenants' and whole versions: for whoever archives it and has not heard of everything as it was
//! applied. And the stamp up to which it is archived, behind which nothing is compacted away.

use super::Tablet;
use super::view::View;
use crate::error::Result;
use crate::ids::{Owner, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::range_tombstone::RangeTombstone;
use crate::read::level_cursor::LevelCursor;
use crate::read::merge_cursor::MergeCursor;
use crate::read::{BoxedCursor, Cursor, Slot};
use crate::stamp::Stamp;
use crate::table::{Reach, Table};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Tablet {
    /// Tells up to where the tablet is archived: versions behind it stay, whatever the history window is, and so does at each row what a reader
    /// at it sees. Until told there is no such bound.
    pub fn set_archived(&self, upto: Stamp) {
        self.archived.store(upto.0, Ordering::Release);
    }

    /// Up to where it is archived, as it was told.
    #[must_use]
    pub fn archived(&self) -> Stamp {
        Stamp(self.archived.load(Ordering::Acquire))
    }
}

/// A walk over the versions of a tablet behind a stamp, in the order of their keys.
pub struct KeptWalk {
    /// Pins what is read.
    _view: Arc<View>,
    cursor: MergeCursor,
    range: KeyRange,
    tombstones: Vec<RangeTombstone>,
    without: BTreeSet<TenantId>,
    after: Stamp,
    at: Stamp,
    has_begun: bool,
}

impl View {
    /// Below the greatest stamp that this returns history of some tenant may be gone; `Stamp::ZERO`: all that there ever was is there.
    #[must_use]
    pub fn history_floor(&self, without: &BTreeSet<TenantId>) -> Stamp {
        let floors = self.floors().iter().filter(|(tenant, _)| !without.contains(tenant));
        floors.map(|(_, floor)| *floor).max().unwrap_or_default()
    }

    /// Begins a walk over every version behind `after` and up to the stamp of this view, but those of `without`, whose keys may be gone. What
    /// is kept behind [`View::history_floor`] is everything there was.
    ///
    /// # Errors
    /// `Damaged`, `Key`, `Unavailable`: some of it cannot be read.
    pub fn kept(self: &Arc<Self>, after: Stamp, without: &BTreeSet<TenantId>) -> Result<KeptWalk> {
        let (owners, range) = (without.iter().map(|tenant| Owner::Tenant(*tenant)).collect(), self.range());
        let owners: Arc<BTreeSet<Owner>> = Arc::new(owners);
        let reach = Reach::Without(owners.clone());
        let mut cursors: Vec<BoxedCursor> = Vec::new();
        let mut tombstones = Vec::new();
        for memtable in self.memtables() {
            cursors.push(Box::new(memtable.cursor()));
            tombstones.extend(memtable.tombstones().all().iter().cloned());
        }
        for (depth, level) in self.tables().iter().enumerate() {
            let is_asked = |table: &&Arc<Table>| table.meta().greatest_stamp > after;
            let inside: Vec<Arc<Table>> = level.iter().filter(is_asked).cloned().collect();
            for table in &inside {
                tombstones.extend(table.all_tombstones(&owners)?);
            }
            match depth {
                0 => cursors.extend(
                    inside
                        .iter()
                        .map(|table| Box::new(table.cursor(false).within(reach.clone())) as BoxedCursor),
                ),
                _ if inside.is_empty() => {}
                _ => cursors.push(Box::new(LevelCursor::new(&inside, false, reach.clone()))),
            }
        }
        let at = self.at();
        let is_asked = |one: &RangeTombstone| {
            one.stamp > after && one.stamp <= at && !without.contains(&key::tenant_of(&one.start))
        };
        let cut = |one: Arc<RangeTombstone>| {
            let rows = KeyRange { start: one.start.clone(), end: Some(one.end.clone()) }.intersect(&range);
            let end = rows.end.clone().filter(|_| !rows.is_empty())?;
            Some(RangeTombstone { start: rows.start, end, stamp: one.stamp })
        };
        let mut tombstones: Vec<RangeTombstone> =
            tombstones.into_iter().filter_map(cut).filter(is_asked).collect();
        tombstones.sort_unstable();
        tombstones.dedup();
        let (cursor, without) = (MergeCursor::new(cursors), without.clone());
        Ok(KeptWalk { _view: self.clone(), cursor, range, tombstones, without, after, at, has_begun: false })
    }
}

impl KeptWalk {
    /// The deletions of ranges behind the stamp, by their starts.
    #[must_use]
    pub fn tombstones(&self) -> &[RangeTombstone] {
        &self.tombstones
    }

    /// Goes on, over so many versions as one scan call does. True: there are more.
    ///
    /// # Errors
    /// What reading a source returns, and what `each` does. The walk cannot go on after it.
    pub fn step(&mut self, each: &mut dyn FnMut(&[u8], Slot<'_>) -> Result<()>) -> Result<bool> {
        if !self.has_begun {
            self.has_begun = true;
            self.cursor.seek(&self.range.start)?;
        }
        for _ in 0..limits::SCAN_STEPS_MAX {
            let Some(version) = self.cursor.key() else { return Ok(false) };
            let (row, stamp) = key::split(version);
            if !self.range.contains(row) {
                return Ok(false);
            }
            // What is in memory only is there whoever's it is.
            let is_asked = stamp > self.after && stamp <= self.at;
            if is_asked && !self.without.contains(&key::tenant_of(row)) {
                each(version, self.cursor.slot())?;
            }
            self.cursor.next()?;
        }
        Ok(true)
    }
}
