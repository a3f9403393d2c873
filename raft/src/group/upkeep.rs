//! What a node does for its replicas beside answering, from time to time: lets them stand for election, tells the log what is durable,
//! and keeps the log short. What is due [`crate::log::purge`] decides.

use super::handle::Group;
use crate::error::Result;
use crate::log::purge::{self, Floor, Needs, Standing, Step, Worth};
use crate::net::inbound::Receiver;
use crate::types::{GroupId, ReplicaId};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Keeps the replicas of one node.
pub struct Upkeep {
    worth: Worth,
    known: Mutex<BTreeMap<GroupId, Known>>,
}

/// What the last look at a group saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Of which replica of the group.
    replica: ReplicaId,
    /// First entry of its log.
    first: u64,
    /// Since when that is the first, ms of the monotonic clock.
    since_ms: u64,
    /// So far it was asked to make durable what is applied.
    flushing: Option<u64>,
    /// Delayed replicas that hold nothing back any more.
    given_up: Vec<ReplicaId>,
}

impl Upkeep {
    /// One that has looked at nothing yet, and purges when it is worth that.
    #[must_use]
    pub fn new(worth: Worth) -> Self {
        Self { worth, known: Mutex::default() }
    }

    /// Looks after one replica; `needs` says who else needs its log, beside the snapshots it sends itself. `now_ms` is the monotonic
    /// clock. Returns how far its log may go, and who holds it there. Call it a few times a second, for one replica after the other.
    ///
    /// # Errors
    /// `Stopped`: consensus. `Fenced`: the log. `Damaged`: the note of its tablet.
    pub async fn look(&self, receiver: &Receiver, mut needs: Needs, now_ms: u64) -> Result<Floor> {
        receiver.tick();
        let group = receiver.group();
        group.machine().note_durable()?;
        needs.sent.extend(group.snapshots_sent());
        let (step, floor) = self.decide(group, &needs, now_ms)?;
        match step {
            Step::Rest => {}
            Step::Flush => group.machine().tablet().freeze(),
            Step::Purge(upto) => group.purge(upto).await?,
        }
        Ok(floor)
    }

    fn decide(&self, group: &Group, needs: &Needs, now_ms: u64) -> Result<(Step, Floor)> {
        let extent = group.extent()?;
        let applied = group.machine().applied().applied.map(|id| id.index);
        let durable = group.machine().durable()?.applied.map(|id| id.index);
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(group.id()).or_default();
        if known.replica != group.replica() {
            *known = Known { replica: group.replica(), ..Known::default() };
            (known.first, known.since_ms) = (extent.first, now_ms);
        }
        if known.first != extent.first {
            (known.first, known.since_ms) = (extent.first, now_ms);
        }
        let idle_ms = now_ms.saturating_sub(known.since_ms);
        let standing = Standing { extent, applied, durable, flushing: known.flushing, idle_ms };
        let (step, floor) = purge::step(&standing, needs, self.worth);
        if step == Step::Flush {
            known.flushing = applied;
        }
        if known.given_up != floor.given_up {
            let replicas = &floor.given_up;
            let new = replicas.iter().filter(|replica| !known.given_up.contains(replica)).count();
            group.stats().delay.forsaken_replicas.add(new as u64);
            tracing::warn!(group = %group.id(), ?replicas, "delayed replicas that are away too long: the log waits for these no more");
            known.given_up.clone_from(replicas);
        }
        Ok((step, floor))
    }

    /// Forgets a group whose replica has left.
    pub fn forget(&self, group: GroupId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }
}
