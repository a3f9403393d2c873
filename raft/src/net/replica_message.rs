//! Pure: what the replicas of a group ask and answer: votes, entries, heartbeats, transfer of leadership, where to read.
//! Format: peer_message, `docs/formats/peer_message.md`.

use super::body::{
    Body, append_bytes, append_count, append_log_id, append_maybe_log_id, append_maybe_replica, append_u64,
    append_vote, malformed,
};
use super::refusal::Refusal;
use crate::limits;
use crate::log::Entry;
use crate::types::{GroupId, LogId, ReplicaId, Vote};
use engine::error::Damage;

/// Asks for a vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoteRequest {
    /// What the candidate wants to be voted.
    pub vote: Vote,
    /// The last entry of its log.
    pub last: Option<LogId>,
    /// Whether the leader asked it to: leases of that leader do not hold it up.
    pub is_transfer: bool,
    /// Whether it only asks whether it would be granted. Nothing is promised.
    pub is_pre: bool,
}

/// Answers [`VoteRequest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoteReply {
    /// What the voter has voted.
    pub vote: Vote,
    /// The last entry of its log.
    pub last: Option<LogId>,
    /// Whether it grants what was asked.
    pub is_granted: bool,
}

/// Entries of a leader for a follower; without any, a sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// The leader's vote.
    pub vote: Vote,
    /// The entry before the first of these.
    pub prev: Option<LogId>,
    /// The entries, without gap.
    pub entries: Vec<Entry>,
    /// What the leader knows to be committed.
    pub commit: Option<LogId>,
}

/// Answers [`Append`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendReply {
    /// All entries are stored.
    Accepted,
    /// Entries up to this one are; the rest must be sent again.
    Partly(Option<LogId>),
    /// The log has another entry at the place of `prev`, or none.
    Conflict,
    /// The replica has voted higher.
    HigherVote(Vote),
}

/// A leader asks a voter to lead in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// The leader's vote.
    pub from: Vote,
    /// Who is to lead.
    pub to: ReplicaId,
    /// The last entry of the leader, which the next one must have.
    pub last: Option<LogId>,
}

/// Answers [`Transfer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferReply {
    /// It asks for votes.
    Accepted,
    /// It has voted for another.
    VoteChanged {
        /// The vote asked with.
        expected: Vote,
        /// Its vote.
        actual: Vote,
    },
    /// It has not made durable what the leader has.
    NotFlushed {
        /// The entry asked with.
        expected: Option<LogId>,
        /// Its last durable one.
        actual: Option<LogId>,
    },
}

/// A follower asks the leader from which entry on a read sees everything acknowledged before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadIndex {}

/// Answers [`ReadIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadIndexReply {
    /// Once this entry is applied.
    Read(LogId),
    /// Another leads, if it is known who.
    NotLeader(Option<ReplicaId>),
    /// Not now; ask again after this many milliseconds.
    RetryLater(u64),
}

/// One group's sign of life, among those of other groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: GroupId,
    /// The leader.
    pub from: ReplicaId,
    /// The follower.
    pub to: ReplicaId,
    /// What it says. Has no entries.
    pub append: Append,
}

/// Answers one [`Heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// The group.
    pub group: GroupId,
    /// What the follower says, or why nobody was asked.
    pub reply: Result<AppendReply, Refusal>,
}

impl VoteRequest {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_vote(out, self.vote);
        append_maybe_log_id(out, self.last);
        out.extend_from_slice(&[u8::from(self.is_transfer), u8::from(self.is_pre)]);
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        let (vote, last) = (body.vote()?, body.maybe_log_id()?);
        Ok(Self { vote, last, is_transfer: body.is()?, is_pre: body.is()? })
    }
}

impl VoteReply {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_vote(out, self.vote);
        append_maybe_log_id(out, self.last);
        out.push(u8::from(self.is_granted));
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        Ok(Self { vote: body.vote()?, last: body.maybe_log_id()?, is_granted: body.is()? })
    }
}

impl Append {
    fn append_head(&self, out: &mut Vec<u8>) {
        append_vote(out, self.vote);
        append_maybe_log_id(out, self.prev);
        append_maybe_log_id(out, self.commit);
    }

    fn read_head(body: &mut Body<'_>) -> Result<Self, Damage> {
        let (vote, prev, commit) = (body.vote()?, body.maybe_log_id()?, body.maybe_log_id()?);
        Ok(Self { vote, prev, entries: Vec::new(), commit })
    }

    pub(super) fn append(&self, out: &mut Vec<u8>) {
        self.append_head(out);
        append_count(out, self.entries.len(), limits::APPEND_ENTRIES_MAX);
        self.entries.iter().for_each(|entry| append_entry(out, entry));
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        let mut append = Self::read_head(body)?;
        let first = append.prev.map_or(0, |prev| prev.index + 1);
        let count = body.count(limits::APPEND_ENTRIES_MAX)?;
        for index in (first..=u64::MAX).take(count) {
            let entry = read_entry(body)?;
            if entry.log_id.index != index {
                return Err(malformed("entries with a gap"));
            }
            append.entries.push(entry);
        }
        Ok(append)
    }
}

fn append_entry(out: &mut Vec<u8>, entry: &Entry) {
    append_log_id(out, entry.log_id);
    append_u64(out, entry.stamp);
    out.push(entry.kind);
    append_bytes(out, &entry.payload, limits::ENTRY_BYTES_MAX);
}

fn read_entry(body: &mut Body<'_>) -> Result<Entry, Damage> {
    let (log_id, stamp, kind) = (body.log_id()?, body.u64()?, body.u8()?);
    Ok(Entry { log_id, kind, stamp, payload: body.bytes(limits::ENTRY_BYTES_MAX)? })
}

impl AppendReply {
    pub(super) fn append(self, out: &mut Vec<u8>) {
        match self {
            Self::Accepted => out.push(1),
            Self::Partly(upto) => {
                out.push(2);
                append_maybe_log_id(out, upto);
            }
            Self::Conflict => out.push(3),
            Self::HigherVote(vote) => {
                out.push(4);
                append_vote(out, vote);
            }
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        match body.u8()? {
            1 => Ok(Self::Accepted),
            2 => Ok(Self::Partly(body.maybe_log_id()?)),
            3 => Ok(Self::Conflict),
            4 => Ok(Self::HigherVote(body.vote()?)),
            _ => Err(malformed("an unknown answer to entries")),
        }
    }
}

impl Transfer {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_vote(out, self.from);
        append_u64(out, self.to.0);
        append_maybe_log_id(out, self.last);
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        Ok(Self { from: body.vote()?, to: body.replica()?, last: body.maybe_log_id()? })
    }
}

impl TransferReply {
    pub(super) fn append(self, out: &mut Vec<u8>) {
        match self {
            Self::Accepted => out.push(1),
            Self::VoteChanged { expected, actual } => {
                out.push(2);
                append_vote(out, expected);
                append_vote(out, actual);
            }
            Self::NotFlushed { expected, actual } => {
                out.push(3);
                append_maybe_log_id(out, expected);
                append_maybe_log_id(out, actual);
            }
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        match body.u8()? {
            1 => Ok(Self::Accepted),
            2 => Ok(Self::VoteChanged { expected: body.vote()?, actual: body.vote()? }),
            3 => Ok(Self::NotFlushed { expected: body.maybe_log_id()?, actual: body.maybe_log_id()? }),
            _ => Err(malformed("an unknown answer to a transfer")),
        }
    }
}

impl ReadIndexReply {
    pub(super) fn append(self, out: &mut Vec<u8>) {
        match self {
            Self::Read(id) => {
                out.push(1);
                append_log_id(out, id);
            }
            Self::NotLeader(leader) => {
                out.push(2);
                append_maybe_replica(out, leader);
            }
            Self::RetryLater(ms) => {
                out.push(3);
                append_u64(out, ms);
            }
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        match body.u8()? {
            1 => Ok(Self::Read(body.log_id()?)),
            2 => Ok(Self::NotLeader(body.maybe_replica()?)),
            3 => Ok(Self::RetryLater(body.u64()?)),
            _ => Err(malformed("an unknown answer to a read index")),
        }
    }
}

impl Heartbeat {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        assert!(self.append.entries.is_empty(), "a heartbeat has no entries");
        [self.group.0, self.from.0, self.to.0].into_iter().for_each(|number| append_u64(out, number));
        self.append.append_head(out);
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        let (group, from, to) = (GroupId(body.u64()?), body.replica()?, body.replica()?);
        Ok(Self { group, from, to, append: Append::read_head(body)? })
    }
}

impl HeartbeatReply {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_u64(out, self.group.0);
        match self.reply {
            Ok(reply) => {
                out.push(0);
                reply.append(out);
            }
            Err(refusal) => out.push(refusal.number()),
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        let group = GroupId(body.u64()?);
        let reply = match body.u8()? {
            0 => Ok(AppendReply::read(body)?),
            number => Err(Refusal::read(number)?),
        };
        Ok(Self { group, reply })
    }
}
