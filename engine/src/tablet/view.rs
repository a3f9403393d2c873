//! A read at one stamp. Pins what it reads from: nothing it sees changes or goes while it lives.

use super::snapshot::Snapshot;
use super::{Tablet, checked_row};
use crate::error::{Error, Result};
use crate::ids::{CollectionId, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::range_tombstone::Tombstones;
use crate::read::level_cursor::LevelCursor;
use crate::read::merge_cursor::MergeCursor;
use crate::read::range::{Scanned, Scanner};
use crate::read::visibility::{Moment, is_visible};
use crate::read::{BoxedCursor, OwnedSlot};
use crate::redact::redacted_debug;
use crate::stamp::Stamp;
use crate::table::{Reach, Table, owner_of};
use bytes::Bytes;
use std::sync::Arc;

/// A read at one stamp.
pub struct View {
    tablet: Arc<Tablet>,
    snapshot: Arc<Snapshot>,
    moment: Moment,
    /// A view of the past must not look below what history was kept.
    is_past: bool,
    /// Whether blocks that scans read stay in the cache.
    is_cached: bool,
}

/// A value that a reader sees.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// Its bytes.
    pub value: Bytes,
    /// When it was written: names the version.
    pub stamp: Stamp,
    /// When it expires: milliseconds since 1970, 0 never.
    pub expires_ms: u64,
}

redacted_debug!(Found, stamp, expires_ms; value);

/// One entry of a page.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The user key.
    pub key: Vec<u8>,
    /// What stands there.
    pub found: Found,
}

redacted_debug!(Entry, found; key);

/// What to scan.
#[derive(Clone, PartialEq, Eq)]
pub struct Scan {
    /// Whose.
    pub tenant: TenantId,
    /// Which collection.
    pub collection: CollectionId,
    /// First user key inside; `None` is the collection's first.
    pub start: Option<Vec<u8>>,
    /// First user key outside; `None` is after the collection's last.
    pub end: Option<Vec<u8>>,
    /// From the end to the start.
    pub is_reverse: bool,
    /// Entries at most; more than `SCAN_ENTRIES_MAX` are never given.
    pub limit: usize,
    /// Bytes of keys and values at most (but one entry is always given); more than `SCAN_BYTES_MAX` never are.
    pub bytes_max: usize,
}

redacted_debug!(Scan, tenant, collection, is_reverse, limit, bytes_max; start, end);

impl Scan {
    /// A forward scan of a whole collection, in pages as large as allowed.
    #[must_use]
    pub fn all(tenant: TenantId, collection: CollectionId) -> Self {
        let (limit, bytes_max) = (limits::SCAN_ENTRIES_MAX, limits::SCAN_BYTES_MAX);
        Self { tenant, collection, start: None, end: None, is_reverse: false, limit, bytes_max }
    }
}

/// Where a scan goes on, at the position it began.
#[derive(Clone, PartialEq, Eq)]
pub struct ScanCursor {
    /// The stamp all pages are read at.
    pub at: Stamp,
    /// The time all pages are read at: milliseconds since 1970.
    pub now_ms: u64,
    /// User key of the last row looked at: an entry, or one that is not there any more.
    pub after: Vec<u8>,
}

redacted_debug!(ScanCursor, at, now_ms; after);

/// Some entries, and where to go on if there may be more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the scan's order.
    pub entries: Vec<Entry>,
    /// `None` if the scan has reached its end.
    pub next: Option<ScanCursor>,
}

impl Tablet {
    /// A view of everything applied. Values expire by `now_ms`, milliseconds since 1970.
    ///
    /// # Errors
    /// `Stop`: the tablet is fenced or closed.
    pub fn view(self: &Arc<Self>, now_ms: u64) -> Result<View> {
        let (snapshot, at) = self.snapshot_and_stamp();
        self.allows_reads()?;
        Ok(View {
            tablet: self.clone(),
            snapshot,
            moment: Moment { at, now_ms },
            is_past: false,
            is_cached: true,
        })
    }

    /// A view of the past: everything at or before `at`, values expired by its time.
    ///
    /// # Errors
    /// `NotYet` if `at` is not applied; `Stop`. Whether history reaches back so far is told by each read, by tenant.
    pub fn view_as_of(self: &Arc<Self>, at: Stamp) -> Result<View> {
        self.view_at(at, at.ms())
    }

    /// The view a scan began with.
    ///
    /// # Errors
    /// As [`Tablet::view_as_of`].
    pub fn view_of(self: &Arc<Self>, cursor: &ScanCursor) -> Result<View> {
        self.view_at(cursor.at, cursor.now_ms)
    }

    fn view_at(self: &Arc<Self>, at: Stamp, now_ms: u64) -> Result<View> {
        let (snapshot, applied) = self.snapshot_and_stamp();
        self.allows_reads()?;
        if at > applied {
            return Err(Error::NotYet { asked: at, applied });
        }
        Ok(View {
            tablet: self.clone(),
            snapshot,
            moment: Moment { at, now_ms },
            is_past: true,
            is_cached: true,
        })
    }
}

impl View {
    /// The stamp it reads at.
    #[must_use]
    pub fn at(&self) -> Stamp {
        self.moment.at
    }

    pub(super) fn floors(&self) -> &std::collections::BTreeMap<crate::ids::TenantId, Stamp> {
        &self.snapshot.levels.floors
    }

    pub(super) fn range(&self) -> KeyRange {
        self.snapshot.levels.range.clone()
    }

    pub(super) fn memtables(&self) -> impl Iterator<Item = &Arc<crate::memtable::Memtable>> {
        let frozen = self.snapshot.frozen.iter().map(|frozen| &frozen.counted);
        std::iter::once(&self.snapshot.active).chain(frozen).map(|counted| &counted.memtable)
    }

    pub(super) fn tables(&self) -> &[Vec<Arc<Table>>] {
        &self.snapshot.tables
    }

    /// The same, whose scans leave nothing in the cache of blocks: for whoever goes over everything.
    #[must_use]
    pub fn past_cache(self) -> Self {
        Self { is_cached: false, ..self }
    }

    /// Whether what stood at `at` is known in full for `tenant`: below the floor of its history rows may have expired, and be gone.
    ///
    /// # Errors
    /// `Invalid`: history is gone.
    pub fn reaches_back(&self, tenant: TenantId, at: Stamp) -> Result<()> {
        let oldest = self.floor(tenant);
        if at < oldest { Err(Error::HistoryGone { oldest }) } else { Ok(()) }
    }

    /// Below this stamp history of `tenant` may be gone.
    #[must_use]
    pub fn floor(&self, tenant: TenantId) -> Stamp {
        self.snapshot.levels.floors.get(&tenant).copied().unwrap_or_default()
    }

    pub(super) fn check(&self, tenant: TenantId) -> Result<()> {
        let floor = self.floor(tenant);
        if self.is_past && self.moment.at < floor {
            Err(Error::HistoryGone { oldest: floor })
        } else {
            Ok(())
        }
    }

    pub(super) fn check_row(&self, row: &[u8]) -> Result<()> {
        let is_here = self.snapshot.levels.range.contains(row);
        if is_here { Ok(()) } else { Err(Error::OutsideRange { tablet: self.tablet.id() }) }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// * `Invalid`: key too long, outside the tablet, or history gone.
    /// * `Damaged`, `Key`, `Unavailable`: the answer is not known here.
    pub fn get(&self, tenant: TenantId, collection: CollectionId, user_key: &[u8]) -> Result<Option<Found>> {
        let row = checked_row(tenant, collection, user_key)?;
        self.check_row(&row)?;
        self.check(tenant)?;
        self.find(tenant, &row)
    }

    /// The values of several keys, in their order.
    ///
    /// # Errors
    /// As [`View::get`]; `TooLarge` over `MULTI_GET_KEYS_MAX`, or if the values have more than `MULTI_GET_BYTES_MAX`.
    pub fn multi_get(
        &self,
        tenant: TenantId,
        collection: CollectionId,
        user_keys: &[&[u8]],
    ) -> Result<Vec<Option<Found>>> {
        if user_keys.len() > limits::MULTI_GET_KEYS_MAX {
            let (got, max) = (user_keys.len() as u64, limits::MULTI_GET_KEYS_MAX as u64);
            return Err(Error::TooLarge { what: "keys of a multi-get", got, max });
        }
        let mut bytes = 0;
        let mut get = |key: &&[u8]| {
            let found = self.get(tenant, collection, key)?;
            bytes += found.as_ref().map_or(0, |found| found.value.len());
            let (got, max) = (bytes as u64, limits::MULTI_GET_BYTES_MAX as u64);
            if got > max {
                Err(Error::TooLarge { what: "bytes of a multi-get", got, max })
            } else {
                Ok(found)
            }
        };
        user_keys.iter().map(&mut get).collect()
    }

    /// Looks into memtables, level 0 and the sorted levels, newest first. Whatever one of them holds of a row is newer than
    /// all of it in those after, so the first version found decides, and so does the first range tombstone.
    fn find(&self, tenant: TenantId, row: &[u8]) -> Result<Option<Found>> {
        let at = self.moment.at;
        let frozen = self.snapshot.frozen.iter().map(|frozen| &frozen.counted);
        for counted in std::iter::once(&self.snapshot.active).chain(frozen) {
            let covered = counted.memtable.tombstones().covering(row, at);
            let found = counted.memtable.get(row, at);
            if found.is_some() || covered.is_some() {
                return Ok(self.seen(found, covered));
            }
        }
        for (depth, level) in self.snapshot.tables.iter().enumerate() {
            let (found, covered) = match depth {
                0 => self.find_in_level0(tenant, row, level)?,
                _ => self.find_in_sorted(tenant, row, level)?,
            };
            if found.is_some() || covered.is_some() {
                return Ok(self.seen(found, covered));
            }
        }
        Ok(None)
    }

    /// Tables of level 0 stand by their greatest stamp, newest first. One that was cut inside a row may stand behind a
    /// table that has older versions of the row, so the look ends only where no later table can hold anything newer.
    fn find_in_level0(&self, tenant: TenantId, row: &[u8], level: &[Arc<Table>]) -> Result<InSource> {
        let (mut found, mut covered): InSource = (None, None);
        for table in level.iter().filter(|table| table.meta().span.contains(row)) {
            let newest = found.as_ref().map(|(stamp, _)| *stamp).max(covered);
            if newest.is_some_and(|newest| table.meta().greatest_stamp <= newest) {
                break;
            }
            covered = covered.max(self.covered_in(tenant, row, table)?);
            let here = table.get(row, self.moment.at)?;
            if here.as_ref().map(|(stamp, _)| *stamp) > found.as_ref().map(|(stamp, _)| *stamp) {
                found = here;
            }
        }
        Ok((found, covered))
    }

    /// Deeper, one table holds the row, or a few that share a large row: its newest versions stand in the first.
    fn find_in_sorted(&self, tenant: TenantId, row: &[u8], level: &[Arc<Table>]) -> Result<InSource> {
        let (mut found, mut covered): InSource = (None, None);
        let (from, to) = holding(level, row);
        for table in &level[from..to] {
            covered = covered.max(self.covered_in(tenant, row, table)?);
            if found.is_none() {
                found = table.get(row, self.moment.at)?;
            }
        }
        Ok((found, covered))
    }

    fn covered_in(&self, tenant: TenantId, row: &[u8], table: &Table) -> Result<Option<Stamp>> {
        Ok(table.tombstones(tenant)?.and_then(|all| all.covering(row, self.moment.at)))
    }

    fn seen(&self, found: Option<(Stamp, OwnedSlot)>, covered: Option<Stamp>) -> Option<Found> {
        let (stamp, slot) = found?;
        if !is_visible(slot.as_slot(), stamp, covered, self.moment) {
            return None;
        }
        match slot {
            OwnedSlot::Put { value, expires_ms } => Some(Found { value, stamp, expires_ms }),
            OwnedSlot::Delete => None,
        }
    }

    /// A page of a scan; `resume` is where the page before ended, at a view of [`Tablet::view_of`]. Where many rows are deleted
    /// or expired a page may have fewer entries than asked for, or none, and still a next one: a call steps over
    /// `SCAN_STEPS_MAX` versions at most.
    ///
    /// # Errors
    /// As [`View::get`]. A page is whole or an error: nothing is left out silently.
    pub fn scan(&self, scan: &Scan, resume: Option<&ScanCursor>) -> Result<Page> {
        let range = self.scan_range(scan, resume)?;
        self.check(scan.tenant)?;
        let mut page = Page::default();
        if range.is_empty() {
            return Ok(page);
        }
        let limit = scan.limit.clamp(1, limits::SCAN_ENTRIES_MAX);
        let bytes_max = scan.bytes_max.min(limits::SCAN_BYTES_MAX);
        let (cursors, tombstones) = self.sources(scan.tenant, &range)?;
        let walk = MergeCursor::new(cursors);
        let steps = limits::SCAN_STEPS_MAX;
        let mut scanner = Scanner::new(walk, tombstones, range, self.moment, scan.is_reverse, steps);
        let mut bytes = 0;
        while page.entries.len() < limit {
            let row = match scanner.next_row()? {
                Scanned::Row(row) => row,
                Scanned::Paused => {
                    page.next = Some(self.cursor_after(user_key(scanner.last_row())?));
                    return Ok(page);
                }
                Scanned::End => return Ok(page),
            };
            let key = user_key(scanner.last_row())?;
            bytes += key.len() + row.value.len();
            if bytes > bytes_max && !page.entries.is_empty() {
                break;
            }
            let found = Found { value: row.value, stamp: row.stamp, expires_ms: row.expires_ms };
            page.entries.push(Entry { key, found });
        }
        page.next = page.entries.last().map(|last| self.cursor_after(last.key.clone()));
        Ok(page)
    }

    fn cursor_after(&self, after: Vec<u8>) -> ScanCursor {
        let Moment { at, now_ms } = self.moment;
        ScanCursor { at, now_ms, after }
    }

    /// The rows a scan may give: its bounds, what the page before left, what this tablet holds.
    fn scan_range(&self, scan: &Scan, resume: Option<&ScanCursor>) -> Result<KeyRange> {
        let row = |user_key: &Vec<u8>| checked_row(scan.tenant, scan.collection, user_key);
        let mut range = KeyRange::prefix(scan.tenant, scan.collection, b"");
        if let Some(start) = &scan.start {
            range.start = row(start)?;
        }
        if let Some(end) = &scan.end {
            range.end = Some(row(end)?);
        }
        let held = self.held(&range)?;
        // A cursor goes on inside the bounds, wherever it has been meanwhile.
        if let Some(cursor) = resume {
            let after = row(&cursor.after)?;
            let left = match scan.is_reverse {
                true => KeyRange { start: Vec::new(), end: Some(after) },
                false => KeyRange { start: key::after_row(&after), end: None },
            };
            return Ok(held.intersect(&left));
        }
        Ok(held)
    }

    /// What of a range this tablet holds.
    pub(super) fn held(&self, range: &KeyRange) -> Result<KeyRange> {
        let held = range.intersect(&self.snapshot.levels.range);
        let is_elsewhere = !range.is_empty() && held.is_empty();
        if is_elsewhere { Err(Error::OutsideRange { tablet: self.tablet.id() }) } else { Ok(held) }
    }

    /// Every source that may hold rows of `range`, newest first, and the range tombstones of `tenant` in them.
    pub(super) fn sources(
        &self,
        tenant: TenantId,
        range: &KeyRange,
    ) -> Result<(Vec<BoxedCursor>, Vec<Arc<Tombstones>>)> {
        self.sources_after(tenant, range, Stamp::ZERO)
    }

    /// The same, but for sources that hold nothing behind `after`.
    pub(super) fn sources_after(
        &self,
        tenant: TenantId,
        range: &KeyRange,
        after: Stamp,
    ) -> Result<(Vec<BoxedCursor>, Vec<Arc<Tombstones>>)> {
        let mut cursors: Vec<BoxedCursor> = Vec::new();
        let mut tombstones = Vec::new();
        let frozen = self.snapshot.frozen.iter().map(|frozen| &frozen.counted);
        for counted in std::iter::once(&self.snapshot.active).chain(frozen) {
            cursors.push(Box::new(counted.memtable.cursor()));
            tombstones.push(counted.memtable.tombstones());
        }
        let (reach, is_cached) = (Reach::Only(owner_of(tenant)), self.is_cached);
        for (depth, level) in self.snapshot.tables.iter().enumerate() {
            let is_asked = |table: &&Arc<Table>| {
                let meta = table.meta();
                meta.greatest_stamp >= after && meta.span.overlaps(range)
            };
            let inside: Vec<Arc<Table>> = level.iter().filter(is_asked).cloned().collect();
            for table in &inside {
                tombstones.extend(table.tombstones(tenant)?);
            }
            match depth {
                0 => cursors.extend(
                    inside
                        .iter()
                        .map(|table| Box::new(table.cursor(is_cached).within(reach.clone())) as BoxedCursor),
                ),
                _ if inside.is_empty() => {}
                _ => cursors.push(Box::new(LevelCursor::new(&inside, is_cached, reach.clone()))),
            }
        }
        Ok((cursors, tombstones))
    }
}

fn user_key(row: &[u8]) -> Result<Vec<u8>> {
    let (_, _, key) = key::decode_row(row)?;
    Ok(key)
}

/// What a source has of a row: its newest version in reach, and the newest range tombstone in reach that covers it.
type InSource = (Option<(Stamp, OwnedSlot)>, Option<Stamp>);

/// The tables of a sorted level whose span may hold `row`.
fn holding(level: &[Arc<Table>], row: &[u8]) -> (usize, usize) {
    let to = level.partition_point(|table| &table.meta().span.start[..] <= row);
    let holds = |table: &Arc<Table>| table.meta().span.contains(row);
    let from = (0..to).rev().take_while(|at| holds(&level[*at])).last().unwrap_or(to);
    (from, to)
}
