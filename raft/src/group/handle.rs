//! One group's replica at work: propose, read, change who belongs to it, hand over the lead.

use crate::command::Command;
use crate::error::{Error, Result};
use crate::group::beat;
use crate::group::clock_guard::{is_alone, is_behind, is_refused};
use crate::group::dying::fault;
use crate::group::hears::Hears;
use crate::group::lifecycle::Stage;
use crate::group::outcome::{NotApplied, NotNow};
use crate::group::pause::Pause;
use crate::group::pressure::Load;
use crate::group::settings::{Pace, assert_mandatory};
pub use crate::group::standing::Standing;
use crate::group::start_fault::StartFault;
use crate::limits;
use crate::log::Log;
use crate::log::index::Extent;
use crate::log::store::GroupStore;
use crate::machine::Machine;
use crate::machine::adapter::MachineAdapter;
use crate::membership::step::Change;
use crate::net::outbound::Peers;
use crate::planted::{self, Planted};
use crate::proposal::{Committed, Proposal};
use crate::read::bearing::Bearing;
use crate::stats::Stats;
use crate::type_config::{self, OwnClock, Types};
use crate::types::{GroupId, LogId, ReplicaId, Seat, Vote};
use engine::Stamp;
use engine::work::stall::Pressure as Stall;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::ChangeMembershipRequest;
use openraft::raft::linearizable_read::{Linearizer, ReadLogId};
use openraft::{ChangeMembers, LinearizerOption, Precondition, Raft, alias};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What consensus of one group runs as.
pub(crate) type Consensus = Raft<Types, MachineAdapter>;

/// One replica of one group.
pub struct Group {
    id: GroupId,
    replica: ReplicaId,
    pace: Pace,
    pub(crate) raft: Consensus,
    pub(crate) log: Arc<Log>,
    machine: Arc<Machine>,
    peers: Peers,
    pause: Arc<Pause>,
    /// Held by whatever of consensus holds the log, and the machine.
    pub(super) tokens: [Weak<()>; 2],
    /// What consensus goes by.
    clock: OwnClock,
    /// Whether its wall clock is such that it must not lead.
    is_unfit: Arc<AtomicBool>,
    /// Whether so many have refused what it stamped that it must not lead on, in its leadership of now.
    is_refused: AtomicBool,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether `replica` leads, as far as its consensus knows.
pub(super) fn leads(raft: &Consensus, replica: ReplicaId) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.current_leader == Some(replica) && metrics.vote.committed
}

fn leader(forward: &ForwardToLeader<Types>) -> Option<(ReplicaId, Seat)> {
    forward.leader_id.zip(forward.leader_node)
}

fn stopped(fatal: &Fatal<Types>) -> NotApplied {
    NotApplied::Unknown { cause: fatal.to_string() }
}

impl Group {
    /// Builds the replica from what its log and machine hold, and replays what is committed. Nothing runs yet.
    ///
    /// # Errors
    /// `Invalid`: settings. `NotBuilt`: log or machine could not be read.
    pub async fn build(log: Arc<Log>, machine: Arc<Machine>, peers: Peers, pace: Pace) -> Result<Self> {
        let (id, replica) = (machine.group(), peers.replica());
        let config = pace.config()?;
        assert_mandatory(&config)?;
        let held = [Arc::new(()), Arc::new(())];
        let tokens = [Arc::downgrade(&held[0]), Arc::downgrade(&held[1])];
        let [of_log, of_machine] = held;
        let store = GroupStore::new(log.clone(), id, machine.clone()).with_token(of_log);
        let adapter = MachineAdapter::new(machine.clone()).with_token(of_machine);
        let built = Raft::build(replica, config, peers.clone(), store, adapter).await;
        let raft = built.map_err(|fatal| {
            let fault = match &fatal {
                Fatal::Panicked => StartFault::Bug,
                _ => fault(&log, &machine),
            };
            Error::NotBuilt { group: id, fault, cause: fatal.to_string() }
        })?;
        Ok(Self {
            id,
            replica,
            pace,
            raft,
            log,
            machine,
            peers,
            pause: Arc::default(),
            tokens,
            clock: OwnClock::here(),
            is_unfit: Arc::default(),
            is_refused: AtomicBool::default(),
        })
    }

    /// The group.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// This replica of it.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Its times.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// What it has applied.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// The way to its peers.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Where everything of the node counts.
    pub(crate) fn stats(&self) -> &Stats {
        self.log.stats()
    }

    /// Where its proposals can be held up for a moment.
    #[must_use]
    pub fn pause(&self) -> &Arc<Pause> {
        &self.pause
    }

    /// The last entry of its log.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        self.log.state(self.id).ok()?.last
    }

    /// Where it stands in its life.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.machine.life().stage()
    }

    /// Begins to take part. It stands for no election before [`Group::allow_election`].
    pub fn run(&self) {
        self.raft.run();
        let is_unfit = Arc::downgrade(&self.is_unfit);
        beat::begin(self.raft.clone(), self.replica, is_unfit, self.pace.heartbeat_ms);
    }

    /// From now on it may stand for election: the lease it may have granted before it was built has ended.
    pub fn allow_election(&self) {
        self.raft.runtime_config().elect(true);
    }

    /// Whether its wall clock is such that it must not lead: it takes no proposals, and others may elect one of them.
    #[must_use]
    pub fn is_unfit(&self) -> bool {
        self.is_unfit.load(Ordering::SeqCst)
    }

    /// Peers say, or not, that its wall clock, at `wall_ms`, is wrong; those that refuse what it has stamped are counted; and its own log may
    /// end in times that its clock has not reached. One that must not lead falls silent, and stands for no election. Cheap: call it at every
    /// tick.
    pub fn judge_clock(&self, is_disputed: bool, wall_ms: u64) {
        let leads = self.leads();
        if !leads {
            self.peers.forget_refusals();
        }
        let refused = self.peers.ahead_of();
        // What was refused is taken a little later, when that time has come: that makes the clock no better.
        let is_refused = leads
            && (self.is_refused.load(Ordering::SeqCst)
                || !refused.is_empty() && is_refused(&self.standing().membership.1, &refused));
        self.is_refused.store(is_refused, Ordering::SeqCst);
        let is_behind = is_behind(self.log.last_stamp(self.id).ok().flatten().map(Stamp), wall_ms)
            && !is_alone(&self.standing().membership.1);
        let is_unfit = (is_disputed || is_refused || is_behind) && !planted::is(Planted::LeadByWrongClock);
        if self.is_unfit.swap(is_unfit, Ordering::SeqCst) == is_unfit {
            return;
        }
        if is_unfit {
            tracing::warn!(group = %self.id, is_disputed, is_refused, is_behind, leads, "a wall clock is wrong: its replica leads no more");
            self.raft.runtime_config().elect(false);
        }
        self.raft.runtime_config().heartbeat(!is_unfit);
    }

    /// Stands for election at once.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn elect(&self) -> Result<()> {
        self.raft.trigger().elect(true).await.map_err(|fatal| self.stopped(&fatal))
    }

    fn stopped(&self, fatal: &Fatal<Types>) -> Error {
        Error::Stopped { group: self.id, cause: fatal.to_string() }
    }

    /// Last indexes of the snapshots that it is sending to peers.
    #[must_use]
    pub fn snapshots_sent(&self) -> Vec<u64> {
        self.peers.snapshots_sent()
    }

    /// What it knows to be committed. Cheaper than all of [`Group::standing`].
    #[must_use]
    pub fn committed(&self) -> Option<LogId> {
        self.raft.metrics().borrow_watched().local_committed.as_ref().map(type_config::log_id)
    }

    /// Whether it leads, as far as it knows. Cheaper than all of [`Group::standing`].
    #[must_use]
    pub fn leads(&self) -> bool {
        leads(&self.raft, self.replica)
    }

    /// How much it has to do, but for commands that wait outside.
    #[must_use]
    pub fn load(&self) -> Load {
        let metrics = self.raft.metrics();
        let (last, applied) = {
            let metrics = metrics.borrow_watched();
            (metrics.last_log_index, metrics.last_applied.map(|id| id.index))
        };
        let (end, next) = (last.map_or(0, |last| last + 1), applied.map_or(0, |applied| applied + 1));
        let unapplied = end.saturating_sub(next);
        // A log without the group has none of its entries.
        let extent = if unapplied > 0 { self.extent().unwrap_or_default() } else { Extent::default() };
        Load {
            unapplied,
            unapplied_bytes: extent.bytes_between(next, end),
            log_queue_bytes: self.log.waiting_bytes() as u64,
            engine_percent: match self.machine.tablet().pressure() {
                Stall::None => 0,
                Stall::Slow => limits::ENGINE_SLOW_PERCENT,
                Stall::Stop => 100,
            },
            ..Load::default()
        }
    }

    /// How much of its log there is.
    ///
    /// # Errors
    /// `NoSuchGroup`.
    pub fn extent(&self) -> Result<Extent> {
        self.log.extent(self.id)
    }

    /// The last entry that is durable in its log.
    #[must_use]
    pub fn stored(&self) -> Option<LogId> {
        self.log.stored(self.id).ok().flatten()
    }

    /// How it stands, to a read. Cheaper than all of [`Group::standing`].
    #[must_use]
    pub fn bearing(&self) -> Bearing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let seat = |replica: &ReplicaId| metrics.membership_config.membership().get_node(replica).copied();
        Bearing {
            is_leader: metrics.current_leader == Some(self.replica) && metrics.vote.committed,
            role: seat(&self.replica).map(|seat| seat.role),
            leader: metrics.current_leader.and_then(|leader| Some((leader, seat(&leader)?))),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let log_id = |id: &Option<type_config::RaftLogId>| id.as_ref().map(type_config::log_id);
        let matched = metrics.replication.iter().flatten().map(|(replica, id)| (*replica, log_id(id)));
        let age = |at: &Option<_>| {
            at.as_ref().map(|at: &alias::SerdeInstantOf<Types>| millis(self.clock.now() - **at))
        };
        let heard = metrics.heartbeat.iter().flatten().map(|(replica, at)| (*replica, age(at)));
        let membership = &metrics.membership_config;
        Standing {
            vote: type_config::vote(&metrics.vote),
            is_leader: metrics.current_leader == Some(self.replica) && metrics.vote.committed,
            leader: metrics.current_leader,
            last_index: metrics.last_log_index,
            committed: log_id(&metrics.local_committed),
            applied: log_id(&metrics.last_applied),
            snapshot: log_id(&metrics.snapshot),
            purged: log_id(&metrics.purged),
            membership: (log_id(membership.log_id()), type_config::membership(membership.membership())),
            matched: matched.collect(),
            heard_ms: heard.collect(),
            stopped: metrics.running_state.err().map(|fatal| fatal.to_string()),
        }
    }

    /// Proposes an entry, and waits until it is applied here. `under` is the leadership it was made under (term and replica): under
    /// another it is not taken, for its stamps are that leader's promise.
    ///
    /// # Errors
    /// See [`NotApplied`]: only of `Unknown` it is not known whether it will be applied.
    pub async fn propose(&self, proposal: Proposal, under: Vote) -> Result<Committed, NotApplied> {
        if let Err(damage) = Command::decode(&proposal.0) {
            // Whoever applied it would have to stop.
            return Err(NotApplied::Refused { rule: damage.to_string() });
        }
        let _under_way = self.pause.begin();
        let leader_id = type_config::raft_vote(under).leader_id;
        let (responder, heard) = Hears::begin(self.log.stats().clone());
        let write = self.raft.write(proposal).responder(responder).with_leader(leader_id);
        write.await.map_err(|fatal| stopped(&fatal))?;
        let lost = |_| NotApplied::Unknown { cause: "the group stopped before it answered".to_owned() };
        match heard.await.map_err(lost)? {
            Ok(response) => {
                Ok(Committed { log_id: type_config::log_id(&response.log_id), replies: response.data })
            }
            Err(ClientWriteError::ForwardToLeader(forward)) => Err(not_taken(&forward)),
            Err(ClientWriteError::LogEntryDiscarded(_)) => Err(NotApplied::Unknown {
                cause: "another leader took over before it was committed".to_owned(),
            }),
            Err(other) => Err(NotApplied::Refused { rule: other.to_string() }),
        }
    }

    /// The entry that must be applied, here or at a follower, for a read to see every write acknowledged before. This replica leads, and
    /// a quorum has said so at most `age_ms` ago, or is asked now and says so within `wait_ms`. `None` takes no earlier answer.
    ///
    /// # Errors
    /// See [`NotNow`]; `RetryLater`: no quorum has.
    pub async fn read_index(&self, age_ms: Option<u64>, wait_ms: u64) -> Result<LogId, NotNow> {
        self.is_read()?;
        let age = Duration::from_millis(age_ms.unwrap_or(0));
        let option = LinearizerOption::new(Some(age), true).with_wait_timeout(Duration::from_millis(wait_ms));
        match self.raft.get_read_linearizer(option).await {
            Ok(linearizer) => Ok(type_config::log_id(linearizer.read_log_id().log_id())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(NotNow::NotLeader { leader: leader(&forward) })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(NotNow::RetryLater { after_ms: self.pace.heartbeat_ms })
            }
            Err(RaftError::Fatal(fatal)) => Err(NotNow::Stopped { cause: fatal.to_string() }),
        }
    }

    /// Waits until `read`, which the leader named, is applied here.
    ///
    /// # Errors
    /// `RetryLater`: not within `wait_ms`. `NotServing`. `Stopped`.
    pub async fn await_read(&self, read: LogId, wait_ms: u64) -> Result<(), NotNow> {
        self.is_read()?;
        // To wait, even for what is there, copies all that consensus tells.
        if self.machine.reached().0.is_some_and(|applied| applied.index >= read.index) {
            return Ok(());
        }
        let read = ReadLogId::from_log_id(type_config::raft_log_id(read));
        let linearizer = Linearizer::new(self.replica, read, None);
        match linearizer.try_await_ready(&self.raft, Some(Duration::from_millis(wait_ms))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(NotNow::RetryLater { after_ms: self.pace.heartbeat_ms }),
            Err(fatal) => Err(NotNow::Stopped { cause: fatal.to_string() }),
        }
    }

    /// Whether it is read at this stage of its life.
    pub(crate) fn is_read(&self) -> Result<(), NotNow> {
        let stage = self.stage();
        if stage.allows_reads() { Ok(()) } else { Err(NotNow::NotServing { stage }) }
    }

    /// Takes one step from the membership that `seen` said to another. Refused if it is not the last any more. To hand over the lead is
    /// no change: see [`super::handover`].
    ///
    /// # Errors
    /// See [`NotApplied`].
    pub async fn change(&self, change: Change, seen: Option<LogId>) -> Result<LogId, NotApplied> {
        let seen = seen.map(type_config::raft_log_id);
        let members = match change {
            Change::Finish(voters) | Change::SetVoters(voters) => ChangeMembers::ReplaceAllVoters(voters),
            Change::Add(replica, seat) => ChangeMembers::AddNodes(BTreeMap::from([(replica, seat)])),
            Change::SetSeat(replica, seat) => ChangeMembers::SetNodes(BTreeMap::from([(replica, seat)])),
            Change::Remove(replica) => ChangeMembers::RemoveNodes(BTreeSet::from([replica])),
            Change::HandOver(_) => {
                return Err(NotApplied::Refused { rule: "handing over is no change".to_owned() });
            }
        };
        let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: seen };
        let request = ChangeMembershipRequest::new(members, true).with_preconditions([unchanged]);
        match self.raft.change_membership_with_payload(request).await {
            Ok(outcome) => Ok(type_config::log_id(&outcome.uniform.log_id)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => Err(not_taken(&forward)),
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => Err(NotApplied::Unknown {
                cause: "another leader took over before it was committed".to_owned(),
            }),
            Err(RaftError::APIError(other)) => Err(NotApplied::Refused { rule: other.to_string() }),
            Err(RaftError::Fatal(fatal)) => Err(stopped(&fatal)),
        }
    }

    /// Asks `to` to lead. Consensus checks nothing, so [`super::handover`] does first.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) async fn transfer(&self, to: ReplicaId) -> Result<()> {
        self.raft.trigger().transfer_leader(to).await.map_err(|fatal| self.stopped(&fatal))
    }

    /// Makes what is applied and durable the newest snapshot, and purges the log up to `upto` at most.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn purge(&self, upto: u64) -> Result<()> {
        self.raft.trigger().snapshot().await.map_err(|fatal| self.stopped(&fatal))?;
        self.raft.trigger().purge_log(upto).await.map_err(|fatal| self.stopped(&fatal))
    }

    /// Ends it. Must run to its end: whoever drops this future half way makes the next call panic.
    pub async fn shutdown(&self) {
        // It fails only if the core panicked, which whoever supervises the group knows already.
        let _ = self.raft.shutdown().await;
    }
}

fn not_taken(forward: &ForwardToLeader<Types>) -> NotApplied {
    use openraft::error::ForwardReason;
    match forward.reason {
        ForwardReason::NotLeader => NotApplied::NotLeader { leader: leader(forward) },
        ForwardReason::LeadershipTransfer => NotApplied::Transferring { to: leader(forward) },
        ForwardReason::LeaseExpired => NotApplied::RetryLater { after_ms: 0 },
    }
}
