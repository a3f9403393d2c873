//! The catalog in memory, for simulation: it shares the fate of a simulated disk, and survives its crashes.

use super::{Catalog, Change};
use crate::disk::SimDisk;
use crate::error::{Error, Result};
use crate::tablet::pool::CatalogOpener;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A catalog in memory. Clones are handles of the same rows.
#[derive(Clone, Default)]
pub struct MemoryCatalog {
    rows: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
    disk: Option<SimDisk>,
}

impl MemoryCatalog {
    /// An empty catalog that never fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty catalog whose commits are operations of `disk`: they fail and crash as it does. A commit that a crash cuts
    /// short is whole or absent, by the disk's seed.
    #[must_use]
    pub fn on(disk: SimDisk) -> Self {
        Self { disk: Some(disk), ..Self::default() }
    }

    /// Opens these rows as a pool's catalog, whatever the folder.
    #[must_use]
    pub fn opener(&self) -> CatalogOpener {
        let catalog = self.clone();
        Box::new(move |_| Ok(Arc::new(catalog)))
    }

    /// The same rows apart from these: a cloned machine, or a picture to put back later.
    #[must_use]
    pub fn deep_clone(&self, disk: Option<SimDisk>) -> Self {
        Self { rows: Arc::new(Mutex::new(self.rows().clone())), disk }
    }

    /// Every row, as it rests.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.rows().clone()
    }

    /// Changes a row behind everybody's back.
    pub fn tamper(&self, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(value) = self.rows().get_mut(key) {
            change(value);
        }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, changes: &[Change]) {
        let mut rows = self.rows();
        for change in changes {
            match change {
                Change::Put { key, value } => rows.insert(key.clone(), value.clone()),
                Change::Remove { key } => rows.remove(key),
            };
        }
    }

    fn check(&self, verb: &'static str) -> Result<()> {
        let is_down = self.disk.as_ref().is_some_and(SimDisk::is_down);
        let cause = || "simulated crash".to_owned();
        if is_down { Err(Error::Catalog { verb, cause: cause() }) } else { Ok(()) }
    }
}

impl Catalog for MemoryCatalog {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check("get")?;
        Ok(self.rows().get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.check("scan")?;
        let rows = self.rows();
        let found = rows.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        self.check("commit")?;
        if let Some(disk) = &self.disk
            && let Err(error) = disk.charge()
        {
            // A commit that fails may have happened all the same.
            if disk.toss() {
                self.change(changes);
            }
            return Err(Error::Catalog { verb: "commit", cause: error.to_string() });
        }
        self.change(changes);
        Ok(())
    }
}
