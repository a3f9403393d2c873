//! Writing a file of the operating system anew, where it stands.
//!
//! After a failed sync the system may believe bytes to be written that are not, and the next sync then passes them over. Once
//! every byte is new to it, a sync means what it says again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Bytes written at a time.
const PIECE_BYTES: usize = 1 << 20;
/// How often, and after which pause, a file that somebody has locked is tried again.
const LOCKED_TRIES_MAX: u32 = 300;
const LOCKED_PAUSE: Duration = Duration::from_millis(10);

/// Writes every byte of the file at `path` again and syncs it. Waits three seconds for whoever has it locked: its owner is
/// ending, and must have ended.
///
/// # Errors
/// `WouldBlock` if it stays locked; what the system says.
pub fn write_anew(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    lock(&file)?;
    let bytes = file.metadata()?.len();
    let mut piece = vec![0; PIECE_BYTES];
    for at in (0..bytes).step_by(PIECE_BYTES) {
        let piece = &mut piece[..PIECE_BYTES.min(usize::try_from(bytes - at).unwrap_or(PIECE_BYTES))];
        file.read_exact_at(piece, at)?;
        file.write_all_at(piece, at)?;
    }
    file.sync_data()
}

fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCKED_TRIES_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCKED_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "somebody has the file locked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_written_anew_is_the_same_and_a_locked_one_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..2 * PIECE_BYTES + 77).map(|n| (n / 3) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let owner = File::open(&path).unwrap();
        owner.lock().unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_millis(50));
            drop(owner);
        });
        write_anew(&path).unwrap();
        ending.join().unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes);
        assert!(write_anew(&dir.path().join("absent")).is_err());
    }
}
