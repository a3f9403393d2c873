//! What carries frames between nodes: made by the node, pretended by a simulator.

use super::heard::Voice;
use bytes::Bytes;
use engine::ids::NodeId;
use std::future::Future;
use std::pin::Pin;

/// A future in a box.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Which stream a frame travels on. Frames of one lane to one peer arrive in their order, or not at all; what is slow on one lane
/// does not hold up the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Heartbeats, votes, transfers of the lead, read indices: small and urgent.
    Control,
    /// Entries. Groups are spread over the lanes by number.
    Data(u8),
    /// Snapshots.
    Bulk,
}

/// Lanes for entries.
pub const DATA_LANES: u8 = 2;

/// A frame could not be brought to the peer, or its answer back. Whether the peer acted on it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("peer {node} cannot be reached: {cause}")]
pub struct Unreachable {
    /// The peer.
    pub node: NodeId,
    /// What happened.
    pub cause: String,
}

/// An answer of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Who speaks on the link, as it said when the link was made: its log is the one that the frame tells of.
    pub by: Voice,
    /// The frame.
    pub frame: Bytes,
}

/// Carries frames to peers.
pub trait PeerLink: Send + Sync + 'static {
    /// Sends a frame, which is of one request, and brings back the one that answers it. The order of a lane is that in which this is
    /// called. Whoever calls sets the deadline: dropping the future gives up the answer, and nothing else.
    fn call(&self, to: NodeId, lane: Lane, frame: Bytes) -> BoxFuture<Result<Said, Unreachable>>;
}
