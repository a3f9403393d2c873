//! The replicas of a node: whose frame is this?

use crate::limits::HEARTBEAT_ANSWER_MS;
use crate::log::Log;
use crate::net::envelope::Frame;
use crate::net::inbound::Receiver;
use crate::net::message::Message;
use crate::net::refusal::Refusal;
use crate::net::replica_message::{Heartbeat, HeartbeatReply};
use crate::types::{GroupId, ReplicaId};
use bytes::Bytes;
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
    log: Arc<Log>,
    receivers: RwLock<BTreeMap<GroupId, Arc<Receiver>>>,
}

impl Registry {
    /// An empty one, of the cluster and generation of `tag`.
    #[must_use]
    pub fn new(tag: u64, log: Arc<Log>) -> Self {
        Self { tag, log, receivers: RwLock::default() }
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

    /// Answers a frame. A frame that cannot be read, or is for somebody else, is refused by name and changes nothing.
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
        let answer = match frame.message {
            _ if tag != self.tag => Message::Refused(Refusal::OtherCluster),
            Message::Heartbeats(heartbeats) => self.heartbeats(heartbeats).await,
            message => match self.find(group, from, to) {
                Ok(receiver) => receiver.receive(message).await,
                Err(refusal) => Message::Refused(refusal),
            },
        };
        self.answer(&Asked { group, from, to, sequence }, answer)
    }

    /// Gives each heartbeat to its replica, all at once. One that does not answer soon is overloaded: the others' answers wait for none.
    async fn heartbeats(&self, heartbeats: Vec<Heartbeat>) -> Message {
        let answer = async |heartbeat: Heartbeat| {
            let Heartbeat { group, from, to, append } = heartbeat;
            let reply = match self.find(group, from, to) {
                Ok(receiver) => {
                    let answer = receiver.receive(Message::Append(append));
                    match tokio::time::timeout(Duration::from_millis(HEARTBEAT_ANSWER_MS), answer).await {
                        Ok(Message::AppendReply(reply)) => Ok(reply),
                        Ok(Message::Refused(refusal)) => Err(refusal),
                        Ok(_) => Err(Refusal::Malformed),
                        Err(_) => Err(Refusal::Overloaded),
                    }
                }
                Err(refusal) => Err(refusal),
            };
            HeartbeatReply { group, reply }
        };
        Message::HeartbeatReplies(join_all(heartbeats.into_iter().map(answer)).await)
    }

    fn find(&self, group: GroupId, from: ReplicaId, to: ReplicaId) -> Result<Arc<Receiver>, Refusal> {
        let receiver = self.get(group).ok_or(Refusal::NoSuchGroup)?;
        let is_it = receiver.group().replica() == to && from != to && from != ReplicaId(0);
        if is_it { Ok(receiver) } else { Err(Refusal::OtherReplica) }
    }

    fn answer(&self, asked: &Asked, message: Message) -> Bytes {
        let Asked { group, from, to, sequence } = *asked;
        let (tag, durable) = (self.tag, self.log.durable());
        Frame { tag, group, from: to, to: from, sequence, durable, message }.encode()
    }
}
