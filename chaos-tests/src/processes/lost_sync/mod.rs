//! Loss of power for real processes: what a node wrote and did not sync is gone when it starts again. A library that is loaded before
//! the C library (`hold.c`, compiled when a run begins) notes beside the folder of the node what stood there; when the process has
//! been stopped short, [`undo`] puts it back. Where no C compiler is, nothing is held, and the run says so.

pub mod undo;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HOLD: &str = include_str!("hold.c");

/// The library, as it was compiled here.
#[derive(Clone, Debug)]
pub struct Hold {
    library: PathBuf,
}

impl Hold {
    /// Compiles it into `folder`.
    ///
    /// # Errors
    /// Why it cannot be used here, for people.
    pub fn compile(folder: &Path) -> Result<Self, String> {
        let (source, library) = (folder.join("hold.c"), folder.join("hold.so"));
        fs::write(&source, HOLD).map_err(|error| error.to_string())?;
        let mut command = Command::new("cc");
        command
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .arg(&source)
            .args(["-ldl", "-lpthread"]);
        let output = command.output().map_err(|error| format!("cc: {error}"))?;
        if output.status.success() {
            return Ok(Self { library });
        }
        Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it failed")))
    }

    /// What a process needs in its environment, so that what it does below `data` is noted in `undo`.
    #[must_use]
    pub fn environment(&self, data: &Path, undo: &Path) -> Vec<(String, String)> {
        [("LD_PRELOAD", self.library.as_path()), ("CHAOS_HOLD_BELOW", data), ("CHAOS_HOLD_UNDO", undo)]
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .to_vec()
    }
}
