//! Notices replicas whose consensus has stopped by itself, and says what to do with each: nobody else would hear of it.

use super::registry::Registry;
use super::restart::{Death, Restarts, Verdict};
use crate::net::inbound::Receiver;
use crate::types::GroupId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A replica that has stopped by itself.
pub struct Dead {
    /// What ran. Held, it keeps the replica's machine: let go before it is built again.
    pub receiver: Arc<Receiver>,
    /// Of what it died.
    pub death: Death,
    /// In its own words.
    pub cause: String,
    /// What to do.
    pub verdict: Verdict,
}

/// Watches the replicas of a node.
#[derive(Default)]
pub struct Supervisor {
    restarts: BTreeMap<GroupId, Restarts>,
}

impl Supervisor {
    /// Looks at every replica once, at `now_ms` of the monotonic clock. One that is dead is taken out of the registry: it hears nothing
    /// any more. The others go on.
    pub fn look(&mut self, registry: &Registry, now_ms: u64) -> Vec<Dead> {
        let mut dead = Vec::new();
        for receiver in registry.all() {
            let group = receiver.group();
            let fenced = group.machine().fenced();
            let Some(cause) = group.standing().stopped.or_else(|| fenced.clone()) else { continue };
            let death = if fenced.is_none() && group.has_panicked() { Death::Panic } else { Death::Storage };
            let verdict = self.restarts.entry(group.id()).or_default().died(death, now_ms);
            tracing::error!(group = %group.id(), replica = %group.replica(), cause, ?verdict, "a replica has died");
            registry.remove(group.id());
            dead.push(Dead { receiver, death, cause: fenced.unwrap_or(cause), verdict });
        }
        dead
    }
}
