//! Writes one table: versions and range tombstones in order, a stripe a tenant.

use super::block::BlockBuilder;
use super::filter::FilterBuilder;
use super::stripe::{StripeEnd, encode_solo};
use super::{StripeMeta, TableMeta, index, owner_of, tombstones};
use crate::disk::DiskFile;
use crate::error::{Error, Result};
use crate::ids::{Purpose, TableId, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::range_tombstone::RangeTombstone;
use crate::read::Slot;
use crate::sealed::{BlockFileWriter, BlockPlace, BlockType, FileKind, Sealer, SecretBytes};
use crate::stamp::Stamp;
use std::sync::Arc;

/// Writes one table. Nothing of it counts until [`TableWriter::finish`] has returned.
pub struct TableWriter {
    file: BlockFileWriter,
    block_bytes: usize,
    tenant: Option<TenantId>,
    data: BlockBuilder,
    index: BlockBuilder,
    filter: FilterBuilder,
    ranges: Vec<RangeTombstone>,
    ranges_bytes: usize,
    stripe: Counts,
    whole: Counts,
    last: Vec<u8>,
    least: Vec<u8>,
    span: Option<KeyRange>,
}

struct Counts {
    entries: u64,
    deletes: u64,
    tombstones: u32,
    data_blocks: u32,
    superseded: u64,
    first_expiry_ms: u64,
    least: Stamp,
    greatest: Stamp,
}

impl Default for Counts {
    fn default() -> Self {
        let (least, greatest) = (Stamp::MAX, Stamp::ZERO);
        let (superseded, first_expiry_ms) = (0, 0);
        Self {
            entries: 0,
            deletes: 0,
            tombstones: 0,
            data_blocks: 0,
            superseded,
            first_expiry_ms,
            least,
            greatest,
        }
    }
}

impl Counts {
    fn stamp(&mut self, stamp: Stamp) {
        self.least = self.least.min(stamp);
        self.greatest = self.greatest.max(stamp);
    }

    /// Notes what of a version will be of no use one day: that it `is_superseded` by the one before it, or expires.
    fn note(&mut self, is_superseded: bool, stamp: Stamp, slot: Slot<'_>) {
        self.superseded += u64::from(is_superseded);
        if let Slot::Put { expires_ms: expires_ms @ 1.., .. } = slot {
            // It can be left behind only once it is itself as old as the floor.
            self.expires(expires_ms.max(stamp.ms().saturating_add(1)));
        }
    }

    fn expires(&mut self, at_ms: u64) {
        let is_first = at_ms != 0 && (self.first_expiry_ms == 0 || at_ms < self.first_expiry_ms);
        self.first_expiry_ms = if is_first { at_ms } else { self.first_expiry_ms };
    }
}

impl TableWriter {
    /// Begins the table `id` in the empty `file`. A data block is closed when it reaches `block_bytes` raw bytes.
    ///
    /// # Errors
    /// As [`BlockFileWriter::create`].
    pub fn create(
        sealer: Arc<Sealer>,
        id: TableId,
        created: Stamp,
        file: Arc<dyn DiskFile>,
        block_bytes: usize,
    ) -> Result<Self> {
        Ok(Self {
            file: BlockFileWriter::create(sealer, FileKind::Table, id, created, file)?,
            block_bytes,
            tenant: None,
            data: BlockBuilder::default(),
            index: BlockBuilder::default(),
            filter: FilterBuilder::default(),
            ranges: Vec::new(),
            ranges_bytes: 0,
            stripe: Counts::default(),
            whole: Counts::default(),
            last: Vec::new(),
            least: Vec::new(),
            span: None,
        })
    }

    /// Adds the next version. Keys ascend strictly.
    ///
    /// # Errors
    /// `Invalid`: out of order. Else as [`BlockFileWriter::block`] and [`BlockFileWriter::begin_stripe`].
    pub fn add(&mut self, version: &[u8], slot: Slot<'_>) -> Result<()> {
        if version <= &self.last[..] {
            return Err(Error::Invalid("versions of a table must ascend"));
        }
        self.enter(key::tenant_of(version))?;
        let (row, stamp) = key::split(version);
        let value_bytes = if let Slot::Put { value, .. } = slot { value.len() } else { 0 };
        // A large value gets a block of its own rather than a block far over its size.
        if !self.data.is_empty() && self.data.bytes() + version.len() + value_bytes > self.block_bytes * 2 {
            self.close_block()?;
        }
        self.data.add(version, slot);
        self.filter.add(row);
        self.stripe.entries += 1;
        self.stripe.deletes += u64::from(slot == Slot::Delete);
        self.stripe.stamp(stamp);
        let is_superseded = !self.last.is_empty() && key::split(&self.last).0 == row;
        self.stripe.note(is_superseded, stamp, slot);
        if self.least.is_empty() {
            self.least.extend_from_slice(version);
        }
        self.last.clear();
        self.last.extend_from_slice(version);
        if self.data.bytes() >= self.block_bytes {
            self.close_block()?;
        }
        Ok(())
    }

    /// Adds a range tombstone of the tenant the writer is at or of a later one, which it then is at. Their starts never descend.
    ///
    /// # Errors
    /// As [`TableWriter::add`].
    pub fn tombstone(&mut self, one: RangeTombstone) -> Result<()> {
        self.enter(key::tenant_of(&one.start))?;
        if self.ranges.last().is_some_and(|last| last.start > one.start) {
            return Err(Error::Invalid("range tombstones of a table must ascend"));
        }
        self.widen(&one.start, &one.end);
        self.stripe.tombstones += 1;
        self.stripe.stamp(one.stamp);
        self.ranges_bytes += tombstones::bytes_of(&one);
        self.ranges.push(one);
        Ok(())
    }

    fn widen(&mut self, start: &[u8], end: &[u8]) {
        let span =
            self.span.get_or_insert_with(|| KeyRange { start: start.to_vec(), end: Some(end.to_vec()) });
        if start < &span.start[..] {
            span.start = start.to_vec();
        }
        if span.end.as_ref().is_some_and(|last| end > &last[..]) {
            span.end = Some(end.to_vec());
        }
    }

    fn enter(&mut self, tenant: TenantId) -> Result<()> {
        if self.tenant == Some(tenant) {
            return Ok(());
        }
        if self.tenant.is_some_and(|before| before > tenant) {
            return Err(Error::Invalid("tenants of a table must ascend"));
        }
        self.end_stripe()?;
        self.file.begin_stripe(owner_of(tenant), Purpose::Data)?;
        self.tenant = Some(tenant);
        Ok(())
    }

    fn close_block(&mut self) -> Result<()> {
        let place = self.file.block(BlockType::Data, self.data.finish())?;
        index::add(&mut self.index, self.data.last(), place);
        self.data.clear();
        self.stripe.data_blocks += 1;
        Ok(())
    }

    fn end_stripe(&mut self) -> Result<()> {
        if self.tenant.take().is_none() {
            return Ok(());
        }
        let solo_bytes = self.data.bytes() + self.ranges_bytes + 32;
        let end = match self.stripe.data_blocks == 0 && solo_bytes < limits::SOLO_BYTES_MAX {
            true => self.write_solo()?,
            false => self.write_end()?,
        };
        let stripe = std::mem::take(&mut self.stripe);
        self.file.end_stripe(end, stripe.entries, stripe.least, stripe.greatest)?;
        self.whole.entries += stripe.entries;
        self.whole.deletes += stripe.deletes;
        self.whole.tombstones += stripe.tombstones;
        self.whole.superseded += stripe.superseded;
        self.whole.expires(stripe.first_expiry_ms);
        self.whole.stamp(stripe.least);
        self.whole.stamp(stripe.greatest);
        self.ranges.clear();
        self.ranges_bytes = 0;
        self.filter.finish();
        Ok(())
    }

    fn write_solo(&mut self) -> Result<BlockPlace> {
        let (entries, deletes) = (self.stripe.entries, self.stripe.deletes);
        let payload = SecretBytes::from(encode_solo(entries, deletes, &self.ranges, self.data.finish()));
        self.data.clear();
        self.file.block(BlockType::Solo, &payload)
    }

    fn write_end(&mut self) -> Result<BlockPlace> {
        if !self.data.is_empty() {
            self.close_block()?;
        }
        let mut end = StripeEnd {
            entries: self.stripe.entries,
            deletes: self.stripe.deletes,
            tombstones: self.stripe.tombstones,
            data_blocks: self.stripe.data_blocks,
            ..StripeEnd::default()
        };
        if end.entries > 0 {
            end.index = Some(self.file.block(BlockType::Index, self.index.finish())?);
            self.index.clear();
            end.filter = Some(self.file.block(BlockType::Filter, &self.filter.finish())?);
        }
        for block in tombstones::blocks(&self.ranges) {
            let place = self.file.block(BlockType::Tombstones, &SecretBytes::from(block))?;
            end.tombstones_at.get_or_insert(place);
            end.tombstone_blocks += 1;
        }
        end.digest = self.file.stripe_digest();
        self.file.block(BlockType::StripeEnd, &end.encode())
    }

    /// First row after everything added so far; `None` if nothing was.
    #[must_use]
    pub fn end(&self) -> Option<Vec<u8>> {
        let ranges = self.span.as_ref().and_then(|span| span.end.clone());
        let versions = (!self.last.is_empty()).then(|| key::after_row(key::split(&self.last).0));
        ranges.max(versions)
    }

    /// Bytes of the file if it ended about now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
            + (self.data.bytes() + self.index.bytes() + self.filter.bytes() + self.ranges_bytes) as u64
    }

    /// Whether a limit of the format is near: the caller finishes this table and begins the next.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let index_bytes = self.index.bytes().max(self.filter.bytes());
        index_bytes >= limits::STRIPE_INDEX_BYTES_MAX
            || crate::sealed::spend(self.file.blocks()) != crate::sealed::Spend::Seal
            || self.file.stripes() >= limits::FILE_STRIPES_MAX as usize - 1
            || self.bytes() >= limits::FILE_BYTES_MAX / 4
    }

    /// Writes what is left and makes the file durable.
    ///
    /// # Errors
    /// As [`BlockFileWriter::finish`].
    pub fn finish(mut self) -> Result<TableMeta> {
        self.end_stripe()?;
        let (least, last) = (std::mem::take(&mut self.least), std::mem::take(&mut self.last));
        if !least.is_empty() {
            let end = key::after_row(key::split(&last).0);
            self.widen(key::split(&least).0, &end);
        }
        let span = self.span.take().unwrap_or_default();
        let summary = self.file.finish()?;
        let stripe = |row: &crate::sealed::DirectoryRow| StripeMeta {
            owner: row.owner,
            epoch: row.epoch,
            bytes: row.length,
            entries: row.entries,
        };
        Ok(TableMeta {
            id: summary.id,
            bytes: summary.bytes,
            content: summary.content,
            crc32: summary.crc32,
            ends: summary.ends,
            least,
            greatest: last,
            span,
            entries: self.whole.entries,
            deletes: self.whole.deletes,
            tombstones: self.whole.tombstones,
            least_stamp: self.whole.least,
            greatest_stamp: self.whole.greatest,
            stripes: summary.rows.iter().map(stripe).collect(),
            superseded: self.whole.superseded,
            first_expiry_ms: self.whole.first_expiry_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CollectionId;
    use crate::table::tests::{begin, finish, version};
    use std::collections::BTreeSet;

    /// What `verify` finds in a stripe of 100 versions and two range tombstones that `lie` is told about before it ends.
    fn found(lie: fn(&mut Counts)) -> Vec<String> {
        let (mut writer, disk, sealer) = begin(256);
        for n in 0..100_u8 {
            writer.add(&version(1, &[n], 2), Slot::Put { value: &[n; 90], expires_ms: 0 }).unwrap();
        }
        for stamp in [1, 3] {
            let (start, end) = (key::row(TenantId(1), CollectionId(1), b"a"), key::after_row(b"z"));
            let end = [&start[..8], &end[..]].concat();
            writer.tombstone(RangeTombstone { start, end, stamp: Stamp(stamp) }).unwrap();
        }
        lie(&mut writer.stripe);
        let table = finish(writer, &disk, sealer);
        table
            .verify(&BTreeSet::new(), &mut |_| Ok(()))
            .unwrap()
            .found
            .iter()
            .map(|damage| damage.detail.to_owned())
            .collect()
    }

    #[test]
    fn what_a_stripe_says_of_itself_is_held_against_what_is_there() {
        assert_eq!(found(|_| {}), [""; 0]);
        assert_eq!(found(|says| says.entries += 1), ["another number of entries in a stripe"]);
        assert_eq!(found(|says| says.deletes += 1), ["another number of entries in a stripe"]);
        assert_eq!(found(|says| says.tombstones -= 1), ["another number of range tombstones in a stripe"]);
        assert_eq!(found(|says| says.data_blocks -= 1), ["another number of blocks in a stripe"]);
        assert_eq!(found(|says| says.least = Stamp(2)), ["other stamps than the directory says"]);
        assert_eq!(found(|says| says.greatest = Stamp(4)), ["other stamps than the directory says"]);
    }
}
