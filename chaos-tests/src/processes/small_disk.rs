//! A small file system of its own for the folder of a node, where this process may mount one; and something that fills it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room for a node of a test: its log begins with two segments of 32 MiB.
const SIZE: &str = "size=320m";
/// What lies in the way.
const BALLAST: &str = "ballast";
const PIECE_BYTES: usize = 1 << 20;

/// A file system that ends with this.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at `folder`, which is made.
    ///
    /// # Errors
    /// Why that cannot be done here, for people.
    pub fn mount(folder: &Path) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(folder);
        let output = command.output().map_err(|error| format!("mount: {error}"))?;
        if output.status.success() {
            return Ok(Self(folder.to_owned()));
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// Something else than that it is full.
    pub fn fill(&self) -> io::Result<u64> {
        let (mut file, piece) = (File::create(self.0.join(BALLAST))?, vec![0xaa; PIECE_BYTES]);
        let mut bytes = 0;
        loop {
            match file.write(&piece) {
                Ok(more) if more > 0 => bytes += more as u64,
                Ok(_) => return Ok(bytes),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(bytes),
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes room again.
    ///
    /// # Errors
    /// What the system says.
    pub fn empty(&self) -> io::Result<()> {
        fs::remove_file(self.0.join(BALLAST))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
