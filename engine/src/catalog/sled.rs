//! The catalog on sled. The only file that knows sled.

use super::{Catalog, Change};
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// Bytes of sled's own cache: manifests are read once, at start.
const CACHE_BYTES: u64 = 8 << 20;

/// A catalog in a folder, kept by sled.
pub struct SledCatalog(sled::Db);

fn failed(verb: &'static str) -> impl Fn(sled::Error) -> Error {
    move |error| Error::Catalog { verb, cause: error.to_string() }
}

impl SledCatalog {
    /// Opens the catalog in `dir`, created if it is not there.
    ///
    /// # Errors
    /// `Unavailable`: sled cannot open it, in its own words.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        // sled asserts on some kinds of damage. What it read is of no use then, and nothing of it is kept.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        let opened = opened.map_err(|_| {
            let cause = "the files are damaged beyond what sled can tell".to_owned();
            Error::Catalog { verb: "open", cause }
        })?;
        Ok(Self(opened.map_err(failed("open"))?))
    }

    /// Opens a pool's catalog in the folder `catalog` inside the pool's.
    #[must_use]
    pub fn opener() -> crate::tablet::pool::CatalogOpener {
        Box::new(|dir| Ok(Arc::new(Self::open(&dir.join("catalog"))?)))
    }
}

impl Catalog for SledCatalog {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(key).map_err(failed("get"))?.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let rows = self.0.scan_prefix(prefix);
        rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(failed("scan")))
            .collect()
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        let mut batch = sled::Batch::default();
        for change in changes {
            match change {
                Change::Put { key, value } => batch.insert(&key[..], &value[..]),
                Change::Remove { key } => batch.remove(&key[..]),
            }
        }
        self.0.apply_batch(batch).map_err(failed("commit"))?;
        self.0.flush().map_err(failed("sync"))?;
        Ok(())
    }
}
