//! A lock on a folder: a file that the operating system locks for this process, with a line that says who holds it.

use super::DirLock;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

/// Name of the file that is locked.
pub const LOCK_NAME: &str = "LOCK";

/// Held until dropped; the system lets go of it when the process ends, however it ends.
pub(super) struct RealLock(File);

impl DirLock for RealLock {}

impl RealLock {
    pub(super) fn take(dir: &Path, holder: &str) -> io::Result<Self> {
        let path = dir.join(LOCK_NAME);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                let words = fs::read_to_string(&path).unwrap_or_default();
                let words = if words.trim().is_empty() { "another process" } else { words.trim() };
                return Err(io::Error::new(io::ErrorKind::WouldBlock, words.to_owned()));
            }
        }
        file.set_len(0)?;
        file.write_all(holder.as_bytes())?;
        Ok(Self(file))
    }
}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing the file unlocks it too; an error here changes nothing.
        let _ = self.0.unlock();
    }
}
