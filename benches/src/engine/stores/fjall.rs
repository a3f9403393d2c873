//! fjall, with its defaults and our cache budget. Its log is written with every batch and not synced.

use super::super::plan::CACHE_BYTES;
use super::super::workload::{self, Row};
use super::{Scanned, Store};
use crate::Outcome;
use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;

/// fjall.
pub struct Fjall {
    db: Database,
    rows: Keyspace,
}

/// Whether a file of this name is its log.
pub fn is_log(name: &str) -> bool {
    name.ends_with(".jnl")
}

impl Fjall {
    /// Opens it in `dir`.
    pub fn open(dir: &Path) -> Outcome<Self> {
        let db = Database::builder(dir).cache_size(CACHE_BYTES as u64).open()?;
        let rows = db.keyspace("rows", KeyspaceCreateOptions::default)?;
        Ok(Self { db, rows })
    }
}

impl Store for Fjall {
    fn write(&mut self, rows: &[Row]) -> Outcome<()> {
        let mut batch = self.db.batch();
        for row in rows {
            batch.insert(&self.rows, row.key, row.value);
        }
        Ok(batch.commit()?)
    }

    fn make_durable(&mut self) -> Outcome<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn read(&mut self, key: &[u8]) -> Outcome<Option<u64>> {
        Ok(self.rows.get(key)?.map(|value| workload::head_of(&value)))
    }

    fn scan(&mut self, start: &[u8], limit: usize) -> Outcome<Scanned> {
        let mut scanned = Scanned::default();
        for entry in self.rows.range(start..).take(limit) {
            let (key, value) = entry.into_inner()?;
            scanned.count(&key, &value);
        }
        Ok(scanned)
    }

    fn put_down(&mut self) -> Outcome<()> {
        Ok(self.rows.rotate_memtable_and_wait()?)
    }

    fn is_idle(&self) -> bool {
        self.db.outstanding_flushes() == 0 && self.db.active_compactions() == 0
    }

    fn compact(&mut self) -> Outcome<()> {
        self.rows.rotate_memtable_and_wait()?;
        Ok(self.rows.major_compact()?)
    }
}
