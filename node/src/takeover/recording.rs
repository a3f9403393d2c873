//! What of a takeover stands in the way of a start: carrying it out before anything runs, and telling the meta group once that does.

use super::carry::Offline;
use super::change::{Seated, TakeOver};
use super::decision::{Decision, Way};
use super::generation::{Generations, Judge, Told};
use super::row::GenerationRow;
use crate::boot::identity::{NodeFolder, NodeIdentity};
use crate::boot::peers::{self, Known};
use crate::config::Config;
use crate::limits::CHANGE_MS;
use crate::meta::command::{Change, MetaCommand, MetaReply};
use crate::meta::follow::Published;
use crate::meta::node_row::NodeState;
use crate::meta::view::MetaView;
use crate::running::replicas::Running;
use crate::running::{self, RunningParts};
use crate::server::Server;
use crate::server::start::{Result, StartError};
use engine::Stamp;
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::NodeId;
use raft::limits::CLOCK_PART_MS_MAX;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Between two tries to tell the meta group, in milliseconds.
const AGAIN_MS: u64 = 200;
/// Between two times that all others are told of the generation, in milliseconds.
const TELL_MS: u64 = 1_000;

impl Decision {
    /// The row that tells of it.
    fn row(&self, node: NodeId) -> GenerationRow {
        let upto = match self.way {
            Way::Survivor => Stamp::ZERO,
            Way::Cut(upto) => upto,
        };
        GenerationRow {
            generation: self.generation,
            parent: self.parent,
            upto,
            node,
            decided_ms: self.decided_ms,
            by: self.by.clone(),
            reason: self.reason.clone(),
            whole: self.whole,
            ..GenerationRow::default()
        }
    }
}

/// Whose word counts: that of nodes which the rows name, or `peers.txt` where there are none yet.
struct Rows {
    published: Published,
    known: Arc<RwLock<Known>>,
    /// The archive says which of two generations of one number goes on.
    has_archive: bool,
}

impl Judge for Rows {
    fn trusts(&self, by: NodeId) -> bool {
        let meta = self.published.now();
        match meta.nodes.is_empty() {
            true => self.known.read().unwrap_or_else(PoisonError::into_inner).contains_key(&by),
            false => meta.nodes.get(&by).is_some_and(|row| row.state != NodeState::Removed),
        }
    }

    /// Of two nodes of one generation that both took over without having heard of each other the one with the lower id goes on. Only itself,
    /// or who belongs to this cluster, is believed to say so.
    fn gives_way(&self, by: NodeId, told: Told) -> bool {
        let meta = self.published.now();
        let Some(row) = meta.generations.get(&told.generation) else { return false };
        let is_taker = row.gone.contains(&told.node) && (by == told.node || self.trusts(by));
        is_taker && told.node < row.node && !self.has_archive
    }
}

/// What a start finds of generations, and whether no takeover is under way.
pub(crate) fn found(
    config: &Config,
    identity: &NodeIdentity,
    published: &Published,
    known: &Arc<RwLock<Known>>,
) -> Result<(Generations, bool)> {
    let folder = &config.node.data_dir;
    let decided = Decision::read(folder)?.map(|decision| decision.generation);
    let fence = Told::read(folder)?;
    // Another has taken the generation, or a later one: what was decided here is not carried out.
    let is_late = fence.is_some_and(|fence| decided.is_some_and(|decided| fence.generation >= decided));
    let own = decided.filter(|_| !is_late).unwrap_or(identity.generation).max(identity.generation);
    let newest = Told { generation: own, node: identity.node, heard_ms: 0 };
    // One of the same number: its own has given way to it.
    let fence = fence.filter(|fence| fence.generation >= own);
    let goes_first = fence.is_some_and(|fence| fence.generation == own);
    let has_archive = !config.node.archive.sites.is_empty();
    let judge = Rows { published: published.clone(), known: known.clone(), has_archive };
    let newest = (fence.unwrap_or(newest), goes_first);
    Ok((Generations::new(own, newest, Arc::new(judge)), decided.is_none()))
}

impl Server {
    /// Begins to tell of its generation, and to hear of later ones.
    pub(crate) fn hear_of_generations(self: Arc<Self>, lease_ms: u64) {
        self.tasks.spawn("generation", self.clone().follow_generations(lease_ms));
        self.tasks.spawn("generations", self.clone().tell_generations());
    }

    /// Carries out what was decided. From then on the node is of the new generation.
    pub(crate) async fn carry_out(
        &self,
        decision: &Decision,
        identity: &NodeIdentity,
        parts: RunningParts,
    ) -> Result<()> {
        tracing::warn!(generation = decision.generation, by = decision.by, "the node takes over");
        // Of a decision that a crash has left nobody may have heard: leaders of before answer reads for one lease yet.
        tokio::time::sleep(Duration::from_millis(parts.pace.election_max_ms + CLOCK_PART_MS_MAX)).await;
        let opening = tokio::task::spawn_blocking(move || Offline::open(parts));
        let offline =
            opening.await.map_err(|_| StartError::Other("reading the disk panicked".to_owned()))??;
        let carried = self.carried(&offline, decision).await;
        let closing = tokio::task::spawn_blocking(move || offline.close());
        closing.await.map_err(|_| StartError::Other("closing the disk panicked".to_owned()))?;
        carried?;
        // Whoever was known is of another generation: nobody is asked whether this disk may go on.
        let mut known = self.known();
        known.retain(|node, _| *node == self.node);
        self.knows(&known)?;
        let identity = NodeIdentity { generation: decision.generation, ..identity.clone() };
        NodeFolder::at(&self.folder).write_identity(&identity)?;
        Ok(())
    }

    fn knows(&self, known: &Known) -> Result<()> {
        peers::write(&self.folder, known)?;
        known.clone_into(&mut *self.peers.write().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    async fn carried(&self, offline: &Offline, decision: &Decision) -> running::Result<()> {
        let view = offline.meta().await?;
        self.learn_purged(&view);
        for (name, cause) in self.keys.learn(&view.key_rows()) {
            tracing::error!(?name, cause, "a key of the meta group does not open");
        }
        offline.carry_out(decision).await
    }

    /// Tells the meta group that the generation has begun, until it knows. Before that nothing is done by its rows: they tell of what was.
    pub(crate) async fn record(&self, running: &Running, decision: &Decision) {
        loop {
            let meta = self.meta();
            if meta.generations.contains_key(&decision.generation) {
                break;
            }
            let absent =
                meta.shards.keys().find(|was| !running.living().contains_key(&decision.becomes(**was)));
            if let (Some(_), Some(was)) = (&meta.cluster, absent) {
                tracing::warn!(group = %was, "the takeover waits for a group that is not here");
            }
            if let Some(takeover) = self.takeover_of(running, decision, &meta) {
                let command = MetaCommand::new(vec![Change::TakeOver(Box::new(takeover))]);
                match self.change(command, CHANGE_MS).await {
                    Ok(MetaReply::Applied { .. }) => {}
                    Ok(reply) => tracing::error!(?reply, "the meta group refuses the takeover"),
                    Err(why) => tracing::info!(%why, "the meta group does not know of the takeover yet"),
                }
                // What it says is looked at when it is seen here.
                let _ = self.refresh(CHANGE_MS).await;
            }
            tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
        }
        while let Err(error) = decision.finish(&self.folder) {
            tracing::warn!(cause = with_sources(&error), "takeover.toml stays: it is tried again");
            tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
        }
        tracing::warn!(generation = decision.generation, "the takeover is done");
        self.recorded.send_replace(true);
    }

    /// `None`: the rows are not known yet.
    fn takeover_of(&self, running: &Running, decision: &Decision, meta: &MetaView) -> Option<TakeOver> {
        meta.cluster.as_ref()?;
        let living = running.living();
        let seated = |was: &raft::types::GroupId| {
            let is = decision.becomes(*was);
            Some(Seated { was: *was, is, replica: *living.get(&is)? })
        };
        Some(TakeOver {
            row: decision.row(self.node),
            gone: meta.nodes.keys().filter(|node| **node != self.node).copied().collect(),
            groups: meta.shards.keys().map(seated).collect::<Option<Vec<_>>>()?,
            reports: meta.reports.keys().copied().collect(),
        })
    }

    /// Waits until rows of the meta group may be acted on: a takeover that is under way is not in them yet.
    pub(crate) async fn is_recorded(&self) {
        let mut heard = self.recorded.subscribe();
        // The sender is here: it cannot go away meanwhile.
        let _ = heard.wait_for(|is_recorded| *is_recorded).await;
    }

    /// Tells others of its generation again and again, until the node ends; those of before too, once the cluster has gone on without them.
    async fn tell_generations(self: Arc<Self>) {
        loop {
            if let Some(link) = self.told.link.get() {
                let meta = self.meta();
                let is_told = |node: &NodeId| {
                    let row = meta.nodes.get(node);
                    let is_there = row.is_none_or(|row| row.state != NodeState::Removed);
                    *node != self.node && (is_there || !meta.generations.is_empty())
                };
                let others: Vec<NodeId> = self.known().into_keys().filter(is_told).collect();
                let told = others.into_iter().map(|node| self.generations.tell(&**link, node));
                futures_util::future::join_all(told).await;
            }
            tokio::time::sleep(Duration::from_millis(TELL_MS)).await;
        }
    }

    /// Waits until the node hears of a later generation, and lets it begin again: fenced, or as the one that takes over.
    async fn follow_generations(self: Arc<Self>, lease_ms: u64) {
        let told = self.generations.is_fenced().await;
        // The file says so, not whoever tells: a node that only another names as the one would begin again for ever.
        let is_own = Decision::read(&self.folder).ok().flatten();
        let is_own = is_own.is_some_and(|decision| decision.generation == told.generation);
        let why = if is_own && told.node == self.node {
            // Leaders of before answer reads for one lease yet.
            tokio::time::sleep(Duration::from_millis(lease_ms + CLOCK_PART_MS_MAX)).await;
            format!("the node takes over: generation {} begins with it", told.generation)
        } else {
            let fence = Told { heard_ms: self.clock.now_ms(), ..told };
            let (generation, by) = (told.generation, told.node);
            tracing::error!(generation, %by, "the node is fenced: the cluster has gone on without it");
            while let Err(error) = fence.write(&self.folder) {
                tracing::error!(
                    cause = with_sources(&error),
                    "the fence is not written down: it is tried again"
                );
                tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
            }
            // Others that it reaches hear of it from this one.
            tokio::time::sleep(Duration::from_millis(lease_ms)).await;
            format!("the node is fenced by generation {}", told.generation)
        };
        self.again.send_replace(Some(why));
    }

    /// Waits until the node must be stopped and started again, and says why.
    pub async fn begins_again(&self) -> String {
        let mut heard = self.again.subscribe();
        // The sender is here: it cannot go away meanwhile.
        let why = heard.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_default()
    }
}
