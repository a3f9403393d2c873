//! Walks a whole table with its keys: what a scrub does. Everything a stripe says of itself is held against what is there.

use super::block::{Block, BlockCursor};
use super::filter::Filter;
use super::index;
use super::reader::{Content, OpenedStripe, Table};
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{Owner, TenantId};
use crate::key;
use crate::range_tombstone::Tombstones;
use crate::read::Slot;
use crate::sealed::{BlockPlace, BlockType, DirectoryRow};
use crate::stamp::Stamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the walk over a stripe has counted.
struct Seen {
    tenant: TenantId,
    entries: u64,
    deletes: u64,
    least: Stamp,
    greatest: Stamp,
}

impl Seen {
    fn new(tenant: TenantId) -> Self {
        Self { tenant, entries: 0, deletes: 0, least: Stamp::MAX, greatest: Stamp::ZERO }
    }

    fn stamp(&mut self, stamp: Stamp) {
        self.least = self.least.min(stamp);
        self.greatest = self.greatest.max(stamp);
    }

    fn note(&mut self, version: &[u8], slot: Slot<'_>) -> Result<(), Damage> {
        key::check_version(version)?;
        if key::tenant_of(version) != self.tenant {
            return Err(malformed("a version of another tenant"));
        }
        self.entries += 1;
        self.deletes += u64::from(slot == Slot::Delete);
        self.stamp(key::split(version).1);
        Ok(())
    }

    fn note_tombstones(&mut self, all: &Tombstones) -> Result<(), Damage> {
        for one in all.all() {
            if key::tenant_of(&one.start) != self.tenant {
                return Err(malformed("a range tombstone of another tenant"));
            }
            self.stamp(one.stamp);
        }
        Ok(())
    }

    /// Holds the counts against what the stripe and the clear directory say.
    fn check(&self, entries: u64, deletes: u64, row: &DirectoryRow) -> Result<(), Damage> {
        if (self.entries, self.deletes) != (entries, deletes) || entries != row.entries {
            return Err(malformed("another number of entries in a stripe"));
        }
        if (self.least, self.greatest) != (row.least, row.greatest) {
            return Err(malformed("other stamps than the directory says"));
        }
        Ok(())
    }
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

/// What came of a walk over a whole table.
#[derive(Debug, Default)]
pub struct Verified {
    /// What is damaged.
    pub found: Vec<Damage>,
    /// Why some of it could not be judged.
    pub unjudged: Option<Error>,
}

impl Table {
    /// Opens every block and walks every entry. Stripes of owners in `skipped` are left out. `progress` is told of bytes read, and
    /// may end the walk by an error.
    ///
    /// # Errors
    /// `Unavailable`, and what `progress` returns. Damage and missing keys are values, not errors.
    pub fn verify(
        &self,
        skipped: &BTreeSet<Owner>,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Verified> {
        let mut verified = Verified::default();
        let content = match self.content() {
            Ok(content) => content,
            Err(Error::Damaged(damage)) => {
                verified.found.push(damage);
                return Ok(verified);
            }
            Err(other) => return Err(other),
        };
        let rows = content.file.rows().iter().enumerate();
        for (at, row) in rows.filter(|(_, row)| !skipped.contains(&row.owner)) {
            match self.verify_stripe(content, at, row, &mut verified.found, progress) {
                Ok(()) => {}
                Err(Error::Damaged(damage)) => verified.found.push(damage.at(self.place())),
                // One tenant's missing key hides nothing of the others.
                Err(error @ (Error::KeyMissing { .. } | Error::WrongKey { .. })) => {
                    verified.unjudged = Some(error);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(verified)
    }

    fn verify_stripe(
        &self,
        content: &Content,
        at: usize,
        row: &DirectoryRow,
        found: &mut Vec<Damage>,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut seen = Seen::new(TenantId(row.owner.id()));
        let end = match &*self.read_stripe(at)? {
            OpenedStripe::Solo { block, tombstones, deletes } => {
                if row.blocks != 1 {
                    return Err(malformed("a small stripe of several blocks").into());
                }
                block.verify(|version, slot| seen.note(version, slot))?;
                seen.note_tombstones(tombstones)?;
                return Ok(seen.check(row.entries, *deletes, row)?);
            }
            OpenedStripe::Full(end) => end.clone(),
        };
        let handle = self.files.file(self.meta().id)?;
        if content.file.stripe_digest(&*handle, at)? != end.digest {
            return Err(Damage::of(Nature::Tampered, "digest over a stripe's seals").into());
        }
        let others =
            u64::from(end.tombstone_blocks) + [end.index, end.filter].iter().flatten().count() as u64;
        if u64::from(end.data_blocks) + others + 1 != u64::from(row.blocks) {
            return Err(malformed("another number of blocks in a stripe").into());
        }
        if let Some(first) = end.tombstones_at {
            seen.note_tombstones(&*self.read_tombstones(at, first, &end)?)?;
        }
        let before = found.len();
        if let (Some(index), Some(filter)) = (end.index, end.filter) {
            let filter = self.read_filter(at, filter)?;
            let blocks = self.verify_data(at, (index, &filter), &mut seen, found, progress)?;
            if blocks != end.data_blocks {
                return Err(malformed("another number of data blocks in a stripe").into());
            }
        }
        // Where a block is damaged, its entries are missing from the count.
        if found.len() > before { Ok(()) } else { Ok(seen.check(end.entries, end.deletes, row)?) }
    }

    /// Walks every data block that `index` names; returns how many there are.
    fn verify_data(
        &self,
        stripe: usize,
        (index, filter): (BlockPlace, &Filter),
        seen: &mut Seen,
        found: &mut Vec<Damage>,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<u32> {
        let block = self.block(stripe, index, BlockType::Index, false)?;
        block.verify(|_, _| Ok(())).map_err(|damage| self.here(damage, index))?;
        let mut walk = BlockCursor::new(block);
        walk.seek_first().map_err(|damage| self.here(damage, index))?;
        let mut blocks = 0;
        while let Some(last) = walk.key() {
            let place = index::place_at(&walk).map_err(|damage| self.here(damage, index))?;
            progress(u64::from(place.bytes))?;
            match self.block(stripe, place, BlockType::Data, false) {
                Ok(block) => {
                    verify_block(&block, last, filter, seen).map_err(|damage| self.here(damage, place))?;
                }
                Err(Error::Damaged(damage)) => found.push(damage),
                Err(other) => return Err(other),
            }
            blocks += 1;
            walk.step().map_err(|damage| self.here(damage, index))?;
        }
        Ok(blocks)
    }
}

fn verify_block(block: &Arc<Block>, last: &[u8], filter: &Filter, seen: &mut Seen) -> Result<(), Damage> {
    let mut is_last = false;
    block.verify(|version, slot| {
        is_last = version == last;
        if !filter.may_hold(key::split(version).0) {
            return Err(malformed("a row that the filter denies"));
        }
        seen.note(version, slot)
    })?;
    if is_last { Ok(()) } else { Err(malformed("a block that ends at another key than the index says")) }
}
