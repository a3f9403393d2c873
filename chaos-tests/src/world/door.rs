//! Where frames come in at a node: what is asked goes to its replicas, and what was promised with the answer is noted.

use super::clock::WallClock;
use super::net::Serve;
use super::node::World;
use super::overseer;
use crate::check::ledger::Seat;
use bytes::Bytes;
use engine::disk::SimDisk;
use engine::ids::NodeId;
use raft::group::registry::Registry;
use raft::log::Log;
use raft::net::envelope::Frame;
use raft::net::heard::Voice;
use raft::net::link::BoxFuture;
use raft::pause::Pause;
use std::sync::Arc;

/// Takes frames for one life of a node.
pub(super) struct Inside {
    pub(super) id: NodeId,
    pub(super) registry: Arc<Registry>,
    pub(super) log: Arc<Log>,
    pub(super) disk: SimDisk,
    pub(super) pause: Pause,
    pub(super) clock: Arc<WallClock>,
    pub(super) world: World,
}

impl Serve for Inside {
    fn voice(&self) -> Voice {
        let found = self.log.found();
        Voice::of(self.id, found.log, found.incarnation, &found.boot_nonce)
    }

    fn is_heard(&self, asked: &Bytes, answer: &Bytes) {
        self.world.overseer.heard(&self.log, asked, answer);
    }

    fn serve(&self, by: Voice, frame: Bytes) -> BoxFuture<Option<Bytes>> {
        let (registry, log, overseer) =
            (self.registry.clone(), self.log.clone(), self.world.overseer.clone());
        let decoded = Frame::decode(&frame).ok();
        if let (Some(aim), Some(frame), false) = (self.world.aim, &decoded, self.world.net.is_calm()) {
            aim.is_asked(&self.disk, &frame.message);
        }
        let asked = decoded.map(|frame| overseer::appends(&frame)).unwrap_or_default();
        // Who stands still takes nothing: what comes waits at its door.
        Box::pin(self.pause.within(self.clock.node().scope(async move {
            let last = |seat: &Seat| log.state(seat.group).ok().and_then(|state| state.last);
            let before: Vec<_> = asked.iter().map(|(seat, _)| last(seat)).collect();
            let answer = registry.serve(&by, frame.clone()).await;
            overseer.refused(&answer);
            for ((seat, append), before) in asked.iter().zip(before) {
                overseer.answered(&log, (*seat, before), append, &answer);
            }
            Some(answer)
        })))
    }
}
