//! A read of table files that belong to no tablet, as those of an archive: any number of them, written by whomever, overlapping as
//! they like, opened with a keyring and bounded by a stamp. What a reader sees is what a tablet would show that held all of them: of
//! each row the newest version at or before the stamp, unless that is deleted, expired by the time of the stamp, or covered.
//!
//! The same version may stand in several files: it counts once. Nothing is written and nothing is kept but blocks; a file that is
//! damaged, or sealed under a key that is not here, makes the read an error, never a shorter answer.

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{CollectionId, KeyEpoch, Owner, TableId, TenantId};
use crate::key::{self, KeyRange};
use crate::limits;
use crate::range_tombstone::Tombstones;
use crate::read::BoxedCursor;
use crate::read::between::Between;
use crate::read::block_cache::BlockCache;
use crate::read::merge_cursor::MergeCursor;
use crate::read::range::{Scanned, Scanner};
use crate::read::visibility::Moment;
use crate::redact::redacted_debug;
use crate::sealed::{BlockFile, Sealer};
use crate::stamp::Stamp;
use crate::table::{Reach, Table, TableFiles, owner_of};
use crate::tablet::ground::CachedBlocks;
use crate::tablet::history::{self, History};
use crate::tablet::view::{Entry, Found, Page, Scan, ScanCursor};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A table file that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LooseFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it holds at or before this stamp is passed over: it stands in another file, or was taken out for good. [`Stamp::ZERO`]: nothing.
    pub after: Stamp,
    /// What it holds behind this stamp is passed over: it is not of the history that is read. [`Stamp::MAX`]: nothing.
    pub upto: Stamp,
}

/// What to read.
#[derive(Clone, PartialEq, Eq)]
pub struct LooseRange {
    /// Whose.
    pub tenant: TenantId,
    /// Which collection.
    pub collection: CollectionId,
    /// First user key inside; `None` is the collection's first.
    pub start: Option<Vec<u8>>,
    /// First user key outside; `None` is after the collection's last.
    pub end: Option<Vec<u8>>,
}

redacted_debug!(LooseRange, tenant, collection; start, end);

/// Opened table files.
pub struct Loose {
    tables: Vec<Arc<Table>>,
    /// Of each, between which stamps it counts.
    bounds: Vec<(Stamp, Stamp)>,
}

/// A walk over the rows that a reader sees.
pub struct LooseWalk {
    scanner: Scanner,
    is_over: bool,
}

/// Some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoosePage {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// There are no more behind them.
    pub is_last: bool,
}

/// Where the files lie, and the few that are open.
struct Shelf {
    disk: Arc<dyn Disk>,
    paths: BTreeMap<TableId, PathBuf>,
    handles_max: usize,
    handles: Mutex<Handles>,
}

#[derive(Default)]
struct Handles {
    open: BTreeMap<TableId, (u64, Arc<dyn DiskFile>)>,
    by_use: BTreeMap<u64, TableId>,
    uses: u64,
}

fn open(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>> {
    disk.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            Damage::of(Nature::Missing, "the file is not there").at(place(path)).into()
        }
        _ => Error::io("open", path, source),
    })
}

fn place(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

impl TableFiles for Shelf {
    fn file(&self, id: TableId) -> Result<Arc<dyn DiskFile>> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let Handles { open: opened, by_use, uses } = &mut *handles;
        *uses += 1;
        if let Some((used, handle)) = opened.get_mut(&id) {
            by_use.remove(used);
            *used = *uses;
            by_use.insert(*uses, id);
            return Ok(handle.clone());
        }
        let path = self.paths.get(&id).ok_or(Error::Invalid("no such table file"))?;
        let handle = open(&*self.disk, path)?;
        if opened.len() >= self.handles_max
            && let Some((_, unused)) = by_use.pop_first()
        {
            opened.remove(&unused);
        }
        opened.insert(id, (*uses, handle.clone()));
        by_use.insert(*uses, id);
        Ok(handle)
    }

    fn dropped(&self, _: TableId) {}
}

impl Loose {
    /// Opens `files`: header, directory and footer of each must be whole, and the footer of this cluster.
    ///
    /// # Errors
    /// `Damaged`, `Unsupported`, `Unavailable`; `Key`: that of the footers is not here.
    pub fn open(disk: Arc<dyn Disk>, sealer: &Arc<Sealer>, files: &[LooseFile]) -> Result<Self> {
        let mut paths = BTreeMap::new();
        let mut bounds: BTreeMap<TableId, (Stamp, Stamp)> = BTreeMap::new();
        for file in files {
            let id = BlockFile::id(&*open(&*disk, &file.path)?, &place(&file.path))?;
            // The same file twice is one, and holds what either may show.
            let (after, upto) = bounds.get(&id).copied().unwrap_or((file.after, file.upto));
            bounds.insert(id, (file.after.min(after), file.upto.max(upto)));
            paths.insert(id, file.path.clone());
        }
        let shelf = Shelf { disk, paths, handles_max: limits::LOOSE_HANDLES_MAX, handles: Mutex::default() };
        let shelf = Arc::new(shelf);
        let blocks = Arc::new(CachedBlocks(Arc::new(BlockCache::new(limits::LOOSE_CACHE_BYTES, 0))));
        let table = |(id, path): (&TableId, &PathBuf)| {
            Table::open_unlisted(sealer.clone(), shelf.clone(), blocks.clone(), *id, place(path))
                .map(Arc::new)
        };
        let tables = shelf.paths.iter().map(table).collect::<Result<_>>()?;
        Ok(Self { tables, bounds: bounds.into_values().collect() })
    }

    /// Whose rows are in it, under which epochs of their keys.
    #[must_use]
    pub fn owners(&self) -> BTreeSet<(Owner, KeyEpoch)> {
        let stripes = self.tables.iter().flat_map(|table| &table.meta().stripes);
        stripes.map(|stripe| (stripe.owner, stripe.epoch)).collect()
    }

    /// Bytes of the stripes of a tenant.
    #[must_use]
    pub fn bytes_of(&self, tenant: TenantId) -> u64 {
        let stripes = self.tables.iter().flat_map(|table| &table.meta().stripes);
        stripes.filter(|stripe| stripe.owner == owner_of(tenant)).map(|stripe| stripe.bytes).sum()
    }

    /// A walk over what a reader at `at` sees of a range.
    ///
    /// # Errors
    /// `Invalid`: a key too long. `Damaged`, `Key`, `Unavailable`: the range tombstones cannot be read.
    pub fn walk(&self, asked: &LooseRange, at: Stamp) -> Result<LooseWalk> {
        let row = |user_key: &Vec<u8>| crate::tablet::checked_row(asked.tenant, asked.collection, user_key);
        let mut range = KeyRange::prefix(asked.tenant, asked.collection, b"");
        if let Some(start) = &asked.start {
            range.start = row(start)?;
        }
        if let Some(end) = &asked.end {
            range.end = Some(row(end)?);
        }
        let (cursors, tombstones) = self.sources(asked.tenant)?;
        let is_over = range.is_empty();
        let moment = Moment { at, now_ms: at.ms() };
        let walk = MergeCursor::new(cursors);
        let scanner = Scanner::new(walk, tombstones, range, moment, false, usize::MAX);
        Ok(LooseWalk { scanner, is_over })
    }

    /// Everything that may hold rows of a tenant, and its range tombstones.
    fn sources(&self, tenant: TenantId) -> Result<(Vec<BoxedCursor>, Vec<Arc<Tombstones>>)> {
        let owner = owner_of(tenant);
        let (mut cursors, mut tombstones): (Vec<BoxedCursor>, Vec<Arc<Tombstones>>) =
            (Vec::new(), Vec::new());
        for (table, (after, upto)) in self.tables.iter().zip(self.bounds.iter().copied()) {
            if !table.meta().stripes.iter().any(|stripe| stripe.owner == owner) {
                continue;
            }
            let is_whole = (after, upto) == (Stamp::ZERO, Stamp::MAX);
            if let Some(all) = table.tombstones(tenant)? {
                let between = all.all().iter().filter(|one| one.stamp > after && one.stamp <= upto).cloned();
                tombstones.push(if is_whole { all } else { Arc::new(Tombstones::new(between)) });
            }
            let cursor = table.cursor(false).within(Reach::Only(owner));
            cursors.push(match is_whole {
                true => Box::new(cursor),
                false => Box::new(Between::new(cursor, after, upto)),
            });
        }
        Ok((cursors, tombstones))
    }

    /// What a reader at `at` sees of a scan forward, as a tablet would show it.
    ///
    /// # Errors
    /// As [`Loose::walk`] and [`LooseWalk::page`]. `Invalid`: backward.
    pub fn scan(&self, scan: &Scan, resume: Option<&ScanCursor>, at: Stamp) -> Result<Page> {
        if scan.is_reverse {
            return Err(Error::Invalid("files that belong to no tablet are read forward only"));
        }
        let Scan { tenant, collection, .. } = *scan;
        let (mut start, end) = (scan.start.clone(), scan.end.clone());
        if let Some(resume) = resume {
            // The first key behind it is it and a zero byte; one of the greatest length is met once more and left out.
            start = Some([&resume.after[..], &[0]].concat());
        }
        let is_past = start.as_ref().is_some_and(|start| start.len() > limits::KEY_BYTES_MAX);
        if is_past {
            start.as_mut().map(Vec::pop);
        }
        let mut walk = self.walk(&LooseRange { tenant, collection, start, end }, at)?;
        let bytes_max = scan.bytes_max.min(limits::SCAN_BYTES_MAX);
        let limit = scan.limit.clamp(1, limits::SCAN_ENTRIES_MAX);
        // The row that is left out again takes nothing of what there is room for.
        let more = if is_past { limits::KEY_BYTES_MAX + limits::VALUE_BYTES_MAX } else { 0 };
        let mut page = walk.page(limit + usize::from(is_past), bytes_max + more)?;
        if is_past && page.entries.first().map(|one| &one.key) == resume.map(|one| &one.after) {
            page.entries.remove(0);
        }
        let next = page.entries.last().filter(|_| !page.is_last);
        let next = next.map(|last| ScanCursor { at, now_ms: at.ms(), after: last.key.clone() });
        Ok(Page { entries: page.entries, next })
    }

    /// The events of a key at or before `at`, newest first, as [`View::history`](crate::tablet::view::View::history) has them.
    ///
    /// # Errors
    /// As [`Loose::walk`].
    pub fn history(
        &self,
        (tenant, collection): (TenantId, CollectionId),
        user_key: &[u8],
        (at, limit): (Stamp, usize),
    ) -> Result<History> {
        let row = crate::tablet::checked_row(tenant, collection, user_key)?;
        let (cursors, tombstones) = self.sources(tenant)?;
        let deleted = tombstones.iter().flat_map(|all| all.all_covering(&row)).collect();
        let limit = limit.clamp(1, limits::HISTORY_ENTRIES_MAX);
        history::events(MergeCursor::new(cursors), deleted, (&row, at), (Stamp::ZERO, limit))
    }

    /// The value of a key, as a reader at `at` sees it.
    ///
    /// # Errors
    /// As [`Loose::walk`] and [`LooseWalk::page`].
    pub fn get(
        &self,
        (tenant, collection): (TenantId, CollectionId),
        user_key: &[u8],
        at: Stamp,
    ) -> Result<Option<Found>> {
        // The first key behind a key is the key and a zero byte; behind one of the greatest length there is none of that form.
        let behind = [user_key, &[0]].concat();
        let end = (behind.len() <= limits::KEY_BYTES_MAX).then_some(behind);
        let asked = LooseRange { tenant, collection, start: Some(user_key.to_vec()), end };
        let page = self.walk(&asked, at)?.page(1, usize::MAX)?;
        Ok(page.entries.into_iter().find(|entry| entry.key == user_key).map(|entry| entry.found))
    }
}

impl LooseWalk {
    /// The next rows: at most `limit` of them, and as many as have `bytes_max` bytes of keys and values, but always one.
    ///
    /// # Errors
    /// `Damaged`, `Key`, `Unavailable`: what comes next is not known. The walk is over.
    pub fn page(&mut self, limit: usize, bytes_max: usize) -> Result<LoosePage> {
        let mut page = LoosePage::default();
        let mut bytes = 0;
        while !self.is_over && page.entries.len() < limit.max(1) && bytes < bytes_max.max(1) {
            match self.scanner.next_row()? {
                Scanned::Row(row) => {
                    let (_, _, key) = key::decode_row(self.scanner.last_row())?;
                    bytes += key.len() + row.value.len();
                    let found = Found { value: row.value, stamp: row.stamp, expires_ms: row.expires_ms };
                    page.entries.push(Entry { key, found });
                }
                // It may take as many steps as it likes.
                Scanned::Paused => {}
                Scanned::End => self.is_over = true,
            }
        }
        page.is_last = self.is_over;
        Ok(page)
    }
}
