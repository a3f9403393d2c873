//! A node of a run in one of its lives: what works in it, and what its replicas hold.

use super::late::Late;
use super::overseer::Known;
use crate::check::raft::ReplicaState;
use engine::tablet::pool::Pool;
use raft::group::batcher::Batcher;
use raft::group::registry::Registry;
use raft::group::start::Ground;
use raft::group::supervise::Supervisor;
use raft::log::Log;
use raft::net::words::Words;
use raft::type_config::spawn;
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// A node in one of its lives.
pub struct Running {
    /// Its log.
    pub log: Arc<Log>,
    /// Its tablets.
    pub pool: Arc<Pool>,
    /// Its replicas.
    pub registry: Arc<Registry>,
    /// What works for its replicas.
    pub(super) replicas: BTreeMap<GroupId, Hosted>,
    /// Of a delayed node: its gate.
    pub late: Option<Arc<Late>>,
    pub(super) life: u64,
    pub(super) known: Mutex<Known>,
    pub(super) tasks: Vec<JoinHandle<()>>,
    /// What its replicas stand on.
    pub ground: Ground,
    pub(super) supervisor: Supervisor,
    /// What replicas elsewhere said of themselves.
    pub words: Arc<Words>,
}

/// What works for one replica.
pub(super) struct Hosted {
    pub(super) batcher: Arc<Batcher>,
    pub(super) tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Ends it: all of it that is durable is found by the next start.
    pub(super) fn end(&self) {
        let hosted = self.replicas.values().flat_map(|hosted| &hosted.tasks);
        self.tasks.iter().chain(hosted).for_each(JoinHandle::abort);
        self.log.close();
        self.pool.close();
        for receiver in self.registry.all() {
            self.registry.remove(receiver.group().id());
            spawn(async move { receiver.group().shutdown().await });
        }
    }

    /// Where commands for one of its groups go.
    #[must_use]
    pub fn batcher(&self, group: GroupId) -> Option<Arc<Batcher>> {
        self.replicas.get(&group).map(|hosted| hosted.batcher.clone())
    }

    /// What its replica of a group holds now.
    #[must_use]
    pub fn state(&self, group: GroupId) -> Option<ReplicaState> {
        let receiver = self.registry.get(group)?;
        let state = self.log.state(group).ok()?;
        let standing = receiver.group().standing();
        let note = receiver.group().machine().applied();
        let log = self.known.lock().unwrap_or_else(PoisonError::into_inner).log(&self.log, group)?;
        Some(ReplicaState {
            replica: state.replica,
            life: self.life,
            vote: state.vote.unwrap_or_default(),
            is_leader: standing.is_leader && standing.vote == state.vote.unwrap_or_default(),
            purged: state.purged,
            log,
            committed: state.committed,
            applied: note.applied,
            applied_hash: note.digest.whole(),
        })
    }
}
