//! Small files of a node. Each is written beside, synced and put in place, so that it is there whole or not at all. One that holds a secret
//! has mode 0600, and is not read if others may read it.

use super::{BootError, Result};
#[cfg(feature = "simulated")]
use crate::simulated::{self, world};
use engine::sealed::SecretBytes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

const SECRET_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const OTHERS: u32 = 0o077;

/// Makes a folder that its owner alone may enter, if it is not there.
///
/// # Errors
/// `Io`.
pub fn make_folder(path: &Path) -> Result<()> {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        return world.disk(path).create_dir(path).map_err(|error| BootError::io("make", path, error));
    }
    let made = fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path);
    made.map_err(|error| BootError::io("make", path, error))
}

/// Puts `bytes` in place of what is at `path`, readable by its owner alone.
///
/// # Errors
/// `Io`; what was there is there still.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        let replaced = simulated::replace(&*world.disk(path), path, bytes);
        return replaced.map_err(|error| BootError::io("write", path, error));
    }
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        // A rest of an earlier try may have another mode.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(SECRET_MODE).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| BootError::io("write", path, error))
}

/// Whether there is a file.
#[must_use]
pub fn exists(path: &Path) -> bool {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        return world.disk(path).open(path).is_ok();
    }
    path.exists()
}

/// Removes a file, durably; it is no error if there is none.
///
/// # Errors
/// `Io`.
pub fn remove(path: &Path) -> Result<()> {
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        let removed = simulated::remove(&*world.disk(path), path);
        return removed.map_err(|error| BootError::io("remove", path, error));
    }
    let remove = || -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    remove().map_err(|error| BootError::io("remove", path, error))
}

/// What a file holds, at most `max` bytes.
///
/// # Errors
/// `Io`. `TooLarge`.
pub fn read(path: &Path, max: u64) -> Result<SecretBytes> {
    read_checked(path, max, |_| Ok(()))
}

/// What a file that holds a secret holds, at most `max` bytes.
///
/// # Errors
/// `FileMode`: others may read it. `Io`. `TooLarge`.
pub fn read_secret(path: &Path, max: u64) -> Result<SecretBytes> {
    read_checked(path, max, |found| {
        let mode = found.mode() & 0o7777;
        if mode & OTHERS == 0 { Ok(()) } else { Err(BootError::FileMode { path: path.to_owned(), mode }) }
    })
}

fn read_checked(
    path: &Path,
    max: u64,
    allow: impl FnOnce(&fs::Metadata) -> Result<()>,
) -> Result<SecretBytes> {
    let failed = |error| BootError::io("read", path, error);
    #[cfg(feature = "simulated")]
    if let Some(world) = world() {
        return simulated::read(&*world.disk(path), path).map(SecretBytes::from).map_err(failed);
    }
    let file = File::open(path).map_err(failed)?;
    // Of the file that is open, not of whatever is at the path a moment later.
    let found = file.metadata().map_err(failed)?;
    allow(&found)?;
    if found.len() > max {
        return Err(BootError::TooLarge { path: path.to_owned(), bytes: found.len(), max });
    }
    let mut bytes =
        SecretBytes::from(Vec::with_capacity(usize::try_from(max.min(found.len() + 1)).unwrap_or(0)));
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    let length = bytes.len() as u64;
    if length > max {
        Err(BootError::TooLarge { path: path.to_owned(), bytes: length, max })
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/secret");
        make_folder(path.parent().unwrap()).unwrap();
        replace(&path, b"first").unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(&read_secret(&path, 6).unwrap()[..], b"second");
        assert!(matches!(read_secret(&path, 5), Err(BootError::TooLarge { bytes: 6, max: 5, .. })));
        assert!(matches!(read_secret(&folder.path().join("b"), 5), Err(BootError::Io { .. })));
        for mode in [0o640, 0o604, 0o610, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(read_secret(&path, 9), Err(BootError::FileMode { mode: found, .. }) if found == mode)
            );
            assert!(read(&path, 9).is_ok());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read_secret(&path, 9).is_ok());
    }

    #[test]
    fn a_rest_of_an_earlier_try_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(path.with_extension("new"), b"half").unwrap();
        replace(&path, b"whole").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
