//! A node that starts again: it reads its disk, makes its claim over the network, and runs once its peers have said that it may.

use super::keys::CLUSTER;
use super::net::Serve;
use super::node::{Node, State, World};
use super::sizes;
use crate::check::Violation;
use bytes::Bytes;
use engine::disk::Disk;
use engine::ids::NodeId;
use engine::tablet::pool::Pool;
use raft::group::admission::{Admission, Whereabouts};
use raft::group::rejoin::Verdict;
use raft::log::RecoveredLog;
use raft::net::envelope::cluster_tag;
use raft::net::heard::Voice;
use raft::net::link::BoxFuture;
use raft::net::request::Requests;
use raft::type_config::spawn;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// How often a node that was refused is started again, by whoever does not believe it.
const KNOCKS: u32 = 3;

/// How far a node is with its start.
pub enum Entered {
    /// It runs.
    Runs,
    /// Too few peers have answered.
    Waits,
    /// It serves nobody: why.
    Refused(String),
}

/// A node that has made its claim, and waits for the word of its peers.
pub struct Waiting {
    admission: Arc<Admission>,
    pool: Arc<Pool>,
    asks: JoinHandle<()>,
}

impl Waiting {
    /// Ends it: nothing was written.
    pub(super) fn close(self) {
        self.asks.abort();
        self.admission.end();
        self.pool.close();
    }
}

/// Takes frames for a node that waits.
struct Porch(Arc<Admission>);

impl Serve for Porch {
    fn voice(&self) -> Voice {
        self.0.voice()
    }

    fn is_heard(&self, _: &Bytes, _: &Bytes) {}

    fn serve(&self, by: Voice, frame: Bytes) -> BoxFuture<Option<Bytes>> {
        let answer = self.0.serve(&by, &frame);
        Box::pin(std::future::ready(Some(answer)))
    }
}

/// All nodes of a run but one.
fn others(world: &World, id: NodeId) -> impl Iterator<Item = NodeId> {
    let count = u64::from(world.swarm.nodes) + u64::from(world.swarm.late_ms.is_some());
    (1..=count).map(NodeId).filter(move |other| *other != id)
}

impl Node {
    /// Begins its next life: reads log and tablets, and makes its claim. [`Node::enter`] goes on.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn start(&mut self) -> raft::Result<()> {
        let outfit = self.dress()?;
        let log = RecoveredLog::read(sizes::log(&self.world.swarm), outfit.log_parts())?;
        if log.found().was_torn {
            self.world.overseer.saw("torn tails cut off");
        }
        let pool = self.open_pool(&outfit)?;
        let (disk, others): (Arc<dyn Disk>, _) =
            (outfit.disk.clone(), others(&self.world, self.id).collect());
        let at = Whereabouts {
            node: self.id,
            cluster: (CLUSTER, self.generation),
            others: &others,
            pool: &pool,
            disk: &disk,
            spool: "/spool".as_ref(),
            sealer: &outfit.sealer,
        };
        let admission = Arc::new(Admission::new(log, &at)?);
        if self.refused.is_some() {
            let claim = admission.claim();
            self.world.diary.note(self.id, format_args!("knocks: its log ends at {}", claim.log_end));
        }
        let (net, pace) = (&self.world.net, self.world.pace);
        let plug = net.plug(self.id, self.life);
        net.listen(self.id, self.life, Arc::new(Porch(admission.clone())));
        let tag = cluster_tag(CLUSTER, self.generation);
        let (heard, stats) = (admission.heard().clone(), outfit.stats.clone());
        let requests = Requests::new(plug, heard, (tag, pace.election_min_ms), stats);
        let waits = admission.clone();
        let asks = spawn(async move {
            waits.wait(&requests).await;
        });
        self.state = State::Waiting(Box::new(Waiting { admission, pool, asks }), outfit);
        Ok(())
    }

    /// Runs, if what the peers have answered allows it.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn enter(&mut self) -> raft::Result<Entered> {
        let State::Waiting(waiting, _) = &self.state else { return Ok(Entered::Runs) };
        match waiting.admission.verdict() {
            Verdict::Waits { .. } => return Ok(Entered::Waits),
            Verdict::Runs { replace } if replace.is_empty() => {}
            other => return Ok(self.refuse(other.to_string())),
        }
        if let Some(why) = &self.refused {
            let what = format!("{} was refused ({why}), and is let in when it comes again", self.id);
            self.world.overseer.accuse(Violation::broken("start", what));
        }
        let State::Waiting(waiting, outfit) = std::mem::replace(&mut self.state, State::Down) else {
            return Ok(Entered::Runs);
        };
        let Waiting { admission, pool, asks } = *waiting;
        asks.abort();
        let (log, replace) = admission.begin()?;
        let opened = self.equip(outfit, log, pool, &replace)?;
        self.run(opened, (&[], admission.heard().clone())).await?;
        Ok(Entered::Runs)
    }

    /// What it waits for, if it waits for the word of peers.
    #[must_use]
    pub fn waits(&self) -> Option<String> {
        match &self.state {
            State::Waiting(waiting, _) => Some(waiting.admission.verdict().to_string()),
            _ => None,
        }
    }

    /// It serves nobody for the rest of the run.
    pub fn refuse(&mut self, why: String) -> Entered {
        self.world.diary.note(self.id, format_args!("is refused: {why}"));
        self.world.net.unplug(self.id);
        if let State::Waiting(waiting, _) = std::mem::replace(&mut self.state, State::Down) {
            waiting.close();
        }
        self.knocks += u32::from(self.refused.is_some());
        self.refused.get_or_insert(why.clone());
        Entered::Refused(why)
    }

    /// Starts a node that was refused once more, a few times: it must stay refused, however often it comes.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn knock(&mut self) -> raft::Result<()> {
        let is_out = self.refused.is_some() && matches!(self.state, State::Down);
        if is_out && self.knocks < KNOCKS { self.start() } else { Ok(()) }
    }
}
