//! A node that starts: it reads its log and its tablets, writes nothing, and asks its peers whether this disk may go on.

use super::{Result, RunningParts};
use crate::surroundings;
use engine::disk::Disk;
use engine::ids::NodeId;
use engine::tablet::pool::{Parts, Pool};
use raft::group::admission::{Admission, Whereabouts};
use raft::group::rejoin::Verdict;
use raft::log::{Log, LogParts, RecoveredLog};
use raft::net::envelope::cluster_tag;
use raft::net::heard::Heard;
use raft::net::request::Requests;
use raft::stats::Stats;
use raft::types::GroupId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A node that has read its disk and makes its claim.
pub struct Opening {
    pub(super) parts: RunningParts,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) pool: Arc<Pool>,
    admission: Arc<Admission>,
    requests: Arc<Requests>,
}

/// A node that may go on: its log is begun.
pub struct Admitted {
    pub(super) parts: RunningParts,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) pool: Arc<Pool>,
    pub(super) requests: Arc<Requests>,
    pub(super) log: Arc<Log>,
    /// Groups whose replicas here must end, because their tablets are older than they were.
    pub replace: BTreeSet<GroupId>,
}

/// What was read, and nothing is written yet.
pub(crate) struct Ground {
    pub(crate) disk: Arc<dyn Disk>,
    stats: Arc<Stats>,
    pub(crate) log: RecoveredLog,
    pub(crate) pool: Arc<Pool>,
}

impl Ground {
    /// Reads log and tablets.
    ///
    /// # Errors
    /// As [`Opening::read`].
    pub(crate) fn read(parts: &RunningParts) -> Result<Self> {
        let disk = surroundings::disk(&parts.dir);
        let stats = surroundings::stats();
        let log_parts = LogParts {
            disk: disk.clone(),
            sealer: parts.sealer.clone(),
            entropy: parts.entropy.clone(),
            node: parts.node,
            stats: stats.clone(),
        };
        let log = RecoveredLog::read(surroundings::log_config(parts.log.clone()), log_parts)?;
        let pool_parts = Parts {
            disk: disk.clone(),
            catalog: surroundings::catalog(&parts.dir),
            sealer: parts.sealer.clone(),
            clock: parts.clock.clone(),
            node: parts.node,
        };
        let pool = surroundings::pool(&parts.dir, parts.pool.clone(), pool_parts)?;
        Ok(Self { disk, stats, log, pool })
    }
}

fn requests(parts: &RunningParts, heard: Arc<Heard>, stats: Arc<Stats>) -> Arc<Requests> {
    let (cluster, generation) = parts.cluster;
    let asked = (cluster_tag(cluster, generation), parts.pace.election_min_ms);
    Requests::new(parts.link.clone(), heard, asked, stats)
}

impl Admitted {
    /// A node that is to found a cluster, and has never written anything: there is nobody yet whom it could ask. `None`: it has.
    ///
    /// # Errors
    /// As [`Opening::read`].
    pub fn founder(parts: RunningParts) -> Result<Option<Self>> {
        let Ground { disk, stats, log, pool } = Ground::read(&parts)?;
        if !log.groups().is_empty() {
            pool.close();
            return Ok(None);
        }
        let requests = requests(&parts, Arc::new(Heard::found(&log.found().marks)), stats);
        let log = log.begin()?;
        Ok(Some(Self { parts, disk, pool, requests, log, replace: BTreeSet::new() }))
    }
}

impl Opening {
    /// Reads log and tablets. `others` are the nodes it was told of, beside those its own replicas know. Takes long, and must not run on
    /// a thread that serves.
    ///
    /// # Errors
    /// What keeps the node from starting: disk, damage, another process in its folder, a format it does not know.
    pub fn read(parts: RunningParts, others: &BTreeSet<NodeId>) -> Result<Self> {
        let Ground { disk, stats, log, pool } = Ground::read(&parts)?;
        let spool = parts.spool();
        let at = Whereabouts {
            node: parts.node,
            cluster: parts.cluster,
            others,
            pool: &pool,
            disk: &disk,
            spool: &spool,
            sealer: &parts.sealer,
        };
        let admission = Arc::new(Admission::new(log, &at)?);
        let requests = requests(&parts, admission.heard().clone(), stats);
        Ok(Self { parts, disk, pool, admission, requests })
    }

    /// Takes frames until the node may go on.
    #[must_use]
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Asks the peers until it is known what becomes of the node.
    pub async fn ask(&self) -> Verdict {
        self.admission.wait(&self.requests).await
    }

    /// Begins the log: from here on the node writes.
    ///
    /// # Errors
    /// `NotAdmitted`. Disk.
    pub fn begin(self) -> Result<Admitted> {
        let (log, replace) = self.admission.begin()?;
        let Self { parts, disk, pool, requests, .. } = self;
        Ok(Admitted { parts, disk, pool, requests, log, replace })
    }

    /// Gives up: nothing was written.
    pub fn close(self) {
        self.admission.end();
        self.pool.close();
    }
}
