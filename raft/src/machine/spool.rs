//! Where the files of a snapshot arrive, piece by piece. A transfer that was cut goes on where it ended, and one that begins
//! again with a newer listing finds the files it shares with the earlier one. Whether the bytes are right is checked when they
//! are imported; a file that is not is thrown away then.

use crate::error::Result;
use crate::log::io;
use crate::planted::{self, Planted};
use engine::checkpoint::export::LISTING_NAME;
use engine::checkpoint::listing::{ListedFile, UnverifiedListing};
use engine::disk::{Disk, atomic, create_dir_durably};
use engine::ids::TableId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The suffix of a file that is not whole yet.
const PART_SUFFIX: &str = ".part";
/// The suffix of a whole one.
const WHOLE_SUFFIX: &str = ".dpb";
/// The listing of the snapshot that was installed last. It proves at a start why the log may know of less.
const INSTALLED_NAME: &str = "installed";

/// The folder in which one group's snapshots arrive.
pub struct Spool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// By file: bytes that are there, and bytes there should be.
    parts: Mutex<BTreeMap<TableId, (u64, u64)>>,
}

/// A piece that is not wanted: how far the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotWanted {
    /// The next byte that is.
    pub at: u64,
}

impl Spool {
    /// The spool in `dir`, which is this group's alone.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, parts: Mutex::default() }
    }

    /// Where the files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<TableId, (u64, u64)>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, id: TableId) -> PathBuf {
        self.dir.join(format!("{id}{WHOLE_SUFFIX}{PART_SUFFIX}"))
    }

    fn whole(&self, id: TableId) -> PathBuf {
        self.dir.join(format!("{id}{WHOLE_SUFFIX}"))
    }

    /// Begins a transfer, or goes on with one: which files are wanted, from which byte on. `present` are those that need not
    /// come at all. What is in the spool for no file of the listing is removed.
    ///
    /// # Errors
    /// `Damaged`: the listing cannot be read. `Unavailable`: disk.
    pub fn offer(&self, listing: &[u8], present: &BTreeSet<TableId>) -> Result<Vec<(TableId, u64)>> {
        let listed = UnverifiedListing::decode(listing)?;
        create_dir_durably(&*self.disk, &self.dir)?;
        let files: BTreeMap<String, &ListedFile> =
            listed.files.iter().map(|file| (format!("{}{WHOLE_SUFFIX}", file.id), file)).collect();
        let names = self.disk.list(&self.dir).map_err(|error| io("list", &self.dir, error))?;
        let is_listed =
            |name: &String| name == INSTALLED_NAME || files.contains_key(name.trim_end_matches(PART_SUFFIX));
        for name in names.iter().filter(|name| !is_listed(name)) {
            let path = self.dir.join(name);
            self.disk.remove(&path).map_err(|error| io("remove", &path, error))?;
        }
        let mut wanted = Vec::new();
        let mut parts = self.parts();
        parts.clear();
        for file in listed.files.iter().filter(|file| !present.contains(&file.id)) {
            if self.length(&self.whole(file.id))? == Some(file.bytes) {
                continue;
            }
            let have = self.length(&self.part(file.id))?.filter(|have| *have <= file.bytes).unwrap_or(0);
            parts.insert(file.id, (have, file.bytes));
            wanted.push((file.id, have));
        }
        if planted::is(Planted::DropSnapshotFile)
            && let Some((id, _)) = wanted.pop()
        {
            parts.remove(&id);
        }
        drop(parts);
        wanted.iter().try_for_each(|(id, _)| self.finish_file(*id))?;
        wanted.retain(|(id, _)| self.parts().contains_key(id));
        Ok(wanted)
    }

    fn length(&self, path: &Path) -> Result<Option<u64>> {
        match self.disk.open(path) {
            Ok(file) => Ok(Some(file.len().map_err(|error| io("measure", path, error))?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("open", path, error).into()),
        }
    }

    /// Writes a piece of a file. Pieces come in order; one that does not is not taken.
    ///
    /// # Errors
    /// `Unavailable`: disk. The inner one: the piece is not the next, or the file is not wanted.
    pub fn write(&self, id: TableId, at: u64, bytes: &[u8]) -> Result<std::result::Result<(), NotWanted>> {
        let Some((have, whole)) = self.parts().get(&id).copied() else { return Ok(Err(NotWanted { at: 0 })) };
        if at != have || have + bytes.len() as u64 > whole {
            return Ok(Err(NotWanted { at: have }));
        }
        let path = self.part(id);
        let opened = if have == 0 { self.anew(&path) } else { self.disk.open(&path) };
        let file = opened.map_err(|error| io("open", &path, error))?;
        file.write_all_at(bytes, at).map_err(|error| io("write", &path, error))?;
        self.parts().insert(id, (have + bytes.len() as u64, whole));
        self.finish_file(id)?;
        Ok(Ok(()))
    }

    fn anew(&self, path: &Path) -> std::io::Result<Arc<dyn engine::disk::DiskFile>> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => self.disk.create(path),
        }
    }

    /// Gives a file its name once it is whole and synced.
    fn finish_file(&self, id: TableId) -> Result<()> {
        let mut parts = self.parts();
        let Some((have, whole)) = parts.get(&id).copied() else { return Ok(()) };
        if have < whole {
            return Ok(());
        }
        let (part, name) = (self.part(id), self.whole(id));
        let file = self.disk.open(&part).map_err(|error| io("open", &part, error))?;
        file.sync().map_err(|error| io("sync", &part, error))?;
        self.disk.rename(&part, &name).map_err(|error| io("rename", &part, error))?;
        parts.remove(&id);
        Ok(())
    }

    /// Closes a transfer: nothing is missing, and the listing stands beside the files.
    ///
    /// # Errors
    /// `Damaged`: a file is missing still. `Unavailable`: disk.
    pub fn finish(&self, listing: &[u8]) -> Result<()> {
        if let Some((id, (have, whole))) = self.parts().first_key_value() {
            let damage =
                engine::Damage::of(engine::Nature::Missing, "a file of a snapshot has not come whole");
            return Err(damage.at(format!("{id}, {have} of {whole} bytes")).into());
        }
        self.disk.sync_dir(&self.dir).map_err(|error| io("sync folder", &self.dir, error))?;
        atomic::replace(&*self.disk, &self.dir, LISTING_NAME, listing)
            .map_err(|error| io("write listing in", &self.dir, error).into())
    }

    /// The listing of the transfer that was closed.
    ///
    /// # Errors
    /// `Damaged`: it is not there, or longer than any is. `Unavailable`: disk.
    pub fn listing(&self) -> Result<Vec<u8>> {
        self.read(LISTING_NAME)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.dir.join(name);
        let missing = |detail| engine::Damage::of(engine::Nature::Missing, detail).at(path.display());
        let length = self.length(&path)?.ok_or_else(|| missing("no transfer was closed"))?;
        if length > engine::limits::LISTING_BYTES_MAX {
            return Err(missing("no listing is so long").into());
        }
        let file = self.disk.open(&path).map_err(|error| io("open", &path, error))?;
        let mut listing = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut listing, 0).map_err(|error| io("read", &path, error))?;
        Ok(listing)
    }

    /// The listings of the snapshot that was installed last, and of one that is to be: those that can be read.
    #[must_use]
    pub fn listings(&self) -> Vec<Vec<u8>> {
        [INSTALLED_NAME, LISTING_NAME].iter().filter_map(|name| self.read(name).ok()).collect()
    }

    /// What is here has been installed: of it only the listing stays.
    ///
    /// # Errors
    /// `Unavailable`: disk.
    pub fn installed(&self) -> Result<()> {
        let (from, to) = (self.dir.join(LISTING_NAME), self.dir.join(INSTALLED_NAME));
        match self.disk.rename(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("rename", &from, error).into());
            }
            _ => {}
        }
        self.clear()
    }

    /// Throws away what has come and is not installed.
    ///
    /// # Errors
    /// `Unavailable`: disk.
    pub fn clear(&self) -> Result<()> {
        self.parts().clear();
        let names = match self.disk.list(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| io("list", &self.dir, error))?,
        };
        for name in names.iter().filter(|name| *name != INSTALLED_NAME) {
            let path = self.dir.join(name);
            self.disk.remove(&path).map_err(|error| io("remove", &path, error))?;
        }
        Ok(())
    }
}
