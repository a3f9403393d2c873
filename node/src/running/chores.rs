//! What a node does beside answering: it lets replicas stand for election, closes time, purges, asks replicas elsewhere for their word,
//! and builds again what has died.

use super::fault::NotRunning;
use super::replicas::Running;
use crate::keys::coverage;
use engine::error::with_sources;
use engine::ids::Purpose;
use raft::group::batcher::Batcher;
use raft::group::closing::{self, Now};
use raft::group::handle::Group;
use raft::group::handover::hand_over;
use raft::group::supervise::Told;
use raft::group::upkeep::Upkeep;
use raft::limits::TICK_MS;
use raft::log::purge::{Needs, Worth};
use raft::net::hearsay::Gossip;
use raft::net::inbound::Receiver;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Between two looks at the replicas, in milliseconds.
const LOOK_MS: u64 = 200;
/// Between two times that replicas elsewhere are asked for their word and told what was heard here, in milliseconds.
const ASK_MS: u64 = 1_000;
/// Looks between two notes of what peers were heard to have.
const NOTE_LOOKS: u64 = 5;
/// Looks between two times that tables are sought which are sealed under an old key.
const RESEAL_LOOKS: u64 = 10;
/// Entries go when the log of a group holds so many bytes that nobody needs.
const PURGE_BYTES: u64 = 64 << 20;
/// Or when the oldest have been there for so long, in milliseconds.
const PURGE_MS: u64 = 600_000;

impl Running {
    /// All chores, until the node ends. Whoever owns the running runs this once.
    pub async fn work(self: Arc<Self>) {
        let asks = self.clone();
        tokio::join!(self.look_after(), asks.ask_for_words());
    }

    async fn look_after(&self) {
        let upkeep = Upkeep::new(Worth { bytes: PURGE_BYTES, ms: PURGE_MS });
        let mut round = 0_u64;
        loop {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            round += 1;
            for receiver in self.registry.all() {
                let needs = self.needs(&receiver);
                if let Err(error) = upkeep.look(&receiver, needs, self.now_ms()).await {
                    // What has died is told by the supervisor.
                    tracing::debug!(group = %receiver.group().id(), cause = with_sources(&error), "nothing is looked after");
                }
            }
            self.registry.set_clock_agreed(!self.parts.clock.is_disputed());
            if round.is_multiple_of(RESEAL_LOOKS) {
                self.seal_again();
            }
            if round.is_multiple_of(NOTE_LOOKS) && self.registry.heard().note_in(&self.log).is_err() {
                tracing::debug!("what peers have is not noted: the log is fenced");
            }
        }
    }

    /// What lies in tables under an old key is sealed again, once a rotation has made another one active.
    fn seal_again(&self) {
        let sealed = coverage::sum(self.pool.tablets().iter().map(|tablet| tablet.coverage()));
        let active = |owner| self.parts.sealer.keys().active(owner, Purpose::Data).ok();
        if !coverage::is_behind(&sealed, active) {
            return;
        }
        if let Err(error) = self.pool.request_reseal() {
            tracing::debug!(cause = with_sources(&error), "tables are not sealed again now");
        }
    }

    /// Who needs the log of a replica beside itself.
    fn needs(&self, receiver: &Receiver) -> Needs {
        let group = receiver.group();
        let delayed = self.words.delayed(group.id(), &group.standing().membership.1, self.now_ms());
        Needs { delayed, ..Needs::default() }
    }

    async fn ask_for_words(&self) {
        let gossip = Gossip::default();
        loop {
            tokio::time::sleep(Duration::from_millis(ASK_MS)).await;
            let asks = self.words.ask(&self.requests, &self.registry, self.now_ms());
            tokio::join!(asks, gossip.tell(self.parts.node, &self.requests, &self.registry));
        }
    }

    /// Looks once whether a replica has died or ended, and lets those that were built again work. Call it a few times a second.
    pub async fn supervise(self: &Arc<Self>) {
        let told = self.supervisor.lock().await.look(self.now_ms());
        for one in told {
            match one {
                Told::Died(dead) => {
                    tracing::error!(group = %dead.group, replica = %dead.replica, cause = dead.cause, verdict = ?dead.verdict, "a replica has died");
                    self.unseat(dead.group);
                    let (fault, cause) = (dead.fault, dead.cause);
                    self.failures().insert(dead.group, NotRunning { fault, cause });
                }
                Told::Late { group, holders } => {
                    tracing::warn!(%group, holders, "parts of a dead replica do not end");
                }
                Told::Rebuilt(receiver) => {
                    tracing::info!(group = %receiver.group().id(), "a replica runs again");
                    self.seat(receiver);
                }
                Told::Gone { group, replica } => {
                    tracing::info!(%group, %replica, "a replica has ended here");
                    self.failures().remove(&group);
                }
                Told::NotEnded { group, error } => {
                    tracing::warn!(%group, cause = with_sources(&error), "a replica does not end yet");
                }
            }
        }
    }
}

impl Running {
    /// Hands the lead of every group that is led here to a voter elsewhere that may lead.
    pub async fn hand_over_all(&self) {
        for seated in self.replicas() {
            let group = seated.receiver.group();
            if !group.leads() {
                continue;
            }
            for (replica, word) in self.words.of(group.id(), self.now_ms()) {
                match hand_over(group, replica, word).await {
                    Ok(()) => break,
                    Err(why) => {
                        tracing::info!(group = %group.id(), %replica, %why, "the lead is not handed over")
                    }
                }
            }
        }
    }
}

/// Closes the time of one group, whenever this node leads it and nothing else does.
pub(super) async fn close(running: Weak<Running>, group: Arc<Group>, batcher: Arc<Batcher>) {
    let mut look_ms = TICK_MS / 8;
    loop {
        tokio::time::sleep(Duration::from_millis(look_ms)).await;
        let Some(running) = running.upgrade() else { return };
        let tick_ms = running.parts.close_ms;
        look_ms = tick_ms / 8;
        let clock = &running.parts.clock;
        let now = Now { wall_ms: clock.now_ms(), is_agreed: !clock.is_disputed(), tick_ms };
        let closing = closing::close_if_due(&group, &batcher, &running.log, now);
        if let Ok(Err(why)) = tokio::time::timeout(Duration::from_millis(TICK_MS), closing).await {
            tracing::debug!(group = %group.id(), %why, "the time is not closed now");
        }
    }
}
