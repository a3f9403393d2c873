//! Who takes the frames of peers: first the claim of a node that starts, then its replicas.

use crate::peer::Serve;
use crate::running::replicas::Running;
use crate::takeover::generation::Generations;
use bytes::Bytes;
use raft::group::admission::Admission;
use raft::net::heard::Voice;
use raft::net::link::BoxFuture;
use std::sync::Arc;

/// Takes frames for a node that waits.
pub(super) struct Porch(pub(super) Arc<Admission>, pub(super) Generations);

impl Serve for Porch {
    fn voice(&self) -> Voice {
        self.0.voice()
    }

    fn serve(&self, by: Voice, frame: Bytes) -> BoxFuture<Bytes> {
        let told = self.1.answer(by.node, &frame);
        let answer = told.unwrap_or_else(|| self.0.serve(&by, &frame));
        Box::pin(std::future::ready(answer))
    }
}

/// Takes frames for a node that runs.
pub(super) struct Inside(pub(super) Arc<Running>, pub(super) Generations);

impl Serve for Inside {
    fn voice(&self) -> Voice {
        self.0.voice()
    }

    fn serve(&self, by: Voice, frame: Bytes) -> BoxFuture<Bytes> {
        if let Some(answer) = crate::peer::clock::answer(&frame, self.0.parts().clock.wall_ms()) {
            return Box::pin(std::future::ready(answer));
        }
        if let Some(answer) = self.1.answer(by.node, &frame) {
            return Box::pin(std::future::ready(answer));
        }
        let registry = self.0.registry().clone();
        Box::pin(async move { registry.serve(&by, frame).await })
    }
}
