//! Pure: what a takeover asks of the meta group, in one change: who is gone, and as which group each group goes on.
//! Format: meta_command, `docs/formats/meta_command.md`.

use super::row::GenerationRow;
use crate::meta::fields::{append_u64, malformed};
use crate::meta::rows::MetaRow;
use engine::error::Damage;
use engine::ids::NodeId;
use engine::wire::Reader;
use raft::types::{GroupId, ReplicaId};

/// The number of the change.
pub const NUMBER: u8 = 70;
/// Nodes, groups and reports that one change names, at most.
const NAMED_MAX: usize = 4_096;

/// A group that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seated {
    /// Which it was.
    pub was: GroupId,
    /// Which it is; the same, if a survivor goes on.
    pub is: GroupId,
    /// Its only replica.
    pub replica: ReplicaId,
}

/// A generation begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakeOver {
    /// Which, where and why.
    pub row: GenerationRow,
    /// Nodes that do not belong to it.
    pub gone: Vec<NodeId>,
    /// Groups, the meta group too.
    pub groups: Vec<Seated>,
    /// Reports of archivers that no marker of the new generation may name: node and number.
    pub reports: Vec<(NodeId, u64)>,
}

fn read_many<'a, T>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, Damage>,
) -> Result<Vec<T>, Damage> {
    let count = usize::from(reader.u16()?);
    if count > NAMED_MAX {
        return Err(malformed("a takeover that names too much"));
    }
    (0..count).map(|_| read(reader)).collect()
}

fn append_many<T>(out: &mut Vec<u8>, all: &[T], numbers: impl Fn(&T) -> Vec<u64>) {
    // What does not fit is not read again: the command is refused before it is sent.
    out.extend_from_slice(&u16::try_from(all.len()).unwrap_or(u16::MAX).to_be_bytes());
    all.iter().for_each(|one| numbers(one).into_iter().for_each(|number| append_u64(out, number)));
}

impl TakeOver {
    /// Appends it, its number first.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.push(NUMBER);
        MetaRow::Generation(self.row.clone()).append(out);
        append_many(out, &self.gone, |node| vec![node.0]);
        append_many(out, &self.groups, |one| vec![one.was.0, one.is.0, one.replica.0]);
        append_many(out, &self.reports, |(node, number)| vec![node.0, *number]);
    }

    /// Reads what [`TakeOver::append`] wrote behind its number.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn read(number: u8, reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let (NUMBER, MetaRow::Generation(row)) = (number, MetaRow::read(reader)?) else {
            return Err(malformed("a takeover that is none"));
        };
        let gone = read_many(reader, |reader| reader.u64().map(NodeId))?;
        let groups = read_many(reader, |reader| {
            let (was, is) = (GroupId(reader.u64()?), GroupId(reader.u64()?));
            Ok(Seated { was, is, replica: ReplicaId(reader.u64()?) })
        })?;
        let reports = read_many(reader, |reader| Ok((NodeId(reader.u64()?), reader.u64()?)))?;
        let is_rising = groups.windows(2).all(|pair| pair[0].was < pair[1].was);
        if !is_rising
            || gone.contains(&row.node)
            || groups.iter().any(|one| [0, u64::MAX].contains(&one.replica.0) || one.is.0 == 0)
        {
            return Err(malformed("a takeover of nobody, or twice of one group"));
        }
        Ok(Self { row, gone, groups, reports })
    }
}
