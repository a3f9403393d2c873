//! Pure: the rows of archiving: how far each group is archived and by whom, what archivers have put that no marker names yet, and which marker
//! comes next.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use super::fields::{append_u64, malformed, read_version};
use crate::archive::manifest::log::{FileRow, GroupRow};
use engine::Stamp;
use engine::error::Damage;
use engine::ids::{LogIndex, NodeId};
use engine::wire::{Reader, append_bytes32};
use prost::Message;
use raft::types::GroupId;

/// Version of the rows this build writes.
pub const VERSION: u8 = 1;
/// Bytes of a report: so many files and groups that it fits a row with ease.
const REPORT_BYTES_MAX: usize = 48 << 10;
/// Reports that one marker names, at most.
pub const REPORTS_MAX: usize = 1_024;
/// Groups that live, at most.
const GROUPS_MAX: usize = 2_048;

/// How far a group is archived, and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchivedRow {
    /// The group.
    pub group: GroupId,
    /// Who archives it; 0: nobody.
    pub holder: NodeId,
    /// Until when nobody else may: milliseconds since 1970.
    pub until_ms: u64,
    /// Everything up to here is archived, or was let go.
    pub upto: Stamp,
    /// The last entry of the log that is wholly archived.
    pub index: LogIndex,
    /// Whether anything of it was ever reported.
    pub has_begun: bool,
}

impl ArchivedRow {
    /// The key of its row.
    #[must_use]
    pub fn key(group: GroupId) -> Vec<u8> {
        group.0.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.has_begun)];
        for number in [self.holder.0, self.until_ms, self.upto.0, self.index.0] {
            append_u64(&mut out, number);
        }
        out
    }

    /// Reads what [`ArchivedRow::key`] and [`ArchivedRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let group = GroupId(key.u64()?);
        key.end()?;
        read_version(&mut reader, VERSION)?;
        let has_begun = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(malformed("an archive that has neither begun nor not")),
        };
        let (holder, until_ms) = (NodeId(reader.u64()?), reader.u64()?);
        let (upto, index) = (Stamp(reader.u64()?), LogIndex(reader.u64()?));
        reader.end()?;
        if !has_begun && upto != Stamp::ZERO {
            return Err(malformed("something archived before it has begun"));
        }
        Ok(Self { group, holder, until_ms, upto, index, has_begun })
    }

    /// Whether `node` may take it over at `now_ms` (milliseconds since 1970).
    #[must_use]
    pub fn is_free_for(&self, node: NodeId, now_ms: u64) -> bool {
        self.holder == node || self.holder == NodeId(0) || self.until_ms <= now_ms
    }
}

/// What an archiver has put and no marker names yet.
#[derive(Clone, PartialEq, prost::Message)]
struct ReportBody {
    #[prost(message, repeated, tag = "1")]
    files: Vec<FileRow>,
    #[prost(message, repeated, tag = "2")]
    groups: Vec<GroupRow>,
}

/// What an archiver has put and no marker names yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportRow {
    /// Who.
    pub node: NodeId,
    /// Rises with every report of a node.
    pub number: u64,
    /// Files it has put.
    pub files: Vec<FileRow>,
    /// How far its groups have come, by number.
    pub groups: Vec<GroupRow>,
}

impl Eq for ReportRow {}

impl ReportRow {
    /// The key of its row.
    #[must_use]
    pub fn key(node: NodeId, number: u64) -> Vec<u8> {
        [node.0.to_be_bytes(), number.to_be_bytes()].concat()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let body = ReportBody { files: self.files.clone(), groups: self.groups.clone() };
        let mut out = vec![VERSION];
        append_bytes32(&mut out, &body.encode_to_vec());
        out
    }

    /// Whether it has more in it than a row may.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.value().len() > REPORT_BYTES_MAX
    }

    /// Reads what [`ReportRow::key`] and [`ReportRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let (node, number) = (NodeId(key.u64()?), key.u64()?);
        key.end()?;
        read_version(&mut reader, VERSION)?;
        let body = ReportBody::decode(reader.bytes32(REPORT_BYTES_MAX)?);
        let ReportBody { files, groups } = body.map_err(|_| malformed("a report that is none"))?;
        reader.end()?;
        let is_rising = groups.windows(2).all(|pair| pair[0].group < pair[1].group);
        let are_ours = groups.iter().all(|row| row.node == node.0 && row.after <= row.upto);
        for file in &files {
            file.name()?;
            file.digest()?;
        }
        if node.0 == 0 || number == 0 || !is_rising || !are_ours || files.iter().any(|one| one.node != node.0)
        {
            return Err(malformed("a report of nobody, or of somebody else"));
        }
        let row = Self { node, number, files, groups };
        // What is stored is what would be stored again.
        if row.value() == value { Ok(row) } else { Err(malformed("a report that is written otherwise")) }
    }
}

/// The marker that comes next, or the last one: what it says follows from this row and the reports it names, to the byte. So whoever closes
/// after a crash puts the same, and there is never a second one of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloserRow {
    /// Rises by one with every change of this row.
    pub version: u64,
    /// The life line.
    pub generation: u64,
    /// End of its tick: seconds since 1970.
    pub end_s: u64,
    /// End of the tick of the marker before; 0: there was none.
    pub previous_end_s: u64,
    /// SHA-256 of the marker before.
    pub previous: [u8; 32],
    /// Who planned it.
    pub writer: NodeId,
    /// When: milliseconds since 1970.
    pub planned_ms: u64,
    /// Reports it names, ascending.
    pub reports: Vec<(NodeId, u64)>,
    /// Groups that live, ascending.
    pub alive: Vec<GroupId>,
}

impl CloserRow {
    /// The key of its row: there is only one.
    #[must_use]
    pub fn key() -> Vec<u8> {
        Vec::new()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let numbers = [self.version, self.generation, self.end_s, self.previous_end_s];
        numbers.into_iter().for_each(|number| append_u64(&mut out, number));
        out.extend_from_slice(&self.previous);
        append_u64(&mut out, self.writer.0);
        append_u64(&mut out, self.planned_ms);
        append_u64(&mut out, self.reports.len() as u64);
        for (node, number) in &self.reports {
            append_u64(&mut out, node.0);
            append_u64(&mut out, *number);
        }
        append_u64(&mut out, self.alive.len() as u64);
        self.alive.iter().for_each(|group| append_u64(&mut out, group.0));
        out
    }

    /// Reads what [`CloserRow::key`] and [`CloserRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        Reader::new(key).end()?;
        let mut reader = Reader::new(value);
        read_version(&mut reader, VERSION)?;
        let (version, generation) = (reader.u64()?, reader.u64()?);
        let (end_s, previous_end_s, previous) = (reader.u64()?, reader.u64()?, reader.array()?);
        let (writer, planned_ms) = (NodeId(reader.u64()?), reader.u64()?);
        let count = count(&mut reader, REPORTS_MAX)?;
        let report = |reader: &mut Reader<'_>| Ok((NodeId(reader.u64()?), reader.u64()?));
        let reports = (0..count).map(|_| report(&mut reader)).collect::<Result<Vec<_>, Damage>>()?;
        let count = self::count(&mut reader, GROUPS_MAX)?;
        let alive = (0..count).map(|_| reader.u64().map(GroupId)).collect::<Result<Vec<_>, Damage>>()?;
        reader.end()?;
        let is_rising = reports.windows(2).all(|pair| pair[0] < pair[1])
            && alive.windows(2).all(|pair| pair[0] < pair[1]);
        let has_previous = previous_end_s > 0 || previous == [0; 32];
        if version == 0 || generation == 0 || end_s <= previous_end_s || !is_rising || !has_previous {
            return Err(malformed("a marker to come that cannot be"));
        }
        let row =
            Self { version, generation, end_s, previous_end_s, previous, writer, planned_ms, reports, alive };
        Ok(row)
    }
}

fn count(reader: &mut Reader<'_>, max: usize) -> Result<usize, Damage> {
    let count = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
    if count > max { Err(malformed("more than there may be")) } else { Ok(count) }
}

/// The snapshot that is being taken, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Rises by one with every change of this row.
    pub version: u64,
    /// The end of the tick at which it cuts: seconds since 1970.
    pub cut_s: u64,
    /// The random part of its name.
    pub random: [u8; 4],
    /// How far it is.
    pub state: SnapshotState,
    /// Whether keys are counted and digested.
    pub is_digested: bool,
    /// When it began: milliseconds since 1970.
    pub begun_ms: u64,
    /// Groups and the nodes whose files they take, ascending.
    pub homes: Vec<(GroupId, NodeId)>,
    /// The last snapshot that is whole: its cut, the random part of its name, SHA-256 of its `done.man`; cut 0: there is none.
    pub last: (u64, [u8; 4], [u8; 32]),
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotState {
    /// None is being taken. Number 0.
    #[default]
    Idle,
    /// Groups put their parts. Number 1.
    Running,
    /// It was given up. Number 2.
    Failed,
}

impl SnapshotRow {
    /// The key of its row: there is only one.
    #[must_use]
    pub fn key() -> Vec<u8> {
        Vec::new()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let state = match self.state {
            SnapshotState::Idle => 0,
            SnapshotState::Running => 1,
            SnapshotState::Failed => 2,
        };
        let mut out = vec![VERSION, state, u8::from(self.is_digested)];
        out.extend_from_slice(&self.random);
        [self.version, self.cut_s, self.begun_ms].into_iter().for_each(|number| append_u64(&mut out, number));
        append_u64(&mut out, self.last.0);
        out.extend_from_slice(&self.last.1);
        out.extend_from_slice(&self.last.2);
        append_u64(&mut out, self.homes.len() as u64);
        for (group, node) in &self.homes {
            append_u64(&mut out, group.0);
            append_u64(&mut out, node.0);
        }
        out
    }

    /// Reads what [`SnapshotRow::key`] and [`SnapshotRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        Reader::new(key).end()?;
        let mut reader = Reader::new(value);
        read_version(&mut reader, VERSION)?;
        let state = match reader.u8()? {
            0 => SnapshotState::Idle,
            1 => SnapshotState::Running,
            2 => SnapshotState::Failed,
            _ => return Err(malformed("a state of a snapshot that is none")),
        };
        let is_digested = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(malformed("a snapshot neither digested nor not")),
        };
        let random = reader.array()?;
        let (version, cut_s, begun_ms) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let last = (reader.u64()?, reader.array()?, reader.array()?);
        let count = count(&mut reader, GROUPS_MAX)?;
        let home = |reader: &mut Reader<'_>| Ok((GroupId(reader.u64()?), NodeId(reader.u64()?)));
        let homes = (0..count).map(|_| home(&mut reader)).collect::<Result<Vec<_>, Damage>>()?;
        reader.end()?;
        if version == 0 || !homes.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Err(malformed("a snapshot that is none"));
        }
        Ok(Self { version, cut_s, random, state, is_digested, begun_ms, homes, last })
    }
}
