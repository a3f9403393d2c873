//! How far the meta group has applied on this node. An entry of another group may need something of it, and says which entry: it waits.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far the meta group has applied here. Shared by all machines of a node.
#[derive(Debug, Default)]
pub struct MetaReach(AtomicU64);

impl MetaReach {
    /// The meta replica here has applied the entry with this index.
    pub fn reaches(&self, index: u64) {
        self.0.fetch_max(index, Ordering::Release);
    }

    /// The index of the last entry that it has applied here; 0 if none.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
