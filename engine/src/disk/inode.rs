//! Pure: a file of the simulated disk: its bytes as they are read, and as they would be after a crash.

use std::collections::BTreeSet;
use std::sync::Arc;

/// A disk writes a sector whole, in part, or not at all.
pub(super) const SECTOR: usize = 512;

/// A file.
#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What is read.
    pub now: Vec<u8>,
    /// What a crash leaves for certain.
    pub durable: Vec<u8>,
    /// Sectors written since the last sync: all in which the two may differ.
    pub dirty: BTreeSet<usize>,
    /// Whole sectors below the end that were never written: they take no room.
    pub holes: BTreeSet<usize>,
    /// A sync has failed: what it covered may never become durable.
    pub is_spoiled: bool,
    /// Held by every open file too.
    pub holders: Arc<()>,
}

impl Inode {
    /// Writes at `start`; a hole before it is zeros.
    pub fn write(&mut self, bytes: &[u8], start: usize) {
        let (before, end) = (self.now.len(), start + bytes.len());
        if bytes.is_empty() {
            return;
        }
        if before < end {
            self.now.resize(end, 0);
        }
        self.now[start..end].copy_from_slice(bytes);
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            self.holes.remove(&sector);
        }
        self.dirty.extend(before.min(start) / SECTOR..=(end - 1) / SECTOR);
    }

    /// Bytes of the disk that it takes.
    pub fn room(&self) -> u64 {
        (self.now.len() - self.holes.len() * SECTOR) as u64
    }

    /// How much more it takes once `start..end` is written.
    pub fn growth(&self, start: usize, end: usize) -> u64 {
        let filled = self.holes.range(start / SECTOR..end.div_ceil(SECTOR)).count() * SECTOR;
        (end.saturating_sub(self.now.len()) + filled) as u64
    }

    /// Cuts it, or adds zeros: whole sectors of them take no room.
    pub fn set_len(&mut self, length: usize) {
        let before = self.now.len();
        self.now.resize(length, 0);
        self.holes.split_off(&(length / SECTOR));
        self.holes.extend(before.div_ceil(SECTOR)..length / SECTOR);
        if length > before {
            self.dirty.extend(before / SECTOR..=(length - 1) / SECTOR);
        }
    }

    /// The same on another disk, where nobody has it open.
    pub fn apart(&self) -> Self {
        Self { holders: Arc::default(), ..self.clone() }
    }

    /// Whether somebody has it open, or a crash has still to decide what of it is there.
    pub fn is_needed(&self) -> bool {
        Arc::strong_count(&self.holders) > 1 || !self.dirty.is_empty() || self.now.len() < self.durable.len()
    }

    /// What a crash leaves, if these are its bytes.
    pub fn crashed(&mut self, after: Vec<u8>) -> Self {
        let mut holes = std::mem::take(&mut self.holes);
        holes.split_off(&(after.len() / SECTOR));
        Self { now: after.clone(), durable: after, holes, ..Self::default() }
    }

    /// All of it is durable.
    pub fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for start in std::mem::take(&mut self.dirty).into_iter().map(|sector| sector * SECTOR) {
            let end = (start + SECTOR).min(self.now.len());
            if start < end {
                self.durable[start..end].copy_from_slice(&self.now[start..end]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn after_a_sync_all_that_is_read_is_durable(
            steps in proptest::collection::vec((0u8..4, 0usize..3_000, 0usize..1_200), 1..40),
        ) {
            let mut inode = Inode::default();
            let mut model = Vec::new();
            for (n, (what, at, length)) in (1u8..).zip(steps) {
                match what {
                    0 | 1 if length > 0 => {
                        let wanted = inode.room() + inode.growth(at, at + length);
                        inode.write(&vec![n; length], at);
                        prop_assert_eq!(inode.room(), wanted);
                        model.resize(model.len().max(at + length), 0);
                        model[at..at + length].fill(n);
                    }
                    2 => {
                        inode.set_len(at);
                        model.resize(at, 0);
                    }
                    _ => {
                        inode.sync();
                        prop_assert_eq!(&inode.durable, &model);
                    }
                }
                prop_assert_eq!(&inode.now, &model);
                // What takes no room was never written.
                prop_assert!(inode.holes.iter().all(|sector| (sector + 1) * SECTOR <= model.len()));
                let zeros = |sector: &usize| model[sector * SECTOR..(sector + 1) * SECTOR] == [0; SECTOR];
                prop_assert!(inode.holes.iter().all(zeros));
            }
            inode.sync();
            prop_assert_eq!(&inode.durable, &model);
        }
    }
}
