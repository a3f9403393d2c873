//! What clients, faults and judges of a run of whole nodes share.

use super::calls::At;
use super::client::Known;
use super::cluster::{ADMIN, known};
use super::node::{Ground, WholeNode};
use engine::ids::NodeId;
use node::access::action::Caller;
use node::dial::Line;
use proto::v1;
use proto::v1::groups_client::GroupsClient;
use proto::v1::nodes_client::NodesClient;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// An administrator waits so long, in milliseconds.
const ADMIN_MS: u64 = 3_000;

/// The stage of a run.
pub struct Stage {
    /// What nodes share.
    pub ground: Ground,
    /// The nodes. One that starts or ends is away meanwhile, and another of its name stands in its place.
    pub nodes: RefCell<Vec<WholeNode>>,
    /// As clients know them.
    pub known: Known,
    /// Rare branches, and how often each was entered.
    pub sometimes: RefCell<BTreeMap<&'static str, u64>>,
}

impl Stage {
    /// That of a cluster.
    #[must_use]
    pub fn new(ground: Ground, nodes: Vec<WholeNode>) -> Rc<Self> {
        let answering = nodes.iter().filter(|node| node.late_ms == 0);
        let known = answering.map(|node| (node.name.clone(), node.id)).collect();
        let known = Rc::new(RefCell::new(known));
        Rc::new(Self { ground, nodes: RefCell::new(nodes), known, sometimes: RefCell::default() })
    }

    /// A rare branch was entered.
    pub fn sees(&self, branch: &'static str) {
        *self.sometimes.borrow_mut().entry(branch).or_default() += 1;
    }

    /// Which nodes there are.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.borrow().iter().map(|node| node.id).collect()
    }

    /// Takes a node, to do with it what takes time.
    #[must_use]
    pub fn take(&self, at: usize) -> WholeNode {
        let mut nodes = self.nodes.borrow_mut();
        let shadow = nodes[at].shadow();
        std::mem::replace(&mut nodes[at], shadow)
    }

    /// Puts it back.
    pub fn put(&self, at: usize, node: WholeNode) {
        self.nodes.borrow_mut()[at] = node;
    }

    /// The line by which the administrator calls a node.
    #[must_use]
    pub fn admin(&self, to: NodeId) -> Line {
        let caller = known(Caller::Admin("admin".to_owned()));
        self.ground.doors.line(ADMIN, to, At::Admins, Some(caller))
    }

    /// So long an administrator waits.
    #[must_use]
    pub fn patience() -> Duration {
        Duration::from_millis(ADMIN_MS)
    }

    /// A node is to have no replicas any more, or again: whoever answers is told. Whether somebody has done it.
    pub async fn drain(&self, node: NodeId, is_drained: bool) -> bool {
        for id in self.ids() {
            let mut nodes = NodesClient::new(self.admin(id));
            let asked = super::client::within(v1::NodeRequest { node: node.0 }, Self::patience());
            let told = if is_drained { nodes.drain(asked).await } else { nodes.undrain(asked).await };
            if told.is_ok() {
                self.sees(if is_drained { "nodes drained" } else { "nodes undrained" });
                return true;
            }
        }
        false
    }

    /// Every group that a node leads goes to another voter, if that may lead.
    pub async fn transfer(&self, from: NodeId) {
        let led: Vec<(u64, NodeId)> = {
            let nodes = self.nodes.borrow();
            let server = nodes.iter().find(|node| node.id == from).and_then(|node| node.server().cloned());
            let running = server.as_ref().and_then(|server| server.running().ok());
            let seated = running.map(|running| running.replicas()).unwrap_or_default();
            let to = |group: &raft::group::handle::Group| {
                let standing = group.standing();
                let voters = standing.membership.1.seats.values().map(|seat| seat.node);
                voters.into_iter().find(|node| *node != from)
            };
            let led = seated.iter().map(|one| one.receiver.group().clone()).filter(|group| group.leads());
            led.filter_map(|group| Some((group.id().0, to(&group)?))).collect()
        };
        for (group, to) in led {
            let mut groups = GroupsClient::new(self.admin(from));
            let asked = v1::TransferRequest { group, node: to.0 };
            if groups.transfer(super::client::within(asked, Self::patience())).await.is_ok() {
                self.sees("leads handed over");
            }
        }
    }
}
