//! What one replica sends to another of its group: appends in a pipeline, votes, snapshots, the transfer of the lead.

use super::heartbeats::Heartbeats;
use super::link::{DATA_LANES, Lane};
use super::message::Message;
use super::no_answer::NoAnswer;
use super::pipeline::first_alone;
use super::refusal::Refusal;
use super::replica_message::{
    Append, AppendReply, Heartbeat, Transfer, TransferReply, VoteReply, VoteRequest,
};
use super::request::{Address, Requests};
use super::snapshot_message::{PieceReply, SnapshotFinish, SnapshotOffer, SnapshotPiece};
use crate::limits::SNAPSHOT_PIECE_BYTES;
use crate::log::Log;
use crate::machine::snapshot::Parcel;
use crate::type_config::{self, RaftVote, Types};
use crate::types::{GroupId, LogId, ReplicaId, Seat, Vote};
use engine::checkpoint::Checkpoint;
use engine::error::with_sources;
use engine::ids::{NodeId, TableId};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::alias::SnapshotOf;
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
};
use openraft::raft::{TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type RaftVoteRequest = openraft::raft::VoteRequest<Types>;
type RaftVoteResponse = openraft::raft::VoteResponse<Types>;

/// The way of one replica to the others of its group.
#[derive(Clone)]
pub struct Peers {
    ground: Arc<Ground>,
}

struct Ground {
    requests: Arc<Requests>,
    log: Arc<Log>,
    group: GroupId,
    replica: ReplicaId,
    /// Of the next snapshot that is sent.
    snapshot: AtomicU64,
    heartbeats: Arc<Heartbeats>,
    /// Last indexes of the snapshots that are on their way, by number: one that was given up may still read when the next begins.
    sending: Mutex<BTreeMap<u64, u64>>,
    /// Who has refused the last entries as stamped ahead of its clock.
    ahead_of: Mutex<BTreeSet<ReplicaId>>,
}

impl Ground {
    fn ahead_of(&self) -> MutexGuard<'_, BTreeSet<ReplicaId>> {
        self.ahead_of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sending(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot is on its way to a peer, as long as this lives.
struct Sending<'a> {
    ground: &'a Ground,
    number: u64,
}

impl<'a> Sending<'a> {
    fn new(ground: &'a Ground, last: u64) -> Self {
        let number = ground.snapshot.fetch_add(1, Ordering::Relaxed);
        ground.sending().insert(number, last);
        Self { ground, number }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.ground.sending().remove(&self.number);
    }
}

/// The way to one of them.
pub struct Peer {
    ground: Arc<Ground>,
    node: NodeId,
    to: ReplicaId,
    lane: Lane,
    /// Whether what has no entries leaves with the heartbeats of other groups.
    is_heartbeat: bool,
}

impl Peers {
    /// The way of `replica` of `group`, beside those of other groups that share `heartbeats`.
    #[must_use]
    pub fn new(heartbeats: Arc<Heartbeats>, (group, replica): (GroupId, ReplicaId)) -> Self {
        let ((requests, log), snapshot) = (heartbeats.ways(), AtomicU64::new(0));
        let (sending, ahead_of) = (Mutex::default(), Mutex::default());
        let ground = Ground { requests, log, group, replica, snapshot, heartbeats, sending, ahead_of };
        Self { ground: Arc::new(ground) }
    }

    /// Whose way it is.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.ground.replica
    }

    /// Last indexes of the snapshots that are on their way: who gets one wants the entries behind it next.
    #[must_use]
    pub fn snapshots_sent(&self) -> Vec<u64> {
        self.ground.sending().values().copied().collect()
    }

    /// Who has refused the last entries that it was sent as stamped ahead of its clock.
    #[must_use]
    pub fn ahead_of(&self) -> BTreeSet<ReplicaId> {
        self.ground.ahead_of().clone()
    }

    /// What was refused before counts no more.
    pub fn forget_refusals(&self) {
        self.ground.ahead_of().clear();
    }

    /// Asks a peer something, and waits for its answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask(&self, to: ReplicaId, seat: Seat, message: Message) -> Result<Message, NoAnswer> {
        let peer = Peer {
            ground: self.ground.clone(),
            node: seat.node,
            to,
            lane: Lane::Control,
            is_heartbeat: false,
        };
        peer.call(message).await
    }
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: ReplicaId, seat: &Seat) -> Peer {
        let lane = Lane::Data(u8::try_from(self.ground.group.0 % u64::from(DATA_LANES)).unwrap_or(0));
        Peer { ground: self.ground.clone(), node: seat.node, to: target, lane, is_heartbeat: false }
    }

    async fn new_heartbeat_client(&mut self, target: ReplicaId, seat: &Seat) -> Peer {
        Peer {
            ground: self.ground.clone(),
            node: seat.node,
            to: target,
            lane: Lane::Control,
            is_heartbeat: true,
        }
    }

    async fn new_snapshot_client(&mut self, target: ReplicaId, seat: &Seat) -> Peer {
        Peer {
            ground: self.ground.clone(),
            node: seat.node,
            to: target,
            lane: Lane::Bulk,
            is_heartbeat: false,
        }
    }
}

fn unreachable(cause: impl ToString) -> Unreachable<Types> {
    Unreachable::from_string(cause)
}

impl Peer {
    /// One request and its answer, within the deadline.
    async fn call(&self, message: Message) -> Result<Message, NoAnswer> {
        let Ground { requests, log, group, replica, .. } = &*self.ground;
        let address = Address { group: *group, from: *replica, to: self.to };
        requests.call(self.node, self.lane, address, (log.durable(), message)).await
    }

    async fn append(&self, request: AppendEntriesRequest<Types>) -> Result<AppendReply, RPCError<Types>> {
        let entries = request.entries.iter().map(|entry| type_config::stored(entry, 0)).collect();
        let append = Append {
            vote: type_config::vote(&request.vote),
            prev: request.prev_log_id.as_ref().map(type_config::log_id),
            entries,
            commit: request.leader_commit.as_ref().map(type_config::log_id),
        };
        if self.is_heartbeat && append.entries.is_empty() {
            let Ground { group, replica: from, heartbeats, .. } = &*self.ground;
            let heartbeat = Heartbeat { group: *group, from: *from, to: self.to, append };
            return heartbeats.beat(self.node, heartbeat).await.map_err(|cause| unreachable(cause).into());
        }
        let (vote, last) = (append.vote, append.entries.last().map(|entry| entry.log_id));
        match self.call(Message::Append(append)).await {
            Ok(Message::AppendReply(reply)) => {
                if last.is_some() {
                    self.ground.ahead_of().remove(&self.to);
                }
                self.keep_in_mind(vote, last, reply);
                Ok(reply)
            }
            Err(refused @ NoAnswer::Refused { refusal: Refusal::Ahead, .. }) => {
                self.ground.ahead_of().insert(self.to);
                Err(unreachable(refused).into())
            }
            Ok(_) => Err(unreachable("an answer that answers no append").into()),
            Err(cause) => Err(unreachable(cause).into()),
        }
    }

    /// What a follower says it has must be there when it starts anew.
    fn keep_in_mind(&self, vote: Vote, last: Option<LogId>, reply: AppendReply) {
        let upto = match reply {
            AppendReply::Accepted => last,
            AppendReply::Partly(upto) => upto,
            AppendReply::Conflict | AppendReply::HigherVote(_) => None,
        };
        if let Some(upto) = upto {
            self.ground.requests.heard().is_matched(self.ground.group, self.to, vote, upto);
        }
    }

    /// An append and what its answer means; whether that ends the stream.
    async fn answered(
        &self,
        request: AppendEntriesRequest<Types>,
    ) -> Result<(StreamAppendResult<Types>, bool), RPCError<Types>> {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let span = AppendSpan { prev: request.prev_log_id, last };
        self.append(request).await.map(|reply| outcome(&span, reply))
    }

    async fn ask_vote(
        &self,
        request: &RaftVoteRequest,
        is_pre: bool,
    ) -> Result<RaftVoteResponse, RPCError<Types>> {
        let ask = VoteRequest {
            vote: type_config::vote(&request.vote),
            last: request.last_log_id.as_ref().map(type_config::log_id),
            is_transfer: request.leadership_transfer,
            is_pre,
        };
        match self.call(Message::Vote(ask)).await {
            Ok(Message::VoteReply(VoteReply { vote, last, is_granted })) => {
                if is_granted && !is_pre {
                    self.ground.requests.heard().is_granted(self.ground.group, self.to, ask.vote);
                }
                let (vote, last) = (type_config::raft_vote(vote), last.map(type_config::raft_log_id));
                Ok(RaftVoteResponse::new(vote, last, is_granted))
            }
            Ok(_) => Err(unreachable("an answer that answers no vote").into()),
            Err(cause) => Err(unreachable(cause).into()),
        }
    }

    /// Offers a snapshot, sends what of it is missing there, and waits until it is installed.
    async fn send(
        &self,
        vote: RaftVote,
        checkpoint: &Checkpoint,
        parcel: &Parcel,
    ) -> Result<RaftVote, String> {
        let note = parcel.note();
        let offer = SnapshotOffer {
            vote: type_config::vote(&vote),
            last: note.applied,
            stamp: note.last,
            membership_at: note.membership_at,
            membership: note.membership.clone(),
            listing: bytes::Bytes::copy_from_slice(checkpoint.listing()),
        };
        let wants = match self.call(Message::SnapshotOffer(offer)).await? {
            Message::SnapshotWants(wants) => wants,
            // It knows a later leader.
            Message::SnapshotDone(done) => return Ok(type_config::raft_vote(done.vote)),
            _ => return Err("an answer that answers no offer".to_owned()),
        };
        let (files, stats) = (checkpoint.files(), &self.ground.log.stats().net);
        stats.skipped_snapshot_files.add(files.len().saturating_sub(wants.files.len()) as u64);
        for (id, from) in wants.files {
            let file = files.iter().find(|file| file.id == id).ok_or("a file that was not offered")?;
            self.send_file(checkpoint, wants.transfer, id, from, file.bytes).await?;
        }
        match self.call(Message::SnapshotFinish(SnapshotFinish { transfer: wants.transfer })).await? {
            Message::SnapshotDone(done) => {
                stats.sent_snapshots.add(1);
                Ok(type_config::raft_vote(done.vote))
            }
            _ => Err("an answer that ends no transfer".to_owned()),
        }
    }

    async fn send_file(
        &self,
        checkpoint: &Checkpoint,
        transfer: u64,
        file: TableId,
        mut at: u64,
        length: u64,
    ) -> Result<(), String> {
        while at < length {
            let size = (length - at).min(SNAPSHOT_PIECE_BYTES as u64);
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            checkpoint.read_file(file, at, &mut bytes).map_err(|error| with_sources(&error))?;
            let crc32 = crc32fast::hash(&bytes);
            let piece = SnapshotPiece { transfer, file, at, crc32, bytes: bytes.into() };
            match self.call(Message::SnapshotPiece(piece)).await? {
                Message::PieceReply(PieceReply::Taken) => {
                    self.ground.log.stats().net.sent_snapshot_bytes.add(size);
                    at += size;
                }
                Message::PieceReply(PieceReply::NotWanted { at: other }) if other > at && other <= length => {
                    at = other
                }
                _ => return Err("a piece was not taken".to_owned()),
            }
        }
        Ok(())
    }
}

/// How far the follower's log agrees, or why the stream ends.
fn outcome(request: &AppendSpan, reply: AppendReply) -> (StreamAppendResult<Types>, bool) {
    match reply {
        AppendReply::Accepted => (Ok(request.last), false),
        AppendReply::Partly(upto) => (Ok(upto.map(type_config::raft_log_id)), true),
        AppendReply::HigherVote(vote) => {
            (Err(StreamAppendError::HigherVote(type_config::raft_vote(vote))), true)
        }
        AppendReply::Conflict => match request.prev {
            Some(prev) => (Err(StreamAppendError::Conflict(prev)), true),
            // Nothing is before the beginning: it cannot conflict.
            None => (Ok(None), true),
        },
    }
}

/// From which entry to which an append goes.
struct AppendSpan {
    prev: Option<type_config::RaftLogId>,
    last: Option<type_config::RaftLogId>,
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Parcel;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Ok(match self.append(request).await? {
            AppendReply::Accepted => AppendEntriesResponse::Success,
            AppendReply::Partly(upto) => {
                AppendEntriesResponse::PartialSuccess(upto.map(type_config::raft_log_id))
            }
            AppendReply::Conflict => AppendEntriesResponse::Conflict,
            AppendReply::HigherVote(vote) => AppendEntriesResponse::HigherVote(type_config::raft_vote(vote)),
        })
    }

    /// Several appends are under way at once, but the first alone: consensus puts a long pause before each one it makes while it has not
    /// heard that a peer who was away is back. They are answered in order, and the first that is not taken whole ends the stream.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let peer = &*self;
        let answers = first_alone(input, move |request| peer.answered(request));
        let answers = answers.scan(false, |has_ended, answer| {
            let next = if *has_ended {
                None
            } else {
                *has_ended = answer.as_ref().map_or(true, |(_, is_end)| *is_end);
                Some(answer.map(|(result, _)| result))
            };
            std::future::ready(next)
        });
        let stream: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(async move { Ok(stream) })
    }

    async fn vote(
        &mut self,
        request: RaftVoteRequest,
        _: RPCOption,
    ) -> Result<RaftVoteResponse, RPCError<Types>> {
        self.ask_vote(&request, false).await
    }

    async fn pre_vote(
        &mut self,
        request: RaftVoteRequest,
        _: RPCOption,
    ) -> Result<RaftVoteResponse, RPCError<Types>> {
        self.ask_vote(&request, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: SnapshotOf<Types, Parcel>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let Parcel::Here(checkpoint, _) = &snapshot.snapshot else {
            return Err(unreachable("a snapshot that is not here").into());
        };
        let last = snapshot.snapshot.note().applied.map_or(0, |id| id.index);
        let _sending = Sending::new(&self.ground, last);
        let sent = self.send(vote, checkpoint, &snapshot.snapshot);
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = sent => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(cause) => Err(unreachable(cause).into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let transfer = Transfer {
            from: type_config::vote(request.from_leader()),
            to: *request.to_node_id(),
            last: request.last_log_id().map(type_config::log_id),
        };
        match self.call(Message::Transfer(transfer)).await {
            Ok(Message::TransferReply(reply)) => Ok(match reply {
                TransferReply::Accepted => Ok(()),
                TransferReply::VoteChanged { expected, actual } => Err(TransferLeaderError::VoteChanged {
                    expected: type_config::raft_vote(expected),
                    actual: type_config::raft_vote(actual),
                }),
                TransferReply::NotFlushed { expected, actual } => Err(TransferLeaderError::LogNotFlushed {
                    expected: expected.map(type_config::raft_log_id),
                    actual: actual.map(type_config::raft_log_id),
                }),
            }),
            Ok(_) => Err(unreachable("an answer that answers no transfer").into()),
            Err(cause) => Err(unreachable(cause).into()),
        }
    }
}
