//! The operating system's files, with every sync counted, and, if wanted, not waited for.

use crate::clock;
use ::engine::disk::{DirLock, Disk, DiskFile, RealDisk};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the files of a disk were asked for.
#[derive(Default)]
struct Counters {
    syncs: AtomicU64,
    bytes: AtomicU64,
    /// Milliseconds that a sync takes more.
    sync_ms_more: AtomicU64,
}

/// What the files of a disk were asked for, up to one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Syncs of files.
    pub syncs: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// The operating system's files, counted. Clones count together.
#[derive(Clone)]
pub struct CountingDisk {
    has_syncs: bool,
    counters: Arc<Counters>,
}

struct CountingFile {
    file: Arc<dyn DiskFile>,
    disk: CountingDisk,
}

impl CountingDisk {
    /// Files whose syncs reach the disk; without `has_syncs` they end at once, and bytes stay in the page cache.
    #[must_use]
    pub fn new(has_syncs: bool) -> Self {
        Self { has_syncs, counters: Arc::default() }
    }

    /// What was asked for so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let Counters { syncs, bytes, .. } = &*self.counters;
        Counted { syncs: syncs.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }

    /// From now on every sync takes `ms` milliseconds more.
    pub fn slow_down(&self, ms: u64) {
        self.counters.sync_ms_more.store(ms, Ordering::Relaxed);
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CountingFile { file, disk: self.clone() })
    }
}

impl DiskFile for CountingFile {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.counters.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(bytes, offset)
    }

    fn write_out(&self, offset: u64, bytes: u64) {
        self.file.write_out(offset, bytes);
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.counters.syncs.fetch_add(1, Ordering::Relaxed);
        match self.disk.counters.sync_ms_more.load(Ordering::Relaxed) {
            0 => {}
            ms => clock::rest(ms),
        }
        if self.disk.has_syncs { self.file.sync() } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}

impl Disk for CountingDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(RealDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(RealDisk.open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.has_syncs { RealDisk.sync_dir(dir) } else { Ok(()) }
    }

    fn lock(&self, dir: &Path, holder: &str) -> io::Result<Box<dyn DirLock>> {
        RealDisk.lock(dir, holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_and_bytes_are_counted_whether_they_reach_the_disk_or_not() {
        let dir = tempfile::tempdir().unwrap();
        for has_syncs in [true, false] {
            let disk = CountingDisk::new(has_syncs);
            let file = disk.create(&dir.path().join(has_syncs.to_string())).unwrap();
            file.write_all_at(&[7; 100], 0).unwrap();
            file.write_all_at(&[8; 11], 50).unwrap();
            file.sync().unwrap();
            assert_eq!(disk.counted(), Counted { syncs: 1, bytes: 111 });
            let mut out = [0; 2];
            file.read_exact_at(&mut out, 49).unwrap();
            assert_eq!(out, [7, 8]);
        }
    }
}
