//! A bug that a test lays where it wants it.

use raft::machine::{AppliedEntry, Feed};
use raft::types::GroupId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Panics once where an entry is applied, when it is laid: a bug outside of what a command means. Clones are the same.
#[derive(Clone, Default)]
pub struct Mine(Arc<AtomicU64>);

impl Mine {
    /// The next entry of a group that is applied here is too much.
    pub fn lay(&self, group: GroupId) {
        self.0.store(group.0, Ordering::SeqCst);
    }
}

impl Feed for Mine {
    fn applied(&self, group: GroupId, _: &AppliedEntry<'_>) {
        if self.0.compare_exchange(group.0, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            panic!("a mine");
        }
    }
}
