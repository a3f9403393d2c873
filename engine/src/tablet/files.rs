//! The table files of a pool: which are needed, which are open, which may go.
//!
//! * A file is needed while a manifest names it or a reader, checkpoint or compaction holds its [`Table`].
//! * A file nobody needs is removed by background work, never by the reader that let go of it last.
//! * At most a budget of handles is open; the one unused for longest is closed first.

use super::pool::PoolConfig;
use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{Owner, TableId};
use crate::sealed::Sealer;
use crate::table::{OpenedBlocks, Table, TableFiles, TableMeta};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

const SUFFIX: &str = ".dpb";

/// All table files of a pool.
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    handles_max: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    tables: BTreeMap<TableId, Entry>,
    /// Needed by nobody; background work removes them.
    doomed: BTreeSet<TableId>,
    /// The one that could not be removed last: the next try is at another.
    stubborn: Option<TableId>,
    /// Being removed now.
    going: BTreeSet<TableId>,
    /// Being written by an import that has not ended.
    arriving: BTreeSet<TableId>,
    handles: BTreeMap<TableId, (u64, Arc<dyn DiskFile>)>,
    by_use: BTreeMap<u64, TableId>,
    uses: u64,
    /// How often a file took the place of another of its name.
    exchanges: u64,
}

#[derive(Default)]
struct Entry {
    /// How many manifests name it.
    named: usize,
    live: Weak<Table>,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, config: &PoolConfig) -> Arc<Self> {
        let dir = config.dir.join("tables");
        Arc::new(Self { disk, dir, handles_max: config.handles_max.max(1), known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self, id: TableId) -> PathBuf {
        self.dir.join(format!("{id}{SUFFIX}"))
    }

    /// How errors name the file.
    pub(crate) fn place(id: TableId) -> String {
        format!("tables/{id}{SUFFIX}")
    }

    /// Creates the file of a new table.
    pub(crate) fn create(&self, id: TableId) -> Result<Arc<dyn DiskFile>> {
        let path = self.path(id);
        self.disk.create(&path).map_err(|source| Error::io("create", &path, source))
    }

    /// Creates the file of a table that comes from elsewhere, in the place of one that nobody needs: what an earlier try left,
    /// or a dropped tablet's that is not removed yet.
    pub(crate) fn create_anew(&self, id: TableId) -> Result<Arc<dyn DiskFile>> {
        let mut known = self.known();
        let is_needed = known.going.contains(&id)
            || known.arriving.contains(&id)
            || known.tables.get(&id).is_some_and(|entry| entry.named > 0 || entry.live.strong_count() > 0);
        let path = self.path(id);
        if is_needed {
            let source =
                io::Error::new(io::ErrorKind::AlreadyExists, "somebody still needs the file of this name");
            return Err(Error::io("create", &path, source));
        }
        // Nobody removes it while the lock is held, nor after: it is no longer doomed.
        known.doomed.remove(&id);
        known.close(id);
        known.arriving.insert(id);
        drop(known);
        let created = self.create_over(&path);
        created.inspect_err(|_| self.discard(id))
    }

    fn create_over(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        match self.disk.remove(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io("remove", path, source)),
        }
        self.disk.create(path).map_err(|source| Error::io("create", path, source))
    }

    /// Gives the whole and durable file `copy` the name of `id`, in the place of what has it now.
    pub(crate) fn put_in_place(&self, copy: TableId, id: TableId) -> Result<()> {
        let path = self.path(id);
        let mut known = self.known();
        self.disk.rename(&self.path(copy), &path).map_err(|source| Error::io("rename", &path, source))?;
        // Whoever is opening the old file now opens again.
        known.exchanges += 1;
        known.close(id);
        drop(known);
        self.sync_names()
    }

    /// Makes the names of new files durable.
    pub(crate) fn sync_names(&self) -> Result<()> {
        self.disk.sync_dir(&self.dir).map_err(|source| Error::io("sync folder", &self.dir, source))
    }

    /// The opened table of `meta`, opened now if nobody has it open. One that cannot be opened becomes a table that says so.
    pub(crate) fn table(
        self: &Arc<Self>,
        sealer: &Arc<Sealer>,
        blocks: &Arc<dyn OpenedBlocks>,
        meta: &Arc<TableMeta>,
    ) -> Arc<Table> {
        let live = self.known().tables.get(&meta.id).and_then(|entry| entry.live.upgrade());
        live.unwrap_or_else(|| self.table_anew(sealer, blocks, meta))
    }

    /// The table of `meta` opened once more, whoever has it open.
    pub(crate) fn table_anew(
        self: &Arc<Self>,
        sealer: &Arc<Sealer>,
        blocks: &Arc<dyn OpenedBlocks>,
        meta: &Arc<TableMeta>,
    ) -> Arc<Table> {
        let files: Arc<dyn TableFiles> = self.clone();
        let place = Self::place(meta.id);
        let opened = Table::open(sealer.clone(), files.clone(), blocks.clone(), meta.clone(), place.clone());
        let shut = |error: Error| Table::shut(files, meta.clone(), error.at(place));
        let table = Arc::new(opened.unwrap_or_else(shut));
        self.known().tables.entry(meta.id).or_default().live = Arc::downgrade(&table);
        table
    }

    /// Every open table that can be read. Their files stay for as long as what is returned is held.
    pub(crate) fn live_tables(&self) -> BTreeMap<TableId, Arc<Table>> {
        let upgrade = |(id, entry): (&TableId, &Entry)| Some((*id, entry.live.upgrade()?));
        let live: Vec<_> = self.known().tables.iter().filter_map(upgrade).collect();
        // The lock is free again: letting go of a table may need it.
        live.into_iter().filter(|(_, table)| table.unreadable().is_none()).collect()
    }

    /// Drops what open tables have derived from keys of `owner`.
    pub(crate) fn forget_keys(&self, owner: Owner) {
        let open: Vec<_> = self.known().tables.values().filter_map(|entry| entry.live.upgrade()).collect();
        open.iter().for_each(|table| table.forget_keys(owner));
    }

    /// A manifest names this table from now on.
    pub(crate) fn name(&self, id: TableId) {
        let mut known = self.known();
        known.tables.entry(id).or_default().named += 1;
        known.doomed.remove(&id);
        known.arriving.remove(&id);
    }

    /// A manifest names this table no more.
    pub(crate) fn unname(&self, id: TableId) {
        let mut known = self.known();
        let Some(entry) = known.tables.get_mut(&id) else { return };
        entry.named = entry.named.saturating_sub(1);
        if entry.named == 0 && entry.live.strong_count() == 0 {
            known.doomed.insert(id);
        }
    }

    /// A file that was created but will not be named. Nothing happens if it is.
    pub(crate) fn discard(&self, id: TableId) {
        let mut known = self.known();
        known.arriving.remove(&id);
        if known.tables.get(&id).is_none_or(|entry| entry.named == 0) {
            known.doomed.insert(id);
        }
    }

    /// Removes one file that nobody needs. `None` if there is none.
    pub(crate) fn remove_one(&self) -> Option<Result<TableId>> {
        let id = {
            let mut known = self.known();
            let id = known.next_doomed()?;
            known.doomed.remove(&id);
            known.tables.remove(&id);
            known.close(id);
            known.going.insert(id);
            id
        };
        let path = self.path(id);
        let removed = self.disk.remove(&path);
        let mut known = self.known();
        known.going.remove(&id);
        Some(match removed {
            Ok(()) => Ok(id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(id),
            Err(source) => {
                known.doomed.insert(id);
                known.stubborn = Some(id);
                Err(Error::io("remove", &path, source))
            }
        })
    }

    pub(crate) fn has_doomed(&self) -> bool {
        !self.known().doomed.is_empty()
    }

    /// Files that wait to be removed.
    pub(crate) fn doomed(&self) -> usize {
        self.known().doomed.len()
    }

    /// Open handles.
    pub(crate) fn handles(&self) -> usize {
        self.known().handles.len()
    }

    /// Dooms every file in the folder that no manifest names: left over from work that a crash cut short.
    pub(crate) fn doom_orphans(&self) -> Result<usize> {
        let names = self.disk.list(&self.dir).map_err(|source| Error::io("list", &self.dir, source))?;
        let ids = names.iter().filter_map(|name| TableId::parse(name.strip_suffix(SUFFIX)?));
        let mut known = self.known();
        let mut orphans = 0;
        for id in ids {
            if known.tables.get(&id).is_none_or(|entry| entry.named == 0) {
                known.doomed.insert(id);
                orphans += 1;
            }
        }
        Ok(orphans)
    }
}

impl Known {
    /// The doomed file after the one that failed last, round and round.
    fn next_doomed(&self) -> Option<TableId> {
        let after = self.stubborn.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.doomed.range((after, Bound::Unbounded)).next();
        later.or_else(|| self.doomed.first()).copied()
    }

    fn close(&mut self, id: TableId) {
        if let Some((used, _)) = self.handles.remove(&id) {
            self.by_use.remove(&used);
        }
    }
}

impl TableFiles for Files {
    fn file(&self, id: TableId) -> Result<Arc<dyn DiskFile>> {
        let exchanges = {
            let mut known = self.known();
            known.uses += 1;
            let now = known.uses;
            if let Some((used, file)) = known.handles.get_mut(&id) {
                let (before, file) = (std::mem::replace(used, now), file.clone());
                known.by_use.remove(&before);
                known.by_use.insert(now, id);
                return Ok(file);
            }
            known.exchanges
        };
        let path = self.path(id);
        let file = self.disk.open(&path).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                return Error::from(Damage::of(Nature::Missing, "the file is not there").at(Self::place(id)));
            }
            Error::io("open", &path, source)
        })?;
        let mut known = self.known();
        if known.exchanges != exchanges {
            drop(known);
            return self.file(id);
        }
        known.uses += 1;
        let now = known.uses;
        known.close(id);
        known.handles.insert(id, (now, file.clone()));
        known.by_use.insert(now, id);
        while known.handles.len() > self.handles_max {
            let Some((_, oldest)) = known.by_use.pop_first() else { break };
            known.handles.remove(&oldest);
        }
        Ok(file)
    }

    fn dropped(&self, id: TableId) {
        let mut known = self.known();
        if known.tables.get(&id).is_some_and(|entry| entry.named == 0 && entry.live.strong_count() == 0) {
            known.doomed.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_removed_holds_up_no_other() {
        let id = |n| TableId([n; 16]);
        let mut known = Known::default();
        assert_eq!(known.next_doomed(), None);
        known.doomed.extend([1, 2, 3].map(id));
        let mut tried = Vec::new();
        for _ in 0..4 {
            let next = known.next_doomed().unwrap();
            tried.push(next);
            known.stubborn = Some(next);
        }
        assert_eq!(tried, [1, 2, 3, 1].map(id));
    }
}
