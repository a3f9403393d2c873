//! A node in a simulation: what a start takes from outside is handed in, and who calls comes without a connection.

use super::disk::Space;
use super::opened::{Outside, open_keys, opened};
use super::start::{MakeForward, Result};
use super::{Server, backend, porch};
use crate::access::action::Caller;
use crate::api::forward::{self, Reach};
use crate::api::guard::Peer;
use crate::api::serve;
use crate::clock::SystemClock;
use crate::config;
use crate::dial::Line;
use crate::keys::kms::Passphrase;
use std::sync::Arc;
use tonic::body::Body;
use tonic::codegen::http;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

impl Server {
    /// Starts the node of a folder in the world that this thread has entered.
    ///
    /// # Errors
    /// As [`Server::start_over`].
    pub fn start_pretended(
        config: Arc<config::Config>,
        passphrase: &Passphrase,
        clock: &Arc<SystemClock>,
        reach: Arc<dyn Reach>,
        space: Arc<dyn Space>,
    ) -> Result<Arc<Self>> {
        let folder = config.node.data_dir.clone();
        let keys = open_keys(&folder, passphrase)?;
        let opened = opened(&folder, keys, &porch::hosts(&config), clock, None)?;
        let make: MakeForward = Box::new(move |_, _| forward::over(reach));
        Self::start_opened(config.clone(), opened, Outside::new(&config), None, make, space)
    }

    /// The lines to its doors: that of clients, and that of administrators.
    #[must_use]
    pub fn lines(self: &Arc<Self>) -> [Line; 2] {
        serve::lines(Arc::new(backend::Called(self.clone())))
    }

    /// As whom it calls other nodes.
    #[must_use]
    pub fn as_peer(&self) -> Peer {
        let own = self.tls.current().own.clone();
        Peer { caller: Caller::Node(self.node.0), serial: own.serial, ends_s: own.ends_s }
    }
}

/// A line as this one uses it.
#[must_use]
pub fn used_by(peer: Peer, line: Line) -> Line {
    BoxCloneSyncService::new(line.map_request(move |mut request: http::Request<Body>| {
        request.extensions_mut().insert(peer.clone());
        request
    }))
}
