//! sled, with its defaults and our cache budget. It compacts by itself, when and as far as it likes.

use super::super::plan::CACHE_BYTES;
use super::super::workload::{self, Row};
use super::{Scanned, Store};
use crate::Outcome;
use std::path::Path;

/// sled.
pub struct Sled(::sled::Db);

impl Sled {
    /// Opens it in `dir`.
    pub fn open(dir: &Path) -> Outcome<Self> {
        Ok(Self(::sled::Config::new().path(dir).cache_capacity(CACHE_BYTES as u64).open()?))
    }
}

impl Store for Sled {
    fn write(&mut self, rows: &[Row]) -> Outcome<()> {
        let mut batch = ::sled::Batch::default();
        for row in rows {
            batch.insert(&row.key[..], &row.value[..]);
        }
        Ok(self.0.apply_batch(batch)?)
    }

    fn make_durable(&mut self) -> Outcome<()> {
        self.0.flush()?;
        Ok(())
    }

    fn read(&mut self, key: &[u8]) -> Outcome<Option<u64>> {
        Ok(self.0.get(key)?.map(|value| workload::head_of(&value)))
    }

    fn scan(&mut self, start: &[u8], limit: usize) -> Outcome<Scanned> {
        let mut scanned = Scanned::default();
        for entry in self.0.range(start..).take(limit) {
            let (key, value) = entry?;
            scanned.count(&key, &value);
        }
        Ok(scanned)
    }
}
