//! redb, with its defaults and our cache budget. Batches are committed without durability; one durable commit ends a load.

use super::super::plan::CACHE_BYTES;
use super::super::workload::{self, Row};
use super::{Scanned, Store};
use crate::Outcome;
use ::redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};
use std::path::Path;

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// redb.
pub struct Redb {
    db: Database,
    /// Opened by the first read after a write, as whoever reads much would.
    reading: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl Redb {
    /// Opens it in `dir`.
    pub fn open(dir: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(dir.join("rows.redb"))?;
        Ok(Self { db, reading: None })
    }

    fn reading(&mut self) -> Outcome<&ReadOnlyTable<&'static [u8], &'static [u8]>> {
        if self.reading.is_none() {
            self.reading = Some(self.db.begin_read()?.open_table(ROWS)?);
        }
        self.reading.as_ref().ok_or_else(|| "a table just opened is there".into())
    }

    fn commit(&mut self, rows: &[Row], durability: Durability) -> Outcome<()> {
        self.reading = None;
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(ROWS)?;
            for row in rows {
                table.insert(&row.key[..], &row.value[..])?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Store for Redb {
    fn write(&mut self, rows: &[Row]) -> Outcome<()> {
        self.commit(rows, Durability::None)
    }

    fn make_durable(&mut self) -> Outcome<()> {
        self.commit(&[], Durability::Immediate)
    }

    fn read(&mut self, key: &[u8]) -> Outcome<Option<u64>> {
        Ok(self.reading()?.get(key)?.map(|value| workload::head_of(value.value())))
    }

    fn scan(&mut self, start: &[u8], limit: usize) -> Outcome<Scanned> {
        let mut scanned = Scanned::default();
        for entry in self.reading()?.range::<&[u8]>(start..)?.take(limit) {
            let (key, value) = entry?;
            scanned.count(key.value(), value.value());
        }
        Ok(scanned)
    }

    fn compact(&mut self) -> Outcome<()> {
        self.reading = None;
        self.db.compact()?;
        Ok(())
    }
}
