//! Replacing a whole file so that a crash leaves the old content or the new, never a mixture.

use super::Disk;
use std::io;
use std::path::Path;

/// Gives the file `name` in `dir` the content `bytes`: written beside it, synced, renamed over it, name synced.
///
/// # Errors
/// What the disk says; the old content is still there then, or the new one, whole.
pub fn replace(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_long(disk, dir, name, bytes, bytes.len() as u64)
}

/// As [`replace`]; the file has `length` bytes, and behind `bytes` reads as zeros that nobody had to write.
///
/// # Errors
/// As [`replace`].
pub fn replace_long(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8], length: u64) -> io::Result<()> {
    let beside = dir.join(format!("{name}.new"));
    match disk.remove(&beside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = disk.create(&beside)?;
    file.write_all_at(bytes, 0)?;
    if length > bytes.len() as u64 {
        file.set_len(length)?;
    }
    file.sync()?;
    disk.rename(&beside, &dir.join(name))?;
    disk.sync_dir(dir)
}
