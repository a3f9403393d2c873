//! The stores, behind one small trait.

mod fjall;
mod ours;
mod redb;
mod sled;

pub use ours::{Home, open_pool};

use super::plan::Kind;
use super::workload::Row;
use crate::Outcome;
use std::path::Path;

/// What a scan gave: its bytes have been looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Entries.
    pub entries: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

impl Scanned {
    /// Counts one entry.
    pub fn count(&mut self, key: &[u8], value: &[u8]) {
        self.entries += 1;
        self.bytes += key.len() + value.len();
    }
}

/// One store, as its users run it.
pub trait Store {
    /// Writes a batch, all of it or nothing, without waiting for the disk.
    fn write(&mut self, rows: &[Row]) -> Outcome<()>;

    /// Waits until everything written is durable.
    fn make_durable(&mut self) -> Outcome<()>;

    /// The first bytes of the value at `key`.
    fn read(&mut self, key: &[u8]) -> Outcome<Option<u64>>;

    /// The `limit` entries from `start` on.
    fn scan(&mut self, start: &[u8], limit: usize) -> Outcome<Scanned>;

    /// Puts what it still holds in memory into its files, so that all are read from the same state. Not part of a load's time.
    fn put_down(&mut self) -> Outcome<()> {
        Ok(())
    }

    /// Whether nothing waits to be flushed or compacted, as far as it tells.
    fn is_idle(&self) -> bool {
        true
    }

    /// Makes its files as small as it can, if it can.
    fn compact(&mut self) -> Outcome<()> {
        Ok(())
    }

    /// Figures only this store has.
    fn own_figures(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

/// Opens the store of `kind` in `dir`, created if it is not there.
pub fn open(kind: Kind, dir: &Path) -> Outcome<Box<dyn Store>> {
    Ok(match kind {
        Kind::Ours => Box::new(ours::Ours::open(dir)?),
        Kind::Null => {
            ours::seal_nothing()?;
            Box::new(ours::Ours::open(dir)?)
        }
        Kind::Fjall => Box::new(fjall::Fjall::open(dir)?),
        Kind::Redb => Box::new(redb::Redb::open(dir)?),
        Kind::Sled => Box::new(sled::Sled::open(dir)?),
    })
}

/// Whether a file of this name is a log that repeats what tables hold. Ours has none: the log is its caller's.
#[must_use]
pub fn is_log(kind: Kind, name: &str) -> bool {
    kind == Kind::Fjall && fjall::is_log(name)
}

#[cfg(test)]
mod tests {
    use super::super::workload;
    use super::*;

    /// Every store does what the trait says.
    #[test]
    fn each_store_gives_back_what_it_was_given() {
        for kind in [Kind::Ours, Kind::Fjall, Kind::Redb, Kind::Sled] {
            let dir = tempfile::tempdir().unwrap();
            let mut store = open(kind, &dir.path().join("store")).unwrap();
            let mut rows = Vec::new();
            for generation in 0..2 {
                for turn in [0, 256, 512] {
                    workload::fill(&mut rows, turn, 256, 600, generation);
                    store.write(&rows).unwrap();
                }
            }
            store.make_durable().unwrap();
            store.put_down().unwrap();
            store.compact().unwrap();
            for number in 0..600 {
                let read = store.read(&workload::key(number)).unwrap();
                assert_eq!(read, Some(workload::head(number, 1)), "{kind:?}");
            }
            assert_eq!(store.read(b"nobody").unwrap(), None);
            let all = store.scan(b"", 1_000).unwrap();
            assert_eq!(all, Scanned { entries: 600, bytes: 600 * 280 }, "{kind:?}");
            assert_eq!(store.scan(b"7", 100).unwrap().entries, 100);
        }
    }
}
