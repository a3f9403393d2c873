//! Pure: who should have a replica of which group. Asked again and again; each time it says at most one small change a group, and none when
//! all is well:
//!   * the meta group has a replica on every node that is there, of which an odd number, `META_VOTERS_MAX` at most, vote; from a node that
//!     leaves it goes last;
//!   * a data group has `DATA_VOTERS` voters, or as many as there are nodes, in as many regions as can be, on the nodes that have least;
//!   * a group that has fewer voters than it should gets all that are missing at once: nobody counts on them yet;
//!   * a group that has fewer voters than it should gets all that it lacks at once: nothing is taken from anybody for them;
//!   * of a data group one replica is on the move at most: the new one counts before the old one goes;
//!   * for the sake of balance alone one group moves at a time, and only if it gets better by it;
//!   * a delayed node has a learner of the meta group and a delayed replica of every data group that has voters, and nothing else: it counts
//!     for nothing of the above.
//!
//! What stands in the rows is what is wanted; how far the groups have come is told beside it.

use crate::limits;
use crate::meta::node_row::{NodeRow, NodeState};
use crate::meta::shard_row::ShardRow;
use engine::ids::NodeId;
use raft::types::{GroupId, ReplicaId, Role, Seat};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A node that may be given replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it stands.
    pub region: String,
    /// What it is there for.
    pub state: NodeState,
    /// Whether it is heard. One that is not keeps what it has, and is given nothing.
    pub is_live: bool,
    /// Whether it applies late: it is given a replica of every group, and none that votes.
    pub is_delayed: bool,
}

/// The nodes there are.
pub type Places = BTreeMap<NodeId, Place>;

/// Who votes in each group now, as its leader says; of a group that is missing here nothing is known, and nothing is changed but that it
/// is founded.
pub type Voters = BTreeMap<GroupId, BTreeSet<ReplicaId>>;

/// The places that these nodes are.
#[must_use]
pub fn places<'a>(nodes: impl IntoIterator<Item = &'a NodeRow>, live: &BTreeSet<NodeId>) -> Places {
    let place = |node: &NodeRow| {
        let (region, state, is_live) = (node.region.clone(), node.state, live.contains(&node.id));
        (node.id, Place { region, state, is_live, is_delayed: node.is_delayed() })
    };
    nodes.into_iter().map(place).collect()
}

/// The rows that change, each with the version after the one that was looked at.
#[must_use]
pub fn plan(places: &Places, shards: &BTreeMap<GroupId, ShardRow>, voters: &Voters) -> Vec<ShardRow> {
    let mut load = BTreeMap::new();
    let data = || shards.values().filter(|row| row.group != GroupId::META);
    let votes = |seat: &&Seat| seat.role != Role::Delayed;
    for seat in data().flat_map(|row| row.seats.values()).filter(votes) {
        *load.entry(seat.node).or_default() += 1;
    }
    // One that is lost cannot say that what has left its group is gone from its disk as well.
    let is_live = |node: &NodeId| places.get(node).is_some_and(|place| place.is_live);
    let ending = data().flat_map(|row| row.gone.values().copied()).filter(is_live);
    let busy = data().flat_map(ShardRow::staying).chain(ending).collect();
    let mut planner = Planner { places, load, busy };
    let mut changed = Vec::new();
    if let Some(row) = shards.get(&GroupId::META) {
        changed.extend(voters.get(&GroupId::META).and_then(|now| planner.meta(row, now)));
    }
    let mut is_balanced = true;
    let split: Vec<_> = data().map(undelayed).collect();
    for (row, late) in &split {
        let now = voters.get(&row.group);
        if let Some(next) = planner.data(row, now) {
            changed.push(with_late(next, late));
            is_balanced = false;
        } else if let Some(next) = planner.late(row, late) {
            changed.push(next);
            is_balanced = false;
        }
        let is_whole = row.seats.len() == planner.voters_wanted(limits::DATA_VOTERS);
        is_balanced &= is_whole && now.is_some_and(|now| is_settled(row, now));
    }
    if is_balanced && let Some(next) = planner.balance(split.iter().map(|(row, _)| row)) {
        let late = split.iter().find(|(row, _)| row.group == next.group).map(|(_, late)| late);
        changed.push(with_late(next, late.unwrap_or(&BTreeMap::new())));
    }
    changed
}

/// A row without its delayed replicas, and those.
fn undelayed(row: &ShardRow) -> (ShardRow, BTreeMap<ReplicaId, Seat>) {
    let is_late = |(_, seat): &(&ReplicaId, &Seat)| seat.role == Role::Delayed;
    let late = row.seats.iter().filter(is_late).map(|(id, seat)| (*id, *seat)).collect();
    let mut row = row.clone();
    row.seats.retain(|_, seat| seat.role != Role::Delayed);
    (row, late)
}

/// The row with its delayed replicas again.
fn with_late(mut row: ShardRow, late: &BTreeMap<ReplicaId, Seat>) -> ShardRow {
    row.seats.extend(late);
    row
}

/// Whether exactly those vote that should.
fn is_settled(row: &ShardRow, now: &BTreeSet<ReplicaId>) -> bool {
    let wanted = row.seats.iter().filter(|(_, seat)| seat.role == Role::Voter).map(|(id, _)| *id);
    wanted.collect::<BTreeSet<_>>() == *now
}

/// How good a set of seats is: more regions first, then less load.
type Score = (usize, Reverse<usize>);

struct Planner<'a> {
    places: &'a Places,
    /// Seats of data groups on each node.
    load: BTreeMap<NodeId, usize>,
    /// Nodes on which something of a data group is, or still ends.
    busy: BTreeSet<NodeId>,
}

impl Planner<'_> {
    fn is_active(&self, node: NodeId) -> bool {
        self.places.get(&node).is_some_and(|place| place.state == NodeState::Active)
    }

    fn active(&self) -> impl Iterator<Item = NodeId> {
        self.places.keys().copied().filter(|node| self.is_active(*node))
    }

    fn is_delayed(&self, node: NodeId) -> bool {
        self.places.get(&node).is_some_and(|place| place.is_delayed)
    }

    /// Those that may be given a replica that votes.
    fn ready(&self) -> impl Iterator<Item = NodeId> {
        self.active().filter(|node| self.places[node].is_live && !self.is_delayed(*node))
    }

    fn load(&self, node: NodeId) -> usize {
        self.load.get(&node).copied().unwrap_or(0)
    }

    fn voters_wanted(&self, max: usize) -> usize {
        self.active().filter(|node| !self.is_delayed(*node)).count().clamp(1, max)
    }

    /// Regions in which nodes that stay are.
    fn regions(&self, nodes: impl IntoIterator<Item = NodeId>) -> usize {
        let stays = nodes.into_iter().filter(|node| self.is_active(*node));
        stays.map(|node| self.places[&node].region.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// The node on which one more replica does most good.
    fn best_new(&self, has: &BTreeSet<NodeId>) -> Option<NodeId> {
        let score = |node: &NodeId| -> Score {
            (self.regions(has.iter().copied().chain([*node])), Reverse(self.load(*node)))
        };
        let free = self.ready().filter(|node| !has.contains(node));
        free.max_by_key(|node| (score(node), Reverse(*node)))
    }

    /// The replica without which the group is best: one that must go; then one that no region misses, with most beside it; of those the
    /// youngest.
    fn worst(&self, of: &BTreeMap<ReplicaId, Seat>) -> Option<ReplicaId> {
        let rank = |id: &ReplicaId| {
            let node = of[id].node;
            let rest = of.iter().filter(|(other, _)| *other != id).map(|(_, seat)| seat.node);
            (!self.is_active(node), self.regions(rest), self.load(node), *id)
        };
        of.keys().copied().max_by_key(rank)
    }

    /// The next change of the meta group.
    fn meta(&self, row: &ShardRow, now: &BTreeSet<ReplicaId>) -> Option<ShardRow> {
        let mut next = change(row);
        // Whoever is new comes at once: as a learner it is in nobody's way. Who is to leave stays a learner as long as anything else of its
        // node does: only from here the node hears what else has to go.
        let leaves = |id: &ReplicaId, seat: &Seat| {
            !self.is_active(seat.node) && !self.busy.contains(&seat.node) && !now.contains(id)
        };
        let leaving: Vec<_> =
            row.seats.iter().filter(|(id, seat)| leaves(id, seat)).map(|(id, _)| *id).collect();
        leaving.into_iter().for_each(|id| remove(&mut next, id));
        let has: BTreeSet<NodeId> = row.seats.values().map(|seat| seat.node).collect();
        for node in self.active().filter(|node| !has.contains(node)) {
            if next.seats.len() < raft::limits::MEMBERS_MAX {
                add(&mut next, node, Role::Learner);
            }
        }
        if is_settled(row, now) {
            self.meta_voters(row, &mut next);
        } else if let Some((id, seat)) = row.seats.iter().find(|(id, seat)| {
            let is_lost = self.places.get(&seat.node).is_none_or(|place| !place.is_live);
            seat.role == Role::Voter && !now.contains(id) && is_lost && self.is_active(seat.node)
        }) {
            // It was to vote, and is not heard before it does.
            next.seats.insert(*id, Seat { role: Role::Learner, ..*seat });
        }
        (next.seats != row.seats).then_some(next)
    }

    /// One voter more or less, if that is better.
    fn meta_voters(&self, row: &ShardRow, next: &mut ShardRow) {
        let of_role = |role: Role| -> BTreeMap<ReplicaId, Seat> {
            row.seats.iter().filter(|(_, seat)| seat.role == role).map(|(id, seat)| (*id, *seat)).collect()
        };
        let (voters, learners) = (of_role(Role::Voter), of_role(Role::Learner));
        let nodes: BTreeSet<NodeId> = voters.values().map(|seat| seat.node).collect();
        let wanted = match self.voters_wanted(limits::META_VOTERS_MAX) {
            even if even % 2 == 0 => even - 1,
            odd => odd,
        };
        let good = nodes.iter().filter(|node| self.is_active(**node)).count();
        let learner = self.best_learner(&nodes, &learners);
        let set = |next: &mut ShardRow, id: ReplicaId, role: Role| {
            next.seats.entry(id).and_modify(|seat| seat.role = role);
        };
        let surplus = self.worst(&voters).filter(|_| voters.len() > 1);
        let regions = self.regions(nodes.iter().copied());
        if good < wanted {
            let mut more = self.more_voters(nodes, learners, wanted - voters.len().min(wanted));
            if good < voters.len() {
                // One that must go is replaced first: whoever comes is one more than there should be.
                more = learner.map(|(id, _)| id).into_iter().collect();
            }
            more.into_iter().for_each(|id| set(next, id, Role::Voter));
        } else if good < voters.len() || good > wanted {
            if let Some(id) = surplus {
                set(next, id, Role::Learner);
            }
        } else if let Some((id, node)) = learner
            && self.regions(voters.values().map(|seat| seat.node).chain([node])) > regions
            && surplus.is_some_and(|id| self.regions_without(&voters, id) == regions)
        {
            set(next, id, Role::Voter);
        }
    }

    /// The learner whose vote does most good beside those of `nodes`.
    fn best_learner(
        &self,
        nodes: &BTreeSet<NodeId>,
        learners: &BTreeMap<ReplicaId, Seat>,
    ) -> Option<(ReplicaId, NodeId)> {
        let regions_with = |node: NodeId| self.regions(nodes.iter().copied().chain([node]));
        let is_ready = |node: NodeId| self.ready().any(|ready| ready == node);
        let ready = learners.iter().filter(|(_, seat)| is_ready(seat.node));
        let best = ready.max_by_key(|(id, seat)| (regions_with(seat.node), Reverse(**id)));
        best.map(|(id, seat)| (*id, seat.node))
    }

    /// Up to `lacking` learners that are to vote beside those of `nodes`; so many that all of them are an odd number.
    fn more_voters(
        &self,
        mut nodes: BTreeSet<NodeId>,
        mut learners: BTreeMap<ReplicaId, Seat>,
        lacking: usize,
    ) -> Vec<ReplicaId> {
        let mut more = Vec::new();
        while let Some((id, node)) = self.best_learner(&nodes, &learners).filter(|_| more.len() < lacking) {
            learners.remove(&id);
            nodes.insert(node);
            more.push(id);
        }
        if nodes.len().is_multiple_of(2) {
            more.pop();
        }
        more
    }

    fn regions_without(&self, of: &BTreeMap<ReplicaId, Seat>, id: ReplicaId) -> usize {
        self.regions(of.iter().filter(|(other, _)| **other != id).map(|(_, seat)| seat.node))
    }

    /// The next change of a data group, but for the sake of balance.
    fn data(&mut self, row: &ShardRow, now: Option<&BTreeSet<ReplicaId>>) -> Option<ShardRow> {
        let mut next = change(row);
        let wanted = self.voters_wanted(limits::DATA_VOTERS);
        if row.seats.is_empty() {
            self.fill(&mut next, wanted);
        } else {
            let now = now?;
            let is_hopeless =
                |(id, seat): &(&ReplicaId, &Seat)| !now.contains(id) && !self.is_active(seat.node);
            if !is_settled(row, now) {
                if let Some((id, _)) = row.seats.iter().find(is_hopeless) {
                    // It must go before it counted.
                    self.shrink(&mut next, *id);
                } else if now.iter().all(|id| row.seats.contains_key(id)) {
                    // Some are coming, none is going.
                    self.fill(&mut next, wanted);
                }
            } else if row.seats.values().filter(|seat| self.is_active(seat.node)).count() < wanted {
                self.grow(&mut next);
                self.fill(&mut next, wanted);
            } else if row.seats.len() > wanted {
                let id = self.worst(&row.seats)?;
                self.shrink(&mut next, id);
            }
        }
        (next.seats != row.seats).then_some(next)
    }

    /// The next change of the delayed replicas of a data group: one on every delayed node, as soon as anybody votes. Who is lost keeps its
    /// place: the log waits for it.
    fn late(&self, row: &ShardRow, late: &BTreeMap<ReplicaId, Seat>) -> Option<ShardRow> {
        let stays = |seat: &Seat| self.is_active(seat.node) && self.is_delayed(seat.node);
        let mut next = with_late(change(row), late);
        let gone = late.iter().filter(|(_, seat)| !stays(seat)).map(|(id, _)| *id);
        gone.for_each(|id| remove(&mut next, id));
        let has: BTreeSet<NodeId> = late.values().map(|seat| seat.node).collect();
        let wants =
            |node: &NodeId| self.is_delayed(*node) && self.places[node].is_live && !has.contains(node);
        if !row.seats.is_empty() {
            for node in self.active().filter(wants) {
                if next.seats.len() < raft::limits::MEMBERS_MAX {
                    add(&mut next, node, Role::Delayed);
                }
            }
        }
        (next.seats != with_late(row.clone(), late).seats).then_some(next)
    }

    /// Gives it all that it lacks.
    fn fill(&mut self, row: &mut ShardRow, wanted: usize) {
        for _ in row.seats.len()..wanted {
            self.grow(row);
        }
    }

    fn grow(&mut self, row: &mut ShardRow) {
        let has = row.seats.values().map(|seat| seat.node).collect();
        if let Some(node) = self.best_new(&has) {
            add(row, node, Role::Voter);
            *self.load.entry(node).or_default() += 1;
        }
    }

    fn shrink(&mut self, row: &mut ShardRow, id: ReplicaId) {
        if let Some(seat) = row.seats.get(&id) {
            self.load.entry(seat.node).and_modify(|load| *load = load.saturating_sub(1));
        }
        remove(row, id);
    }

    /// The one move that does most good: more regions, or the load nearer to even.
    fn balance<'b>(&self, data: impl Iterator<Item = &'b ShardRow>) -> Option<ShardRow> {
        let mut best: Option<((usize, usize), &ShardRow, NodeId)> = None;
        for row in data {
            let has: BTreeSet<NodeId> = row.seats.values().map(|seat| seat.node).collect();
            let regions = self.regions(has.iter().copied());
            for new in self.ready().filter(|node| !has.contains(node)) {
                for old in &has {
                    let after = has.iter().copied().filter(|node| node != old).chain([new]);
                    let spread = self.regions(after).checked_sub(regions);
                    let gain = self.load(*old).saturating_sub(self.load(new));
                    let value = match spread {
                        Some(0) if gain >= 2 => (0, gain),
                        Some(spread) if spread > 0 => (spread, gain),
                        _ => continue,
                    };
                    if best.as_ref().is_none_or(|(best, ..)| value > *best) {
                        best = Some((value, row, new));
                    }
                }
            }
        }
        let (_, row, node) = best?;
        let mut next = change(row);
        add(&mut next, node, Role::Voter);
        Some(next)
    }
}

fn change(row: &ShardRow) -> ShardRow {
    ShardRow { version: row.version + 1, ..row.clone() }
}

fn add(row: &mut ShardRow, node: NodeId, role: Role) {
    let id = ReplicaId(row.next_replica.0.max(1));
    row.seats.insert(id, Seat { node, role });
    row.next_replica = ReplicaId(id.0 + 1);
}

fn remove(row: &mut ShardRow, id: ReplicaId) {
    if let Some(seat) = row.seats.remove(&id) {
        row.leaving.insert(id, seat.node);
    }
}

#[cfg(test)]
mod tests;
