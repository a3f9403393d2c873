//! A disk in memory that forgets what was not synced, tears writes, flips bits, fills up and fails. One seed, one history.
//!
//! Every file has the bytes a reader sees and the bytes a crash leaves. A crash decides, sector by sector of 512 bytes and by the
//! seed, which unsynced bytes reached the platter. Unsynced names of a folder survive as a prefix of the order in which
//! they were made, as journalling file systems have it. Handles opened before a crash are dead after it.

use super::inode::{Inode, SECTOR};
use super::{DirLock, Disk, DiskFile};
use crate::entropy::{Entropy, Seeded};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A simulated disk. Clones are handles of the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<World>>);

#[derive(Clone)]
enum NameChange {
    Link { path: PathBuf, inode: u64 },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
}

/// What goes wrong, and when. Operations are numbered from 1 by [`SimDisk::operations`].
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The disk crashes instead of doing this operation.
    pub crash_at: Option<u64>,
    /// This operation fails with an I/O error.
    pub fail_at: BTreeSet<u64>,
    /// Every operation that writes fails with an I/O error.
    pub fail_writes: bool,
    /// Every sync fails with an I/O error.
    pub fail_syncs: bool,
    /// Bytes of room that all files together may take: holes take none.
    pub capacity_bytes: Option<u64>,
}

struct World {
    random: Arc<Seeded>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    inodes: BTreeMap<u64, Inode>,
    locks: BTreeMap<PathBuf, String>,
    next_inode: u64,
    /// Raised by a crash: handles of an older life are dead.
    life: u64,
    is_down: bool,
    operations: u64,
    faults: Faults,
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    life: u64,
    _holder: Arc<()>,
}

struct SimLock {
    disk: SimDisk,
    dir: PathBuf,
    life: u64,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.life == self.life {
            world.locks.remove(&self.dir);
        }
    }
}

fn failed(what: &'static str) -> io::Error {
    io::Error::other(what)
}

fn absent() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "no such file")
}

impl World {
    /// Counts an operation and lets it fail or crash if the plan says so.
    fn charge(&mut self) -> io::Result<()> {
        if self.is_down {
            return Err(failed("simulated crash"));
        }
        self.operations += 1;
        if self.faults.crash_at == Some(self.operations) {
            self.crash();
            return Err(failed("simulated crash"));
        }
        if self.faults.fail_at.contains(&self.operations) {
            return Err(failed("simulated I/O error"));
        }
        Ok(())
    }

    fn charge_write(&mut self, growth: u64) -> io::Result<()> {
        self.charge()?;
        if self.faults.fail_writes {
            return Err(failed("simulated I/O error"));
        }
        let is_over = |capacity| growth > 0 && self.bytes_named() + growth > capacity;
        let is_full = self.faults.capacity_bytes.is_some_and(is_over);
        if is_full { Err(io::Error::new(ErrorKind::StorageFull, "simulated full disk")) } else { Ok(()) }
    }

    /// What no name leads to takes no room, as on a disk whose handles are closed.
    fn bytes_named(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        named.iter().map(|id| self.inodes[id].room()).sum()
    }

    fn chance(&self, one_in: usize) -> bool {
        self.pick(one_in) == 0
    }

    fn pick(&self, below: usize) -> usize {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % (below as u64).max(1)).unwrap_or(0)
    }

    fn crash(&mut self) {
        self.is_down = true;
        self.life += 1;
        self.locks.clear();
        for id in self.inodes.keys().copied().collect::<Vec<_>>() {
            let inode = &self.inodes[&id];
            let mut after = inode.durable.clone();
            // The length may or may not have reached the disk with the sectors.
            let (now, dirty) = (inode.now.clone(), inode.dirty.clone());
            if now.len() < after.len() && self.chance(2) {
                after.truncate(now.len());
            }
            for sector in dirty {
                self.tear_sector(&mut after, &now, sector);
            }
            let inode = self.inodes.get_mut(&id).expect("an inode just listed");
            *inode = inode.crashed(after);
        }
        let kept = self.pick(self.pending.len() + 1);
        let changes: Vec<_> = std::mem::take(&mut self.pending).into_iter().take(kept).collect();
        changes.iter().for_each(|change| apply(&mut self.durable_names, change));
        self.names = self.durable_names.clone();
        self.drop_unnamed();
    }

    /// Lets an unsynced sector reach the platter whole, in part, or not at all.
    fn tear_sector(&self, after: &mut Vec<u8>, now: &[u8], sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(now.len());
        if start >= end {
            return;
        }
        let kept = match self.pick(4) {
            0 => self.pick(end - start),
            1 | 2 => end - start,
            _ => 0,
        };
        if kept > 0 {
            if after.len() < start + kept {
                after.resize(start + kept, 0);
            }
            after[start..start + kept].copy_from_slice(&now[start..start + kept]);
        }
    }

    /// Inodes that no name leads to and no handle can reach are gone.
    fn drop_unnamed(&mut self) {
        let linked = self.pending.iter().filter_map(|change| match change {
            NameChange::Link { inode, .. } => Some(inode),
            NameChange::Unlink { .. } | NameChange::Rename { .. } => None,
        });
        let names = self.names.values().chain(self.durable_names.values());
        let named: BTreeSet<u64> = names.chain(linked).copied().collect();
        self.inodes.retain(|id, inode| named.contains(id) || inode.is_needed());
    }

    fn live(&mut self, life: u64, inode: u64) -> io::Result<&mut Inode> {
        if self.life != life {
            return Err(failed("simulated crash"));
        }
        self.inodes.get_mut(&inode).ok_or_else(absent)
    }

    fn has_dir(&self, path: &Path) -> bool {
        path.parent().is_none_or(|dir| self.dirs.contains(dir))
    }

    fn change_names(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Link { path, inode } => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Unlink { path } => {
            names.remove(path);
        }
        NameChange::Rename { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

impl NameChange {
    fn is_in(&self, dir: &Path) -> bool {
        let path = match self {
            Self::Link { path, .. } | Self::Unlink { path } => path,
            Self::Rename { to, .. } => to,
        };
        path.parent() == Some(dir)
    }
}

impl SimDisk {
    /// An empty disk whose accidents follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World {
            random: Arc::new(Seeded::new(seed)),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            dirs: BTreeSet::new(),
            inodes: BTreeMap::new(),
            locks: BTreeMap::new(),
            next_inode: 0,
            life: 0,
            is_down: false,
            operations: 0,
            faults: Faults::default(),
        };
        Self(Arc::new(Mutex::new(world)))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// Operations done since the disk was made.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Counts an operation of something else that shares this disk's fate, such as an in-memory catalog.
    ///
    /// # Errors
    /// As the plan of faults says.
    pub fn charge(&self) -> io::Result<()> {
        self.world().charge_write(0)
    }

    /// A coin of the disk's own randomness.
    #[must_use]
    pub fn toss(&self) -> bool {
        self.world().chance(2)
    }

    /// Cuts the power.
    pub fn crash(&self) {
        let mut world = self.world();
        if !world.is_down {
            world.crash();
        }
    }

    /// Whether it has crashed and not been restarted.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.world().is_down
    }

    /// Lets the disk work again after a crash, without faults.
    pub fn restart(&self) {
        let mut world = self.world();
        world.is_down = false;
        world.faults = Faults::default();
    }

    /// A disk with the same content and its own fate: a cloned machine, or a picture to put back later.
    #[must_use]
    pub fn clone_disk(&self, seed: u64) -> Self {
        let world = self.world();
        let copy = World {
            random: Arc::new(Seeded::new(seed)),
            names: world.names.clone(),
            durable_names: world.durable_names.clone(),
            pending: world.pending.clone(),
            dirs: world.dirs.clone(),
            inodes: world.inodes.iter().map(|(id, inode)| (*id, inode.apart())).collect(),
            locks: BTreeMap::new(),
            next_inode: world.next_inode,
            life: world.life + 1,
            is_down: false,
            operations: world.operations,
            faults: Faults::default(),
        };
        Self(Arc::new(Mutex::new(copy)))
    }

    /// Every file with its content.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let world = self.world();
        world.names.iter().map(|(path, id)| (path.clone(), world.inodes[id].now.clone())).collect()
    }

    /// Bytes of room that all files take, those without a name that somebody has open too.
    #[must_use]
    pub fn bytes_held(&self) -> u64 {
        self.world().inodes.values().map(Inode::room).sum()
    }

    /// Bytes of room that all files with a name take: what [`Faults::capacity_bytes`] bounds.
    #[must_use]
    pub fn bytes_taken(&self) -> u64 {
        self.world().bytes_named()
    }

    /// Changes a file's bytes behind everybody's back, durably: bit rot, or somebody's hand.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut world = self.world();
        let id = *world.names.get(path).ok_or_else(absent)?;
        let inode = world.inodes.get_mut(&id).ok_or_else(absent)?;
        change(&mut inode.now);
        inode.holes.clear();
        inode.durable = inode.now.clone();
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.charge_write(1)?;
        if !world.has_dir(path) {
            return Err(absent());
        }
        if world.names.contains_key(path) {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "the file exists"));
        }
        world.next_inode += 1;
        let (inode, life) = (world.next_inode, world.life);
        let made = world.inodes.entry(inode).or_default();
        let holder = made.holders.clone();
        world.change_names(NameChange::Link { path: path.to_owned(), inode });
        Ok(Arc::new(SimFile { disk: self.clone(), inode, life, _holder: holder }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.charge()?;
        let inode = *world.names.get(path).ok_or_else(absent)?;
        let holder = world.inodes.get(&inode).ok_or_else(absent)?.holders.clone();
        Ok(Arc::new(SimFile { disk: self.clone(), inode, life: world.life, _holder: holder }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.charge()?;
        if !world.names.contains_key(path) {
            return Err(absent());
        }
        world.change_names(NameChange::Unlink { path: path.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.charge()?;
        if !world.names.contains_key(from) || !world.has_dir(to) {
            return Err(absent());
        }
        world.change_names(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut world = self.world();
        world.charge()?;
        if !world.dirs.contains(dir) {
            return Err(absent());
        }
        let inside = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.charge()?;
        // Folders are durable at once: nothing here depends on losing one.
        world.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.charge()?;
        if world.faults.fail_syncs {
            return Err(failed("simulated I/O error"));
        }
        let (here, elsewhere) =
            std::mem::take(&mut world.pending).into_iter().partition(|change| change.is_in(dir));
        world.pending = elsewhere;
        let here: Vec<NameChange> = here;
        here.iter().for_each(|change| apply(&mut world.durable_names, change));
        world.drop_unnamed();
        Ok(())
    }

    fn lock(&self, dir: &Path, holder: &str) -> io::Result<Box<dyn DirLock>> {
        let mut world = self.world();
        world.charge()?;
        if let Some(other) = world.locks.get(dir) {
            return Err(io::Error::new(ErrorKind::WouldBlock, other.clone()));
        }
        world.locks.insert(dir.to_owned(), holder.to_owned());
        Ok(Box::new(SimLock { disk: self.clone(), dir: dir.to_owned(), life: world.life }))
    }
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        world.charge()?;
        let inode = world.live(self.life, self.inode)?;
        let start = usize::try_from(offset).map_err(|_| failed("offset"))?;
        let bytes = start.checked_add(out.len()).and_then(|end| inode.now.get(start..end));
        out.copy_from_slice(bytes.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        let start = usize::try_from(offset).map_err(|_| failed("offset"))?;
        let end = start + bytes.len();
        let growth = world.live(self.life, self.inode)?.growth(start, end);
        let done = world.charge_write(growth);
        // A write that fails has written a part.
        let written = if done.is_ok() { bytes.len() } else { world.pick(bytes.len() + 1) };
        let crashed = world.is_down;
        if !crashed && written > 0 {
            world.live(self.life, self.inode)?.write(&bytes[..written], start);
        }
        done
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        world.charge()?;
        let fails = world.faults.fail_syncs;
        let inode = world.live(self.life, self.inode)?;
        if fails || inode.is_spoiled {
            inode.is_spoiled = true;
            return Err(failed("simulated I/O error"));
        }
        inode.sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut world = self.disk.world();
        world.charge()?;
        Ok(world.live(self.life, self.inode)?.now.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        let length = usize::try_from(bytes).map_err(|_| failed("length"))?;
        world.live(self.life, self.inode)?;
        world.charge_write(0)?;
        world.live(self.life, self.inode)?.set_len(length);
        Ok(())
    }
}
