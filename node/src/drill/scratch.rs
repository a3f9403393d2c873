//! The scratch folder of drills: below the folder of the node, for as long as a drill goes on. What a crash leaves there goes at the next start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

fn root(node: &Path) -> PathBuf {
    node.join("drill")
}

/// A scratch folder. It goes with whoever holds it.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty one.
    ///
    /// # Errors
    /// Of the disk.
    pub fn new(node: &Path) -> io::Result<Self> {
        cleared(node)?;
        let path = root(node);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "what a drill has fetched is not removed: the next start does it");
        }
    }
}

/// Takes away what a crash has left.
///
/// # Errors
/// Of the disk.
pub fn cleared(node: &Path) -> io::Result<()> {
    match fs::remove_dir_all(root(node)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_of_a_drill_nor_of_one_that_was_cut_short() {
        let node = tempfile::tempdir().unwrap();
        cleared(node.path()).unwrap();
        let scratch = Scratch::new(node.path()).unwrap();
        fs::write(scratch.path().join("a"), b"x").unwrap();
        let path = scratch.path().to_owned();
        std::mem::forget(scratch);
        assert!(path.join("a").exists());
        let scratch = Scratch::new(node.path()).unwrap();
        assert!(!path.join("a").exists() && path.exists());
        drop(scratch);
        assert!(!path.exists());
    }
}
