//! The replicas that live here become those that the meta group wants here, and the membership of every group that is led here becomes
//! the one it wants. A step at a time: called again it goes on, also after a crash.

use super::Result;
use super::replicas::Running;
use engine::key::KeyRange;
use raft::group::birth::{self, Birth};
use raft::group::ending::{NotRemoved, Removed};
use raft::group::handle::Group;
use raft::membership::reconcile::{Reconciler, Stepped};
use raft::types::{GroupId, ReplicaId, Role, Seat};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So long is waited for one step of a change of membership, in milliseconds.
const STEP_MS: u64 = 2_000;

/// What the meta group wants of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedGroup {
    /// The group.
    pub group: GroupId,
    /// The rows it holds.
    pub range: KeyRange,
    /// Who is to belong to it.
    pub seats: BTreeMap<ReplicaId, Seat>,
    /// Who has left it for good, as its leader has said: these end where they live.
    pub gone: Vec<ReplicaId>,
}

/// What a round of reconciling has come to.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Replicas that have left their group for good since.
    pub gone: Vec<(GroupId, ReplicaId)>,
    /// Whether a membership has changed: the next step may be due at once.
    pub has_changed: bool,
}

/// Moves the replicas of one node.
#[derive(Default)]
pub struct Mover {
    reconcilers: BTreeMap<GroupId, Reconciler>,
}

impl Mover {
    /// Bears what is wanted here and does not live here, ends what has left its group for good.
    ///
    /// # Errors
    /// Of disk and log.
    pub async fn settle(&self, running: &Arc<Running>, wanted: &[WantedGroup]) -> Result<()> {
        let living = running.living();
        for one in wanted {
            let here = living.get(&one.group).copied();
            match here {
                Some(replica) if one.gone.contains(&replica) => {
                    running.unseat(one.group);
                    let removed = Removed::recorded(one.group, replica);
                    running.supervisor.lock().await.end(removed, running.now_ms());
                }
                Some(_) => {}
                None => self.bear(running, one).await?,
            }
        }
        Ok(())
    }

    async fn bear(&self, running: &Arc<Running>, one: &WantedGroup) -> Result<()> {
        let is_here = |seat: &Seat| seat.node == running.parts.node;
        let Some((replica, seat)) = one.seats.iter().rev().find(|(_, seat)| is_here(seat)) else {
            return Ok(());
        };
        if seat.role == Role::Delayed && running.late().is_none() {
            // Its row does not say yet how late it is to be: without a gate it would apply everything at once.
            return Ok(());
        }
        if running.supervisor.lock().await.is_busy(one.group) || running.registry.get(one.group).is_some() {
            return Ok(());
        }
        let birth = Birth { group: one.group, replica: *replica, range: one.range.clone(), founders: None };
        let machine = birth::bear(&birth, running.ground.parts.clone()).await?;
        tracing::info!(group = %one.group, %replica, "a replica is born here");
        running.seat_all(vec![running.wanted(machine, true)?]).await;
        Ok(())
    }

    /// Takes a step towards the wanted membership of every group that is led here. Those that have left it are for the meta group to
    /// record: `known` are those of which it knows that they live somewhere.
    pub async fn reconcile(
        &mut self,
        running: &Arc<Running>,
        wanted: &[WantedGroup],
        known: &BTreeMap<GroupId, Vec<ReplicaId>>,
    ) -> Reconciled {
        let mut done = Reconciled::default();
        for one in wanted {
            let Some(seated) = running.replica(one.group) else { continue };
            let group = seated.receiver.group().clone();
            if !group.leads() {
                self.reconcilers.remove(&one.group);
                continue;
            }
            done.has_changed |= self.step(running, &group, &one.seats).await;
            let unwanted = known.get(&one.group).into_iter().flatten();
            for replica in unwanted.filter(|replica| !one.seats.contains_key(replica)) {
                match Removed::ask(&group, *replica, STEP_MS).await {
                    Ok(removed) => done.gone.push((removed.group(), removed.replica())),
                    Err(NotRemoved::Member) => {}
                    Err(why) => tracing::debug!(group = %one.group, %replica, %why, "not known to have left"),
                }
            }
        }
        done
    }

    /// True if the membership has changed.
    async fn step(
        &mut self,
        running: &Arc<Running>,
        group: &Arc<Group>,
        seats: &BTreeMap<ReplicaId, Seat>,
    ) -> bool {
        let (id, now_ms) = (group.id(), running.now_ms());
        let words = running.words.of(id, now_ms);
        self.reconcilers.retain(|of, one| *of != id || one.lives());
        let reconciler = self.reconcilers.entry(id).or_insert_with(|| Reconciler::new(group.clone()));
        // What has begun goes on, though nobody waits for it.
        let step = reconciler.step(seats, &words, now_ms);
        match tokio::time::timeout(Duration::from_millis(STEP_MS), step).await {
            Ok(Stepped::HandedOver { to, term }) => {
                running.supervisor.lock().await.handed_over(id, term, now_ms);
                tracing::info!(group = %id, %to, "the lead is handed over");
            }
            Ok(Stepped::Changed(change, at)) => {
                tracing::info!(group = %id, ?change, %at, "the membership changes");
                return true;
            }
            Ok(other) => tracing::trace!(group = %id, ?other, "no change of membership"),
            Err(_) => tracing::debug!(group = %id, "a change of membership takes longer"),
        }
        false
    }
}
