//! Changes bytes in a file of a node that is stopped, where there is something to change.

use crate::seed::Dice;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A place counts as used if so many bytes around it are not all zeros.
const AROUND_BYTES: u64 = 64;
/// Places that are tried.
const TRIES_MAX: u32 = 2_000;

/// Bytes that were changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotted {
    /// In which file.
    pub file: PathBuf,
    /// From where on.
    pub offset: u64,
    /// How many.
    pub bytes: usize,
}

/// Flips bits of one to eight bytes in some file of `folder`; each kind of file as often as another. Nothing, if no file holds anything.
///
/// # Errors
/// What the system says.
pub fn rot(folder: &Path, dice: &mut Dice) -> io::Result<Option<Rotted>> {
    let kinds = ["log", "pool", "catalog"].map(|kind| files(folder, kind));
    for _ in 0..TRIES_MAX {
        let kind = kinds[dice.below(kinds.len() as u64) as usize]
            .as_ref()
            .map_err(|error| io::Error::from(error.kind()))?;
        let Some(path) = dice.pick(kind).cloned() else { continue };
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        let offset = dice.below(length);
        let from = offset.saturating_sub(AROUND_BYTES / 2);
        let mut around = vec![0; usize::try_from(AROUND_BYTES.min(length - from)).unwrap_or(0)];
        file.read_exact_at(&mut around, from)?;
        if around.iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut bytes = vec![0; usize::try_from((1 + dice.below(8)).min(length - offset)).unwrap_or(0)];
        file.read_exact_at(&mut bytes, offset)?;
        bytes.iter_mut().for_each(|byte| *byte ^= 1 + dice.below(255) as u8);
        file.write_all_at(&bytes, offset)?;
        file.sync_data()?;
        return Ok(Some(Rotted { file: path, offset, bytes: bytes.len() }));
    }
    Ok(None)
}

/// The files of one kind: of the log, the tables, or the catalog in the pool.
fn files(folder: &Path, kind: &str) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (vec![], vec![folder.to_owned()]);
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(&inside)? {
            let path = entry?.path();
            let parts = path.strip_prefix(folder).unwrap_or(&path);
            let begins = |name: &str| parts.components().any(|part| part.as_os_str() == name);
            let is_of = match kind {
                "pool" => begins("pool") && !begins("catalog"),
                kind => begins(kind),
            };
            if path.is_dir() {
                folders.push(path);
            } else if is_of && path.metadata()?.len() > 0 && !path.ends_with("LOCK") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn used_bytes_of_some_file_change_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["log/a", "pool/t/b", "pool/catalog/db"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [vec![0; 5_000], b"used".repeat(100)].concat()).unwrap();
        }
        let before = |path: &Path| [vec![0; 5_000], b"used".repeat(100)].concat() == fs::read(path).unwrap();
        let mut files = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let rotted = rot(dir.path(), &mut Dice::new(Seed(seed), "rot")).unwrap().unwrap();
            assert!(!before(&rotted.file) && rotted.offset > 4_900, "{rotted:?}");
            fs::write(&rotted.file, [vec![0; 5_000], b"used".repeat(100)].concat()).unwrap();
            files.insert(rotted.file);
        }
        assert_eq!(files.len(), 3);
    }

    #[test]
    fn where_nothing_is_nothing_rots() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("log"), [0; 100]).unwrap();
        assert_eq!(rot(dir.path(), &mut Dice::new(Seed(1), "rot")).unwrap(), None);
    }
}
