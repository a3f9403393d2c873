//! What carries frames between the nodes of a test. It loses nothing, unless it is told to.

use bytes::Bytes;
use engine::ids::NodeId;
use raft::group::admission::Admission;
use raft::group::registry::Registry;
use raft::net::heard::Voice;
use raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Who listens where, and what does not get through. Clones are the same.
#[derive(Clone, Default)]
pub struct Hub(
    Arc<Mutex<BTreeMap<NodeId, Listener>>>,
    Arc<Mutex<Option<Holds>>>,
    Arc<Mutex<BTreeSet<NodeId>>>,
    Arc<Mutex<Option<NodeId>>>,
);

/// Who takes frames at a node, and what speaks in its answers.
#[derive(Clone)]
pub enum Listener {
    Runs(Voice, Arc<Registry>),
    Waits(Arc<Admission>),
}

/// Whether nothing comes from a lane.
type Holds = fn(Lane) -> bool;

impl Hub {
    /// From now on no frame comes from a lane of which `holds` says so, and nobody hears why.
    pub fn hold(&self, holds: Holds) {
        *self.1.lock().unwrap() = Some(holds);
    }

    /// From now on these hear nothing, and who asks them nothing either.
    pub fn deafen(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.2.lock().unwrap().extend(nodes);
    }

    /// From now on nobody hears this one, and it hears nobody.
    pub fn isolate(&self, node: NodeId) {
        *self.3.lock().unwrap() = Some(node);
    }

    /// From now on all come again.
    pub fn release(&self) {
        *self.1.lock().unwrap() = None;
        self.2.lock().unwrap().clear();
        *self.3.lock().unwrap() = None;
    }

    pub fn listen(&self, node: NodeId, listener: Listener) {
        self.0.lock().unwrap().insert(node, listener);
    }

    pub fn unplug(&self, node: NodeId) {
        self.0.lock().unwrap().remove(&node);
    }
}

/// The way of one node to the others.
pub struct Line(pub Hub, pub Voice);

impl PeerLink for Line {
    fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>> {
        let Self(hub, voice) = self;
        let is_alone = hub.3.lock().unwrap().is_some_and(|alone| alone == to || alone == voice.node);
        let is_deaf = hub.2.lock().unwrap().contains(&to) || is_alone;
        if is_deaf || hub.1.lock().unwrap().is_some_and(|holds| holds(lane)) {
            return Box::pin(std::future::pending());
        }
        let (listener, voice) = (hub.0.lock().unwrap().get(&to).cloned(), *voice);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match listener {
                Some(Listener::Runs(by, registry)) => {
                    Ok(Said { by, frame: registry.serve(&voice, frame).await })
                }
                Some(Listener::Waits(admission)) => {
                    Ok(Said { by: admission.voice(), frame: admission.serve(&voice, &frame) })
                }
                None => Err(Unreachable { node: to, cause: "it is down".to_owned() }),
            }
        })
    }
}
