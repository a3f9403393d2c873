//! The way of this node to its peers, over TLS.

use super::PeerParts;
use super::lane::{Call, Calls, Keeper, Place, Waits};
use super::limits::{BODY_BYTES_MAX, CALLS_MAX};
use crate::work::{Spawner, Task};
use bytes::Bytes;
use engine::ids::NodeId;
use raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tracing::Instrument;

/// Where a node is to be found, as host and port. It is asked at each dial.
pub type Addresses = Arc<dyn Fn(NodeId) -> Option<String> + Send + Sync>;

/// How peers are dialled.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) tls: TlsConnector,
    pub(super) name: ServerName<'static>,
    pub(super) addresses: Addresses,
}

/// Lanes by peer, each with the task that keeps it.
type Lanes = BTreeMap<(NodeId, Lane), (Arc<Calls>, Task)>;

/// Carries frames to peers: a connection a lane and peer, made when something is to be sent.
pub struct TlsLink {
    parts: PeerParts,
    dial: Dial,
    spawner: Spawner,
    lanes: Mutex<Lanes>,
}

impl TlsLink {
    /// A link that dials as `tls` says. The certificates of all nodes are valid for `name`, unless the verifier of `tls` does not look at
    /// names: which node it is, [`PeerParts::identify`] says. Connections are kept by tasks of `spawner`.
    #[must_use]
    pub fn new(
        parts: PeerParts,
        (tls, name): (Arc<ClientConfig>, ServerName<'static>),
        addresses: Addresses,
        spawner: Spawner,
    ) -> Arc<Self> {
        let dial = Dial { tls: tls.into(), name, addresses };
        Arc::new(Self { parts, dial, spawner, lanes: Mutex::default() })
    }

    /// A node was removed: its connections end, and are made anew only if somebody calls it again.
    pub fn forget(&self, node: NodeId) {
        self.lanes().retain(|(to, _), (_, task)| {
            if *to == node {
                task.end();
            }
            *to != node
        });
    }

    /// Peers with which there is no link, and why; what was sent to nobody is in no trouble.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<NodeId, String> {
        let lanes = self.lanes();
        let control = lanes.iter().filter(|((_, lane), _)| *lane == Lane::Control);
        control.filter_map(|((to, _), (calls, _))| Some((*to, calls.trouble()?))).collect()
    }

    /// Peers and lanes something was sent to.
    #[must_use]
    pub fn known(&self) -> Vec<(NodeId, Lane)> {
        self.lanes().keys().copied().collect()
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a call behind all that were made before.
    fn enqueue(&self, to: NodeId, lane: Lane, frame: Bytes) -> Result<Answer, String> {
        if frame.len() > BODY_BYTES_MAX {
            return Err("a frame over its limit".to_owned());
        }
        let mut lanes = self.lanes();
        let is_kept = lanes.get(&(to, lane)).is_some_and(|(calls, _)| !calls.queue.is_ended());
        if !is_kept {
            if (self.dial.addresses)(to).is_none() {
                return Err("it has no address".to_owned());
            }
            lanes.insert((to, lane), self.begin(to, lane));
        }
        let Some((calls, _)) = lanes.get(&(to, lane)) else { return Err("it has no lane".to_owned()) };
        let place = Place::take(&calls.taken, CALLS_MAX);
        let place = place.ok_or_else(|| "too many calls wait for answers".to_owned())?;
        let (told, answer) = oneshot::channel();
        let bytes = frame.len();
        calls.queue.push(bytes, Call { frame, waits: Some(Waits { told, _place: place }) })?;
        Ok(answer)
    }

    fn begin(&self, to: NodeId, lane: Lane) -> (Arc<Calls>, Task) {
        let calls = Calls::new();
        let (parts, dial) = (self.parts.clone(), self.dial.clone());
        let keeper = Keeper { parts, dial, to, lane, calls: calls.clone() };
        let task = self.spawner.spawn(format!("peer link to {to}, {lane:?}"), keeper.keep());
        (calls, task)
    }
}

/// What a caller waits for.
type Answer = oneshot::Receiver<Result<Said, Unreachable>>;

impl PeerLink for TlsLink {
    fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>> {
        let span = tracing::trace_span!("peer call", %to, ?lane, bytes = frame.len());
        let queued = self.enqueue(to, lane, frame);
        let asked = async move {
            let unreachable = |cause: String| Unreachable { node: to, cause };
            let lost = |_| Err(unreachable("there is no link to it".to_owned()));
            queued.map_err(unreachable)?.await.unwrap_or_else(lost)
        };
        Box::pin(asked.instrument(span))
    }
}

impl Drop for TlsLink {
    fn drop(&mut self) {
        self.lanes().values().for_each(|(_, task)| task.end());
    }
}
