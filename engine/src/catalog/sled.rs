//! The catalog on sled. The only file that knows sled.

use super::recent::Recent;
use super::{Catalog, Change};
use crate::disk::{Disk, RealDisk, anew};
use crate::error::{Error, Result};
use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of sled's own cache: manifests are read once, at start.
const CACHE_BYTES: u64 = 8 << 20;
/// How often, and after which pause, a database that is still locked is tried again.
const LOCKED_TRIES_MAX: u32 = 300;
const LOCKED_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// A catalog in a folder, kept by sled.
///
/// After an I/O error sled answers every later call with that error. It is closed then, and the next call opens it again,
/// so that a full disk stops the catalog only for as long as it is full. What sled then recovers must hold the last commit that
/// was acknowledged; as long as it does not, every call is refused.
pub struct SledCatalog {
    dir: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// `None` after an error.
    open: Option<sled::Db>,
    recent: Recent,
}

fn failed(verb: &'static str, error: &sled::Error) -> Error {
    Error::Catalog { verb, cause: error.to_string() }
}

/// Does `work`, and turns what sled reports or panics of into an error.
fn guarded<T>(verb: &'static str, work: impl Fn() -> sled::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| failed(verb, &error)),
        Err(_) => Err(Error::Catalog { verb, cause: "sled panicked; it is opened again".to_owned() }),
    }
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

/// Removes snapshots of sled's recovery that it began and did not end, for a full disk or a crash. It would take such a file for
/// one that it had finished, and refuse to open. Nothing is lost: what a snapshot holds is in the log too.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    let names = match RealDisk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names?,
    };
    let is_unfinished = |name: &&String| name.starts_with("snap.") && name.ends_with(".generating");
    names.iter().filter(is_unfinished).try_for_each(|name| RealDisk.remove(&dir.join(name)))
}

fn try_open_db(dir: &Path) -> Result<sled::Db> {
    remove_unfinished_snapshots(dir).map_err(|error| failed("clear", &error.into()))?;
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    // sled asserts on some kinds of damage. What it read is of no use then, and nothing of it is kept.
    let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
    let opened = opened.map_err(|_| {
        let cause = "the files are damaged beyond what sled can tell".to_owned();
        Error::Catalog { verb: "open", cause }
    })?;
    let db = opened.map_err(|error| failed("open", &error))?;
    sync_settings(dir).map_err(|error| failed("sync", &error.into()))?;
    Ok(db)
}

/// Makes the file of sled's own settings durable: sled writes it once, never syncs it, and does not open with one whose bytes a loss of
/// power has taken.
fn sync_settings(dir: &Path) -> io::Result<()> {
    RealDisk.open(&dir.join("conf"))?.sync()?;
    RealDisk.sync_dir(dir)
}

/// Makes sled's files in `dir` durable, and those it puts large rows into, with their names.
fn sync_files(dir: &Path) -> io::Result<()> {
    let blobs = dir.join("blobs");
    let disk = RealDisk;
    let names = match disk.list(&blobs) {
        Ok(names) => Some(names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    for name in names.iter().flatten() {
        // sled may remove one meanwhile that it needs no more.
        match disk.open(&blobs.join(name)) {
            Ok(file) => file.sync()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    disk.open(&dir.join("db"))?.sync()?;
    if names.is_some() {
        disk.sync_dir(&blobs)?;
    }
    disk.sync_dir(dir)
}

/// Writes sled's files anew after an error: what it believed to be synced may not have been.
fn write_anew(dir: &Path) -> io::Result<()> {
    let blobs = dir.join("blobs");
    // sled's lock is on this one: once it can be had, nobody writes to the others either.
    anew::write_anew(&dir.join("db"))?;
    for name in RealDisk.list(&blobs).unwrap_or_default() {
        anew::write_anew(&blobs.join(name))?;
    }
    sync_files(dir)
}

impl SledCatalog {
    /// Opens the catalog in `dir`, created if it is not there.
    ///
    /// # Errors
    /// `Unavailable`: sled cannot open it, in its own words.
    pub fn open(dir: &Path) -> Result<Self> {
        let state = State { open: Some(open_db(dir)?), recent: Recent::default() };
        Ok(Self { dir: dir.to_owned(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the database again, if it is as it was left.
    fn open_again(&self, state: &mut State) -> Result<sled::Db> {
        write_anew(&self.dir).map_err(|error| failed("write anew", &error.into()))?;
        let db = open_db(&self.dir)?;
        let get = |key: &[u8]| guarded("get", || Ok(db.get(key)?.map(|value| value.to_vec())));
        if !state.recent.is_kept(get)? {
            return Err(Error::CatalogWentBack { path: self.dir.clone() });
        }
        Ok(db)
    }

    /// Does `work` on the open database; one that fails is closed.
    fn with<T>(
        &self,
        state: &mut State,
        verb: &'static str,
        work: impl Fn(&sled::Db) -> sled::Result<T>,
    ) -> Result<T> {
        let db = match state.open.take() {
            Some(db) => db,
            None => self.open_again(state)?,
        };
        let done = guarded(verb, || work(&db))?;
        state.open = Some(db);
        Ok(done)
    }

    /// Opens a pool's catalog in the folder `catalog` inside the pool's.
    #[must_use]
    pub fn opener() -> crate::tablet::pool::CatalogOpener {
        Box::new(|dir| Ok(Arc::new(Self::open(&dir.join("catalog"))?)))
    }
}

impl Catalog for SledCatalog {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.with(&mut self.state(), "get", |db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.with(&mut self.state(), "scan", |db| {
            db.scan_prefix(prefix).map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
        })
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        let mut state = self.state();
        let has_begun = Cell::new(false);
        let committed = self.with(&mut state, "commit", |db| {
            has_begun.set(true);
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
        });
        match &committed {
            Ok(()) => state.recent.acknowledged(changes),
            Err(_) if has_begun.get() => state.recent.failed(changes),
            Err(_) => {}
        }
        committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &[u8], value: &[u8]) -> Change {
        Change::Put { key: key.to_vec(), value: value.to_vec() }
    }

    /// What an I/O error leaves: a closed database.
    fn break_off(catalog: &SledCatalog) {
        let broken = catalog.with(&mut catalog.state(), "get", |_| -> sled::Result<()> {
            Err(sled::Error::Unsupported("a broken disk".to_owned()))
        });
        assert!(matches!(broken, Err(Error::Catalog { .. })));
        assert!(catalog.state().open.is_none());
    }

    #[test]
    fn after_an_error_the_catalog_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = SledCatalog::open(dir.path()).unwrap();
        catalog.commit(&[put(b"a", b"1")]).unwrap();
        break_off(&catalog);
        assert_eq!(catalog.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
        break_off(&catalog);
        catalog.commit(&[put(b"a", b"2")]).unwrap();
        break_off(&catalog);
        assert_eq!(catalog.scan(b"").unwrap(), [(b"a".to_vec(), b"2".to_vec())]);
    }

    #[test]
    fn a_snapshot_that_sled_did_not_finish_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = SledCatalog::open(dir.path()).unwrap();
        for n in 0..200_u32 {
            catalog.commit(&[put(&n.to_be_bytes(), &[7; 5_000])]).unwrap();
        }
        break_off(&catalog);
        for bytes in [&b""[..], b"half of a snapshot"] {
            let unfinished = RealDisk.create(&dir.path().join("snap.00000000000FFFFF.generating")).unwrap();
            unfinished.write_all_at(bytes, 0).unwrap();
            assert_eq!(catalog.scan(b"").unwrap().len(), 200);
            break_off(&catalog);
        }
    }

    #[test]
    fn a_catalog_that_went_back_refuses_every_call() {
        let dir = tempfile::tempdir().unwrap();
        let (here, older) = (dir.path().join("here"), dir.path().join("older"));
        // The folder as it was after the first commit.
        SledCatalog::open(&older).unwrap().commit(&[put(b"a", b"1")]).unwrap();
        let mut catalog = SledCatalog::open(&here).unwrap();
        catalog.commit(&[put(b"a", b"1")]).unwrap();
        catalog.commit(&[put(b"b", b"1")]).unwrap();
        break_off(&catalog);
        catalog.dir = older.clone();
        for _ in 0..2 {
            let refused = catalog.get(b"a").unwrap_err();
            assert!(matches!(&refused, Error::CatalogWentBack { path } if *path == older), "{refused}");
            assert!(matches!(catalog.scan(b""), Err(Error::CatalogWentBack { .. })));
            assert!(matches!(catalog.commit(&[put(b"b", b"1")]), Err(Error::CatalogWentBack { .. })));
        }
        catalog.dir = here;
        assert_eq!(catalog.scan(b"").unwrap().len(), 2, "and as it was left it goes on");
    }
}
