//! Links between nodes: one TLS connection for each lane to each peer, on which frames keep their order. What goes over it:
//! `docs/protocols/peer_link.md`.
//!
//! Invariants:
//!   * a frame is only sent to, and taken from, a node whose certificate names it;
//!   * frames of a lane reach whoever serves in the order in which they were sent, or not at all, over lost connections too;
//!   * an answer and a frame carry the voice that was said when their connection was made; another voice means another connection;
//!   * nothing a stranger or a peer sends takes more memory than `limits` allow.

pub mod clock;
pub mod frame;
mod lane;
pub mod limits;
pub mod link;
pub mod pulse;
mod queue;
mod served;
pub mod server;
pub mod serving;
mod wire;

use engine::ids::{ClusterId, NodeId};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

pub use link::{Addresses, TlsLink};
pub use server::PeerServer;
pub use serving::{Serve, Serving};

/// Which node of which cluster a chain of certificates, verified before, stands for; none if it is no node's.
pub type Identify = Arc<dyn Fn(&[CertificateDer<'_>]) -> Option<(ClusterId, NodeId)> + Send + Sync>;

/// What both ends of links are made with.
#[derive(Clone)]
pub struct PeerParts {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Who speaks for it and takes the frames of its peers. Without one it neither dials nor answers.
    pub serving: Serving,
    /// Reads certificates.
    pub identify: Identify,
}
