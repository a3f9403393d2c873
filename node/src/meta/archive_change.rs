//! Pure: what archivers, closers and snapshots ask of the meta group.
//! Format: meta_command, `docs/formats/meta_command.md`.

use super::archive_row::{CloserRow, ReportRow, SnapshotRow};
use super::fields::{append_u64, malformed};
use super::rows::MetaRow;
use engine::error::Damage;
use engine::ids::NodeId;
use engine::wire::Reader;
use raft::types::GroupId;

/// Groups that one change takes over, at most.
const GROUPS_MAX: usize = 2_048;

/// A change of what is archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveChange {
    /// A node archives these groups from now on, until then (milliseconds since 1970), if nobody else may. Number 40.
    Take(NodeId, u64, Vec<GroupId>),
    /// What a node has put, and how far its groups have come with it: if it archives them, and each goes on where it was. It archives them
    /// until then (milliseconds since 1970). Number 41.
    Report(ReportRow, u64),
    /// The marker that comes next, if the one before is there. What that names goes. Number 42.
    PlanMarker(CloserRow),
    /// Sets the row of the snapshot. Number 43.
    PutSnapshot(SnapshotRow),
}

impl ArchiveChange {
    /// Appends it.
    pub fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::Take(node, until_ms, groups) => {
                out.push(40);
                [node.0, *until_ms, groups.len() as u64]
                    .into_iter()
                    .for_each(|number| append_u64(out, number));
                groups.iter().for_each(|group| append_u64(out, group.0));
            }
            Self::Report(row, until_ms) => {
                out.push(41);
                append_u64(out, *until_ms);
                MetaRow::Report(row.clone()).append(out);
            }
            Self::PlanMarker(row) => {
                out.push(42);
                MetaRow::Closer(row.clone()).append(out);
            }
            Self::PutSnapshot(row) => {
                out.push(43);
                MetaRow::Snapshot(row.clone()).append(out);
            }
        }
    }

    /// Reads what [`ArchiveChange::append`] wrote behind its number.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read(number: u8, reader: &mut Reader<'_>) -> Result<Self, Damage> {
        if number == 40 {
            let (node, until_ms, count) = (NodeId(reader.u64()?), reader.u64()?, reader.u64()?);
            if count == 0 || count > GROUPS_MAX as u64 || node.0 == 0 {
                return Err(malformed("nobody who archives, or nothing, or too much"));
            }
            let groups: Vec<GroupId> =
                (0..count).map(|_| reader.u64().map(GroupId)).collect::<Result<_, _>>()?;
            let is_rising = groups.windows(2).all(|pair| pair[0] < pair[1]);
            return if is_rising {
                Ok(Self::Take(node, until_ms, groups))
            } else {
                Err(malformed("groups out of order"))
            };
        }
        let until_ms = if number == 41 { reader.u64()? } else { 0 };
        match (number, MetaRow::read(reader)?) {
            (41, MetaRow::Report(row)) => Ok(Self::Report(row, until_ms)),
            (42, MetaRow::Closer(row)) => Ok(Self::PlanMarker(row)),
            (43, MetaRow::Snapshot(row)) => Ok(Self::PutSnapshot(row)),
            _ => Err(malformed("a change of archives that is none")),
        }
    }
}
