//! What the disk can do: the same bytes a sync, to files that are written over.

use super::node::CLUSTER;
use crate::Outcome;
use crate::clock::Stopwatch;
use ::engine::disk::{Disk, DiskFile, RealDisk};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a file.
const FILE_BYTES: u64 = 16 << 20;

/// Syncs a second, each of `bytes`, of `files` files together, each by a thread of its own; divided by the files.
///
/// # Errors
/// Disk.
pub fn syncs_per_s(dir: &Path, files: u64, bytes: u64, ms: u64) -> Outcome<f64> {
    let bytes = bytes.clamp(512, FILE_BYTES / 2);
    let made: Vec<Arc<dyn DiskFile>> = (0..files).map(|n| make(dir, n)).collect::<Outcome<_>>()?;
    let seconds = ms as f64 / 1e3;
    let syncs = std::thread::scope(|scope| {
        let threads: Vec<_> = made.iter().map(|file| scope.spawn(|| sync(&**file, bytes, seconds))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?);
        joined.sum::<Outcome<u64>>()
    })?;
    Ok(syncs as f64 / seconds / files as f64)
}

/// A file with bytes in it, durable.
fn make(dir: &Path, number: u64) -> Outcome<Arc<dyn DiskFile>> {
    let path = dir.join(format!("raw-{number}"));
    if let Ok(file) = RealDisk.open(&path) {
        return Ok(file);
    }
    let file = RealDisk.create(&path)?;
    let zeros = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync()?;
    Ok(file)
}

fn sync(file: &dyn DiskFile, bytes: u64, seconds: f64) -> Outcome<u64> {
    let block: Vec<u8> = CLUSTER.0.iter().copied().cycle().take(usize::try_from(bytes)?).collect();
    let (watch, mut syncs) = (Stopwatch::start(), 0);
    while watch.seconds() < seconds {
        file.write_all_at(&block, syncs * bytes % (FILE_BYTES - bytes))?;
        file.sync()?;
        syncs += 1;
    }
    Ok(syncs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        assert!(syncs_per_s(dir.path(), 2, 4_096, 100).unwrap() > 0.0);
        assert!(syncs_per_s(dir.path(), 1, 0, 50).unwrap() > 0.0);
    }
}
