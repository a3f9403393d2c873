//! What runs on a node: its log, its tablets and its replicas, from the claim it makes when it starts to the order in which it ends.
//!
//! * [`opening`] reads the disk and makes the claim: nothing is written before the peers have said that this disk may go on;
//! * [`replicas`] are what runs then, with what works for each of them;
//! * [`chores`] is what is done from time to time: elections, closing of time, purging, supervision, the word of replicas elsewhere;
//! * [`fault`] says of what keeps any of it from running under which code it is told;
//! * [`mover`] makes the replicas here those that the meta group wants here.
//!
//! What commands mean, whose keys there are and how frames travel is handed in ([`RunningParts`]).

pub mod chores;
pub mod fault;
pub mod mover;
pub mod opening;
pub mod replicas;

use crate::work::Spawner;
use engine::clock::Clock;
use engine::entropy::Entropy;
use engine::ids::{ClusterId, NodeId};
use engine::sealed::Sealer;
use engine::tablet::pool::PoolConfig;
use raft::group::rejoin::Verdict;
use raft::group::settings::Pace;
use raft::log::LogConfig;
use raft::machine::operations::Operations;
use raft::machine::{Feed, Shredded};
use raft::net::link::PeerLink;
use raft::time::BootClock;
use std::path::PathBuf;
use std::sync::Arc;

/// Clocks of a node: the wall clock that versions are stamped by, and those that nobody sets.
pub trait NodeClock: Clock + BootClock {}

impl<T: Clock + BootClock> NodeClock for T {}

/// What a running is made with.
#[derive(Clone)]
pub struct RunningParts {
    /// The node.
    pub node: NodeId,
    /// Its cluster, and the generation that is in.
    pub cluster: (ClusterId, u64),
    /// Its folder.
    pub dir: PathBuf,
    /// Seals and opens with the keys of cluster, node and tenants.
    pub sealer: Arc<Sealer>,
    /// The randomness of the system.
    pub entropy: Arc<dyn Entropy>,
    /// Its clocks.
    pub clock: Arc<dyn NodeClock>,
    /// Carries frames to peers.
    pub link: Arc<dyn PeerLink>,
    /// What commands mean.
    pub operations: Arc<dyn Operations>,
    /// Hears of everything applied.
    pub feed: Arc<dyn Feed>,
    /// Whose keys are gone for good.
    pub shredded: Arc<dyn Shredded>,
    /// Times of consensus.
    pub pace: Pace,
    /// Starts tasks.
    pub spawner: Spawner,
    /// Sizes of the log.
    pub log: LogConfig,
    /// Sizes of the tablets' pool.
    pub pool: PoolConfig,
    /// Milliseconds after which a leader closes the time of its idle group.
    pub close_ms: u64,
}

impl RunningParts {
    /// The folder in which snapshots arrive.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.dir.join("spool")
    }
}

/// Why something of a running failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Replication says so.
    #[error(transparent)]
    Raft(#[from] raft::Error),
    /// The engine says so.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The peers say that this node must not go on.
    #[error("not admitted: {0}")]
    NotAdmitted(Verdict),
    /// The node is ending.
    #[error("the node is ending")]
    Ending,
}

/// What comes of it, or [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
