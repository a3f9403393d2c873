//! Sends the heartbeats of all groups of a node to each peer together: what [`super::coalesce`] decides, done. A thousand idle groups
//! cost one message a peer and interval, and each group hears its own answer.

use super::coalesce::{Coalesce, Gathered, Ticket};
use super::envelope::Frame;
use super::link::{Lane, PeerLink};
use super::message::Message;
use super::refusal::Refusal;
use super::replica_message::{AppendReply, Heartbeat, HeartbeatReply};
use crate::log::Log;
use crate::type_config::spawn;
use crate::types::{GroupId, ReplicaId};
use engine::ids::NodeId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What a follower has said to a heartbeat, or why there is no answer.
type Said = Result<AppendReply, String>;

/// The heartbeats of one node to all its peers.
pub struct Heartbeats {
    link: Arc<dyn PeerLink>,
    log: Arc<Log>,
    tag: u64,
    deadline_ms: u64,
    begin: Instant,
    sequence: AtomicU64,
    peers: Mutex<BTreeMap<NodeId, ToPeer>>,
}

/// What waits to leave for one peer, and who waits for its answers.
#[derive(Default)]
struct ToPeer {
    coalesce: Coalesce,
    waiting: BTreeMap<Ticket, oneshot::Sender<Said>>,
    is_driven: bool,
}

impl Heartbeats {
    /// Those of a node, in the cluster and generation of `tag`. A message that is not answered within `deadline_ms` never is.
    #[must_use]
    pub fn new(link: Arc<dyn PeerLink>, log: Arc<Log>, tag: u64, deadline_ms: u64) -> Arc<Self> {
        let (begin, sequence, peers) = (Instant::now(), AtomicU64::new(0), Mutex::default());
        Arc::new(Self { link, log, tag, deadline_ms, begin, sequence, peers })
    }

    /// Link, log, tag and deadline in milliseconds, for all else that is sent beside them.
    pub(super) fn ways(&self) -> (Arc<dyn PeerLink>, Arc<Log>, u64, u64) {
        (self.link.clone(), self.log.clone(), self.tag, self.deadline_ms)
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, ToPeer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Sends a heartbeat with the next message to the peer, and waits for its answer.
    ///
    /// # Errors
    /// Why there is none: too many messages wait, the peer cannot be reached or refuses, or it was too late.
    pub async fn beat(self: &Arc<Self>, to: NodeId, heartbeat: Heartbeat) -> Said {
        let (told, heard) = oneshot::channel();
        let (is_taken, is_driven) = {
            let mut peers = self.peers();
            let peer = peers.entry(to).or_default();
            let ticket = peer.coalesce.push(self.now_ms(), heartbeat);
            if let Some(ticket) = ticket {
                peer.waiting.insert(ticket, told);
            }
            (ticket.is_some(), std::mem::replace(&mut peer.is_driven, true))
        };
        if !is_driven {
            let own = self.clone();
            spawn(async move { own.drive(to).await });
        }
        if !is_taken {
            return Err(format!("too many heartbeats to {to} wait"));
        }
        heard.await.unwrap_or_else(|_| Err(format!("the heartbeats to {to} have ended")))
    }

    /// Sends what is due to one peer, as long as something waits. No message waits for the answer to another.
    async fn drive(self: Arc<Self>, to: NodeId) {
        loop {
            let (gathered, next_ms) = {
                let mut peers = self.peers();
                let Some(peer) = peers.get_mut(&to) else { return };
                let gathered = peer.coalesce.due(self.now_ms());
                let next_ms = peer.coalesce.next_due_ms();
                peer.is_driven = gathered.is_some() || next_ms.is_some();
                (gathered, next_ms)
            };
            match (gathered, next_ms) {
                (Some(gathered), _) => {
                    let own = self.clone();
                    spawn(async move { own.send(to, gathered).await });
                }
                (None, Some(next_ms)) => {
                    tokio::time::sleep_until(self.begin + Duration::from_millis(next_ms)).await;
                }
                (None, None) => return,
            }
        }
    }

    async fn send(&self, to: NodeId, gathered: Gathered) {
        let Gathered { message, heartbeats } = gathered;
        let groups: Vec<GroupId> = heartbeats.iter().map(|heartbeat| heartbeat.group).collect();
        let answer = self.call(to, heartbeats).await;
        let mut said: BTreeMap<GroupId, Result<AppendReply, Refusal>> = match &answer {
            Ok(replies) => replies.iter().map(|one| (one.group, one.reply)).collect(),
            Err(_) => BTreeMap::new(),
        };
        let mut peers = self.peers();
        let Some(peer) = peers.get_mut(&to) else { return };
        for group in groups {
            let Some(told) = peer.waiting.remove(&Ticket { message, group }) else { continue };
            let said = match (said.remove(&group), &answer) {
                (Some(Ok(reply)), _) => Ok(reply),
                (Some(Err(refusal)), _) => Err(format!("{to} refuses: {refusal}")),
                (None, Err(cause)) => Err(cause.clone()),
                (None, Ok(_)) => Err(format!("{to} answered other groups and not {group}")),
            };
            // Nobody may wait any more.
            let _ = told.send(said);
        }
    }

    /// One message and its answer. It is from node to node: which replicas it is for, each heartbeat says itself.
    async fn call(&self, to: NodeId, heartbeats: Vec<Heartbeat>) -> Result<Vec<HeartbeatReply>, String> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let (group, nobody) = (GroupId(0), ReplicaId(0));
        let (tag, durable, message) = (self.tag, self.log.durable(), Message::Heartbeats(heartbeats));
        let frame = Frame { tag, group, from: nobody, to: nobody, sequence, durable, message };
        let answer = self.link.call(to, Lane::Control, frame.encode());
        let answer = tokio::time::timeout(Duration::from_millis(self.deadline_ms), answer).await;
        let answer = answer.map_err(|_| format!("{to} did not answer in time"))?;
        let frame = Frame::decode(&answer.map_err(|error| error.to_string())?)
            .map_err(|damage| damage.to_string())?;
        match frame.message {
            Message::Refused(refusal) => Err(format!("{to} refuses: {refusal}")),
            Message::HeartbeatReplies(replies) if (frame.tag, frame.sequence) == (tag, sequence) => {
                Ok(replies)
            }
            _ => Err("the answer to something else".to_owned()),
        }
    }
}
