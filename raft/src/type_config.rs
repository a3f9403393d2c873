//! The types that consensus is made with, and the way between its words and ours.

use crate::group::hears::Hears;
use crate::log::Entry;
use crate::payload;
use crate::proposal::{Proposal, Replies};
use crate::types::{LogId, Membership, ReplicaId, Seat, Vote};
use engine::error::Damage;
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig, alias};

#[cfg(feature = "sim")]
type Runtime = crate::pause::Pausable<crate::node_time::NodeTime>;
#[cfg(not(feature = "sim"))]
type Runtime = openraft::TokioRuntime;

/// What a group agrees on: commands, opaque here; and who replies what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types {}

// By hand, and not by the macro of openraft: that one cannot say who hears of an entry.
impl RaftTypeConfig for Types {
    type D = Proposal;
    type R = Replies;
    type NodeId = ReplicaId;
    type Node = Seat;
    type Term = u64;
    type LeaderId = LeaderId<Self::Term, Self::NodeId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Self::D, Self::NodeId, Self::Node>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type Responder<T>
        = Hears<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type AsyncRuntime = Runtime;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type RaftLogId = alias::LogIdOf<Types>;
pub(crate) type RaftVote = alias::VoteOf<Types>;
pub(crate) type RaftEntryOf = alias::EntryOf<Types>;
pub(crate) type RaftMembership = openraft::Membership<ReplicaId, Seat>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Types>;

#[cfg(feature = "sim")]
pub(crate) use crate::node_time::OwnClock;

/// The clock that consensus goes by: there is one.
#[cfg(not(feature = "sim"))]
#[derive(Clone)]
pub(crate) struct OwnClock;

#[cfg(not(feature = "sim"))]
impl OwnClock {
    /// That of whoever asks.
    pub(crate) fn here() -> Self {
        Self
    }

    /// What it shows.
    #[expect(clippy::unused_self, reason = "in a simulation each node has its own")]
    pub(crate) fn now(&self) -> alias::InstantOf<Types> {
        use openraft::type_config::TypeConfigExt as _;
        Types::now()
    }
}

/// Our log id.
pub(crate) fn log_id(id: &RaftLogId) -> LogId {
    LogId { term: id.leader_id.term, replica: id.leader_id.node_id, index: id.index }
}

/// Theirs.
pub(crate) fn raft_log_id(id: LogId) -> RaftLogId {
    RaftLogId { leader_id: LeaderId { term: id.term, node_id: id.replica }, index: id.index }
}

/// Our vote.
pub(crate) fn vote(vote: &RaftVote) -> Vote {
    Vote { term: vote.leader_id.term, replica: vote.leader_id.node_id, is_committed: vote.committed }
}

/// Theirs.
pub(crate) fn raft_vote(vote: Vote) -> RaftVote {
    let leader_id = LeaderId { term: vote.term, node_id: vote.replica };
    RaftVote { leader_id, committed: vote.is_committed }
}

/// Our membership.
pub(crate) fn membership(theirs: &RaftMembership) -> Membership {
    let seats = theirs.nodes().map(|(replica, seat)| (*replica, *seat)).collect();
    Membership { voters: theirs.get_joint_config().clone(), seats }
}

/// Theirs.
///
/// # Errors
/// `Malformed`: a voter without a seat.
pub(crate) fn raft_membership(ours: &Membership) -> Result<RaftMembership, Damage> {
    let made = RaftMembership::new(ours.voters.clone(), ours.seats.clone());
    made.map_err(|_| Damage::of(engine::error::Nature::Malformed, "a membership that cannot be"))
}

/// An entry as the log stores it; its stamp is the business of the log store.
pub(crate) fn stored(entry: &RaftEntryOf, stamp: u64) -> Entry {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (payload::BLANK, bytes::Bytes::new()),
        EntryPayload::Normal(command) => (payload::COMMAND, command.0.clone()),
        EntryPayload::Membership(theirs) => {
            (payload::MEMBERSHIP, payload::encode_membership(&membership(theirs)).into())
        }
    };
    Entry { log_id: log_id(&entry.log_id), kind, stamp, payload }
}

/// An entry as consensus knows it.
///
/// # Errors
/// `Malformed`: a payload of an unknown kind, or that is not what its kind allows.
pub(crate) fn read(entry: Entry) -> Result<RaftEntryOf, Damage> {
    let malformed = |detail| Damage::of(engine::error::Nature::Malformed, detail);
    let payload = match entry.kind {
        payload::BLANK if entry.payload.is_empty() => EntryPayload::Blank,
        payload::COMMAND => EntryPayload::Normal(Proposal(entry.payload)),
        payload::MEMBERSHIP => {
            EntryPayload::Membership(raft_membership(&payload::decode_membership(&entry.payload)?)?)
        }
        payload::BLANK => return Err(malformed("a blank entry with a payload")),
        _ => return Err(malformed("an entry of an unknown kind")),
    };
    Ok(RaftEntryOf::new(raft_log_id(entry.log_id), payload))
}

/// Runs `future` with randomness of consensus that follows from `seed`, and of everything that it spawns.
#[cfg(feature = "sim")]
pub fn scope<F: Future>(seed: u64, future: F) -> impl Future<Output = F::Output> {
    crate::node_time::NodeTime::scope(seed, future)
}

/// Spawns a task. In a simulator its randomness follows from that of the one that spawns it, and it stands still with it.
pub fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> tokio::task::JoinHandle<()> {
    <Runtime as openraft::AsyncRuntime>::spawn(future)
}

/// Waits, by the clock that consensus goes by.
pub(crate) async fn sleep(time: std::time::Duration) {
    use openraft::type_config::TypeConfigExt as _;
    Types::sleep(time).await;
}
