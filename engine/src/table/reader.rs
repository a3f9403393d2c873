//! Reads a table: one row, its range tombstones, or all of it by a cursor. Opened blocks are shared through a cache.

use super::block::{Block, BlockCursor};
use super::cursor::TableCursor;
use super::filter::Filter;
use super::stripe::{StripeEnd, decode_solo};
use super::{TableMeta, index, owner_of, tombstones};
use crate::disk::DiskFile;
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{Owner, TableId, TenantId};
use crate::key;
use crate::range_tombstone::{RangeTombstone, Tombstones};
use crate::read::OwnedSlot;
use crate::read::block_cache::Cached;
use crate::sealed::{BlockFile, BlockPlace, BlockType, FileKind, Sealer, SecretBytes};
use crate::stamp::Stamp;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Gives handles of table files; the pool has a budget of them.
pub trait TableFiles: Send + Sync {
    /// An open handle.
    ///
    /// # Errors
    /// `Damaged` (`Missing`) or `Unavailable`.
    fn file(&self, id: TableId) -> Result<Arc<dyn DiskFile>>;

    /// Told when the last reader lets go of a table.
    fn dropped(&self, id: TableId);
}

/// Opened blocks shared by all tables, bounded in bytes.
pub trait OpenedBlocks: Send + Sync {
    /// A number for a table that no other table has or had here.
    fn number_table(&self) -> u64;
    /// A block that is in memory.
    fn get(&self, table: u64, block: u32) -> Option<Opened>;
    /// Keeps a block in memory, for as long as there is room.
    fn put(&self, table: u64, block: u32, opened: Opened);
}

/// A block, opened and parsed.
#[derive(Clone)]
pub enum Opened {
    /// A data or index block.
    Block(Arc<Block>),
    /// A filter.
    Filter(Arc<Filter>),
    /// A stripe's end, or a small stripe whole.
    Stripe(Arc<OpenedStripe>),
    /// Range tombstones.
    Tombstones(Arc<Tombstones>),
}

impl Cached for Opened {
    fn weight(&self) -> usize {
        match self {
            Self::Block(block) => block.weight(),
            Self::Filter(filter) => filter.weight(),
            Self::Stripe(stripe) => stripe.weight(),
            Self::Tombstones(all) => all.bytes(),
        }
    }
}

/// A stripe, opened.
pub enum OpenedStripe {
    /// Its blocks are elsewhere in the file.
    Full(StripeEnd),
    /// All of it is here.
    Solo {
        /// Its versions.
        block: Arc<Block>,
        /// Its range tombstones.
        tombstones: Arc<Tombstones>,
        /// Versions that are point tombstones, by its own count.
        deletes: u64,
    },
}

impl OpenedStripe {
    fn weight(&self) -> usize {
        match self {
            Self::Full(_) => size_of::<Self>(),
            Self::Solo { block, tombstones, .. } => size_of::<Self>() + block.weight() + tombstones.bytes(),
        }
    }
}

/// An opened table. Lives while anybody reads it; its file stays as long.
pub struct Table {
    meta: Arc<TableMeta>,
    pub(super) files: Arc<dyn TableFiles>,
    /// Why it cannot be read, if it cannot.
    pub(super) content: Result<Content, Error>,
}

pub(super) struct Content {
    pub(super) file: BlockFile,
    blocks: Arc<dyn OpenedBlocks>,
    /// Names the table in the cache; a number is never used twice there.
    number: u64,
}

impl Drop for Table {
    fn drop(&mut self) {
        self.files.dropped(self.meta.id);
    }
}

impl Table {
    /// Opens the table of `meta`: its ends must be whole and, byte for byte, those the manifest knows.
    /// `place` names it in errors. Stripes prove themselves when their keys are first used, blocks when they are read.
    ///
    /// # Errors
    /// As [`BlockFile::open`].
    pub fn open(
        sealer: Arc<Sealer>,
        files: Arc<dyn TableFiles>,
        blocks: Arc<dyn OpenedBlocks>,
        meta: Arc<TableMeta>,
        place: String,
    ) -> Result<Self> {
        let handle = files.file(meta.id)?;
        let length = handle.len().map_err(|error| Error::io("measure", Path::new(&place), error))?;
        let opened =
            BlockFile::open(sealer, &*handle, place.clone(), FileKind::Table, meta.id, Some(&meta.ends));
        let file = opened.map_err(|error| match error {
            Error::Damaged(damage) if damage.nature == Nature::Rot && length < meta.bytes => {
                Damage::of(Nature::Missing, "the file is shorter than its manifest says").at(place).into()
            }
            other => other,
        })?;
        let is_same = length == meta.bytes
            && file.rows().len() == meta.stripes.len()
            && file.rows().iter().zip(&meta.stripes).all(|(row, stripe)| {
                (row.owner, row.epoch, row.length, row.entries)
                    == (stripe.owner, stripe.epoch, stripe.bytes, stripe.entries)
            });
        if !is_same {
            let damage = Damage::of(Nature::WrongPlace, "the manifest describes another file of this name");
            return Err(damage.at(file.place()).into());
        }
        Self::of(file, files, blocks, meta)
    }

    /// Opens a table that no manifest knows: what it says of itself must agree, and its footer be of this cluster.
    ///
    /// # Errors
    /// As [`BlockFile::open`].
    pub fn open_unlisted(
        sealer: Arc<Sealer>,
        files: Arc<dyn TableFiles>,
        blocks: Arc<dyn OpenedBlocks>,
        id: TableId,
        place: String,
    ) -> Result<Self> {
        let handle = files.file(id)?;
        let bytes = handle.len().map_err(|error| Error::io("measure", Path::new(&place), error))?;
        let file = BlockFile::open(sealer, &*handle, place, FileKind::Table, id, None)?;
        let meta = Arc::new(TableMeta::of_rows(id, bytes, file.rows()));
        Self::of(file, files, blocks, meta)
    }

    fn of(
        file: BlockFile,
        files: Arc<dyn TableFiles>,
        blocks: Arc<dyn OpenedBlocks>,
        meta: Arc<TableMeta>,
    ) -> Result<Self> {
        // Stripes are found by their tenants' order.
        if file.rows().windows(2).any(|pair| pair[0].owner.id() >= pair[1].owner.id()) {
            let damage = Damage::of(Nature::Malformed, "stripes out of the order of their tenants");
            return Err(damage.at(file.place()).into());
        }
        let number = blocks.number_table();
        Ok(Self { meta, files, content: Ok(Content { file, blocks, number }) })
    }

    /// A table that could not be opened: every read answers with `error`, until it is opened again with its tablet.
    #[must_use]
    pub fn shut(files: Arc<dyn TableFiles>, meta: Arc<TableMeta>, error: Error) -> Self {
        Self { meta, files, content: Err(error) }
    }

    /// What the manifest knows of it.
    #[must_use]
    pub fn meta(&self) -> &Arc<TableMeta> {
        &self.meta
    }

    /// Why it could not be opened.
    #[must_use]
    pub fn unreadable(&self) -> Option<&Error> {
        self.content.as_ref().err()
    }

    /// Drops what is derived from keys of `owner`.
    pub(crate) fn forget_keys(&self, owner: Owner) {
        if let Ok(content) = &self.content {
            content.file.forget_keys(owner);
        }
    }

    pub(super) fn content(&self) -> Result<&Content> {
        self.content.as_ref().map_err(Error::again)
    }

    pub(crate) fn owners(&self) -> Result<impl Iterator<Item = Owner>> {
        Ok(self.content()?.file.rows().iter().map(|row| row.owner))
    }

    /// The first stripe of `tenant` or a later one.
    pub(super) fn stripe_from(&self, tenant: TenantId) -> Result<usize> {
        Ok(self.content()?.file.rows().partition_point(|row| row.owner.id() < tenant.0))
    }

    pub(super) fn stripes(&self) -> Result<usize> {
        Ok(self.content()?.file.rows().len())
    }

    fn stripe_of(&self, tenant: TenantId) -> Result<Option<usize>> {
        let at = self.stripe_from(tenant)?;
        let is_there = self.content()?.file.rows().get(at).is_some_and(|row| row.owner == owner_of(tenant));
        Ok(is_there.then_some(at))
    }

    /// The newest version of `row` at or before `at`.
    ///
    /// # Errors
    /// `Damaged`, `Key`, `Unavailable`: the answer is not known.
    pub fn get(&self, row: &[u8], at: Stamp) -> Result<Option<(Stamp, OwnedSlot)>> {
        let Some(stripe) = self.stripe_of(key::tenant_of(row))? else { return Ok(None) };
        let opened = self.stripe(stripe)?;
        let block = match &*opened {
            OpenedStripe::Solo { block, .. } => block.clone(),
            OpenedStripe::Full(end) => {
                let (Some(filter), Some(index)) = (end.filter, end.index) else { return Ok(None) };
                if !self.filter(stripe, filter)?.may_hold(row) {
                    return Ok(None);
                }
                let index_block = self.block(stripe, index, BlockType::Index, true)?;
                let mut walk = BlockCursor::new(index_block);
                walk.seek(&key::version(row, at)).map_err(|damage| self.here(damage, index))?;
                if walk.key().is_none() {
                    return Ok(None);
                }
                let place = index::place_at(&walk).map_err(|damage| self.here(damage, index))?;
                self.block(stripe, place, BlockType::Data, true)?
            }
        };
        let mut walk = BlockCursor::new(block);
        walk.seek(&key::version(row, at)).map_err(|damage| Error::from(damage.at(self.place())))?;
        let found = walk.key().map(key::split).filter(|(found, _)| *found == row);
        Ok(found.map(|(_, stamp)| (stamp, walk.slot().to_owned())))
    }

    pub(super) fn place(&self) -> &str {
        self.content.as_ref().map_or("", |content| content.file.place())
    }

    pub(super) fn here(&self, damage: Damage, place: BlockPlace) -> Error {
        damage.at(self.place()).in_block(place.number).into()
    }

    /// The range tombstones of `tenant`, if there are any.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn tombstones(&self, tenant: TenantId) -> Result<Option<Arc<Tombstones>>> {
        if self.meta.tombstones == 0 {
            self.content()?;
            return Ok(None);
        }
        let Some(stripe) = self.stripe_of(tenant)? else { return Ok(None) };
        match &*self.stripe(stripe)? {
            OpenedStripe::Solo { tombstones, .. } => {
                Ok(Some(tombstones.clone()).filter(|all| !all.is_empty()))
            }
            OpenedStripe::Full(end) => {
                end.tombstones_at.map(|first| self.tombstones_at(stripe, first, end)).transpose()
            }
        }
    }

    /// All range tombstones but those of the owners in `skipped`, whose keys may be gone.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn all_tombstones(&self, skipped: &BTreeSet<Owner>) -> Result<Vec<Arc<RangeTombstone>>> {
        let mut all = Vec::new();
        if self.meta.tombstones > 0 {
            for owner in self.owners()?.filter(|owner| !skipped.contains(owner)) {
                if let Some(found) = self.tombstones(TenantId(owner.id()))? {
                    all.extend(found.all().iter().cloned());
                }
            }
        }
        Ok(all)
    }

    /// A walk over all its versions. Without `is_cached` opened blocks go past the cache, as compaction wants it.
    #[must_use]
    pub fn cursor(self: &Arc<Self>, is_cached: bool) -> TableCursor {
        TableCursor::new(self.clone(), is_cached)
    }

    fn cached<T>(
        &self,
        place: u32,
        pick: impl Fn(Opened) -> Option<T>,
        read: impl FnOnce() -> Result<T>,
        wrap: impl FnOnce(&T) -> Opened,
    ) -> Result<T> {
        let content = self.content()?;
        if let Some(found) = content.blocks.get(content.number, place).and_then(pick) {
            return Ok(found);
        }
        let opened = read()?;
        content.blocks.put(content.number, place, wrap(&opened));
        Ok(opened)
    }

    pub(super) fn stripe(&self, at: usize) -> Result<Arc<OpenedStripe>> {
        let content = self.content()?;
        let Some(row) = content.file.rows().get(at) else { return Err(Error::Invalid("no such stripe")) };
        let pick = |opened| if let Opened::Stripe(stripe) = opened { Some(stripe) } else { None };
        let last = row.first_block + row.blocks - 1;
        self.cached(last, pick, || self.read_stripe(at), |stripe| Opened::Stripe(stripe.clone()))
    }

    pub(super) fn read_stripe(&self, at: usize) -> Result<Arc<OpenedStripe>> {
        let handle = self.files.file(self.meta.id)?;
        let (block_type, place, bytes) = self.content()?.file.end_block(&*handle, at)?;
        let opened = match block_type {
            BlockType::Solo => decode_solo(bytes).map(|solo| OpenedStripe::Solo {
                block: Arc::new(solo.block),
                tombstones: Arc::new(Tombstones::new(solo.tombstones.into_iter().map(Arc::new))),
                deletes: solo.deletes,
            }),
            _ => StripeEnd::decode(&bytes).map(OpenedStripe::Full),
        };
        Ok(Arc::new(opened.map_err(|damage| self.here(damage, place))?))
    }

    fn read(&self, stripe: usize, place: BlockPlace, block_type: BlockType) -> Result<SecretBytes> {
        let handle = self.files.file(self.meta.id)?;
        self.content()?.file.block(&*handle, stripe, place, block_type)
    }

    pub(super) fn block(
        &self,
        stripe: usize,
        place: BlockPlace,
        block_type: BlockType,
        is_cached: bool,
    ) -> Result<Arc<Block>> {
        let read = || {
            let bytes = self.read(stripe, place, block_type)?;
            Ok(Arc::new(Block::new(bytes, 0).map_err(|damage| self.here(damage, place))?))
        };
        if !is_cached {
            return read();
        }
        let pick = |opened| if let Opened::Block(block) = opened { Some(block) } else { None };
        self.cached(place.number, pick, read, |block| Opened::Block(block.clone()))
    }

    fn filter(&self, stripe: usize, place: BlockPlace) -> Result<Arc<Filter>> {
        let pick = |opened| if let Opened::Filter(filter) = opened { Some(filter) } else { None };
        let read = || self.read_filter(stripe, place);
        self.cached(place.number, pick, read, |filter| Opened::Filter(filter.clone()))
    }

    pub(super) fn read_filter(&self, stripe: usize, place: BlockPlace) -> Result<Arc<Filter>> {
        let filter = Filter::new(self.read(stripe, place, BlockType::Filter)?);
        Ok(Arc::new(filter.map_err(|damage| self.here(damage, place))?))
    }

    fn tombstones_at(&self, stripe: usize, first: BlockPlace, end: &StripeEnd) -> Result<Arc<Tombstones>> {
        let pick = |opened| if let Opened::Tombstones(all) = opened { Some(all) } else { None };
        let read = || self.read_tombstones(stripe, first, end);
        self.cached(first.number, pick, read, |all| Opened::Tombstones(all.clone()))
    }

    /// Reads all blocks of range tombstones: `first` and those behind it, as many as `end` says.
    pub(super) fn read_tombstones(
        &self,
        stripe: usize,
        first: BlockPlace,
        end: &StripeEnd,
    ) -> Result<Arc<Tombstones>> {
        let mut all = Vec::new();
        let mut place = first;
        for block in 0..end.tombstone_blocks {
            if block > 0 {
                let handle = self.files.file(self.meta.id)?;
                place = self.content()?.file.block_after(&*handle, stripe, place)?;
            }
            let bytes = self.read(stripe, place, BlockType::Tombstones)?;
            let some = tombstones::decode(&bytes).map_err(|damage| self.here(damage, place))?;
            all.extend(some.into_iter().map(Arc::new));
        }
        if all.len() != end.tombstones as usize {
            let damage = Damage::of(Nature::Malformed, "another number of range tombstones in a stripe");
            return Err(self.here(damage, first));
        }
        Ok(Arc::new(Tombstones::new(all)))
    }
}
