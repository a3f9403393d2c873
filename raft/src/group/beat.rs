//! The heartbeats of a leader, at the pace of its group. Consensus sends one of its own only after the answer to the last may count no more
//! ([`super::settings::Pace::answer_ms`]), which is long.

use super::handle::{Consensus, leads};
use crate::type_config::{sleep, spawn};
use crate::types::ReplicaId;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Sends a heartbeat every `every_ms` milliseconds whenever `replica` leads and is not unfit for it, as long as its group is there and its
/// consensus runs.
pub(super) fn begin(raft: Consensus, replica: ReplicaId, is_unfit: Weak<AtomicBool>, every_ms: u64) {
    spawn(async move {
        loop {
            sleep(Duration::from_millis(every_ms)).await;
            let Some(is_unfit) = is_unfit.upgrade() else { return };
            let is_due = leads(&raft, replica) && !is_unfit.load(Ordering::SeqCst);
            if is_due && raft.trigger().heartbeat().await.is_err() {
                return;
            }
        }
    });
}
