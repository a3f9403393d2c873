//! Does what is asked of a node that is to take over: plans it, decides it, and lists what it cut off.

use super::decision::{Decision, Way};
use super::generation::Told;
use super::order::{Answer, Ask, Plan, Target};
use super::row::GenerationRow;
use super::rules::{self, Standing};
use super::tail;
use crate::archive::manifest::log::GenerationRegister;
use crate::archive::manifest::{self, MANIFEST_BYTES_MAX};
use crate::archive::naming::{Generation, Name};
use crate::archive::site::{Site, SiteError};
use crate::delayed::gate::{missing, progress, received};
use crate::limits;
use crate::meta::node_row::NodeState;
use crate::meta::view::MetaView;
use crate::refused::Refused;
use crate::running::replicas::Running;
use crate::server::Server;
use engine::Stamp;
use engine::clock::Clock;
use engine::error::with_sources;
use engine::ids::NodeId;
use engine::sealed::Sealer;
use proto::errors::code;
use raft::delay::{GroupProgress, Keeper};
use raft::group::takeover::{greatest_stamp, waits_behind};
use raft::types::GroupId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a generation of an archive began, as its register says it: a node took over.
const PROMOTED: u32 = 3;

/// Data groups as they are, and as which they go on: ids that no group has had.
#[must_use]
pub fn groups_after(meta: &MetaView) -> Vec<(GroupId, GroupId)> {
    let greatest = meta.shards.keys().map(|group| group.0).max().unwrap_or(0);
    let data = meta.shards.keys().filter(|group| **group != GroupId::META);
    data.zip(greatest + 1..).map(|(was, is)| (*was, GroupId(is))).collect()
}

/// What an archive is told of a generation that began with a takeover. The bytes follow from the row: whoever puts it puts the same.
#[must_use]
pub fn register(row: &GenerationRow) -> GenerationRegister {
    let parent_upto = row.counts_upto().map_or(u64::MAX, |upto| upto.0);
    GenerationRegister {
        generation: row.generation,
        parent: row.parent,
        parent_upto,
        reason: PROMOTED,
        approvals: vec![row.node.to_string()],
        made_ms: row.decided_ms,
    }
}

/// The node that a register names.
pub(crate) fn node_of(text: &str) -> Option<NodeId> {
    u64::from_str_radix(text.strip_prefix("n-")?, 16).ok().map(NodeId)
}

/// Puts the register of a generation. False: another one stands there, and says by which node.
///
/// # Errors
/// The site does not answer; what stands there cannot be read.
pub(crate) async fn put_register(
    home: &Site,
    sealer: &Sealer,
    row: &GenerationRow,
) -> crate::archive::Result<Option<String>> {
    let name = Name::Generation(Generation(row.generation));
    let bytes = manifest::seal(sealer, &name, &register(row))?;
    match home.put(&name.to_string(), bytes.into()).await {
        Ok(()) => Ok(None),
        Err(SiteError::Taken { .. }) => {
            let found = home.get(&name.to_string(), MANIFEST_BYTES_MAX as u64).await?;
            let found: GenerationRegister =
                manifest::open(&sealer.public_key()?, sealer.cluster(), &name, &found)?;
            Ok(Some(found.approvals.first().cloned().unwrap_or_default()))
        }
        Err(error) => Err(error.into()),
    }
}

impl Server {
    /// By which generation it is fenced, if it is: it serves nobody.
    #[must_use]
    pub fn fenced(&self) -> Option<Refused> {
        let told = self.generations.fenced()?;
        let (generation, own) = (told.generation, self.generations.own());
        let text = if told.node == self.node {
            format!("the node takes over: generation {generation} begins with it")
        } else if generation == own {
            format!(
                "generation {generation} has begun twice, here and with node {}, and goes on there: copy away what was written here since, \
                 wipe the folder of this node and let it join anew",
                told.node
            )
        } else {
            format!(
                "the cluster has gone on as generation {generation} with node {}, and this node is of generation {own}: wipe its folder and \
                 let it join anew",
                told.node
            )
        };
        Some(Refused::new(code::FENCED).saying(text).better(Some(told.node)).after(limits::FENCED_AGAIN_MS))
    }

    /// Does what `by` asks of this node.
    ///
    /// # Errors
    /// What can be said against it; see [`rules::plan`].
    pub(crate) async fn taking_over(self: &Arc<Self>, by: &str, ask: Ask) -> Result<Answer, Refused> {
        match ask {
            Ask::Tail(generation) => {
                let folder = self.folder.clone();
                let listed = tokio::task::spawn_blocking(move || tail::list(&folder, generation)).await;
                Ok(Answer::Tail(listed.map_err(|_| Refused::new(code::INTERNAL))??, 0))
            }
            Ask::Digest(tenant, upto) => {
                let (rows, sha256) = self.digest_late(tenant, upto).await?;
                Ok(Answer::Digest(rows, sha256))
            }
            Ask::Promote { target, reason, is_plan } => {
                let running = self.running()?.clone();
                let keeper = running.late().cloned().ok_or_else(|| Refused::new(code::NOT_DELAYED))?;
                let plan = self.plan((&running, &keeper), target).await?;
                if is_plan {
                    return Ok(Answer::Plan(plan));
                }
                self.decide((&running, &keeper), by, reason, plan).await.map(Answer::Plan)
            }
        }
    }

    /// What a promotion would be.
    async fn plan(
        &self,
        (running, keeper): (&Arc<Running>, &Keeper),
        target: Target,
    ) -> Result<Plan, Refused> {
        if let Some(refused) = self.fenced() {
            return Err(refused);
        }
        let groups = progress(self, running);
        if let Some(group) = missing(self, &groups) {
            return Err(Refused::new(code::NOT_RECEIVED)
                .saying(format!("this node holds nothing of group {group} yet")));
        }
        let reads = running.clone();
        let waiting = tokio::task::spawn_blocking(move || {
            let replicas = reads.replicas();
            let machines: Vec<_> =
                replicas.iter().map(|one| one.receiver.group().machine().clone()).collect();
            waits_behind(reads.log(), &machines)
        });
        let waits = waiting.await.map_err(|_| Refused::new(code::INTERNAL))?;
        let waits = waits.map_err(|error| Refused::new(code::OVERLOADED).saying(with_sources(&error)))?;
        let plan = rules::plan(target, &Standing { waits, ..self.standing(running, keeper)? })?;
        let (living, silent) = self.others(running).await;
        let pending_bytes = self.late().map_or(0, |late| late.pending_bytes);
        let generation = self.generations.own().saturating_add(1);
        Ok(Plan { generation, pending_bytes, living, silent, ..plan })
    }

    fn standing(&self, running: &Arc<Running>, keeper: &Keeper) -> Result<Standing, Refused> {
        let groups: BTreeMap<GroupId, GroupProgress> = progress(self, running);
        let received = received(self, &groups);
        let all = running.registry().all();
        let parked =
            all.iter().filter(|one| one.delayed().is_some_and(|delayed| delayed.is_parked())).count();
        let replicas = running.replicas();
        let machines: Vec<_> = replicas.iter().map(|one| one.receiver.group().machine().clone()).collect();
        let seen = greatest_stamp(running.log(), &machines)
            .map_err(|error| Refused::new(code::OVERLOADED).saying(with_sources(&error)))?;
        Ok(Standing { gate: keeper.state().gate, received, seen, parked, waits: None })
    }

    /// Nodes of this generation that answer, and those that do not.
    async fn others(&self, running: &Running) -> (Vec<NodeId>, Vec<NodeId>) {
        let meta = self.meta();
        let others = meta.nodes.values().filter(|row| row.id != self.node && row.state != NodeState::Removed);
        let others: Vec<NodeId> = others.map(|row| row.id).collect();
        let link = &*running.parts().link;
        let asked = others.iter().map(|node| self.generations.tell(link, *node));
        let heard = futures_util::future::join_all(asked).await;
        let (mut living, mut silent) = (Vec::new(), Vec::new());
        for (node, has_heard) in others.into_iter().zip(heard) {
            if has_heard { living.push(node) } else { silent.push(node) }
        }
        (living, silent)
    }

    /// Decides it: the gate is held, the archive is told, then the decision is written down. From there on it is carried out, also after a
    /// crash.
    async fn decide(
        self: &Arc<Self>,
        (running, keeper): (&Arc<Running>, &Arc<Keeper>),
        by: &str,
        reason: String,
        plan: Plan,
    ) -> Result<Plan, Refused> {
        let holds = keeper.clone();
        let held = tokio::task::spawn_blocking(move || holds.hold()).await;
        let held = held.map_err(|_| Refused::new(code::INTERNAL))?;
        let held = held.map_err(|error| Refused::new(code::OVERLOADED).saying(with_sources(&error)))?;
        if held.gate > plan.upto {
            // It went past it since it was planned.
            return Err(rules::plan(Target::Upto(plan.upto), &self.standing(running, keeper)?)
                .err()
                .unwrap_or_else(|| Refused::new(code::GATE_PASSED)));
        }
        let decided_ms = self.clock.now_ms();
        let row = GenerationRow {
            generation: plan.generation,
            parent: self.generations.own(),
            upto: plan.upto,
            node: self.node,
            decided_ms,
            by: by.to_owned(),
            reason,
            ..GenerationRow::default()
        };
        let row = self.registered(row).await?;
        let decision = Decision {
            generation: row.generation,
            parent: row.parent,
            way: Way::Cut(plan.upto),
            by: row.by,
            reason: row.reason,
            decided_ms,
            whole: Stamp::ZERO,
            groups: groups_after(&self.meta()),
        };
        // What was heard while others were asked counts: nothing waits between this look and the write.
        if let Some(refused) = self.fenced() {
            return Err(refused);
        }
        tracing::error!(by, reason = decision.reason, generation = decision.generation, upto = %plan.upto, "this node takes over");
        decision
            .write(&self.folder)
            .map_err(|error| Refused::new(code::OVERLOADED).saying(with_sources(&error)))?;
        let generation = decision.generation;
        self.generations.announce(Told { generation, node: self.node, heard_ms: decided_ms });
        let (living, silent) = self.others(running).await;
        Ok(Plan { generation, living, silent, is_decided: true, ..plan })
    }

    /// Tells the archive, if there is one, before anything is decided: of two nodes that want the same generation one is refused. A number
    /// that this node took before and did not come to use is left out.
    async fn registered(&self, mut row: GenerationRow) -> Result<GenerationRow, Refused> {
        if !self.archiving.is_on() {
            return Ok(row);
        }
        let away = |error: &dyn std::error::Error| {
            let text = format!(
                "the archive decides which node takes over, and does not answer: {}",
                with_sources(error)
            );
            Refused::new(code::ARCHIVE_AWAY).saying(text)
        };
        let home = self.archiving.home(self).map_err(|error| away(&error))?;
        for _ in 0..limits::GENERATIONS_TRIED {
            match put_register(&home, self.keys.sealer(), &row).await.map_err(|error| away(&error))? {
                None => return Ok(row),
                Some(by) if by == self.node.to_string() => row.generation += 1,
                Some(by) => {
                    let text = format!("generation {} was taken by node {by}", row.generation);
                    return Err(Refused::new(code::GENERATION_TAKEN).saying(text));
                }
            }
        }
        Err(Refused::new(code::GENERATION_TAKEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::rows::MetaRow;
    use crate::meta::shard_row::ShardRow;

    #[test]
    fn groups_go_on_under_ids_that_none_has_had() {
        let shard = |group| MetaRow::Shard(ShardRow { group: GroupId(group), ..ShardRow::default() });
        let meta = MetaView::of([shard(1), shard(2), shard(7)], 1);
        let data: Vec<u64> =
            meta.shards.keys().map(|group| group.0).filter(|id| GroupId(*id) != GroupId::META).collect();
        let after = groups_after(&meta);
        assert_eq!(after.iter().map(|(was, _)| was.0).collect::<Vec<_>>(), data);
        assert!(after.iter().all(|(_, is)| is.0 > 7));
    }

    #[test]
    fn two_nodes_that_take_the_same_generation_say_other_bytes() {
        let row = GenerationRow {
            generation: 2,
            parent: 1,
            upto: Stamp(9),
            node: NodeId(4),
            ..GenerationRow::default()
        };
        let own = register(&row);
        assert_eq!(node_of(&own.approvals[0]), Some(NodeId(4)));
        assert_eq!((own.generation, own.parent, own.parent_upto), (2, 1, 9));
        assert_ne!(own, register(&GenerationRow { node: NodeId(5), ..row.clone() }));
        let survivor = register(&GenerationRow { upto: Stamp::ZERO, ..row.clone() });
        assert_eq!(survivor.parent_upto, u64::MAX, "it has all there was");
        let whole = register(&GenerationRow { upto: Stamp::ZERO, whole: Stamp(7), ..row });
        assert_eq!(whole.parent_upto, 7, "what it may lack counts no more");
    }
}
