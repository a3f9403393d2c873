//! The catalog on sled. The only file that knows sled.

use super::{Catalog, Change};
use crate::disk::{Disk, RealDisk};
use crate::error::{Error, Result};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of sled's own cache: manifests are read once, at start.
const CACHE_BYTES: u64 = 8 << 20;
/// How often, and after which pause, a database that is still locked is tried again.
const LOCKED_TRIES_MAX: u32 = 300;
const LOCKED_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// A catalog in a folder, kept by sled.
///
/// After an I/O error sled answers every later call with that error. It is closed then, and the next call opens it again,
/// so that a full disk stops the catalog only for as long as it is full.
pub struct SledCatalog {
    dir: PathBuf,
    /// `None` after an error.
    open: Mutex<Option<sled::Db>>,
}

fn failed(verb: &'static str, error: &sled::Error) -> Error {
    Error::Catalog { verb, cause: error.to_string() }
}

/// Opens the database. One that was closed just now, in this process, may still be locked by threads of sled that are ending.
fn open_db(dir: &Path) -> Result<sled::Db> {
    let is_ending = |error: &Error| error.to_string().contains("could not acquire lock");
    for _ in 0..LOCKED_TRIES_MAX {
        match try_open_db(dir) {
            Err(error) if is_ending(&error) => std::thread::park_timeout(LOCKED_PAUSE),
            opened => return opened,
        }
    }
    try_open_db(dir)
}

fn try_open_db(dir: &Path) -> Result<sled::Db> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    // sled asserts on some kinds of damage. What it read is of no use then, and nothing of it is kept.
    let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
    let opened = opened.map_err(|_| {
        let cause = "the files are damaged beyond what sled can tell".to_owned();
        Error::Catalog { verb: "open", cause }
    })?;
    opened.map_err(|error| failed("open", &error))
}

/// Makes sled's files in `dir` durable, and those it puts large rows into, with their names.
fn sync_files(dir: &Path) -> io::Result<()> {
    let blobs = dir.join("blobs");
    let disk = RealDisk;
    for name in disk.list(&blobs).unwrap_or_default() {
        // sled may remove one meanwhile that it needs no more.
        match disk.open(&blobs.join(name)) {
            Ok(file) => file.sync()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    disk.open(&dir.join("db"))?.sync()?;
    if disk.list(&blobs).is_ok() {
        disk.sync_dir(&blobs)?;
    }
    disk.sync_dir(dir)
}

impl SledCatalog {
    /// Opens the catalog in `dir`, created if it is not there.
    ///
    /// # Errors
    /// `Unavailable`: sled cannot open it, in its own words.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self { dir: dir.to_owned(), open: Mutex::new(Some(open_db(dir)?)) })
    }

    /// Does `work` on the open database; one that fails is closed.
    fn with<T>(&self, verb: &'static str, work: impl Fn(&sled::Db) -> sled::Result<T>) -> Result<T> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let db = match open.take() {
            Some(db) => db,
            None => open_db(&self.dir)?,
        };
        let done = catch_unwind(AssertUnwindSafe(|| work(&db)));
        match done {
            Ok(Ok(done)) => {
                *open = Some(db);
                Ok(done)
            }
            Ok(Err(error)) => Err(failed(verb, &error)),
            Err(_) => Err(Error::Catalog { verb, cause: "sled panicked; it is opened again".to_owned() }),
        }
    }

    /// Opens a pool's catalog in the folder `catalog` inside the pool's.
    #[must_use]
    pub fn opener() -> crate::tablet::pool::CatalogOpener {
        Box::new(|dir| Ok(Arc::new(Self::open(&dir.join("catalog"))?)))
    }
}

impl Catalog for SledCatalog {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.with("get", |db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.with("scan", |db| {
            db.scan_prefix(prefix).map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
        })
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        self.with("commit", |db| {
            let mut batch = sled::Batch::default();
            for change in changes {
                match change {
                    Change::Put { key, value } => batch.insert(&key[..], &value[..]),
                    Change::Remove { key } => batch.remove(&key[..]),
                }
            }
            db.apply_batch(batch)?;
            db.flush()?;
            // sled asks the system to write its pages out, but neither the file's length nor the device's cache: it is not yet
            // durable. What it has written is synced here.
            Ok(sync_files(&self.dir)?)
        })
    }
}
