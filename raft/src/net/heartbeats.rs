//! Sends the heartbeats of all groups of a node to each peer together: what [`super::coalesce`] decides, done. A thousand idle groups
//! cost one message a peer and interval, and each group hears its own answer.

use super::coalesce::{Coalesce, Gathered, Ticket};
use super::link::Lane;
use super::message::Message;
use super::refusal::Refusal;
use super::replica_message::{AppendReply, Heartbeat, HeartbeatReply};
use super::request::{Address, Requests};
use crate::limits::HEARTBEAT_GATHER_MS;
use crate::log::Log;
use crate::type_config::{sleep, spawn};
use crate::types::GroupId;
use engine::ids::NodeId;
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// What a follower has said to a heartbeat, or why there is no answer.
type Said = Result<AppendReply, String>;

/// The heartbeats of one node to all its peers.
pub struct Heartbeats {
    requests: Arc<Requests>,
    log: Arc<Log>,
    peers: Mutex<BTreeMap<NodeId, ToPeer>>,
    again_ms: u64,
}

/// What waits to leave for one peer, and who waits for its answers.
#[derive(Default)]
struct ToPeer {
    coalesce: Coalesce,
    /// Milliseconds that were waited for company, all together: what is gathered needs no other clock.
    now_ms: u64,
    waiting: BTreeMap<Ticket, oneshot::Sender<Said>>,
    is_driven: bool,
}

impl Heartbeats {
    /// Those of a node, whose log is `log`. One that is not answered within `again_ms` is sent again.
    #[must_use]
    pub fn new(requests: Arc<Requests>, log: Arc<Log>, again_ms: u64) -> Arc<Self> {
        Arc::new(Self { requests, log, peers: Mutex::default(), again_ms })
    }

    /// The requests they are sent among, and the log, for all else that is sent beside them.
    pub(super) fn ways(&self) -> (Arc<Requests>, Arc<Log>) {
        (self.requests.clone(), self.log.clone())
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, ToPeer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a heartbeat with the next message to the peer, and waits for its answer. As long as there is none, it leaves again and again,
    /// and any answer will do: whoever waits counts it from when the first one left. So one that is lost costs no more than one beat, and
    /// one that takes long is still heard. Dropped, it leaves no more.
    ///
    /// # Errors
    /// Why there is none: too many messages wait, the peer cannot be reached or refuses, or it was too late.
    pub async fn beat(self: &Arc<Self>, to: NodeId, heartbeat: Heartbeat) -> Said {
        let mut under_way = FuturesUnordered::new();
        under_way.push(self.beat_once(to, heartbeat.clone()));
        let failed = loop {
            let again = std::pin::pin!(sleep(Duration::from_millis(self.again_ms)));
            match select(under_way.next(), again).await {
                Either::Left((Some(Err(cause)), _)) => break cause,
                Either::Left((Some(reply), _)) => return reply,
                Either::Left((None, _)) | Either::Right(_) => {
                    self.log.stats().net.repeated_heartbeats.add(1);
                    under_way.push(self.beat_once(to, heartbeat.clone()));
                }
            }
        };
        // Those that have left already may still be answered.
        while let Some(said) = under_way.next().await {
            if said.is_ok() {
                return said;
            }
        }
        Err(failed)
    }

    async fn beat_once(self: &Arc<Self>, to: NodeId, heartbeat: Heartbeat) -> Said {
        let (told, heard) = oneshot::channel();
        let (is_taken, is_driven) = {
            let mut peers = self.peers();
            let peer = peers.entry(to).or_default();
            let ticket = peer.coalesce.push(peer.now_ms, heartbeat);
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
            self.log.stats().net.crowded_heartbeats.add(1);
            return Err(format!("too many heartbeats to {to} wait"));
        }
        heard.await.unwrap_or_else(|_| Err(format!("the heartbeats to {to} have ended")))
    }

    /// Sends what is due to one peer, as long as something waits. No message waits for the answer to another.
    async fn drive(self: Arc<Self>, to: NodeId) {
        let mut is_needed = true;
        while is_needed {
            tokio::time::sleep(Duration::from_millis(HEARTBEAT_GATHER_MS)).await;
            let mut peers = self.peers();
            let Some(peer) = peers.get_mut(&to) else { return };
            peer.now_ms += HEARTBEAT_GATHER_MS;
            while let Some(gathered) = peer.coalesce.due(peer.now_ms) {
                let own = self.clone();
                spawn(async move { own.send(to, gathered).await });
            }
            is_needed = peer.coalesce.next_due_ms().is_some();
            peer.is_driven = is_needed;
        }
    }

    async fn send(&self, to: NodeId, gathered: Gathered) {
        let Gathered { message, heartbeats } = gathered;
        let stats = &self.log.stats().net;
        stats.sent_heartbeats.add(heartbeats.len() as u64);
        stats.heartbeat_messages.add(1);
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
        let message = (self.log.durable(), Message::Heartbeats(heartbeats));
        match self.requests.call(to, Lane::Control, Address::default(), message).await? {
            Message::HeartbeatReplies(replies) => Ok(replies),
            _ => Err("an answer that answers no heartbeats".to_owned()),
        }
    }
}
