//! Who speaks for this node on its links, and takes the frames of its peers: first one that only admits, then the replicas.

use bytes::Bytes;
use raft::net::heard::Voice;
use raft::net::link::BoxFuture;
use std::sync::Arc;
use tokio::sync::watch;

/// Takes frames of peers.
pub trait Serve: Send + Sync + 'static {
    /// The log that speaks in the frames of this node. It never changes.
    fn voice(&self) -> Voice;

    /// Answers a frame of a peer. Frames of a lane are first polled in the order in which they were sent; what is begun is not dropped when
    /// the link is lost.
    fn serve(&self, by: Voice, frame: Bytes) -> BoxFuture<Bytes>;
}

/// Who serves now. Clones are the same.
#[derive(Clone)]
pub struct Serving(watch::Sender<Option<Arc<dyn Serve>>>);

/// Who serves, for one connection.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) serve: Arc<dyn Serve>,
    now: watch::Receiver<Option<Arc<dyn Serve>>>,
}

impl Default for Serving {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Serving {
    /// From now on this one serves, and its voice speaks. All connections of the one before end, and are made anew.
    pub fn set(&self, serve: Arc<dyn Serve>) {
        self.0.send_replace(Some(serve));
    }

    /// Nobody serves any more: this node neither speaks nor answers.
    pub fn clear(&self) {
        self.0.send_replace(None);
    }

    /// The voice that speaks now.
    #[must_use]
    pub fn voice(&self) -> Option<Voice> {
        self.0.borrow().as_ref().map(|serve| serve.voice())
    }

    /// Who serves now: frames come without a connection in a simulation.
    #[cfg(feature = "simulated")]
    #[must_use]
    pub fn who(&self) -> Option<Arc<dyn Serve>> {
        self.0.borrow().clone()
    }

    /// Who serves now, and hears when that changes.
    pub(super) fn now(&self) -> Option<Server> {
        let mut now = self.0.subscribe();
        let serve = now.borrow_and_update().clone()?;
        Some(Server { serve, now })
    }
}

impl Server {
    /// Waits until another serves.
    pub(super) async fn changed(&mut self) {
        // An error is a change too: then nobody serves.
        let _ = self.now.changed().await;
    }

    /// Whether another serves.
    pub(super) fn is_changed(&self) -> bool {
        self.now.has_changed().unwrap_or(true)
    }
}
