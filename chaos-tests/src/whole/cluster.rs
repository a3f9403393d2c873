//! A cluster of whole nodes: how it is founded, and how nodes are let in.

use super::calls::{At, Doors};
use super::node::{FIRST, Ground, WholeNode, passphrase};
use super::outside::Outside;
use crate::seed::Swarm;
use crate::world::clock::{EPOCH_MS, Time};
use crate::world::diary::Diary;
use crate::world::late::Heard;
use crate::world::net::Net;
use engine::ids::NodeId;
use node::access::action::Caller;
use node::api::guard::Peer;
use node::boot::init::{self, NewCluster};
use node::boot::{authority, join, token};
use node::dial::Line;
use node::entropy::{self, SystemEntropy};
use node::keys::kms::file::Cost;
use node::meta::command::{Change, MetaCommand};
use node::server::joining::Newcomer;
use node::simulated::{self, Inside};
use raft::types::GroupId;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Within which something of the beginning comes to be, in milliseconds.
const BEGIN_MS: u64 = 60_000;
/// How long a change may take, in milliseconds.
const CHANGE_MS: u64 = 10_000;
/// As whom administrators call, on the network.
pub const ADMIN: NodeId = NodeId(900);

/// Why a cluster did not come to be.
pub type Unborn = String;

/// A cluster.
pub struct Cluster {
    /// What its nodes share.
    pub ground: Ground,
    /// Its nodes.
    pub nodes: Vec<WholeNode>,
    /// Left when the run is over.
    _inside: Inside,
}

fn told(error: impl std::fmt::Debug) -> Unborn {
    format!("{error:?}")
}

/// Looks again and again, until it is so.
///
/// # Errors
/// It is not so within a minute.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Unborn> {
    for _ in 0..BEGIN_MS / 10 {
        if is_so() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("not within a minute: {what}"))
}

/// Somebody who needs no certificate of this run.
#[must_use]
pub fn known(caller: Caller) -> Peer {
    Peer { caller, serial: Vec::new(), ends_s: u64::MAX }
}

impl Cluster {
    /// A world without nodes. Must be called inside the run.
    #[must_use]
    pub fn new(swarm: &Swarm, is_archived: bool) -> Self {
        let time = Time::begin();
        let diary = Diary::new(time);
        let net = Net::new(swarm, diary.clone());
        let doors = Doors::new(net.clone(), diary.clone());
        let outside = Rc::new(Outside::new(swarm, net.clone(), doors.clone()));
        let inside = simulated::enter(outside.clone());
        let clocks = Heard::default().clocks().clone();
        let ground = Ground { swarm: swarm.clone(), time, diary, net, doors, outside, clocks, is_archived };
        Self { ground, nodes: Vec::new(), _inside: inside }
    }

    /// Founds it, with its first node.
    ///
    /// # Errors
    /// What keeps it from being.
    pub async fn found(&mut self) -> Result<(), Unborn> {
        let mut first = WholeNode::new(&self.ground, 1, 0);
        let (name, address) = (first.name.clone(), first.address());
        let new = NewCluster {
            name: "run",
            shards: self.ground.swarm.groups,
            node: (&name, "here"),
            hosts: &[address],
            admin: "admin",
            passphrase: &passphrase(),
            cost: Cost::LEAST,
            now_s: (EPOCH_MS + self.ground.time.ms()) / 1_000,
        };
        init::init(&first.folder(), &new, Arc::new(SystemEntropy)).map_err(told)?;
        first.start().await?;
        let server = first.server().ok_or("it does not run")?.clone();
        self.nodes.push(first);
        until("the cluster is founded", || server.meta().cluster.is_some()).await
    }

    /// Lets one more node in.
    ///
    /// # Errors
    /// What keeps it out.
    pub async fn join(&mut self, late_ms: u64) -> Result<(), Unborn> {
        let mut node = WholeNode::new(&self.ground, self.nodes.len() as u64 + 1, late_ms);
        let first = self.nodes.iter().find_map(WholeNode::server).ok_or("nobody lets it in")?.clone();
        let secret: [u8; 32] = entropy::random(&SystemEntropy);
        let ends_ms = EPOCH_MS + self.ground.time.ms() + BEGIN_MS;
        let made = MetaCommand::new(vec![Change::MakeToken(token::hash(&secret), ends_ms)]);
        first.change(made, CHANGE_MS).await.map_err(told)?;
        let request = authority::request().map_err(told)?;
        let newcomer = Newcomer {
            secret: secret.to_vec(),
            request: request.pem,
            name: node.name.clone(),
            region: "here".to_owned(),
            peer_address: node.address(),
            client_address: node.address(),
            delay_ms: late_ms,
        };
        let admittance = first.admit(&newcomer, CHANGE_MS).await.map_err(told)?;
        let names = (node.name.as_str(), "here");
        let settled = join::settle(
            &node.folder(),
            &admittance,
            names,
            request.key,
            &passphrase(),
            Arc::new(SystemEntropy),
        );
        settled.map_err(told)?;
        node.id = admittance.node;
        node.start().await?;
        let server = node.server().ok_or("it does not run")?.clone();
        self.nodes.push(node);
        until("the node has joined", || server.meta().cluster.is_some()).await
    }

    /// Whether every group has as many voters as it is to have, and somebody leads it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let wanted = self.nodes.iter().filter(|node| node.late_ms == 0).count().min(3);
        let servers = || self.nodes.iter().filter_map(WholeNode::server);
        let groups: Vec<GroupId> =
            servers().next().map(|server| server.meta().shards.keys().copied().collect()).unwrap_or_default();
        let is_led = |group: &GroupId| {
            servers().any(|server| {
                let replica = server.running().ok().and_then(|running| running.replica(*group));
                replica.is_some_and(|seated| {
                    let standing = seated.receiver.group().standing();
                    let voters = &standing.membership.1.voters;
                    standing.is_leader && voters.len() == 1 && voters[0].len() >= wanted
                })
            })
        };
        !groups.is_empty() && groups.iter().all(is_led)
    }

    /// The line by which somebody calls a node.
    #[must_use]
    pub fn line(&self, by: NodeId, node: usize, at: At, caller: Caller) -> Line {
        let to = self.nodes.get(node).map_or(FIRST, |node| node.id);
        self.ground.doors.line(by, to, at, Some(known(caller)))
    }

    /// The line by which the administrator calls a node.
    #[must_use]
    pub fn admin(&self, node: usize) -> Line {
        self.line(ADMIN, node, At::Admins, Caller::Admin("admin".to_owned()))
    }
}
