//! The end of some runs: all nodes but one are lost at once, that one goes on alone, and those that come back later are refused.

use crate::check::Violation;
use crate::history::ClientId;
use crate::seed::{Dice, Seed};
use crate::workload::{Client, Stage};
use crate::world::clock::EPOCH_MS;
use crate::world::node::{Node, World};
use crate::world::overseer::Overseer;
use engine::Stamp;
use raft::group::takeover::{self, Survivor};
use raft::types::GroupId;
use std::rc::Rc;
use std::time::Duration;

/// How long clients work after it, in milliseconds.
const AFTER_MS: u64 = 6_000;
/// How long all disks need for what was acknowledged, in milliseconds.
const SYNC_MS: u64 = 2_000;
/// Clients that do.
const CLIENTS: u64 = 4;

/// Whether the run of this seed ends so.
#[must_use]
pub fn is_due(world: &World) -> bool {
    world.swarm.late_ms.is_none() && Dice::new(world.swarm.seed, "disaster").is_lucky(450)
}

/// Lets it happen, once all replicas stand at the same. What was acknowledged before must be there after. The node at `tampered` is
/// not believed: it neither survives nor comes back.
pub async fn strike(seed: Seed, world: &World, stage: &Rc<Stage>, tampered: Option<usize>) {
    // Whatever was acknowledged is durable everywhere by then: nothing of it may be missed.
    tokio::time::sleep(Duration::from_millis(SYNC_MS)).await;
    let mut dice = Dice::new(seed, "survivor");
    let here: Vec<usize> = {
        let nodes = stage.nodes.borrow();
        (0..nodes.len()).filter(|at| nodes[*at].refused().is_none() && Some(*at) != tampered).collect()
    };
    let Some(at) = dice.pick(&here).copied() else { return };
    stage.nodes.borrow_mut().iter_mut().for_each(Node::crash);
    stage.hints.borrow_mut().clear();
    // The others are seen by nobody of the new generation: in their places stand nodes that never start.
    let nobody = |n: usize, node: &Node| (n != at).then(|| Node::new(node.id, world.clone()));
    let mut lost: Vec<Node> = {
        let mut nodes = stage.nodes.borrow_mut();
        let places: Vec<_> = nodes.iter().enumerate().map(|(n, node)| nobody(n, node)).collect();
        let swap = |(node, place): (&mut Node, Option<Node>)| Some(std::mem::replace(node, place?));
        nodes.iter_mut().zip(places).filter_map(swap).collect()
    };
    if let Err(error) = survive(world, stage, at).await {
        return world.overseer.accuse(Violation::broken("disaster", format!("the survivor: {error}")));
    }
    lost.retain(|node| here.iter().any(|at| node.id.0 == *at as u64 + 1));
    let forked = come_back(lost, world).await;
    *stage.is_over.borrow_mut() = false;
    let client = |n: u64| Client::new(ClientId(1_000 + n), &world.swarm).begin(stage);
    let clients: Vec<_> = (1..=CLIENTS).map(client).collect();
    tokio::time::sleep(Duration::from_millis(AFTER_MS)).await;
    *stage.is_over.borrow_mut() = true;
    for client in clients {
        let _ = client.await;
    }
    look(world, stage, at, &forked);
}

/// The survivor becomes the only voter of all its groups, and starts in the next generation.
async fn survive(world: &World, stage: &Rc<Stage>, at: usize) -> raft::Result<()> {
    let place = Node::new(stage.nodes.borrow()[at].id, world.clone());
    let mut node = std::mem::replace(&mut stage.nodes.borrow_mut()[at], place);
    node.fork(2, world.overseer.clone());
    let opened = node.open()?;
    let seen = Stamp::new(EPOCH_MS + world.time.ms() + 1_000, 0);
    for (group, machine) in &opened.machines {
        let wanted = Survivor { group: *group, node: node.id, upto: None, seen, reach: 0 };
        let parts = &opened.parts;
        takeover::survive(&parts.log, &machine.durable()?, &*parts.entropy, &wanted).await?;
    }
    node.disk.crash();
    opened.close();
    let started = node.start_alone().await;
    stage.nodes.borrow_mut()[at] = node;
    started
}

/// Those that were lost come back as they were, and ask nobody. They may lead one another: that is judged apart.
async fn come_back(mut lost: Vec<Node>, world: &World) -> Vec<Node> {
    let old = Overseer::new(world.diary.clone());
    for node in &mut lost {
        node.fork(1, old.clone());
        if let Err(error) = node.start_alone().await {
            let what = format!("{} comes back: {error}", node.id);
            world.overseer.accuse(Violation::broken("disaster", what));
        }
    }
    lost
}

/// Nothing of either generation is in the other.
fn look(world: &World, stage: &Stage, at: usize, forked: &[Node]) {
    let nodes = stage.nodes.borrow();
    for group in (1..=u64::from(world.swarm.groups)).map(GroupId) {
        let of = |node: &Node| Some(node.running()?.registry.get(group)?.group().standing());
        let broken = |what: String| world.overseer.accuse(Violation::broken("disaster", what));
        let Some(survivor) = of(&nodes[at]).filter(|standing| standing.is_leader) else {
            broken(format!("the survivor does not lead {group}"));
            continue;
        };
        if survivor.membership.1.seats.len() != 1 {
            broken(format!("the survivor is not alone in {group}"));
        }
        for standing in forked.iter().filter_map(of) {
            if standing.vote.term == survivor.vote.term && standing.vote.replica == survivor.vote.replica {
                broken(format!("one of before follows the survivor in {group}"));
            }
        }
        if let Some(state) = nodes[at].running().and_then(|running| running.state(group)) {
            world.overseer.step(group, &[state]);
        }
    }
}
