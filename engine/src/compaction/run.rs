//! Writes what a flush or a compaction leaves: one merged walk in, new tables out.
//!
//! Range tombstones are cut where files are cut, so that every row is covered in its own file exactly as it was before. Of
//! those that no reader can look behind any more, only the newest over each row is kept. A row is divided between files only when it alone would make one too large; then both carry the tombstones that cover it.

use super::retention::{Policy, RowRetention, Verdict};
use crate::disk::DiskFile;
use crate::error::{Error, Result};
use crate::ids::{TableId, TenantId};
use crate::key::{self, KeyRange};
use crate::range_tombstone::{RangeTombstone, Tombstones, newest_only};
use crate::read::{Cursor, Slot};
use crate::sealed::Sealer;
use crate::stamp::Stamp;
use crate::table::{TableMeta, TableWriter};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Bytes moved between two words to the throttle.
const CHARGE_BYTES: u64 = 256 << 10;
/// Bytes at which a file is cut even inside a row.
const FILE_BYTES_SOFT_MAX: u64 = 1 << 30;

/// What a flush or compaction works with.
pub struct Job<'a> {
    /// Seals.
    pub sealer: &'a Arc<Sealer>,
    /// Creates the file of a new table.
    pub new_file: &'a dyn Fn(TableId) -> Result<Arc<dyn DiskFile>>,
    /// When the tables are created.
    pub created: Stamp,
    /// Raw bytes at which a data block is closed.
    pub block_bytes: usize,
    /// Bytes at which the next table begins.
    pub table_bytes: u64,
    /// Rows outside are left behind.
    pub range: &'a KeyRange,
    /// What to keep.
    pub policy: &'a Policy,
    /// Where older versions may be, that are not among the inputs.
    pub below: &'a [KeyRange],
    /// Told of bytes moved; may wait, or end the work by an error.
    pub throttle: &'a dyn Fn(u64) -> Result<()>,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Output {
    /// The tables, in order. Their names are not yet durable.
    pub tables: Vec<TableMeta>,
    /// Below these stamps history was dropped, by tenant.
    pub floors: BTreeMap<TenantId, Stamp>,
}

/// Why nothing counts of what was written.
#[derive(Debug)]
pub struct Failed {
    /// What happened.
    pub error: Error,
    /// Files that may be there and must go.
    pub created: Vec<TableId>,
}

/// Writes the versions of `cursor` and the range tombstones `ranges` that are worth keeping.
///
/// # Errors
/// [`Failed`].
pub fn write_tables(
    job: &Job<'_>,
    cursor: &mut dyn Cursor,
    ranges: Arc<Tombstones>,
) -> Result<Output, Failed> {
    let mut run = Run::new(job, ranges);
    match run.all(cursor) {
        Ok(()) => Ok(run.output),
        Err(error) => Err(Failed { error, created: run.created }),
    }
}

struct Run<'a> {
    job: &'a Job<'a>,
    writer: Option<TableWriter>,
    /// Bytes of the writer that the throttle knows of.
    charged: u64,
    /// Bytes of entries read that it does not know of yet.
    read: u64,
    /// All range tombstones: what they hide is decided by these.
    index: Arc<Tombstones>,
    /// Those to keep that no file has yet, by start.
    pending: VecDeque<RangeTombstone>,
    row: Vec<u8>,
    output: Output,
    created: Vec<TableId>,
}

impl<'a> Run<'a> {
    fn new(job: &'a Job<'a>, index: Arc<Tombstones>) -> Self {
        let mut run = Self {
            job,
            writer: None,
            charged: 0,
            read: 0,
            index,
            pending: VecDeque::new(),
            row: Vec::new(),
            output: Output::default(),
            created: Vec::new(),
        };
        let index = run.index.clone();
        let is_past = |one: &&Arc<RangeTombstone>| one.stamp <= job.policy.floor(key::tenant_of(&one.start));
        let (past, within): (Vec<_>, Vec<_>) = index.all().iter().partition(is_past);
        let past: Vec<_> = past.into_iter().cloned().collect();
        let pieces = newest_only(&past);
        // Of two that overlap the older is forgotten.
        for one in past.iter().filter(|_| past.len() > 1) {
            let tenant = key::tenant_of(&one.start);
            run.output.floors.insert(tenant, job.policy.floor(tenant));
        }
        let within = within.into_iter().map(|one| RangeTombstone::clone(one));
        let mut kept: Vec<_> =
            pieces.into_iter().chain(within).filter_map(|one| run.keep_range(one)).collect();
        kept.sort();
        run.pending = kept.into();
        run
    }

    /// The part of a range tombstone that is kept.
    fn keep_range(&mut self, one: RangeTombstone) -> Option<RangeTombstone> {
        let tenant = key::tenant_of(&one.start);
        if self.job.policy.dropped.contains(&tenant) {
            return None;
        }
        let span = KeyRange { start: one.start, end: Some(one.end) }.intersect(self.job.range);
        if span.is_empty() {
            return None;
        }
        let floor = self.job.policy.floor(tenant);
        if one.stamp <= floor && !self.job.below.iter().any(|below| below.overlaps(&span)) {
            self.output.floors.insert(tenant, floor);
            return None;
        }
        Some(RangeTombstone { start: span.start, end: span.end?, stamp: one.stamp })
    }

    fn all(&mut self, cursor: &mut dyn Cursor) -> Result<()> {
        cursor.seek(&self.job.range.start)?;
        while let Some(version) = cursor.key() {
            let (row, _) = key::split(version);
            if !self.job.range.contains(row) {
                break;
            }
            let tenant = key::tenant_of(row);
            if self.job.policy.dropped.contains(&tenant) {
                let Some(next) = key::after_prefix(&key::tenant_start(tenant)) else { break };
                cursor.seek(&next)?;
                continue;
            }
            self.row.clear();
            self.row.extend_from_slice(row);
            self.begin_row(tenant)?;
            self.write_row(tenant, cursor)?;
        }
        self.place_ranges(None, None)?;
        self.cut()
    }

    /// Cuts the file before a new row if it is large enough, and places what belongs before the row.
    fn begin_row(&mut self, tenant: TenantId) -> Result<()> {
        let is_full = |writer: &TableWriter| writer.bytes() >= self.job.table_bytes || writer.is_full();
        let is_large = self.writer.as_ref().is_some_and(is_full);
        if is_large {
            let at = self.row.clone();
            self.place_ranges(Some(&at), None)?;
            return self.cut();
        }
        // What belongs to earlier tenants must be in the file before this one's stripe begins.
        let start = key::tenant_start(tenant);
        let is_earlier = self.pending.front().is_some_and(|next| next.start < start);
        if is_earlier { self.place_ranges(Some(&start), None) } else { Ok(()) }
    }

    fn write_row(&mut self, tenant: TenantId, cursor: &mut dyn Cursor) -> Result<()> {
        let floor = self.job.policy.floor(tenant);
        let covered = self.index.covering(&self.row, floor);
        let is_bottom = !self.job.below.iter().any(|below| below.contains(&self.row));
        let mut retention = RowRetention::new(floor, is_bottom);
        while let Some(version) = cursor.key() {
            let (row, stamp) = key::split(version);
            if row != &self.row[..] {
                return Ok(());
            }
            let slot = cursor.slot();
            let value_bytes = if let Slot::Put { value, .. } = slot { value.len() } else { 0 };
            self.read += (version.len() + value_bytes) as u64;
            match retention.decide(stamp, slot, covered) {
                Verdict::Keep => self.add(version, slot)?,
                Verdict::KeepAsDelete => {
                    self.output.floors.insert(tenant, floor);
                    self.add(version, Slot::Delete)?;
                }
                Verdict::Drop => {
                    self.output.floors.insert(tenant, floor);
                }
            }
            cursor.next()?;
            self.charge()?;
        }
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut TableWriter> {
        if self.writer.is_none() {
            let id = TableId(self.job.sealer.random());
            let file = (self.job.new_file)(id)?;
            self.created.push(id);
            let (sealer, created) = (self.job.sealer.clone(), self.job.created);
            self.writer = Some(TableWriter::create(sealer, id, created, file, self.job.block_bytes)?);
            self.charged = 0;
        }
        Ok(self.writer.as_mut().expect("just made"))
    }

    fn add(&mut self, version: &[u8], slot: Slot<'_>) -> Result<()> {
        let is_huge = |writer: &TableWriter| writer.bytes() >= FILE_BYTES_SOFT_MAX || writer.is_full();
        if self.writer.as_ref().is_some_and(is_huge) {
            // Inside a row: the file ends right behind it, and the next begins with it again.
            let row = self.row.clone();
            let after = key::after_row(&row);
            self.place_ranges(Some(&after), Some(&row))?;
            self.cut()?;
        }
        self.writer()?.add(version, slot)
    }

    fn charge(&mut self) -> Result<()> {
        let bytes = self.writer.as_ref().map_or(0, TableWriter::bytes);
        let moved = self.read + bytes.saturating_sub(self.charged);
        if moved >= CHARGE_BYTES {
            (self.charged, self.read) = (bytes.max(self.charged), 0);
            (self.job.throttle)(moved)?;
        }
        Ok(())
    }

    /// Puts the range tombstones that begin before `until` (all, if `None`) into the file, cut off there. What was cut off waits
    /// for the next file, from `again` on if that is given, so that the row there is covered in both.
    fn place_ranges(&mut self, until: Option<&[u8]>, again: Option<&[u8]>) -> Result<()> {
        let mut rest = Vec::new();
        while self.pending.front().is_some_and(|one| until.is_none_or(|until| &one.start[..] < until)) {
            let Some(mut one) = self.pending.pop_front() else { break };
            let resume = again.or(until);
            if let Some(resume) = resume.filter(|resume| one.end.as_slice() > *resume) {
                let start = one.start.clone().max(resume.to_vec());
                rest.push(RangeTombstone { start, end: one.end.clone(), stamp: one.stamp });
            }
            if let Some(until) = until.filter(|until| one.end.as_slice() > *until) {
                one.end = until.to_vec();
            }
            // Ranges alone fill a file too. It can end where none of them goes on.
            let is_full = self.writer.as_ref().is_some_and(|writer| writer.bytes() >= self.job.table_bytes);
            let last_end = self.output_end();
            if is_full && last_end.is_none_or(|end| end <= one.start) {
                self.cut()?;
            }
            self.writer()?.tombstone(one)?;
        }
        rest.into_iter().rev().for_each(|one| self.pending.push_front(one));
        Ok(())
    }

    fn output_end(&self) -> Option<Vec<u8>> {
        self.writer.as_ref().and_then(TableWriter::end)
    }

    fn cut(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let meta = writer.finish()?;
            let left = meta.bytes.saturating_sub(self.charged);
            self.output.tables.push(meta);
            (self.job.throttle)(left)?;
        }
        Ok(())
    }
}
