//! Looks for readable bytes in every file of the nodes: secrets that were planted in keys and values, and data of customers.

use super::super::Failure;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// What to look for: none of it may be readable anywhere.
pub struct Canaries {
    needles: Vec<Vec<u8>>,
    longest: usize,
}

/// What a search has seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Files that were read to their end.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files with something readable.
    pub found: Vec<PathBuf>,
}

impl Canaries {
    /// Those to look for.
    pub fn new(needles: Vec<Vec<u8>>) -> Self {
        let longest = needles.iter().map(Vec::len).max().unwrap_or(0);
        Self { needles, longest }
    }

    /// Reads every file under `folder`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn search(&self, folder: &Path, into: &mut Searched) -> Result<(), Failure> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.search(&path, into)?;
                continue;
            }
            // A node that runs may have removed it meanwhile.
            let Ok(file) = File::open(&path) else { continue };
            let (bytes, is_found) = self.read(file)?;
            into.files += 1;
            into.bytes += bytes;
            if is_found {
                into.found.push(path);
            }
        }
        Ok(())
    }

    /// Reads to the end. What lies across two pieces is found as well.
    fn read(&self, mut from: impl Read) -> Result<(u64, bool), Failure> {
        let finders: Vec<_> = self.needles.iter().map(memchr::memmem::Finder::new).collect();
        let keep = self.longest.saturating_sub(1);
        let mut piece = vec![0; keep + PIECE];
        let (mut held, mut bytes, mut is_found) = (0, 0, false);
        loop {
            let more = from.read(&mut piece[held..])?;
            if more == 0 {
                return Ok((bytes, is_found));
            }
            bytes += more as u64;
            let filled = held + more;
            let seen = &piece[..filled];
            is_found |= finders.iter().any(|finder| finder.find(seen).is_some());
            let kept = keep.min(filled);
            piece.copy_within(filled - kept..filled, 0);
            held = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let step = self.1.min(self.0.len()).min(into.len());
            into[..step].copy_from_slice(&self.0[..step]);
            self.0 = &self.0[step..];
            Ok(step)
        }
    }

    #[test]
    fn nothing_hides_between_two_pieces() {
        let canaries = Canaries::new(vec![b"canary".to_vec(), b"x".repeat(9)]);
        let mut large = vec![b'c'; PIECE + 20];
        for at in [0, 1, PIECE - 3, PIECE, PIECE + 9] {
            large[at..at + 6].copy_from_slice(b"canary");
            assert_eq!(canaries.read(&large[..]).unwrap(), (large.len() as u64, true), "{at}");
            large[at..at + 6].fill(b'c');
        }
        assert!(!canaries.read(&large[..]).unwrap().1);
        for step in 1..12 {
            assert!(canaries.read(Slow(b"..canary.", step)).unwrap().1);
            assert!(!canaries.read(Slow(b"..canar.y", step)).unwrap().1);
        }
    }

    #[test]
    fn every_file_of_every_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/deep"), b"the canary").unwrap();
        std::fs::write(folder.path().join("flat"), b"sealed").unwrap();
        let mut searched = Searched::default();
        Canaries::new(vec![b"canary".to_vec()]).search(folder.path(), &mut searched).unwrap();
        let found = vec![folder.path().join("a/b/deep")];
        assert_eq!(searched, Searched { files: 2, bytes: 16, found });
    }
}
