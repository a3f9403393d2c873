//! A change of membership, step by step, while everything else goes wrong: a replica is taken out of its group, ends, and another one
//! with an id of its own takes its place on the same node, from a snapshot to a voter.

use crate::check::Violation;
use crate::nemesis::Nemesis;
use crate::world::node::Node;
use crate::world::running::Running;
use engine::ids::NodeId;
use raft::group::ending::Removed;
use raft::group::handle::Standing;
use raft::membership::reconcile::{Reconciler, Stepped};
use raft::membership::step::Change;
use raft::types::{GroupId, ReplicaId, Role, Seat};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ids of the replicas that one node has had lie so far apart.
const IDS_APART: u64 = 100;
/// So long is waited for one step, in milliseconds.
const STEP_MS: u64 = 300;

/// A replica that gives way to another.
pub(crate) struct Move {
    group: GroupId,
    at: usize,
    old: ReplicaId,
    new: ReplicaId,
    /// Who reconciles, on which node, in which of its lives.
    reconciler: Option<(usize, u64, Reconciler)>,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The membership still names the old one.
    Out,
    /// It names neither of them for certain, and the old one lives.
    Local,
    /// The new one is to become a voter.
    In,
    /// It is one.
    Done,
}

impl Nemesis {
    /// Begins to replace the replica of a group on a node. False if it cannot be now.
    pub(crate) fn begin_move(&mut self, at: usize) -> bool {
        let group = self.group();
        let is_voter = at < self.world.swarm.nodes as usize;
        let nodes = self.stage.nodes.borrow();
        let running = nodes[at]
            .running()
            .filter(|_| is_voter && self.moving.is_none() && self.lost.is_none() && self.image.is_none());
        let old = running.and_then(|running| Some(running.registry.get(group)?.group().replica()));
        drop(nodes);
        let Some(old) = old else { return false };
        let new = ReplicaId(old.0 + IDS_APART);
        self.moving = Some(Move { group, at, old, new, reconciler: None });
        true
    }

    /// Takes the next step of a move, if there is one.
    pub(crate) async fn go_on_moving(&mut self) {
        let Some(mut moving) = self.moving.take() else { return };
        let Some((leader, life, standing)) = self.led(moving.group) else {
            self.moving = Some(moving);
            return;
        };
        let stands_still = [moving.at, leader]
            .into_iter()
            .any(|at| self.stage.nodes.borrow()[at].hardware.pause.is_paused());
        if stands_still {
            self.moving = Some(moving);
            return;
        }
        match self.stage_of(&moving, &standing) {
            Stage::Done => {
                self.stage.nodes.borrow_mut()[moving.at].replaced = None;
                self.moved += 1;
                self.world.diary.note("mover", format_args!("{} is a voter of {}", moving.new, moving.group));
                return;
            }
            Stage::Local => {
                moving.reconciler = None;
                self.replace(&moving, leader).await;
            }
            stage @ (Stage::Out | Stage::In) => {
                let wanted = self.wanted(&moving, &standing, stage);
                self.reconcile(&mut moving, (leader, life), &wanted).await;
            }
        }
        self.moving = Some(moving);
    }

    /// Who leads a group, in which life of its node, and what it says.
    fn led(&self, group: GroupId) -> Option<(usize, u64, Standing)> {
        let leader = self.leader(group)?;
        let nodes = self.stage.nodes.borrow();
        let standing = nodes[leader].running()?.registry.get(group)?.group().standing();
        Some((leader, nodes[leader].life(), standing))
    }

    fn stage_of(&self, moving: &Move, standing: &Standing) -> Stage {
        let (seen, membership) = &standing.membership;
        let is_committed = seen.map(|id| id.index) <= standing.committed.map(|id| id.index);
        let nodes = self.stage.nodes.borrow();
        let here = nodes[moving.at].running().map(|running| running.registry.get(moving.group));
        let here = here.map(|receiver| receiver.map(|receiver| receiver.group().replica()));
        match here {
            _ if membership.seats.contains_key(&moving.old) || !is_committed => Stage::Out,
            Some(here) if here != Some(moving.new) => Stage::Local,
            _ if membership.is_voter(moving.new) && !membership.is_joint() => Stage::Done,
            _ => Stage::In,
        }
    }

    /// The seats that the group is to have: as they are, without the old one, and at last with the new one.
    fn wanted(&self, moving: &Move, standing: &Standing, stage: Stage) -> BTreeMap<ReplicaId, Seat> {
        let membership = &standing.membership.1;
        let role = |id: &ReplicaId, seat: &Seat| match membership.is_voter(*id) {
            true => Role::Voter,
            false => seat.role,
        };
        let kept = membership.seats.iter().filter(|(id, _)| **id != moving.old);
        let mut wanted: BTreeMap<_, _> =
            kept.map(|(id, seat)| (*id, Seat { role: role(id, seat), ..*seat })).collect();
        if stage == Stage::In {
            wanted.insert(moving.new, Seat { node: NodeId(moving.at as u64 + 1), role: Role::Voter });
        }
        wanted
    }

    async fn reconcile(
        &mut self,
        moving: &mut Move,
        (leader, life): (usize, u64),
        wanted: &BTreeMap<ReplicaId, Seat>,
    ) {
        // One whose replica was built again meanwhile looks at what is gone.
        let is_usable =
            |(at, of, one): &(usize, u64, Reconciler)| (*at, *of) == (leader, life) && one.lives();
        if !moving.reconciler.as_ref().is_some_and(is_usable) {
            let nodes = self.stage.nodes.borrow();
            let receiver = nodes[leader].running().and_then(|running| running.registry.get(moving.group));
            moving.reconciler =
                receiver.map(|receiver| (leader, life, Reconciler::new(receiver.group().clone())));
        }
        let words = {
            let nodes = self.stage.nodes.borrow();
            let said = |running: &Running| running.words.of(moving.group, self.world.time.ms());
            nodes[leader].running().map(said).unwrap_or_default()
        };
        let Some((_, _, reconciler)) = &mut moving.reconciler else { return };
        let step = reconciler.step(wanted, &words, self.world.time.ms());
        // What has begun goes on, though nobody waits for it.
        let stepped = tokio::time::timeout(Duration::from_millis(STEP_MS), step).await;
        if let Ok(stepped) = stepped {
            if let Stepped::Changed(Change::SetVoters(_) | Change::Finish(_), _) = &stepped {
                self.world.overseer.saw("joint memberships");
            }
            self.world.diary.note("mover", format_args!("{stepped:?}"));
        }
    }

    async fn replace(&mut self, moving: &Move, leader: usize) {
        let Move { group, at, old, new, .. } = *moving;
        let asked = {
            let nodes = self.stage.nodes.borrow();
            nodes[leader].running().and_then(|running| running.registry.get(group))
        };
        let removed = match asked {
            Some(receiver) => Removed::ask(receiver.group(), old, STEP_MS).await.ok(),
            None => None,
        };
        let id = NodeId(at as u64 + 1);
        // It is taken out meanwhile: others see a node that is not there.
        let mut node =
            std::mem::replace(&mut self.stage.nodes.borrow_mut()[at], Node::new(id, self.world.clone()));
        node.replaced = Some(group);
        let replaced = node.replace(group, (old, new), removed).await;
        let is_down = node.failed().is_some();
        self.stage.nodes.borrow_mut()[at] = node;
        if let Err(error) = replaced
            && !is_down
        {
            let what = format!("{new} does not take the place of the old replica of {group}: {error}");
            self.world.overseer.accuse(Violation::broken("start", what));
        }
    }
}
