//! The line between the nodes of a process: a frame goes to the other's registry, and what is answered comes back.
//!
//! A lane is one task, as it would be one connection: it begins with every frame in the order in which it was sent, does not wait for
//! its answer before the next, and works on the processor of one thread.

use ::engine::ids::NodeId;
use ::raft::group::registry::Registry;
use ::raft::net::heard::Voice;
use ::raft::net::link::{BoxFuture, Lane, PeerLink, Said, Unreachable};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

struct Asked {
    frame: Bytes,
    told: oneshot::Sender<Said>,
}

/// A node that can be reached.
struct Door {
    voice: Voice,
    registry: Arc<Registry>,
    /// By who sends, and on which lane. What is in them is bounded by what a sender leaves unanswered.
    lanes: BTreeMap<(NodeId, Lane), mpsc::UnboundedSender<Asked>>,
}

/// All nodes that can be reached.
#[derive(Default)]
pub struct Exchange {
    doors: Mutex<BTreeMap<NodeId, Door>>,
}

/// The line of one node to the others.
pub struct Line {
    exchange: Arc<Exchange>,
    voice: Voice,
}

impl Exchange {
    fn doors(&self) -> MutexGuard<'_, BTreeMap<NodeId, Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the node of `voice` answers by `registry`.
    pub fn listen(&self, voice: Voice, registry: Arc<Registry>) {
        self.doors().insert(voice.node, Door { voice, registry, lanes: BTreeMap::new() });
    }

    /// From now on `node` cannot be reached. What it has not answered it never will.
    pub fn unplug(&self, node: NodeId) {
        self.doors().remove(&node);
    }

    /// The line of the node of `voice` to all others.
    #[must_use]
    pub fn line(self: &Arc<Self>, voice: Voice) -> Arc<Line> {
        Arc::new(Line { exchange: self.clone(), voice })
    }

    fn send(&self, from: Voice, to: NodeId, lane: Lane, asked: Asked) -> bool {
        let mut doors = self.doors();
        let Some(door) = doors.get_mut(&to) else { return false };
        let (by, registry) = (door.voice, &door.registry);
        let lane = door.lanes.entry((from.node, lane)).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(carry((from, by), registry.clone(), receiver));
            sender
        });
        lane.send(asked).is_ok()
    }
}

/// Serves what comes on one lane, on which the first asks and the second answers.
async fn carry(
    (from, by): (Voice, Voice),
    registry: Arc<Registry>,
    mut asked: mpsc::UnboundedReceiver<Asked>,
) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = under_way.next() => {}
            next = asked.recv() => {
                let Some(Asked { frame, told }) = next else { break };
                let registry = registry.clone();
                under_way.push(async move {
                    // Whoever asked may have given up.
                    let _ = told.send(Said { by, frame: registry.serve(&from, frame).await });
                });
            }
        }
    }
}

impl PeerLink for Line {
    fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>> {
        let (told, heard) = oneshot::channel();
        let is_sent = self.exchange.send(self.voice, to, lane, Asked { frame, told });
        Box::pin(async move {
            let gone = || Unreachable { node: to, cause: "it does not run".to_owned() };
            if !is_sent {
                return Err(gone());
            }
            heard.await.map_err(|_| gone())
        })
    }
}
