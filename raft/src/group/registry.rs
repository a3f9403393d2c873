//! The replicas of a node: whose frame is this?

use crate::compare::question::{Asked, Told, WhyNot};
use crate::compare::tell;
use crate::group::rejoin::{Answer, GroupWord};
use crate::group::word::Word;
use crate::limits::HEARTBEAT_ANSWER_MS;
use crate::log::Log;
use crate::net::door::Door;
use crate::net::fault::message_fault;
use crate::net::heard::{Heard, Voice};
use crate::net::inbound::Receiver;
use crate::net::message::Message;
use crate::net::refusal::Refusal;
use crate::net::replica_message::{Heartbeat, HeartbeatReply};
use crate::net::request::Address;
use crate::types::{GroupId, ReplicaId};
use bytes::Bytes;
use engine::ids::NodeId;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The replicas that run on a node.
pub struct Registry {
    door: Door,
    log: Arc<Log>,
    /// Until somebody says so, it does not.
    is_clock_agreed: AtomicBool,
    receivers: RwLock<BTreeMap<GroupId, Arc<Receiver>>>,
    /// One question about rows is answered at a time: comparing takes one thread and no more.
    telling: tokio::sync::Mutex<()>,
}

impl Registry {
    /// An empty one, behind `door`, of the node whose log is `log`.
    #[must_use]
    pub fn new(door: Door, log: Arc<Log>) -> Self {
        door.heard().guards(&log);
        let (is_clock_agreed, receivers) = (AtomicBool::default(), RwLock::default());
        Self { door, log, is_clock_agreed, receivers, telling: tokio::sync::Mutex::default() }
    }

    /// What is remembered of peers.
    #[must_use]
    pub fn heard(&self) -> &Arc<Heard> {
        self.door.heard()
    }

    /// A replica runs. Whoever ran for its group before is returned, and hears nothing any more.
    pub fn add(&self, receiver: Arc<Receiver>) -> Option<Arc<Receiver>> {
        self.change(|receivers| receivers.insert(receiver.group().id(), receiver))
    }

    /// A replica runs no more.
    pub fn remove(&self, group: GroupId) -> Option<Arc<Receiver>> {
        self.change(|receivers| receivers.remove(&group))
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<GroupId, Arc<Receiver>>) -> T) -> T {
        let mut receivers = self.receivers.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut receivers);
        self.log.stats().group.running_replicas.set(receivers.len() as u64);
        changed
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

    /// Answers a frame that came on a link of `by`. A frame that cannot be read, is for somebody else, or says what nobody can is refused
    /// by name and changes nothing.
    pub async fn serve(&self, by: &Voice, frame: Bytes) -> Bytes {
        let (asked, answer) = match self.door.open(by, &frame) {
            Ok((asked, Message::Heartbeats(heartbeats))) => (asked, self.heartbeats(heartbeats).await),
            Ok((asked, Message::Claim(claim))) if claim.node == by.node => {
                let alive = self.heard().claims(claim.node, claim.boot_nonce);
                (asked, Message::ClaimAnswer(Answer { alive, ..self.answer_claim(claim.node) }))
            }
            Ok((asked, Message::Claim(_))) => (asked, Message::Refused(Refusal::Malformed)),
            Ok((asked, Message::Hearsay(told))) => {
                self.heard().is_told(&told);
                (asked, Message::HearsayTaken)
            }
            Ok((asked, Message::AskWords(groups))) => (asked, Message::Words(self.words(&groups))),
            Ok((asked, Message::AskState(of))) => (asked, Message::State(self.tell(of).await)),
            Ok((asked, message)) => {
                let Address { group, from, to } = asked.address;
                (asked, self.deliver(group, from, to, message).await)
            }
            Err((asked, refusal)) => (asked, Message::Refused(refusal)),
        };
        self.door.answer(&asked, self.log.durable(), answer)
    }

    /// What the replicas here say of themselves, those that run.
    fn words(&self, groups: &BTreeSet<GroupId>) -> BTreeMap<GroupId, Word> {
        let word = |group: &GroupId| Some((*group, self.get(*group)?.word(self.is_clock_agreed())));
        groups.iter().filter_map(word).collect()
    }

    /// What a replica here says of its rows, for whoever compares.
    pub async fn tell(&self, asked: Asked) -> Told {
        let receiver = self.get(asked.group).filter(|receiver| receiver.group().replica() == asked.replica);
        let Some(receiver) = receiver else { return Told::Not(WhyNot::NotHere) };
        let machine = receiver.group().machine().clone();
        tell::await_stamp(&machine, &asked.what).await;
        let _alone = self.telling.lock().await;
        tell::tell(machine, asked.what).await
    }

    /// Whether the clock of this node agrees with its peers: what its replicas say of themselves.
    pub fn set_clock_agreed(&self, is_agreed: bool) {
        self.is_clock_agreed.store(is_agreed, Ordering::Relaxed);
    }

    fn is_clock_agreed(&self) -> bool {
        self.is_clock_agreed.load(Ordering::Relaxed)
    }

    /// How far the log of this node is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.log.durable()
    }

    /// What is known here of a node that starts.
    fn answer_claim(&self, about: NodeId) -> Answer {
        let word = |receiver: Arc<Receiver>| {
            let (group, standing) = (receiver.group(), receiver.group().standing());
            let membership = &standing.membership.1;
            let replica = membership.replica_at(about).unwrap_or_default();
            let promise = self.heard().promise(group.id(), replica);
            let leads = standing.matched.get(&replica).copied().flatten().filter(|_| standing.is_leader);
            let word = GroupWord {
                replica,
                is_leader: standing.is_leader,
                is_voter: membership.is_voter(group.replica()),
                matched: leads.map(|last| (standing.vote, last)).or(promise.matched),
                granted: promise.granted,
                manifest: self.heard().manifest(group.id(), replica),
            };
            (group.id(), word)
        };
        let groups: BTreeMap<_, _> = self.all().into_iter().map(word).collect();
        let is_meta_voter = groups.get(&GroupId::META).is_some_and(|word| word.is_voter);
        Answer { is_meta_voter, logs: self.heard().logs_of(about), alive: None, groups }
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
}
