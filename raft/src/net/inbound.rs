//! What a peer sent, brought to the replica it is for; and the answer.

use super::fault::against_committed;
use super::inflow::Inflow;
use super::message::Message;
use super::refusal::Refusal;
use super::replica_message::{
    Append, AppendReply, ReadIndexReply, Transfer, TransferReply, VoteReply, VoteRequest,
};
use super::snapshot_message::{PieceReply, SnapshotDone, SnapshotOffer, SnapshotPiece, SnapshotWants};
use crate::delay::receive::Delayed;
use crate::error::Result;
use crate::group::batcher::Batcher;
use crate::group::clock_guard::is_ahead;
use crate::group::handle::Group;
use crate::group::lifecycle::{Event, Stage};
use crate::group::outcome::NotNow;
use crate::group::start_guard::{Ballot, StartGuard};
use crate::group::word::Word;
use crate::machine::note::Note;
use crate::machine::snapshot::{Parcel, of};
use crate::planted::{self, Planted};
use crate::read::door::Door;
use crate::time::BootClock;
use crate::type_config::{self, RaftEntryOf, Types};
use crate::types::{Role, Vote};
use engine::Stamp;
use engine::error::with_sources;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::raft::{TransferLeaderError, TransferLeaderRequest};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

type RaftVoteRequest = openraft::raft::VoteRequest<Types>;

/// Takes what peers send to one replica.
pub struct Receiver {
    group: Arc<Group>,
    guard: StartGuard,
    clock: Arc<dyn BootClock>,
    /// Of a delayed replica: what it may be told.
    delayed: Option<Arc<Delayed>>,
    door: Door,
    inflow: Inflow,
    incoming: Mutex<Incoming>,
    batcher: OnceLock<Weak<Batcher>>,
}

/// The snapshot that is coming, if one is.
#[derive(Default)]
struct Incoming {
    transfer: u64,
    offer: Option<SnapshotOffer>,
}

impl Receiver {
    /// Takes what is sent to `group`, which was built behind `guard`.
    #[must_use]
    pub fn new(
        group: Arc<Group>,
        guard: StartGuard,
        clock: Arc<dyn BootClock>,
        delayed: Option<Arc<Delayed>>,
    ) -> Self {
        let door = Door::new(group.clone(), clock.clone(), delayed.clone());
        let (inflow, incoming, batcher) = (Inflow::default(), Mutex::default(), OnceLock::new());
        Self { group, guard, clock, delayed, door, inflow, incoming, batcher }
    }

    /// The replica.
    #[must_use]
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Where reads of the replica come in.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets it stand for election once its guard has opened, and not while its wall clock is wrong. Cheap: call it at every tick.
    pub fn tick(&self) {
        self.group.judge_clock(self.clock.is_disputed(), self.clock.wall_ms());
        let is_open =
            planted::is(Planted::OpenStartGuard) || self.guard.allows_elections(self.clock.boot_ms());
        if self.may_vote() && is_open && !self.group.is_unfit() {
            self.group.allow_election();
        }
    }

    /// What it says of itself. Whether the clock of its node agrees with its peers, others know.
    #[must_use]
    pub fn word(&self, is_clock_agreed: bool) -> Word {
        let note = self.group.machine().applied();
        let index = note.applied.map(|id| id.index);
        let has_all = |delayed: &Arc<Delayed>| {
            delayed.is_lifted() && index >= delayed.proven().map(|proven| proven.index)
        };
        Word {
            replica: self.group.replica(),
            applied: note.last,
            stored: self.group.stored(),
            is_clock_agreed,
            is_guard_open: self.guard.allows_elections(self.clock.boot_ms()),
            is_lifted: self.delayed.as_ref().is_some_and(has_all),
        }
    }

    /// Of a delayed replica: what it may be told.
    #[must_use]
    pub fn delayed(&self) -> Option<&Arc<Delayed>> {
        self.delayed.as_ref()
    }

    /// Whether it may have a say in who leads. A delayed one may not, before its clamp is lifted and its seat another.
    fn may_vote(&self) -> bool {
        if !self.group.stage().takes_part() {
            return false;
        }
        let Some(delayed) = &self.delayed else { return true };
        let (_, membership) = self.group.standing().membership;
        let seat = membership.seats.get(&self.group.replica());
        delayed.is_lifted() && seat.is_some_and(|seat| seat.role != Role::Delayed)
    }

    /// Of a delayed replica: hands on what it may be told, if no append has since. Without a leader nothing else does. Cheap: call it
    /// when the gate has risen, and now and then.
    ///
    /// # Errors
    /// `Stopped`: consensus.
    pub async fn nudge(&self) -> Result<()> {
        let Some((vote, told)) = self.delayed.as_ref().and_then(|delayed| delayed.nudge()) else {
            return Ok(());
        };
        if self.group.standing().committed.map(|id| id.index) >= Some(told.index) {
            return Ok(());
        }
        let told = Some(type_config::raft_log_id(told));
        let request = AppendEntriesRequest::<Types> {
            vote: type_config::raft_vote(vote),
            prev_log_id: told,
            entries: Vec::new(),
            leader_commit: told,
        };
        let answer = self.group.raft.append_entries(request).await;
        // A leader that was heard meanwhile has a higher vote, and tells it itself.
        answer
            .map(|_| ())
            .map_err(|fatal| crate::Error::Stopped { group: self.group.id(), cause: fatal.to_string() })
    }

    /// Answers a message.
    pub async fn receive(&self, message: Message) -> Message {
        if !self.group.stage().stores() {
            return Message::Refused(Refusal::Stopped);
        }
        let answer = match message {
            Message::Vote(request) => self.vote(&request).await,
            Message::Append(append) => self.append(append).await,
            Message::Transfer(transfer) => self.transfer(&transfer).await,
            Message::ReadIndex(_) => self.read_index().await,
            Message::CloseTime(upto) => self.close_time(upto).await,
            Message::SnapshotOffer(offer) => self.offer(offer).await,
            Message::SnapshotPiece(piece) => self.piece(&piece),
            Message::SnapshotFinish(finish) => self.finish(finish.transfer).await,
            _ => Err(Refusal::Malformed),
        };
        answer.unwrap_or_else(Message::Refused)
    }

    async fn vote(&self, request: &VoteRequest) -> Result<Message, Refusal> {
        let ballot = match (request.is_transfer, request.is_pre) {
            (true, _) => Ballot::Transfer,
            (false, true) => Ballot::PreVote,
            (false, false) => Ballot::Vote,
        };
        // No answer at all, not one against: a lease may be out that nobody here remembers.
        let is_open = planted::is(Planted::OpenStartGuard) || self.guard.allows(ballot, self.clock.boot_ms());
        if !self.may_vote() || !is_open {
            return Err(Refusal::NotReady);
        }
        let theirs = RaftVoteRequest {
            vote: type_config::raft_vote(request.vote),
            last_log_id: request.last.map(type_config::raft_log_id),
            leadership_transfer: request.is_transfer,
        };
        let raft = &self.group.raft;
        let answer = if request.is_pre { raft.pre_vote(theirs).await } else { raft.vote(theirs).await };
        let answer = answer.map_err(|_| Refusal::Stopped)?;
        Ok(Message::VoteReply(VoteReply {
            vote: type_config::vote(&answer.vote),
            last: answer.last_log_id.as_ref().map(type_config::log_id),
            is_granted: answer.vote_granted,
        }))
    }

    async fn append(&self, append: Append) -> Result<Message, Refusal> {
        let Append { vote, prev, entries, commit } = append;
        let ids = prev.into_iter().chain(entries.iter().map(|entry| entry.log_id));
        if against_committed(self.group.committed(), ids) {
            tracing::error!(group = %self.group.id(), "a leader has other entries than are committed here");
            return Err(Refusal::Malformed);
        }
        if is_ahead(&entries, commit, self.clock.wall_ms()) {
            return Err(Refusal::Ahead);
        }
        if !entries.is_empty() && !self.inflow.has_room(&self.group) {
            return Err(Refusal::Overloaded);
        }
        let last = entries.last().map(|entry| entry.log_id).or(prev);
        let told = match &self.delayed {
            None => commit,
            Some(delayed) => delayed.told(),
        };
        let entries = entries.into_iter().map(type_config::read).collect::<Result<Vec<RaftEntryOf>, _>>();
        let request = AppendEntriesRequest::<Types> {
            vote: type_config::raft_vote(vote),
            prev_log_id: prev.map(type_config::raft_log_id),
            entries: entries.map_err(|_| Refusal::Malformed)?,
            leader_commit: told.map(type_config::raft_log_id),
        };
        let answer = self.group.raft.append_entries(request).await.map_err(|_| Refusal::Stopped)?;
        let (reply, matched) = match answer {
            AppendEntriesResponse::Success => (AppendReply::Accepted, last),
            AppendEntriesResponse::PartialSuccess(upto) => {
                let upto = upto.as_ref().map(type_config::log_id);
                (AppendReply::Partly(upto), upto)
            }
            AppendEntriesResponse::Conflict => (AppendReply::Conflict, None),
            AppendEntriesResponse::HigherVote(vote) => {
                (AppendReply::HigherVote(type_config::vote(&vote)), None)
            }
        };
        self.inflow.handed_on(told.map(|told| told.index).min(matched.map(|id| id.index)));
        if let (Some(delayed), Some(matched)) = (&self.delayed, matched) {
            delayed.accepted(vote, matched, commit).map_err(|error| {
                // What was applied here late is not what the group has committed: nothing more may be.
                self.group.machine().fence(&error);
                Refusal::Stopped
            })?;
            self.is_mended(delayed);
        }
        Ok(Message::AppendReply(reply))
    }

    async fn transfer(&self, transfer: &Transfer) -> Result<Message, Refusal> {
        let request = TransferLeaderRequest::<Types>::new(
            type_config::raft_vote(transfer.from),
            transfer.to,
            transfer.last.map(type_config::raft_log_id),
        );
        let answer = self.group.raft.handle_transfer_leader(request).await.map_err(|_| Refusal::Stopped)?;
        Ok(Message::TransferReply(match answer {
            Ok(()) => TransferReply::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => TransferReply::VoteChanged {
                expected: type_config::vote(&expected),
                actual: type_config::vote(&actual),
            },
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => TransferReply::NotFlushed {
                expected: expected.as_ref().map(type_config::log_id),
                actual: actual.as_ref().map(type_config::log_id),
            },
        }))
    }

    async fn read_index(&self) -> Result<Message, Refusal> {
        // Whoever asks waits for the least election time: a quorum that has not answered in half of it is told as none.
        let wait_ms = self.group.pace().election_min_ms / 2;
        Ok(Message::ReadIndexReply(match self.door.read_index(wait_ms).await {
            Ok((read, _)) => {
                self.group.stats().read.named_reads.add(1);
                ReadIndexReply::Read(read)
            }
            Err(NotNow::NotLeader { leader }) => {
                ReadIndexReply::NotLeader(leader.map(|(replica, _)| replica))
            }
            Err(NotNow::RetryLater { after_ms }) => ReadIndexReply::RetryLater(after_ms),
            Err(_) => return Err(Refusal::Stopped),
        }))
    }

    /// Closes the time for a read elsewhere, if this replica leads, the time is over here, and whoever proposes is there.
    async fn close_time(&self, upto: Stamp) -> Result<Message, Refusal> {
        let Some(batcher) = self.batcher.get().and_then(Weak::upgrade) else { return Err(Refusal::NotReady) };
        // What is proposed is stamped by the leader's time, and never with one that is long over: others go by that.
        let now = Stamp::end_of_ms(self.clock.wall_ms().saturating_sub(1));
        let is_over = upto <= now && !self.clock.is_disputed();
        // Whoever asks waits for the least election time.
        let wait_ms = self.group.pace().election_min_ms / 2;
        let is_closed = is_over && self.door.close_for_another((upto, now), wait_ms, &batcher).await;
        Ok(Message::TimeClosed(is_closed))
    }

    /// Whoever proposes for the replica: it closes the time for reads elsewhere. Once.
    pub fn proposes_by(&self, batcher: &Arc<Batcher>) {
        // An instance has one.
        let _ = self.batcher.set(Arc::downgrade(batcher));
    }

    /// A replica that was parked is not any more, if nothing keeps it from what comes.
    fn is_mended(&self, delayed: &Delayed) {
        if self.group.stage() == Stage::Parked && !delayed.is_parked() {
            self.group.machine().life().may_happen(Event::Mended);
        }
    }

    fn own_vote(&self) -> Vote {
        self.group.standing().vote
    }

    async fn offer(&self, offer: SnapshotOffer) -> Result<Message, Refusal> {
        if let Some(delayed) = &self.delayed
            && !delayed.takes(offer.stamp).map_err(refused)?
        {
            // What it holds lies behind the gate: not a byte of it.
            self.group.machine().life().may_happen(Event::Outlived);
            self.group.stats().delay.parked_snapshots.add(1);
            return Err(Refusal::Parked);
        }
        let own = self.own_vote();
        if (own.term, own.replica) > (offer.vote.term, offer.vote.replica) {
            return Ok(Message::SnapshotDone(SnapshotDone { vote: own }));
        }
        if self.is_older(&offer) || self.group.log.is_short_of_space() {
            return Err(Refusal::Overloaded);
        }
        let machine = self.group.machine();
        let files = machine.spool().offer(&offer.listing, &machine.present()).map_err(refused)?;
        let mut incoming = self.incoming();
        incoming.transfer += 1;
        incoming.offer = Some(offer);
        Ok(Message::SnapshotWants(SnapshotWants { transfer: incoming.transfer, files }))
    }

    fn piece(&self, piece: &SnapshotPiece) -> Result<Message, Refusal> {
        if self.incoming().transfer != piece.transfer {
            return Err(Refusal::Overloaded);
        }
        let spool = self.group.machine().spool();
        let taken = spool.write(piece.file, piece.at, &piece.bytes).map_err(refused)?;
        Ok(Message::PieceReply(match taken {
            Ok(()) => {
                self.group.stats().net.received_snapshot_bytes.add(piece.bytes.len() as u64);
                PieceReply::Taken
            }
            Err(other) => PieceReply::NotWanted { at: other.at },
        }))
    }

    /// Whether a snapshot holds less than what is here: it crossed with entries, and the next one will be newer.
    fn is_older(&self, offer: &SnapshotOffer) -> bool {
        offer.last.map(|id| id.index) < self.group.machine().applied().applied.map(|id| id.index)
    }

    /// Why a snapshot that came whole is none for this replica: it is not what the offer said, by which it was let in, or it contradicts
    /// what is committed here.
    fn contradiction(&self, offer: &SnapshotOffer, note: &Note) -> Option<&'static str> {
        let said = (offer.stamp, offer.membership_at, &offer.membership);
        if said != (note.last, note.membership_at, &note.membership) {
            return Some("a snapshot that holds other than was offered");
        }
        let is_against = against_committed(self.group.committed(), note.applied.iter().copied());
        is_against.then_some("a snapshot that ends in another entry than is committed there")
    }

    async fn finish(&self, transfer: u64) -> Result<Message, Refusal> {
        let offer = {
            let mut incoming = self.incoming();
            // The end of an earlier transfer, come late, ends none but that.
            if incoming.transfer != transfer {
                return Err(Refusal::Overloaded);
            }
            incoming.offer.take().ok_or(Refusal::Overloaded)?
        };
        if self.is_older(&offer) || self.group.log.is_short_of_space() {
            return Err(Refusal::Overloaded);
        }
        let machine = self.group.machine();
        let spool = machine.spool();
        spool.finish(&offer.listing).map_err(refused)?;
        // Verified before consensus hears of it: what it is given must be installed, or the replica stops.
        let fault = |note: &Note| self.contradiction(&offer, note);
        let parcel = machine.stage_if(offer.last, spool.dir(), &fault).map_err(refused)?;
        let Parcel::Staged(staged, _) = parcel.clone() else { return Err(Refusal::Malformed) };
        let snapshot = of(parcel).map_err(refused)?;
        let vote = type_config::raft_vote(offer.vote);
        let answer = self.group.raft.install_full_snapshot(vote, snapshot).await;
        // A leader that was voted down since has sent in vain.
        machine.unstage(&staged).map_err(refused)?;
        let answer = answer.map_err(|_| Refusal::Stopped)?;
        if let (Some(delayed), Some(last)) = (&self.delayed, offer.last) {
            delayed.installed(last, offer.stamp).map_err(refused)?;
            self.is_mended(delayed);
        }
        Ok(Message::SnapshotDone(SnapshotDone { vote: type_config::vote(&answer.vote) }))
    }
}

/// A fault of what came; of the replica; or of the disk: then the sender begins again, later.
fn refused(error: crate::Error) -> Refusal {
    tracing::warn!(cause = with_sources(&error), "a snapshot is not taken");
    match error {
        crate::Error::GroupFenced { .. } => Refusal::Stopped,
        crate::Error::WrongGroup { .. } => Refusal::Malformed,
        other => match other.kind() {
            engine::Kind::Damaged | engine::Kind::Invalid => Refusal::Malformed,
            _ => Refusal::Overloaded,
        },
    }
}
