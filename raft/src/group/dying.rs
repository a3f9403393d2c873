//! Of what a replica has died, what of it lives on, and what a person does about it.

use super::handle::Group;
use super::lifecycle::Stage;
use super::restart::Death;
use super::start_fault::StartFault;
use crate::log::Log;
use crate::machine::Machine;
use futures_util::FutureExt;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::Fatal;
use std::sync::Weak;

impl Group {
    /// Of what it has died, if it has, and in which words. Whoever panics says nothing more: consensus tells of everything else itself.
    #[must_use]
    pub fn death(&self) -> Option<(Death, String)> {
        if let Some(cause) = self.log.fenced() {
            return Some((Death::Storage, cause));
        }
        if let Some(cause) = self.machine().panicked() {
            return Some((Death::Panic, cause));
        }
        if let Some(cause) = self.machine().fenced() {
            return Some((Death::Storage, cause));
        }
        if self.stage() == Stage::Fenced {
            return Some((Death::Storage, "an earlier instance of it broke".to_owned()));
        }
        let mut metrics = self.raft.metrics();
        match metrics.borrow_watched().running_state.clone() {
            Err(Fatal::Panicked) => return Some((Death::Panic, "consensus panicked".to_owned())),
            Err(fatal) => return Some((Death::Storage, fatal.to_string())),
            Ok(()) => {}
        }
        // Consensus that ends in order says so before it lets go of what it tells. Seen once, only an end is new.
        for _ in 0..2 {
            if metrics.changed().now_or_never().is_some_and(|new| new.is_err()) {
                return Some((Death::Panic, "consensus panicked".to_owned()));
            }
        }
        let is_applied = self.tokens[1].strong_count() > 0;
        (!is_applied).then(|| (Death::Panic, "what applies its entries panicked".to_owned()))
    }

    /// What is to be done about a replica that has died so.
    #[must_use]
    pub fn fault(&self, death: Death) -> StartFault {
        match death {
            Death::Panic | Death::Leaderless => StartFault::Bug,
            Death::Storage => fault(&self.log, self.machine()),
        }
    }

    /// How many parts of consensus hold the replica's log and machine still. Once it has ended and this is 0, nothing of it can
    /// write any more: only then may it be built again, or its files go.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.tokens.iter().map(Weak::strong_count).sum()
    }
}

/// What is to be done about a failure of storage.
pub(super) fn fault(log: &Log, machine: &Machine) -> StartFault {
    if machine.panicked().is_some() {
        return StartFault::Bug;
    }
    let of_log = log.fenced().map(|_| StartFault::Disk);
    of_log.or(machine.fault()).unwrap_or(StartFault::Broken)
}
