//! Pure: the records of the log. A record knows its position and its segment's salt, so none verifies anywhere else.
//! Format: log_record, `docs/formats/log_record.md`.

use crate::limits;
use crate::planted::{self, Planted};
use crate::types::{GroupId, LogId, ReplicaId, Vote};
use bytes::Bytes;
use engine::error::{Damage, Nature};
use engine::sealed::{LINK_BYTES, Link};
use engine::wire::Reader;

/// The first bytes of every record.
pub const MAGIC: [u8; 2] = *b"DR";
/// Version of the records this build writes.
pub const VERSION: u8 = 1;
/// Bytes before a record's body.
pub const HEAD_BYTES: usize = 32;
/// Records begin at multiples of this.
pub const ALIGN_BYTES: usize = 8;
/// Bytes of a whole batch record.
pub const BATCH_RECORD_BYTES: usize = HEAD_BYTES + 8 + 8 + LINK_BYTES;

/// The greatest index of an entry: the one behind it is still a number.
pub const INDEX_MAX: u64 = u64::MAX - 1;

/// A segment's random salt.
pub type Salt = [u8; 16];

/// Opens every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Bytes of the write, this record included.
    pub bytes: u64,
    /// Everything before this position was durable when the write was issued.
    pub durable: u64,
    /// The write's link in the chain.
    pub link: Link,
}

/// What is known of one group without looking at its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The replica that lives here; 0 if it is closed.
    pub replica: ReplicaId,
    /// Greatest replica id that ever lived here.
    pub replica_max: ReplicaId,
    /// Its vote.
    pub vote: Option<Vote>,
    /// Entries up to here are gone.
    pub purged: Option<LogId>,
    /// The last entry.
    pub last: Option<LogId>,
    /// What was last told to be committed.
    pub committed: Option<LogId>,
}

/// One entry of a group's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub log_id: LogId,
    /// What the payload is: the number is the business of whoever made it.
    pub kind: u8,
    /// The last stamp that the entry gives out; 0 if it is not known.
    pub stamp: u64,
    /// Opaque here; client bytes in it are sealed.
    pub payload: Bytes,
}

/// What a peer was last heard to have made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The peer.
    pub node: u64,
    /// Its log: another after a wipe.
    pub log: [u8; 16],
    /// Its durable log position.
    pub position: u64,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Opens every write. Kind 1.
    Batch(Batch),
    /// Opens every segment: every group as it is there. Kind 2.
    State(Vec<(GroupId, GroupState)>),
    /// An entry. Kind 3.
    Entry(GroupId, Entry),
    /// A live entry written again, so that its old segment may go; never implies truncation. Kind 4.
    Moved(GroupId, Entry),
    /// A vote given. Kind 5.
    Vote(GroupId, Vote),
    /// All entries behind this one are dropped; `None` drops all. Kind 6.
    Truncate(GroupId, Option<LogId>),
    /// Entries up to this one are gone, whether they were here or not. Kind 7.
    Purge(GroupId, LogId),
    /// Entries up to this one are committed. Has no sync of its own. Kind 8.
    Committed(GroupId, Option<LogId>),
    /// The edit of this number of the group's manifest is durable, with this entry applied. Kind 9.
    Manifest(GroupId, u64, Option<LogId>),
    /// What peers have made durable. Kind 10.
    Marks(Vec<Mark>),
    /// A replica is born here. Kind 11.
    Open(GroupId, ReplicaId),
    /// It is gone for ever. Kind 12.
    Close(GroupId, ReplicaId),
    /// The process has started: how often, and a number of this start alone. Kind 13.
    Incarnation(u64, [u8; 16]),
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

fn rot(detail: &'static str) -> Damage {
    Damage::of(Nature::Rot, detail)
}

pub(crate) fn append_log_id(out: &mut Vec<u8>, id: Option<LogId>) {
    out.push(u8::from(id.is_some()));
    let id = id.unwrap_or_default();
    for n in [id.term, id.replica.0, id.index] {
        out.extend_from_slice(&n.to_be_bytes());
    }
}

pub(crate) fn log_id(reader: &mut Reader<'_>) -> Result<Option<LogId>, Damage> {
    let is_there = reader.u8()?;
    let id = LogId { term: reader.u64()?, replica: ReplicaId(reader.u64()?), index: reader.u64()? };
    match (is_there, id == LogId::default()) {
        _ if id.index > INDEX_MAX => Err(malformed("an impossible log index")),
        (1, _) => Ok(Some(id)),
        (0, true) => Ok(None),
        _ => Err(malformed("an impossible log id")),
    }
}

fn append_vote(out: &mut Vec<u8>, vote: Option<Vote>) {
    // 0 none, 1 given, 2 committed.
    out.push(vote.map_or(0, |vote| 1 + u8::from(vote.is_committed)));
    let vote = vote.unwrap_or_default();
    out.extend_from_slice(&vote.term.to_be_bytes());
    out.extend_from_slice(&vote.replica.0.to_be_bytes());
}

fn vote(reader: &mut Reader<'_>) -> Result<Option<Vote>, Damage> {
    let what = reader.u8()?;
    let (term, replica) = (reader.u64()?, ReplicaId(reader.u64()?));
    match what {
        0 if (term, replica) == (0, ReplicaId(0)) => Ok(None),
        1 | 2 => Ok(Some(Vote { term, replica, is_committed: what == 2 })),
        _ => Err(malformed("an impossible vote")),
    }
}

impl GroupState {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.replica.0.to_be_bytes());
        out.extend_from_slice(&self.replica_max.0.to_be_bytes());
        append_vote(out, self.vote);
        [self.purged, self.last, self.committed].into_iter().for_each(|id| append_log_id(out, id));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        Ok(Self {
            replica: ReplicaId(reader.u64()?),
            replica_max: ReplicaId(reader.u64()?),
            vote: vote(reader)?,
            purged: log_id(reader)?,
            last: log_id(reader)?,
            committed: log_id(reader)?,
        })
    }
}

impl Record {
    /// Its number, its group (0 for those of the node), and its body.
    fn parts(&self, out: &mut Vec<u8>) -> (u8, GroupId) {
        let node = GroupId(0);
        match self {
            Self::Batch(batch) => {
                out.extend_from_slice(&batch.bytes.to_be_bytes());
                out.extend_from_slice(&batch.durable.to_be_bytes());
                out.extend_from_slice(&batch.link);
                (1, node)
            }
            Self::State(groups) => {
                for (group, state) in groups {
                    out.extend_from_slice(&group.0.to_be_bytes());
                    state.append(out);
                }
                (2, node)
            }
            Self::Entry(group, entry) => (append_entry(out, entry, 3), *group),
            Self::Moved(group, entry) => (append_entry(out, entry, 4), *group),
            Self::Vote(group, vote) => {
                append_vote(out, Some(*vote));
                (5, *group)
            }
            Self::Truncate(group, after) => {
                append_log_id(out, *after);
                (6, *group)
            }
            Self::Purge(group, upto) => {
                append_log_id(out, Some(*upto));
                (7, *group)
            }
            Self::Committed(group, upto) => {
                append_log_id(out, *upto);
                (8, *group)
            }
            Self::Manifest(group, sequence, applied) => {
                out.extend_from_slice(&sequence.to_be_bytes());
                append_log_id(out, *applied);
                (9, *group)
            }
            Self::Marks(marks) => {
                for mark in marks {
                    out.extend_from_slice(&mark.node.to_be_bytes());
                    out.extend_from_slice(&mark.log);
                    out.extend_from_slice(&mark.position.to_be_bytes());
                }
                (10, node)
            }
            Self::Open(group, replica) => {
                out.extend_from_slice(&replica.0.to_be_bytes());
                (11, *group)
            }
            Self::Close(group, replica) => {
                out.extend_from_slice(&replica.0.to_be_bytes());
                (12, *group)
            }
            Self::Incarnation(number, nonce) => {
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(nonce);
                (13, node)
            }
        }
    }

    /// Appends the record that stands at `position` of a segment with `salt`.
    pub fn append(&self, out: &mut Vec<u8>, position: u64, salt: &Salt) {
        let start = out.len();
        out.resize(start + HEAD_BYTES, 0);
        let (kind, group) = self.parts(out);
        let bytes = out.len() - start - HEAD_BYTES;
        let head = &mut out[start..start + HEAD_BYTES];
        head[..2].copy_from_slice(&MAGIC);
        (head[2], head[3]) = (VERSION, kind);
        let length = u32::try_from(bytes).expect("RECORD_BYTES_MAX fits u32");
        head[4..8].copy_from_slice(&length.to_be_bytes());
        head[8..16].copy_from_slice(&group.0.to_be_bytes());
        head[16..24].copy_from_slice(&position.to_be_bytes());
        let crc32 = checksum(salt, &out[start..start + HEAD_BYTES], &out[start + HEAD_BYTES..]);
        out[start + 24..start + 28].copy_from_slice(&crc32.to_be_bytes());
        out.resize(start + padded(HEAD_BYTES + bytes), 0);
    }

    /// Reads the record at the front of `bytes`, which stands at `position` of a segment with `salt`; returns it with its length.
    ///
    /// # Errors
    /// `Rot`: no whole record of this place stands here. `Malformed`: whole, and not what the format allows.
    pub fn decode(bytes: &Bytes, position: u64, salt: &Salt) -> Result<(Self, usize), Damage> {
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk().ok_or_else(|| rot("no room for a record"))?;
        let mut reader = Reader::new(head);
        if reader.take(2)? != MAGIC {
            return Err(rot("no record begins here"));
        }
        let (version, kind, length) = (reader.u8()?, reader.u8()?, reader.u32()? as usize);
        let (group, its_position, crc32) = (GroupId(reader.u64()?), reader.u64()?, reader.u32()?);
        let zeros = reader.u32()?;
        if its_position != position {
            return Err(rot("a record of another position"));
        }
        if length > limits::RECORD_BYTES_MAX || bytes.len() < padded(HEAD_BYTES + length) {
            return Err(rot("a record longer than what is there"));
        }
        let body = bytes.slice(HEAD_BYTES..HEAD_BYTES + length);
        let mut unsigned = *head;
        unsigned[24..28].fill(0);
        let padding = &bytes[HEAD_BYTES + length..padded(HEAD_BYTES + length)];
        let is_whole = checksum(salt, &unsigned, &body) == crc32 && padding.iter().all(|byte| *byte == 0);
        if !is_whole && !planted::is(Planted::SkipChecksum) {
            return Err(rot("checksum of a record"));
        }
        if version != VERSION {
            return Err(malformed("a record of an unknown version"));
        }
        if zeros != 0 {
            return Err(malformed("unknown marks in the head of a record"));
        }
        Ok((decode_body(kind, group, &body)?, padded(HEAD_BYTES + length)))
    }
}

fn append_entry(out: &mut Vec<u8>, entry: &Entry, kind: u8) -> u8 {
    for n in [entry.log_id.term, entry.log_id.replica.0, entry.log_id.index, entry.stamp] {
        out.extend_from_slice(&n.to_be_bytes());
    }
    out.extend_from_slice(&[entry.kind, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&entry.payload);
    kind
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN_BYTES)
}

/// Bytes that `entry` takes in a segment.
#[must_use]
pub fn entry_bytes(entry: &Entry) -> usize {
    padded(HEAD_BYTES + 40 + entry.payload.len())
}

fn checksum(salt: &Salt, head: &[u8], body: &[u8]) -> u32 {
    let mut crc32 = crc32fast::Hasher::new();
    [&salt[..], head, body].into_iter().for_each(|piece| crc32.update(piece));
    crc32.finalize()
}

fn decode_entry(body: &Bytes) -> Result<Entry, Damage> {
    let mut reader = Reader::new(body);
    let log_id = LogId { term: reader.u64()?, replica: ReplicaId(reader.u64()?), index: reader.u64()? };
    let stamp = reader.u64()?;
    let [kind, rest @ ..] = reader.array::<8>()?;
    let payload = body.slice(body.len() - reader.left()..);
    if rest != [0; 7] || payload.len() > limits::ENTRY_BYTES_MAX || log_id.index > INDEX_MAX {
        return Err(malformed("an impossible entry"));
    }
    Ok(Entry { log_id, kind, stamp, payload })
}

fn decode_body(kind: u8, group: GroupId, body: &Bytes) -> Result<Record, Damage> {
    let mut reader = Reader::new(body);
    let is_of_node = matches!(kind, 1 | 2 | 10 | 13);
    if is_of_node && group != GroupId(0) {
        return Err(malformed("a group in a record of the node"));
    }
    let record = match kind {
        1 => Record::Batch(Batch { bytes: reader.u64()?, durable: reader.u64()?, link: reader.array()? }),
        2 => {
            let mut groups: Vec<(GroupId, GroupState)> = Vec::new();
            while reader.left() > 0 {
                let group = GroupId(reader.u64()?);
                if groups.last().is_some_and(|(last, _)| *last >= group) || groups.len() == limits::GROUPS_MAX
                {
                    return Err(malformed("groups of a state out of order, or too many"));
                }
                groups.push((group, GroupState::read(&mut reader)?));
            }
            Record::State(groups)
        }
        3 => return Ok(Record::Entry(group, decode_entry(body)?)),
        4 => return Ok(Record::Moved(group, decode_entry(body)?)),
        5 => Record::Vote(group, vote(&mut reader)?.ok_or_else(|| malformed("a record without its vote"))?),
        6 => Record::Truncate(group, log_id(&mut reader)?),
        7 => Record::Purge(group, log_id(&mut reader)?.ok_or_else(|| malformed("a purge of nothing"))?),
        8 => Record::Committed(group, log_id(&mut reader)?),
        9 => Record::Manifest(group, reader.u64()?, log_id(&mut reader)?),
        10 => {
            let mut marks = Vec::new();
            while reader.left() > 0 && marks.len() < limits::MARKS_MAX {
                marks.push(Mark { node: reader.u64()?, log: reader.array()?, position: reader.u64()? });
            }
            Record::Marks(marks)
        }
        11 => Record::Open(group, ReplicaId(reader.u64()?)),
        12 => Record::Close(group, ReplicaId(reader.u64()?)),
        13 => Record::Incarnation(reader.u64()?, reader.array()?),
        _ => return Err(malformed("a record of an unknown kind")),
    };
    reader.end()?;
    Ok(record)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_log_id() -> impl Strategy<Value = LogId> {
        (any::<u64>(), any::<u64>(), 0..=INDEX_MAX).prop_map(|(term, replica, index)| LogId {
            term,
            replica: ReplicaId(replica),
            index,
        })
    }

    fn some_vote() -> impl Strategy<Value = Vote> {
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, replica, is_committed)| Vote {
            term,
            replica: ReplicaId(replica),
            is_committed,
        })
    }

    fn some_entry() -> impl Strategy<Value = Entry> {
        (some_log_id(), any::<u8>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(log_id, kind, stamp, payload)| Entry { log_id, kind, stamp, payload: payload.into() })
    }

    fn some_state() -> impl Strategy<Value = GroupState> {
        let id = || proptest::option::of(some_log_id());
        (any::<u64>(), any::<u64>(), proptest::option::of(some_vote()), id(), id(), id()).prop_map(
            |(replica, replica_max, vote, purged, last, committed)| {
                let (replica, replica_max) = (ReplicaId(replica), ReplicaId(replica_max));
                GroupState { replica, replica_max, vote, purged, last, committed }
            },
        )
    }

    /// Any record.
    pub(crate) fn some_record() -> impl Strategy<Value = Record> {
        let group = || any::<u64>().prop_map(GroupId);
        let id = || proptest::option::of(some_log_id());
        prop_oneof![
            (any::<u64>(), any::<u64>(), any::<[u8; 16]>())
                .prop_map(|(bytes, durable, link)| Record::Batch(Batch { bytes, durable, link })),
            proptest::collection::btree_map(any::<u64>(), some_state(), 0..4).prop_map(|all| Record::State(
                all.into_iter().map(|(group, one)| (GroupId(group), one)).collect()
            )),
            (group(), some_entry()).prop_map(|(group, entry)| Record::Entry(group, entry)),
            (group(), some_entry()).prop_map(|(group, entry)| Record::Moved(group, entry)),
            (group(), some_vote()).prop_map(|(group, vote)| Record::Vote(group, vote)),
            (group(), id()).prop_map(|(group, after)| Record::Truncate(group, after)),
            (group(), some_log_id()).prop_map(|(group, upto)| Record::Purge(group, upto)),
            (group(), id()).prop_map(|(group, upto)| Record::Committed(group, upto)),
            (group(), any::<u64>(), id())
                .prop_map(|(group, sequence, id)| Record::Manifest(group, sequence, id)),
            proptest::collection::vec((any::<u64>(), any::<[u8; 16]>(), any::<u64>()), 0..4).prop_map(
                |all| {
                    Record::Marks(
                        all.into_iter().map(|(node, log, position)| Mark { node, log, position }).collect(),
                    )
                }
            ),
            (group(), any::<u64>()).prop_map(|(group, replica)| Record::Open(group, ReplicaId(replica))),
            (group(), any::<u64>()).prop_map(|(group, replica)| Record::Close(group, ReplicaId(replica))),
            (any::<u64>(), any::<[u8; 16]>()).prop_map(|(number, nonce)| Record::Incarnation(number, nonce)),
        ]
    }

    proptest! {
        #[test]
        fn a_record_comes_back_at_its_place_and_nowhere_else(record in some_record(), position in any::<u64>()) {
            let salt = [3; 16];
            let mut bytes = Vec::new();
            record.append(&mut bytes, position, &salt);
            let whole = bytes.len();
            prop_assert_eq!(whole % ALIGN_BYTES, 0);
            bytes.extend_from_slice(b"what comes after");
            let bytes = Bytes::from(bytes);
            prop_assert_eq!(Record::decode(&bytes, position, &salt).unwrap(), (record, whole));
            prop_assert!(Record::decode(&bytes, position ^ 1, &salt).is_err());
            prop_assert!(Record::decode(&bytes, position, &[4; 16]).is_err());
            prop_assert!(Record::decode(&bytes.slice(..whole - 1), position, &salt).is_err());
        }

        #[test]
        fn every_flipped_bit_is_found(record in some_record(), at in any::<proptest::sample::Index>()) {
            let mut bytes = Vec::new();
            record.append(&mut bytes, 40, &[3; 16]);
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = Record::decode(&Bytes::from(bytes), 40, &[3; 16]);
            prop_assert_eq!(found.unwrap_err().nature, Nature::Rot);
        }
    }
}
