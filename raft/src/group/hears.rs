//! Who hears what becomes of an entry that was proposed. On its way it takes down how long each part of that took.

use crate::stats::{Moment, Stats};
use crate::type_config::{RaftLogId, Types};
use openraft::OptionalSend;
use openraft::raft::responder::Responder;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Tells one who waits.
pub struct Hears<T> {
    told: oneshot::Sender<T>,
    stats: Arc<Stats>,
    proposed: Moment,
    committed: Option<Moment>,
}

impl<T> Hears<T> {
    /// An entry is proposed now.
    pub(super) fn begin(stats: Arc<Stats>) -> (Self, oneshot::Receiver<T>) {
        let (told, heard) = oneshot::channel();
        let proposed = stats.now();
        (Self { told, stats, proposed, committed: None }, heard)
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Hears<T> {
    fn on_commit(&mut self, _: RaftLogId) {
        let now = self.stats.now();
        self.stats.times.commit.took(self.proposed, now);
        self.committed = Some(now);
    }

    fn on_complete(self, result: T) {
        // What was not taken, or was dropped, is told without.
        if let Some(committed) = self.committed {
            self.stats.times.apply.took(committed, self.stats.now());
        }
        // Whoever waited may have gone.
        let _ = self.told.send(result);
    }
}
