//! Pure: everything one peer says to another, and the number of each. What a message says stands in its body; whom it is for, in the
//! frame around it.
//! Format: peer_message, `docs/formats/peer_message.md`.

use super::body::{Body, append_count, append_u64, append_vote, malformed};
use super::replica_message::{
    Append, AppendReply, Heartbeat, HeartbeatReply, ReadIndex, ReadIndexReply, Transfer, TransferReply,
    VoteReply, VoteRequest,
};
use super::snapshot_message::{
    PieceReply, SnapshotDone, SnapshotFinish, SnapshotOffer, SnapshotPiece, SnapshotWants,
};
use crate::limits;
use bytes::Bytes;
use engine::error::Damage;
use std::fmt;

/// Why a message was not even looked at. The numbers are for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The frame's tag is of no generation of this cluster.
    OtherCluster = 1,
    /// The cluster has forked: one of the two nodes is of an earlier generation.
    OtherGeneration = 2,
    /// The group has no replica here.
    NoSuchGroup = 3,
    /// Another replica of the group lives here.
    OtherReplica = 4,
    /// The node or the group is starting.
    NotReady = 5,
    /// The replica waits for a decision of an operator.
    Parked = 6,
    /// More waits here than may.
    Overloaded = 7,
    /// The bytes were not what the format allows.
    Malformed = 8,
    /// The replica has failed, or is shut down.
    Stopped = 9,
}

/// What one peer says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Kind 1.
    Vote(VoteRequest),
    /// Kind 2.
    VoteReply(VoteReply),
    /// Kind 3.
    Append(Append),
    /// Kind 4.
    AppendReply(AppendReply),
    /// Kind 5.
    Transfer(Transfer),
    /// Kind 6.
    TransferReply(TransferReply),
    /// Kind 7.
    ReadIndex(ReadIndex),
    /// Kind 8.
    ReadIndexReply(ReadIndexReply),
    /// Kind 9.
    SnapshotOffer(SnapshotOffer),
    /// Kind 10.
    SnapshotWants(SnapshotWants),
    /// Kind 11.
    SnapshotPiece(SnapshotPiece),
    /// Kind 12.
    PieceReply(PieceReply),
    /// Kind 13.
    SnapshotFinish(SnapshotFinish),
    /// Kind 14.
    SnapshotDone(SnapshotDone),
    /// Signs of life of many groups at once. Kind 15.
    Heartbeats(Vec<Heartbeat>),
    /// Answers to some of them, in any order. Kind 16.
    HeartbeatReplies(Vec<HeartbeatReply>),
    /// Answers any message. Kind 17.
    Refused(Refusal),
}

impl Message {
    /// The number of what it is.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Vote(_) => 1,
            Self::VoteReply(_) => 2,
            Self::Append(_) => 3,
            Self::AppendReply(_) => 4,
            Self::Transfer(_) => 5,
            Self::TransferReply(_) => 6,
            Self::ReadIndex(_) => 7,
            Self::ReadIndexReply(_) => 8,
            Self::SnapshotOffer(_) => 9,
            Self::SnapshotWants(_) => 10,
            Self::SnapshotPiece(_) => 11,
            Self::PieceReply(_) => 12,
            Self::SnapshotFinish(_) => 13,
            Self::SnapshotDone(_) => 14,
            Self::Heartbeats(_) => 15,
            Self::HeartbeatReplies(_) => 16,
            Self::Refused(_) => 17,
        }
    }

    /// Appends its body.
    ///
    /// # Panics
    /// If it is over a limit, a heartbeat has entries, or the membership is one that no group may have: peers would refuse it.
    pub fn append_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Vote(request) => request.append(out),
            Self::VoteReply(reply) => reply.append(out),
            Self::Append(append) => append.append(out),
            Self::AppendReply(reply) => reply.append(out),
            Self::Transfer(transfer) => transfer.append(out),
            Self::TransferReply(reply) => reply.append(out),
            Self::ReadIndex(ReadIndex {}) => {}
            Self::ReadIndexReply(reply) => reply.append(out),
            Self::SnapshotOffer(offer) => offer.append(out),
            Self::SnapshotWants(wants) => wants.append(out),
            Self::SnapshotPiece(piece) => piece.append(out),
            Self::PieceReply(reply) => reply.append(out),
            Self::SnapshotFinish(finish) => append_u64(out, finish.transfer),
            Self::SnapshotDone(done) => append_vote(out, done.vote),
            Self::Heartbeats(all) => {
                append_count(out, all.len(), limits::HEARTBEATS_MAX);
                all.iter().for_each(|heartbeat| heartbeat.append(out));
            }
            Self::HeartbeatReplies(all) => {
                append_count(out, all.len(), limits::HEARTBEATS_MAX);
                all.iter().for_each(|reply| reply.append(out));
            }
            Self::Refused(refusal) => out.push(refusal.number()),
        }
    }

    /// The message of this kind that `body` is, all of it. Payloads, listing and pieces share the memory of `body`.
    ///
    /// # Errors
    /// `Malformed`: an unknown kind, or not what the format allows. `Rot`: the checksum of a piece disagrees.
    pub fn decode(kind: u8, body: &Bytes) -> Result<Self, Damage> {
        let mut body = Body::new(body);
        let message = Self::read(kind, &mut body)?;
        body.reader.end()?;
        Ok(message)
    }

    fn read(kind: u8, body: &mut Body<'_>) -> Result<Self, Damage> {
        Ok(match kind {
            1 => Self::Vote(VoteRequest::read(body)?),
            2 => Self::VoteReply(VoteReply::read(body)?),
            3 => Self::Append(Append::read(body)?),
            4 => Self::AppendReply(AppendReply::read(body)?),
            5 => Self::Transfer(Transfer::read(body)?),
            6 => Self::TransferReply(TransferReply::read(body)?),
            7 => Self::ReadIndex(ReadIndex {}),
            8 => Self::ReadIndexReply(ReadIndexReply::read(body)?),
            9 => Self::SnapshotOffer(SnapshotOffer::read(body)?),
            10 => Self::SnapshotWants(SnapshotWants::read(body)?),
            11 => Self::SnapshotPiece(SnapshotPiece::read(body)?),
            12 => Self::PieceReply(PieceReply::read(body)?),
            13 => Self::SnapshotFinish(SnapshotFinish { transfer: body.u64()? }),
            14 => Self::SnapshotDone(SnapshotDone { vote: body.vote()? }),
            15 => Self::Heartbeats(list(body, Heartbeat::read)?),
            16 => Self::HeartbeatReplies(list(body, HeartbeatReply::read)?),
            17 => Self::Refused(Refusal::read(body.u8()?)?),
            _ => return Err(malformed("a message of an unknown kind")),
        })
    }
}

/// A count, then so many of what `read` reads. Room is made only for what has been read.
fn list<'a, T>(
    body: &mut Body<'a>,
    read: impl Fn(&mut Body<'a>) -> Result<T, Damage>,
) -> Result<Vec<T>, Damage> {
    (0..body.count(limits::HEARTBEATS_MAX)?).map(|_| read(body)).collect()
}

impl Refusal {
    /// Every one there is.
    pub const ALL: [Self; 9] = [
        Self::OtherCluster,
        Self::OtherGeneration,
        Self::NoSuchGroup,
        Self::OtherReplica,
        Self::NotReady,
        Self::Parked,
        Self::Overloaded,
        Self::Malformed,
        Self::Stopped,
    ];

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The one with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.number() == number)
    }

    pub(super) fn read(number: u8) -> Result<Self, Damage> {
        Self::from_number(number).ok_or_else(|| malformed("an unknown refusal"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherCluster => "the peer belongs to another cluster; correct its address",
            Self::OtherGeneration => {
                "the peer is of another generation of the cluster; wipe the node of the lower one and let it join anew"
            }
            Self::NoSuchGroup => "no replica of the group lives there; look up where its replicas are",
            Self::OtherReplica => "another replica of the group lives there; look up its id again",
            Self::NotReady => "the peer is starting; try again later",
            Self::Parked => "the replica is parked; an operator must decide how it goes on",
            Self::Overloaded => "too much waits at the peer; try again later, and send less",
            Self::Malformed => "the peer cannot read what was sent; compare the builds of both nodes",
            Self::Stopped => "the replica has stopped; look at its node",
        })
    }
}
