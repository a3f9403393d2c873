//! Pure: how a snapshot travels: an offer with its listing, what of it is wanted, pieces of files, and its end.
//! Format: peer_message, `docs/formats/peer_message.md`.

use super::body::{
    Body, append_bytes, append_count, append_maybe_log_id, append_u64, append_vote, malformed,
};
use crate::limits;
use crate::payload::{append_membership, read_membership};
use crate::types::{LogId, Membership, Vote};
use bytes::Bytes;
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::ids::TableId;

/// A leader offers what it has applied, for a follower whose next entry it has no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// The leader's vote.
    pub vote: Vote,
    /// The last entry that is in it.
    pub last: Option<LogId>,
    /// The last stamp that is in it.
    pub stamp: Stamp,
    /// The entry that made the membership.
    pub membership_at: Option<LogId>,
    /// The membership as of `last`.
    pub membership: Membership,
    /// The checkpoint's listing: opaque here, verified by whoever installs it.
    pub listing: Bytes,
}

/// Answers [`SnapshotOffer`]: what is not here yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotWants {
    /// The receiver's name for this transfer.
    pub transfer: u64,
    /// The files, in the order in which they are wanted; of each, the byte to begin at.
    pub files: Vec<(TableId, u64)>,
}

/// Bytes of a file. One that was read from bytes is whole: its checksum agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotPiece {
    /// The transfer.
    pub transfer: u64,
    /// The file.
    pub file: TableId,
    /// Where in the file the bytes begin.
    pub at: u64,
    /// CRC32 of the bytes.
    pub crc32: u32,
    /// The bytes.
    pub bytes: Bytes,
}

/// Answers [`SnapshotPiece`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceReply {
    /// It is taken.
    Taken,
    /// It is not what comes next.
    NotWanted {
        /// The byte of the file that does.
        at: u64,
    },
}

/// Everything that was wanted has been sent: install it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFinish {
    /// The transfer.
    pub transfer: u64,
}

/// Answers [`SnapshotFinish`]: it is installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotDone {
    /// What the receiver has voted.
    pub vote: Vote,
}

impl SnapshotOffer {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_vote(out, self.vote);
        append_maybe_log_id(out, self.last);
        append_u64(out, self.stamp.0);
        append_maybe_log_id(out, self.membership_at);
        append_membership(out, &self.membership);
        append_bytes(out, &self.listing, limits::SNAPSHOT_LISTING_BYTES_MAX);
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        Ok(Self {
            vote: body.vote()?,
            last: body.maybe_log_id()?,
            stamp: Stamp(body.u64()?),
            membership_at: body.maybe_log_id()?,
            membership: read_membership(&mut body.reader)?,
            listing: body.bytes(limits::SNAPSHOT_LISTING_BYTES_MAX)?,
        })
    }
}

impl SnapshotWants {
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_u64(out, self.transfer);
        append_count(out, self.files.len(), limits::SNAPSHOT_FILES_MAX);
        for (file, from) in &self.files {
            out.extend_from_slice(&file.0);
            append_u64(out, *from);
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        let (transfer, count) = (body.u64()?, body.count(limits::SNAPSHOT_FILES_MAX)?);
        let files = (0..count).map(|_| Ok((TableId(body.reader.array()?), body.u64()?)));
        Ok(Self { transfer, files: files.collect::<Result<_, Damage>>()? })
    }
}

impl SnapshotPiece {
    /// The piece `bytes` at byte `at` of `file`, with its checksum.
    #[must_use]
    pub fn of(transfer: u64, file: TableId, at: u64, bytes: Bytes) -> Self {
        Self { transfer, file, at, crc32: crc32fast::hash(&bytes), bytes }
    }

    pub(super) fn append(&self, out: &mut Vec<u8>) {
        append_u64(out, self.transfer);
        out.extend_from_slice(&self.file.0);
        append_u64(out, self.at);
        out.extend_from_slice(&self.crc32.to_be_bytes());
        append_bytes(out, &self.bytes, limits::SNAPSHOT_PIECE_BYTES);
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        let (transfer, file, at) = (body.u64()?, TableId(body.reader.array()?), body.u64()?);
        let (crc32, bytes) = (body.u32()?, body.bytes(limits::SNAPSHOT_PIECE_BYTES)?);
        if at.checked_add(bytes.len() as u64).is_none() {
            return Err(malformed("a piece behind the end of every file"));
        }
        if crc32fast::hash(&bytes) != crc32 {
            return Err(Damage::of(Nature::Rot, "checksum of a piece"));
        }
        Ok(Self { transfer, file, at, crc32, bytes })
    }
}

impl PieceReply {
    pub(super) fn append(self, out: &mut Vec<u8>) {
        match self {
            Self::Taken => out.push(1),
            Self::NotWanted { at } => {
                out.push(2);
                append_u64(out, at);
            }
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self, Damage> {
        match body.u8()? {
            1 => Ok(Self::Taken),
            2 => Ok(Self::NotWanted { at: body.u64()? }),
            _ => Err(malformed("an unknown answer to a piece")),
        }
    }
}
