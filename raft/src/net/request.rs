//! A request of this node to a peer, and its answer: within our own deadline, and of nothing else.

use super::envelope::Frame;
use super::heard::Heard;
use super::link::{Lane, PeerLink};
use super::message::Message;
use super::no_answer::NoAnswer;
use super::refusal::Refusal;
use crate::stats::Stats;
use crate::types::{GroupId, ReplicaId};
use engine::ids::NodeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// For whom a request is, and from whom: replicas of one group. All zero: from node to node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The group.
    pub group: GroupId,
    /// The replica that asks.
    pub from: ReplicaId,
    /// The replica that is asked.
    pub to: ReplicaId,
}

/// The requests of one node to all its peers.
pub struct Requests {
    link: Arc<dyn PeerLink>,
    heard: Arc<Heard>,
    tag: u64,
    deadline_ms: u64,
    sequence: AtomicU64,
    stats: Arc<Stats>,
}

impl Requests {
    /// Those of a node in the cluster and generation of `tag`, which keeps in mind what it hears in `heard`. What is not answered within
    /// `deadline_ms` never is. They are counted in `stats`.
    #[must_use]
    pub fn new(
        link: Arc<dyn PeerLink>,
        heard: Arc<Heard>,
        (tag, deadline_ms): (u64, u64),
        stats: Arc<Stats>,
    ) -> Arc<Self> {
        Arc::new(Self { link, heard, tag, deadline_ms, sequence: AtomicU64::new(0), stats })
    }

    /// What is remembered of peers.
    #[must_use]
    pub fn heard(&self) -> &Arc<Heard> {
        &self.heard
    }

    /// Sends a message to the node `to`, and waits for its answer. The log here is durable up to `durable`. How far the log of whoever
    /// answers is, is kept in mind before the answer counts.
    ///
    /// # Errors
    /// Why there is no answer: refused by name, or lost.
    pub async fn call(
        &self,
        to: NodeId,
        lane: Lane,
        address: Address,
        said: (u64, Message),
    ) -> Result<Message, NoAnswer> {
        let stats = &self.stats.net;
        stats.asked_frames.add(1);
        let answer = self.exchange(to, lane, address, said).await;
        match &answer {
            Ok(_) => stats.answered_frames.add(1),
            Err(NoAnswer::Refused { .. }) => stats.denied_frames.add(1),
            Err(NoAnswer::Lost { .. }) => stats.lost_frames.add(1),
        }
        answer
    }

    async fn exchange(
        &self,
        to: NodeId,
        lane: Lane,
        address: Address,
        (durable, message): (u64, Message),
    ) -> Result<Message, NoAnswer> {
        let (tag, sequence) = (self.tag, self.sequence.fetch_add(1, Ordering::Relaxed));
        let Address { group, from, to: replica } = address;
        let frame = Frame { tag, group, from, to: replica, sequence, durable, message };
        let answer = self.link.call(to, lane, frame.encode());
        let answer = tokio::time::timeout(Duration::from_millis(self.deadline_ms), answer).await;
        let late = |_| NoAnswer::lost(format_args!("{to} did not answer in time"));
        let said = answer.map_err(late)?.map_err(NoAnswer::lost)?;
        let frame = Frame::decode(&said.frame).map_err(NoAnswer::lost)?;
        if frame.tag == tag && !frame.message.proves_nothing() {
            let outlived = |_| NoAnswer::lost("the answer of a start that is outlived");
            self.heard.hears(&said.by, frame.durable).map_err(outlived)?;
        }
        let is_ours = (frame.tag, frame.group, frame.from, frame.to) == (tag, group, replica, from);
        match frame.message {
            Message::Refused(refusal) => {
                if refusal == Refusal::Outlived && is_ours {
                    self.heard.is_outlived();
                }
                Err(NoAnswer::Refused { node: to, refusal })
            }
            _ if !is_ours || frame.sequence != sequence => {
                Err(NoAnswer::lost("the answer to something else"))
            }
            message => Ok(message),
        }
    }
}
