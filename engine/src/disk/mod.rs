//! The disk: all file access of the engine and of the log passes here.
//!
//! The contract, checked for every implementation by [`suite`]:
//! * a write is visible to reads at once, and durable only once `sync` of its file has returned;
//! * a new, renamed or removed name is durable only once `sync_dir` of its folder has returned;
//! * after a failed `sync` nothing is known of the bytes it covered: throw the file away;
//! * an operation that fails has either happened in part or not at all, and says so by its error.

pub mod anew;
pub mod atomic;
mod inode;
mod lock;
mod real;
pub mod sim;
pub mod suite;

pub use real::RealDisk;
pub use sim::SimDisk;

use crate::error::{Error, Result};
use std::io;
use std::path::Path;
use std::sync::Arc;

#[expect(
    clippy::len_without_is_empty,
    reason = "a length here may fail, and nobody asks only whether it is zero"
)]
/// An open file. All methods take `&self`: positions are arguments, so readers need no lock.
pub trait DiskFile: Send + Sync {
    /// Fills `out` from byte `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends earlier; else what the system says.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` from byte `offset` on, extending the file if need be (a hole reads as zeros).
    ///
    /// # Errors
    /// What the system says, `StorageFull` among it; part of the bytes may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Asks the system to begin writing out `bytes` bytes from `offset` on, so that `sync` finds less to wait for. A hint: makes
    /// nothing durable, and fails silently.
    fn write_out(&self, offset: u64, bytes: u64) {
        let _ = (offset, bytes);
    }

    /// Makes length and content durable.
    ///
    /// # Errors
    /// What the system says. Never try again on the same file: the system may have dropped the bytes.
    fn sync(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeros) the file to `bytes`.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}

/// A lock on a folder, held until dropped (or until the process ends).
pub trait DirLock: Send + Sync {}

/// Files and folders. Paths are whole, as the caller gave them.
pub trait Disk: Send + Sync {
    /// Creates a file that must not exist, for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` (no such folder), or what the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists, for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file. Open handles go on reading it.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing what has the name `to`.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Names in a folder, sorted.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a folder and those above it; no error if it is there.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a folder against other processes and other callers in this one. `holder` is what they will be told.
    ///
    /// # Errors
    /// `WouldBlock` with the other holder's words as the message, or what the system says.
    fn lock(&self, dir: &Path, holder: &str) -> io::Result<Box<dyn DirLock>>;
}

/// Creates a folder and those above it, and makes the names of all of them durable: that of the folder itself in any case, for
/// an earlier start may have ended before it was.
///
/// # Errors
/// `Unavailable`.
pub fn create_dir_durably(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let is_absent = |dir: &&Path| !dir.as_os_str().is_empty() && disk.list(dir).is_err();
    let absent = dir.ancestors().take_while(is_absent).count();
    disk.create_dir(dir).map_err(|error| Error::io("create folder", dir, error))?;
    for parent in dir.ancestors().skip(1).take(absent.max(1)) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match disk.sync_dir(parent) {
            // A folder that was there, and that we may not read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && absent == 0 => {}
            synced => synced.map_err(|error| Error::io("sync folder", parent, error))?,
        }
    }
    Ok(())
}

/// Locks a folder against everybody else.
///
/// # Errors
/// `InUse`, naming the holder; `Unavailable`.
pub fn take_lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DirLock>> {
    let holder = format!("process {}", std::process::id());
    disk.lock(dir, &holder).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => Error::InUse { path: dir.to_owned(), holder: source.to_string() },
        _ => Error::io("lock", dir, source),
    })
}

#[cfg(test)]
mod tests;
