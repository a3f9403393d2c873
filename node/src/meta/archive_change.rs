//! Pure: what archivers, closers and snapshots ask of the meta group.
//! Format: meta_command, `docs/formats/meta_command.md`.

use super::archive_row::{CloserRow, ReportRow, SnapshotRow};
use super::fields::{append_text, append_u64, malformed, read_text};
use super::pin_row::{CarriedRow, PinRow, SweepRow};
use super::rows::MetaRow;
use crate::limits::{NAME_BYTES_MAX, REASON_BYTES_MAX};
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
    /// Sets the row of the snapshot. Number 43. None begins while somebody deletes.
    PutSnapshot(SnapshotRow),
    /// Makes a pin, or renews it to more. Number 44.
    PutPin(PinRow),
    /// Ends a pin. Number 45.
    EndPin(PinEnd),
    /// A node deletes from archives until then, if nobody else does and no snapshot is being taken. Number 46.
    TakeSweep(SweepRow),
    /// Every required site has everything up to there. Number 47.
    Carry(CarriedRow),
}

/// The end of a pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinEnd {
    /// Its id.
    pub id: [u8; 8],
    /// Whether it is one of the law: whoever ends one says which of the two it is.
    pub is_hold: bool,
    /// Who ends it.
    pub by: String,
    /// Why.
    pub why: String,
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
            Self::PutPin(row) => {
                out.push(44);
                MetaRow::Pin(row.clone()).append(out);
            }
            Self::EndPin(end) => {
                out.push(45);
                out.extend_from_slice(&end.id);
                out.push(u8::from(end.is_hold));
                append_text(out, &end.by);
                append_text(out, &end.why);
            }
            Self::TakeSweep(row) => {
                out.push(46);
                MetaRow::Sweep(*row).append(out);
            }
            Self::Carry(row) => {
                out.push(47);
                MetaRow::Carried(*row).append(out);
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
        if number == 45 {
            return PinEnd::read(reader).map(Self::EndPin);
        }
        let until_ms = if number == 41 { reader.u64()? } else { 0 };
        match (number, MetaRow::read(reader)?) {
            (41, MetaRow::Report(row)) => Ok(Self::Report(row, until_ms)),
            (42, MetaRow::Closer(row)) => Ok(Self::PlanMarker(row)),
            (43, MetaRow::Snapshot(row)) => Ok(Self::PutSnapshot(row)),
            (44, MetaRow::Pin(row)) => Ok(Self::PutPin(row)),
            (46, MetaRow::Sweep(row)) => Ok(Self::TakeSweep(row)),
            (47, MetaRow::Carried(row)) => Ok(Self::Carry(row)),
            _ => Err(malformed("a change of archives that is none")),
        }
    }
}

impl PinEnd {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let id = reader.array()?;
        let is_hold = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(malformed("a pin neither of the law nor not")),
        };
        let (by, why) = (read_text(reader, NAME_BYTES_MAX)?, read_text(reader, REASON_BYTES_MAX)?);
        Ok(Self { id, is_hold, by, why })
    }
}
