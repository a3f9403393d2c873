//! How the replicas of a node begin to run, in two steps: first each is built from what its log and machine hold and its receiver stands
//! in the registry, then all of them run. So the first message of a replica finds every other one of its node. Each stands behind its
//! start guard: when that has opened, whoever looks after it ([`super::upkeep`]) lets it stand for election.

use super::handle::Group;
use super::registry::Registry;
use super::settings::Pace;
use super::start_guard::StartGuard;
use crate::delay::receive::Delayed;
use crate::error::{Error, Result};
use crate::limits;
use crate::machine::{Machine, MachineParts};
use crate::net::heartbeats::Heartbeats;
use crate::net::inbound::Receiver;
use crate::net::outbound::Peers;
use crate::time::BootClock;
use crate::types::GroupId;
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What all replicas of a node stand on.
#[derive(Clone)]
pub struct Ground {
    /// Who runs here, for what peers send.
    pub registry: Arc<Registry>,
    /// The way to the peers.
    pub heartbeats: Arc<Heartbeats>,
    /// Log, tablets, keys and what commands mean.
    pub parts: MachineParts,
    /// The clock of the start guards.
    pub clock: Arc<dyn BootClock>,
    /// The times of the cluster.
    pub pace: Pace,
}

/// A replica that is to run.
#[derive(Clone)]
pub struct Wanted {
    /// What it has.
    pub machine: Arc<Machine>,
    /// Of a delayed one: what it may be told.
    pub delayed: Option<Arc<Delayed>>,
    /// Whether it was born in this very life of the node: it has granted no lease yet.
    pub is_born: bool,
}

/// What a start came to.
pub struct Started {
    /// Those that run.
    pub receivers: BTreeMap<GroupId, Arc<Receiver>>,
    /// Those that could not be built, and why. Their files stay as they are, and the others run.
    pub failed: BTreeMap<GroupId, Error>,
}

impl Ground {
    /// Builds one replica, and replays what is committed. It hears nothing before it is in the registry, and says nothing before it runs.
    ///
    /// # Errors
    /// `NoSuchGroup`; `Invalid`: settings; `NotBuilt`: log or machine could not be read.
    pub async fn build(&self, wanted: Wanted) -> Result<Arc<Receiver>> {
        let Wanted { machine, delayed, is_born } = wanted;
        let log = &self.parts.log;
        let ids = (machine.group(), log.state(machine.group())?.replica);
        // Whatever lease it has granted, it has granted before it was built.
        let guard = match is_born {
            true => StartGuard::born(),
            false => StartGuard::built(self.clock.boot_ms(), self.pace.election_max_ms),
        };
        let peers = Peers::new(self.heartbeats.clone(), ids);
        let built = Group::build(log.clone(), machine, peers, self.pace).await?;
        Ok(Arc::new(Receiver::new(Arc::new(built), guard, self.clock.clone(), delayed)))
    }

    /// Builds all of them, then wires all, then lets all run.
    pub async fn start(&self, wanted: Vec<Wanted>) -> Started {
        let started = self.build_all(wanted).await;
        self.run(&started);
        started
    }

    /// Builds all of them, the group of all nodes first: others may need what is in it. [`Ground::run`] goes on.
    pub async fn build_all(&self, wanted: Vec<Wanted>) -> Started {
        let mut started = Started { receivers: BTreeMap::new(), failed: BTreeMap::new() };
        let (first, others): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|one| one.machine.group() == GroupId::META);
        for (some, at_once) in [(first, 1), (others, limits::BUILDS_AT_ONCE)] {
            let build = |one: Wanted| async {
                let group = one.machine.group();
                (group, self.build(one).await)
            };
            let mut built = stream::iter(some).map(build).buffer_unordered(at_once);
            while let Some((group, outcome)) = built.next().await {
                match outcome {
                    Ok(receiver) => drop(started.receivers.insert(group, receiver)),
                    Err(error) => drop(started.failed.insert(group, error)),
                }
            }
        }
        started
    }

    /// Wires those that were built, then lets them run.
    pub fn run(&self, started: &Started) {
        started.receivers.values().for_each(|one| drop(self.registry.add(one.clone())));
        started.receivers.values().for_each(|one| one.group().run());
    }
}
