//! What a node remembers of the logs of its peers: who starts must not know less than it said.

use engine::ids::NodeId;
use raft::group::rejoin::LogMark;
use raft::log::{LogName, Mark};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The log that speaks in a node's frames, as the node said when the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voice {
    /// Its name.
    pub log: LogName,
    /// Number of the start.
    pub incarnation: u64,
}

/// What one node remembers.
#[derive(Debug, Default)]
pub struct Memory {
    marks: Mutex<BTreeMap<(NodeId, [u8; 16]), LogMark>>,
}

impl Memory {
    /// What a start finds in the log. Which start a peer was in it does not know.
    #[must_use]
    pub fn found(marks: &[Mark]) -> Self {
        let mark = |mark: &Mark| {
            ((NodeId(mark.node), mark.log), LogMark { position: mark.position, incarnation: 0 })
        };
        Self { marks: Mutex::new(marks.iter().map(mark).collect()) }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<(NodeId, [u8; 16]), LogMark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame of a peer says how far its log is durable.
    pub fn hears(&self, from: NodeId, voice: Voice, durable: u64) {
        let mut held = self.held();
        let mark = held.entry((from, voice.log.0)).or_default();
        mark.position = mark.position.max(durable);
        mark.incarnation = mark.incarnation.max(voice.incarnation);
    }

    /// All of it, as the log keeps it.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        let mark = |((node, log), mark): (&(NodeId, [u8; 16]), &LogMark)| Mark {
            node: node.0,
            log: *log,
            position: mark.position,
        };
        self.held().iter().map(mark).collect()
    }

    /// The logs that are known of a node.
    #[must_use]
    pub fn logs_of(&self, node: NodeId) -> BTreeMap<[u8; 16], LogMark> {
        let held = self.held();
        let of = held.range((node, [0; 16])..=(node, [u8::MAX; 16]));
        of.map(|((_, log), mark)| (*log, *mark)).collect()
    }
}
