//! Three nodes in one process, and who leads what.

use super::link::Exchange;
use super::node::{NODES, Node, Shape};
use crate::Outcome;
use crate::clock::{Stopwatch, System};
use ::engine::Stamp;
use ::engine::clock::Clock;
use ::engine::ids::NodeId;
use ::raft::group::batcher::{Answer, Batcher};
use ::raft::group::handle::Standing;
use ::raft::group::registry::Registry;
use ::raft::seal::Unsealed;
use ::raft::types::GroupId;
use futures_util::future::try_join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Seconds after which a group without a leader, or a writer without an answer, is a failure.
const ANSWER_S_MAX: f64 = 60.0;
/// Milliseconds between two looks for a leader.
const LOOK_MS: u64 = 5;

/// What of a node that runs a writer needs.
#[derive(Clone)]
struct Place {
    registry: Arc<Registry>,
    batchers: Arc<BTreeMap<GroupId, Arc<Batcher>>>,
}

/// The way of writers to leaders.
pub struct Routes {
    /// By node, while it runs.
    places: Vec<Mutex<Option<Place>>>,
    /// By group, less one: the node that was last seen to lead, less one.
    leaders: Vec<AtomicUsize>,
}

/// Three nodes.
pub struct Cluster {
    /// The way to them.
    pub routes: Arc<Routes>,
    nodes: Vec<Node>,
}

impl Routes {
    fn place(&self, node: usize) -> Option<Place> {
        self.places[node].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, node: usize, place: Option<Place>) {
        *self.places[node].lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    fn leader(&self, group: GroupId) -> &AtomicUsize {
        &self.leaders[usize::try_from(group.0 - 1).unwrap_or(usize::MAX)]
    }

    /// Groups there are.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// The place of the node that was last seen to lead the group.
    #[must_use]
    pub fn leader_of(&self, group: GroupId) -> usize {
        self.leader(group).load(Ordering::Relaxed)
    }

    /// How the replica of a group stands on the node at a place, if that runs.
    #[must_use]
    pub fn standing(&self, node: usize, group: GroupId) -> Option<Standing> {
        Some(self.place(node)?.registry.get(group)?.group().standing())
    }

    /// Looks who leads.
    fn look(&self, group: GroupId) -> bool {
        let leads = |node: &usize| self.standing(*node, group).is_some_and(|standing| standing.is_leader);
        let found = (0..self.places.len()).find(leads);
        found.inspect(|node| self.leader(group).store(*node, Ordering::Relaxed)).is_some()
    }

    /// Closes the time of every group where it is led: a future a group. One that fails is not tried again.
    pub fn close_time(&self) -> impl Iterator<Item = impl Future<Output = ()>> {
        let upto = Stamp::new(System.now_ms().saturating_sub(1), 0);
        (1..=self.groups()).map(GroupId).filter_map(move |group| {
            let batcher = self.place(self.leader_of(group))?.batchers.get(&group)?.clone();
            Some(async move {
                let _ = batcher.close_time(upto).await;
            })
        })
    }

    /// Has a command applied, wherever its group is led, however often that takes.
    ///
    /// # Errors
    /// It takes more than `ANSWER_S_MAX`.
    pub async fn submit(&self, group: GroupId, command: &Unsealed) -> Outcome<Answer> {
        let watch = Stopwatch::start();
        loop {
            let place = self.place(self.leader_of(group));
            let cause = match place.as_ref().and_then(|place| place.batchers.get(&group)) {
                Some(batcher) => match batcher.submit(command.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => format!("{error:?}"),
                },
                None => "its leader does not run".to_owned(),
            };
            if watch.seconds() > ANSWER_S_MAX {
                return Err(format!("{group} does not answer: {cause}").into());
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            self.look(group);
        }
    }
}

impl Cluster {
    /// Starts three nodes, and has every group led: the first by the first node, the next by the next, and so on around.
    ///
    /// # Errors
    /// What keeps a node from starting; a group has no leader after `ANSWER_S_MAX`.
    pub async fn start(shape: &Shape) -> Outcome<Self> {
        let exchange = Arc::new(Exchange::default());
        let mut nodes: Vec<Node> =
            (1..=NODES).map(|n| Node::new(NodeId(n), shape.clone(), exchange.clone())).collect();
        try_join_all(nodes.iter_mut().map(Node::start)).await?;
        let places = nodes.iter().map(|_| Mutex::default()).collect();
        let leaders = (0..shape.groups).map(|_| AtomicUsize::new(0)).collect();
        let cluster = Self { routes: Arc::new(Routes { places, leaders }), nodes };
        (0..cluster.nodes.len()).for_each(|node| cluster.open(node));
        for group in (1..=shape.groups).map(GroupId) {
            let node = usize::try_from((group.0 - 1) % NODES)?;
            let place = cluster.routes.place(node).and_then(|place| place.registry.get(group));
            place.ok_or("a group that was not born")?.group().elect().await?;
        }
        cluster.await_leaders().await?;
        Ok(cluster)
    }

    /// Lets writers find a node.
    fn open(&self, node: usize) {
        let place = self.nodes[node]
            .running()
            .map(|running| Place { registry: running.registry.clone(), batchers: running.batchers.clone() });
        self.routes.set(node, place);
    }

    async fn await_leaders(&self) -> Outcome<()> {
        let watch = Stopwatch::start();
        for group in (1..=self.routes.groups()).map(GroupId) {
            while !self.routes.look(group) {
                if watch.seconds() > ANSWER_S_MAX {
                    return Err(format!("nobody leads {group}").into());
                }
                tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            }
        }
        Ok(())
    }

    /// The node at a place.
    #[must_use]
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// All of them.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Stops the node at a place; writers go to others.
    ///
    /// # Errors
    /// As [`Node::stop`].
    pub async fn stop_node(&mut self, node: usize) -> Outcome<()> {
        self.routes.set(node, None);
        self.nodes[node].stop().await
    }

    /// Starts it again.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_node(&mut self, node: usize) -> Outcome<()> {
        self.nodes[node].start().await?;
        self.open(node);
        Ok(())
    }

    /// Stops all.
    ///
    /// # Errors
    /// As [`Node::stop`].
    pub async fn stop(mut self) -> Outcome<()> {
        for node in 0..self.nodes.len() {
            self.stop_node(node).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::{BODY_BYTES, put};
    use super::*;
    use ::raft::group::settings::Pace;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_that_was_away_comes_to_what_the_others_have() {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape { dir: dir.path().to_owned(), groups: 2, has_syncs: false, pace: Pace::PRODUCTION };
        let mut cluster = Cluster::start(&shape).await.unwrap();
        let write = async |routes: &Routes, group| {
            let answer = routes.submit(GroupId(group), &put(group, BODY_BYTES)).await.unwrap();
            assert_eq!(answer.reply, ::raft::proposal::Reply::Ran(bytes::Bytes::new()));
            answer.log_id.index
        };
        assert_eq!([1, 2].map(|group| cluster.routes.leader_of(GroupId(group))), [0, 1]);
        write(&cluster.routes, 1).await;
        cluster.stop_node(2).await.unwrap();
        let wanted = write(&cluster.routes, 2).await;
        cluster.start_node(2).await.unwrap();
        let watch = Stopwatch::start();
        let applied = || cluster.routes.standing(2, GroupId(2)).unwrap().applied.map_or(0, |id| id.index);
        while applied() < wanted {
            assert!(watch.seconds() < 30.0, "applied {} of {wanted}", applied());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.stop().await.unwrap();
    }
}
