//! Repair: a table that is damaged or missing is made whole in its place, from a copy that somebody brings.

use super::export::{copy_verified, read_at};
use super::listing::ListedFile;
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{TableId, TabletId};
use crate::table::{TableFiles, TableMeta};
use crate::tablet::Tablet;
use crate::tablet::files::Files;
use crate::tablet::lock;
use crate::tablet::pool::Pool;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// How errors name what is brought.
const COPY: &str = "copy of a table";

impl Pool {
    /// Puts a whole copy of the table `id` in the place of the file that is here, damaged, missing or not. `source` gives the
    /// bytes of the file; they must be those that the manifest names. Every tablet that has the table reads it from then on,
    /// and compaction goes around it no more. Needs no tenant's key.
    ///
    /// # Errors
    /// * `Invalid`: no tablet here has such a table.
    /// * `Damaged`: the copy is another file, cut or changed. Nothing changed.
    /// * `Unavailable`: source or disk failed. Call again.
    pub fn repair(&self, id: TableId, source: &mut dyn Read) -> Result<()> {
        let (files, copy) = (&self.ground.files, TableId(self.ground.sealer.random()));
        let meta = self.named(id)?;
        let written = self.write_copy(copy, &meta, source).and_then(|()| self.exchange(copy, &meta));
        // Once it has taken the other's place there is no file of its own name any more.
        written.inspect_err(|_| files.discard(copy))
    }

    /// Reads bytes of the file of a table, from `at` on, at most `max`, fewer only at its end: for a peer that repairs the same table. What is
    /// damaged here the peer notices. Needs no key.
    ///
    /// # Errors
    /// `Invalid`: no tablet here has such a table. `Damaged`: the file ends early. `Unavailable`: the disk failed.
    pub fn read_table(&self, id: TableId, at: u64, max: usize) -> Result<Vec<u8>> {
        let left = self.named(id)?.bytes.saturating_sub(at);
        let mut out = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(max)];
        self.ground.charge(out.len() as u64);
        read_at(&*self.ground.files.file(id)?, &Files::place(id), &mut out, at)?;
        Ok(out)
    }

    /// Tables here that are known to be damaged or missing, with the tablets that have them: what background work has met, and what could not
    /// be opened.
    #[must_use]
    pub fn damaged(&self) -> BTreeMap<TableId, Vec<TabletId>> {
        let mut found: BTreeMap<TableId, Vec<TabletId>> = BTreeMap::new();
        for tablet in self.tablets() {
            tablet.damaged().into_iter().for_each(|id| found.entry(id).or_default().push(tablet.id()));
        }
        found
    }

    /// Tablets that have the table `id`.
    #[must_use]
    pub fn holders(&self, id: TableId) -> Vec<TabletId> {
        let has_it = |tablet: &Arc<Tablet>| tablet.table_meta(id).is_some();
        self.tablets().iter().filter(|tablet| has_it(tablet)).map(|tablet| tablet.id()).collect()
    }

    /// What the manifests say of the table `id`.
    fn named(&self, id: TableId) -> Result<Arc<TableMeta>> {
        let found = self.tablets().iter().find_map(|tablet| tablet.table_meta(id));
        found.ok_or(Error::Invalid("no tablet here has a table of this name"))
    }

    /// Writes the file of `meta` under the name of `copy`, which no manifest has: a crash leaves an orphan.
    fn write_copy(&self, copy: TableId, meta: &TableMeta, source: &mut dyn Read) -> Result<()> {
        let path = self.ground.files.path(copy);
        let file = self.ground.files.create(copy)?;
        let write = |piece: &[u8], at| {
            self.ground.charge(piece.len() as u64);
            file.write_all_at(piece, at).map_err(|error| Error::io("write", &path, error))
        };
        copy_verified(&ListedFile::of(meta), COPY, |out, _| read(source, out), write)?;
        file.sync().map_err(|error| Error::io("sync", &path, error))
    }

    /// Lets the whole file `copy` take the place of that of `meta`, and every tablet read it.
    fn exchange(&self, copy: TableId, meta: &Arc<TableMeta>) -> Result<()> {
        let _births = self.board.births();
        let mut tablets = self.tablets();
        tablets.retain(|tablet| tablet.table_meta(meta.id).is_some());
        // A merge under way would take the damage that it met before for that of the copy.
        let _merges: Vec<_> = tablets.iter().map(|tablet| lock(&tablet.compacting)).collect();
        self.named(meta.id)?;
        self.ground.files.put_in_place(copy, meta.id)?;
        let table = self.ground.files.table_anew(&self.ground.sealer, &self.ground.blocks, meta);
        if let Some(error) = table.unreadable() {
            return Err(error.again());
        }
        for tablet in &tablets {
            tablet.exchange(&table);
            lock(&tablet.requests).damaged.remove(&meta.id);
        }
        self.board.look_again();
        Ok(())
    }
}

fn read(source: &mut dyn Read, out: &mut [u8]) -> Result<()> {
    source.read_exact(out).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Damage::of(Nature::Missing, "the copy ends early").at(COPY).into(),
        _ => Error::io("read", Path::new(COPY), error),
    })
}
