//! Calls of clients, of administrators and of nodes: what a connection would carry, as long as both ends live. A call that is lost ends
//! as a connection does that breaks.

use super::outside::Machine;
use crate::world::diary::Diary;
use crate::world::net::Net;
use engine::ids::NodeId;
use node::api::forward::Reach;
use node::api::guard::Peer;
use node::dial::{Broken, Line};
use node::refused::Refused;
use node::server::Server;
use node::server::pretended::used_by;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt, service_fn};

/// So long one waits who does not say how long, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// Which door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// That of clients, where nodes come too.
    Clients,
    /// That of administrators.
    Admins,
}

/// The doors of a node that runs.
#[derive(Clone)]
struct Open {
    lines: [Line; 2],
    /// As whom it calls others.
    own: Peer,
    /// Ends with this life of the node.
    lives: watch::Receiver<()>,
}

#[derive(Default)]
struct Inner {
    lives: BTreeMap<NodeId, u64>,
    machines: BTreeMap<NodeId, Machine>,
    open: BTreeMap<NodeId, (Open, watch::Sender<()>)>,
}

/// The doors of all nodes. Clones are the same.
#[derive(Clone)]
pub struct Doors {
    inner: Arc<Mutex<Inner>>,
    net: Net,
    diary: Diary,
}

impl Doors {
    /// None yet.
    #[must_use]
    pub fn new(net: Net, diary: Diary) -> Self {
        Self { inner: Arc::default(), net, diary }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life of a node begins, on this machine.
    pub fn begin(&self, node: NodeId, life: u64, machine: Machine) {
        let mut inner = self.inner();
        inner.lives.insert(node, life);
        inner.machines.insert(node, machine);
    }

    /// In which life a node is.
    #[must_use]
    pub fn life(&self, node: NodeId) -> u64 {
        self.inner().lives.get(&node).copied().unwrap_or_default()
    }

    /// The machine of a node.
    #[must_use]
    pub fn machine(&self, node: NodeId) -> Option<Machine> {
        self.inner().machines.get(&node).cloned()
    }

    /// A node serves.
    pub fn open(&self, server: &Arc<Server>) {
        let (sender, lives) = watch::channel(());
        let open = Open { lines: server.lines(), own: server.as_peer(), lives };
        self.inner().open.insert(server.node(), (open, sender));
    }

    /// Whether a node serves, in this life.
    #[must_use]
    pub fn is_open(&self, node: NodeId, life: u64) -> bool {
        let inner = self.inner();
        inner.open.contains_key(&node) && inner.lives.get(&node) == Some(&life)
    }

    /// A node is gone, and all calls with it.
    pub fn shut(&self, node: NodeId) {
        self.inner().open.remove(&node);
    }

    /// The line by which `from` calls at a door of `to`. Without a `peer` it comes as the node that it is.
    #[must_use]
    pub fn line(&self, from: NodeId, to: NodeId, at: At, peer: Option<Peer>) -> Line {
        let doors = self.clone();
        BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
            let (doors, peer) = (doors.clone(), peer.clone());
            async move { doors.carry((from, to), at, peer, request).await }
        }))
    }

    async fn carry(
        self,
        (from, to): (NodeId, NodeId),
        at: At,
        peer: Option<Peer>,
        request: Request<Body>,
    ) -> Result<Response<Body>, Broken> {
        let patience = Duration::from_millis(patience_ms(&request).unwrap_or(PATIENCE_MS));
        let path = request.uri().path().to_owned();
        let (comes, own) =
            (self.net.comes(from, to), self.inner().open.get(&from).map(|open| open.0.own.clone()));
        let carried = async {
            let Some(arrives) = comes else { return std::future::pending().await };
            sleep_until(arrives).await;
            let Some((open, _)) = self.inner().open.get(&to).cloned() else {
                return Err(broken("nobody is there"));
            };
            let machine = self.machine(to).ok_or_else(|| broken("it has no machine"))?;
            let peer = peer.or(own).ok_or_else(|| broken("whoever called is gone"))?;
            self.diary.note(to, format_args!("from {from}: {path}"));
            let line = used_by(peer, open.lines[usize::from(at == At::Admins)].clone());
            let mut lives = open.lives.clone();
            let served = machine.hardware.pause.within(machine.clock.node().scope(line.oneshot(request)));
            let answer = tokio::select! {
                biased;
                _ = lives.changed() => return Err(broken("the connection is lost")),
                answer = served => answer?,
            };
            let Some(arrives) = self.net.answers(to, from) else { return std::future::pending().await };
            sleep_until(arrives).await;
            Ok(answer)
        };
        tokio::time::timeout(patience, carried).await.unwrap_or_else(|_| Err(broken("no answer in time")))
    }
}

fn broken(why: &str) -> Broken {
    Broken(why.to_owned())
}

/// How long the caller says that it waits, in milliseconds: tonic says it in microseconds or longer.
fn patience_ms(request: &Request<Body>) -> Option<u64> {
    let text = request.headers().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "S" => number * 1_000,
        "m" => number,
        "u" => number / 1_000,
        "n" => number / 1_000_000,
        _ => return None,
    })
}

/// The lines of one node to others.
pub struct Lines {
    /// Which node.
    pub from: NodeId,
    /// Where.
    pub doors: Doors,
}

impl Reach for Lines {
    fn line(&self, to: NodeId) -> Result<Line, Refused> {
        Ok(self.doors.line(self.from, to, At::Clients, None))
    }
}
