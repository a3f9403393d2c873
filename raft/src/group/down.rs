//! An instance of a replica on its way down. It is gone when consensus has ended and nothing of it holds the replica's log or machine any
//! more: parts of it live on for a while, and only afterwards may the replica be built again, or its files go.

use super::handle::Group;
use super::restart::Remains;
use crate::type_config::spawn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An instance that goes down.
pub struct Down {
    group: Arc<Group>,
    is_down: Arc<AtomicBool>,
    since_ms: u64,
}

impl Down {
    /// Lets an instance go, at `now_ms` of the monotonic clock; `cause` is told to whatever still calls its machine. It must be out of the
    /// registry.
    pub fn begin(group: Arc<Group>, cause: &str, now_ms: u64) -> Self {
        group.machine().retire(cause);
        let is_down = Arc::new(AtomicBool::new(false));
        let (ending, told) = (group.clone(), is_down.clone());
        // A shutdown that somebody drops half way makes the next call panic: it belongs to nobody who might.
        spawn(async move {
            ending.shutdown().await;
            told.store(true, Ordering::SeqCst);
        });
        Self { group, is_down, since_ms: now_ms }
    }

    /// The instance.
    #[must_use]
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// What is left of it, at `now_ms`; `is_told`: it was told to be late.
    #[must_use]
    pub fn remains(&self, now_ms: u64, is_told: bool) -> Remains {
        let (is_down, holders) = (self.is_down.load(Ordering::SeqCst), self.group.holders());
        Remains { age_ms: now_ms.saturating_sub(self.since_ms), is_down, holders, is_told }
    }
}
