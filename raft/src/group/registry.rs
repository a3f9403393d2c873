//! The replicas of a node: whose frame is this?

use crate::limits::{self, HEARTBEAT_ANSWER_MS};
use crate::log::Log;
use crate::net::envelope::{Frame, cluster_tag};
use crate::net::fault::message_fault;
use crate::net::inbound::Receiver;
use crate::net::message::Message;
use crate::net::refusal::Refusal;
use crate::net::replica_message::{Heartbeat, HeartbeatReply};
use crate::types::{GroupId, ReplicaId};
use bytes::Bytes;
use engine::ids::ClusterId;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What an answer must name.
struct Asked {
    group: GroupId,
    from: ReplicaId,
    to: ReplicaId,
    sequence: u64,
}

/// The replicas that run on a node.
pub struct Registry {
    tag: u64,
    /// Those of the generations before and behind, for whoever lags to be told so.
    relatives: Vec<u64>,
    log: Arc<Log>,
    receivers: RwLock<BTreeMap<GroupId, Arc<Receiver>>>,
}

impl Registry {
    /// An empty one, of the cluster and generation of `tag`.
    #[must_use]
    pub fn new(tag: u64, log: Arc<Log>) -> Self {
        Self { tag, relatives: Vec::new(), log, receivers: RwLock::default() }
    }

    /// An empty one of `cluster` in `generation`, which also knows a frame of another generation from one of another cluster.
    #[must_use]
    pub fn of(cluster: ClusterId, generation: u64, log: Arc<Log>) -> Self {
        let first = generation.saturating_sub(limits::GENERATIONS_KNOWN);
        let others =
            (first..=generation.saturating_add(limits::GENERATIONS_KNOWN)).filter(|n| *n != generation);
        let relatives = others.map(|other| cluster_tag(cluster, other)).collect();
        Self { relatives, ..Self::new(cluster_tag(cluster, generation), log) }
    }

    /// A replica runs. Whoever ran for its group before is returned, and hears nothing any more.
    pub fn add(&self, receiver: Arc<Receiver>) -> Option<Arc<Receiver>> {
        let mut receivers = self.receivers.write().unwrap_or_else(PoisonError::into_inner);
        receivers.insert(receiver.group().id(), receiver)
    }

    /// A replica runs no more.
    pub fn remove(&self, group: GroupId) -> Option<Arc<Receiver>> {
        self.receivers.write().unwrap_or_else(PoisonError::into_inner).remove(&group)
    }

    /// The replica of a group.
    #[must_use]
    pub fn get(&self, group: GroupId) -> Option<Arc<Receiver>> {
        self.receivers.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Receiver>> {
        self.receivers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Answers a frame. A frame that cannot be read, is for somebody else, or says what nobody can is refused by name and changes
    /// nothing.
    pub async fn serve(&self, frame: Bytes) -> Bytes {
        let frame = match Frame::decode(&frame) {
            Ok(frame) => frame,
            Err(damage) => {
                tracing::warn!(%damage, "a frame that cannot be read");
                let nobody = Asked { group: GroupId(0), from: ReplicaId(0), to: ReplicaId(0), sequence: 0 };
                return self.answer(&nobody, Message::Refused(Refusal::Malformed));
            }
        };
        let Frame { tag, group, from, to, sequence, .. } = frame;
        let answer = match (self.stranger(tag), frame.message) {
            (Some(refusal), _) => Message::Refused(refusal),
            (None, Message::Heartbeats(heartbeats)) => self.heartbeats(heartbeats).await,
            (None, message) => self.deliver(group, from, to, message).await,
        };
        self.answer(&Asked { group, from, to, sequence }, answer)
    }

    /// Why nobody of this cluster and generation can have said anything under `tag`.
    fn stranger(&self, tag: u64) -> Option<Refusal> {
        let is_relative = self.relatives.contains(&tag);
        (tag != self.tag).then_some(if is_relative {
            Refusal::OtherGeneration
        } else {
            Refusal::OtherCluster
        })
    }

    /// Gives each heartbeat to its replica, all at once. One that does not answer soon is overloaded: the others' answers wait for none.
    async fn heartbeats(&self, heartbeats: Vec<Heartbeat>) -> Message {
        let answer = async |heartbeat: Heartbeat| {
            let Heartbeat { group, from, to, append } = heartbeat;
            let answer = self.deliver(group, from, to, Message::Append(append));
            let reply = match tokio::time::timeout(Duration::from_millis(HEARTBEAT_ANSWER_MS), answer).await {
                Ok(Message::AppendReply(reply)) => Ok(reply),
                Ok(Message::Refused(refusal)) => Err(refusal),
                Ok(_) => Err(Refusal::Malformed),
                Err(_) => Err(Refusal::Overloaded),
            };
            HeartbeatReply { group, reply }
        };
        Message::HeartbeatReplies(join_all(heartbeats.into_iter().map(answer)).await)
    }

    /// The answer of the replica that a message is for, or why it is given none.
    async fn deliver(&self, group: GroupId, from: ReplicaId, to: ReplicaId, message: Message) -> Message {
        let Some(receiver) = self.get(group) else { return Message::Refused(Refusal::NoSuchGroup) };
        if receiver.group().replica() != to || from == to || from == ReplicaId(0) {
            return Message::Refused(Refusal::OtherReplica);
        }
        if let Some(fault) = message_fault(from, &message) {
            tracing::warn!(%group, %from, fault, "a message that nobody can send");
            return Message::Refused(Refusal::Malformed);
        }
        receiver.receive(message).await
    }

    fn answer(&self, asked: &Asked, message: Message) -> Bytes {
        let Asked { group, from, to, sequence } = *asked;
        let (tag, durable) = (self.tag, self.log.durable());
        Frame { tag, group, from: to, to: from, sequence, durable, message }.encode()
    }
}
