//! Pure: the payload of an entry of commands: a clear head that says what it does to stamps and who asks, and one sealed body a tenant.
//! Format: command, `docs/formats/command.md`.

use crate::limits;
use crate::types::GroupId;
use bytes::Bytes;
use engine::Stamp;
use engine::error::{Damage, Nature};
use engine::ids::TenantId;
use engine::wire::Reader;

/// Version of the commands this build writes.
pub const VERSION: u8 = 1;
/// Bytes before the parts.
const HEAD_BYTES: usize = 4 + 16 + 8 * 3 + 4;
/// Bytes of a part but its body.
const PART_BYTES: usize = 8 + 4 * 3;
/// Bytes of a row.
const ROW_BYTES: usize = 2 + 16 + 8 + 8;

/// A client's identity for requests that must not run twice; all zeros are nobody's.
pub type Session = [u8; 16];

/// Who asks for one command, in clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandRow {
    /// Which part its body is in.
    pub part: u16,
    /// Whose request it is; all zeros if it may run twice.
    pub session: Session,
    /// Which of the session's.
    pub number: u64,
    /// After this stamp it must not run: the stamp of the first try and the retry window.
    pub valid_until: Stamp,
}

/// What the commands of a tenant will do at most, in clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows set.
    pub puts: u32,
    /// Rows removed.
    pub deletes: u32,
    /// Ranges removed.
    pub range_deletes: u32,
}

/// The commands of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantPart {
    /// Whose.
    pub tenant: TenantId,
    /// What they do.
    pub counts: Counts,
    /// Their bodies, sealed together.
    pub sealed: Bytes,
}

/// The payload of an entry of commands. Without any it closes the time up to its closed stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Random: no two entries have the same.
    pub entry: [u8; 16],
    /// The stamp its leader proposes for the first command.
    pub stamp: Stamp,
    /// The leader gives out no stamp at or below this one any more.
    pub closed: Stamp,
    /// The meta group must have applied this index before the entry can be; 0 if it needs nothing of it.
    pub meta_index: u64,
    /// One a command, in order.
    pub rows: Vec<CommandRow>,
    /// By tenant, ascending.
    pub parts: Vec<TenantPart>,
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

impl Command {
    /// All that stands in clear.
    #[must_use]
    pub fn clear(&self) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(HEAD_BYTES + self.parts.len() * PART_BYTES + self.rows.len() * ROW_BYTES);
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&self.entry);
        for n in [self.stamp.0, self.closed.0, self.meta_index] {
            out.extend_from_slice(&n.to_be_bytes());
        }
        for n in [self.parts.len(), self.rows.len()] {
            let n = u16::try_from(n).expect("COMMANDS_MAX fits u16");
            out.extend_from_slice(&n.to_be_bytes());
        }
        for part in &self.parts {
            out.extend_from_slice(&part.tenant.0.to_be_bytes());
            for n in [part.counts.puts, part.counts.deletes, part.counts.range_deletes] {
                out.extend_from_slice(&n.to_be_bytes());
            }
        }
        for row in &self.rows {
            out.extend_from_slice(&row.part.to_be_bytes());
            out.extend_from_slice(&row.session);
            out.extend_from_slice(&row.number.to_be_bytes());
            out.extend_from_slice(&row.valid_until.0.to_be_bytes());
        }
        out
    }

    /// How many bytes [`Command::encode`] gives.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let sealed: usize = self.parts.iter().map(|part| 4 + part.sealed.len()).sum();
        HEAD_BYTES + self.parts.len() * PART_BYTES + self.rows.len() * ROW_BYTES + sealed
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = self.clear();
        for part in &self.parts {
            engine::wire::append_bytes32(&mut out, &part.sealed);
        }
        out.into()
    }

    /// Reads what [`Command::encode`] wrote. Bodies are not copied.
    ///
    /// # Errors
    /// `Malformed`: another version, not what the format allows, or it ends early.
    pub fn decode(bytes: &Bytes) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        let Head { mut command, parts, rows } = read_head(&mut reader)?;
        for _ in 0..parts {
            let tenant = TenantId(reader.u64()?);
            if command.parts.last().is_some_and(|last| last.tenant >= tenant) {
                return Err(malformed("tenants of a command out of order"));
            }
            let counts = Counts { puts: reader.u32()?, deletes: reader.u32()?, range_deletes: reader.u32()? };
            command.parts.push(TenantPart { tenant, counts, sealed: Bytes::new() });
        }
        for _ in 0..rows {
            let part = reader.u16()?;
            if part >= parts {
                return Err(malformed("a command of no tenant"));
            }
            let (session, number) = (reader.array()?, reader.u64()?);
            command.rows.push(CommandRow { part, session, number, valid_until: Stamp(reader.u64()?) });
        }
        let is_used = |n: u16| command.rows.iter().any(|row| row.part == n);
        if !(0..parts).all(is_used) {
            return Err(malformed("a tenant without commands"));
        }
        for part in &mut command.parts {
            let length = reader.bytes32(limits::ENTRY_BYTES_MAX)?.len();
            let end = bytes.len() - reader.left();
            part.sealed = bytes.slice(end - length..end);
        }
        reader.end()?;
        Ok(command)
    }

    /// The head alone: the proposed stamp, the closed one, and how many commands there are.
    ///
    /// # Errors
    /// As [`Command::decode`].
    pub fn stamps(bytes: &[u8]) -> Result<(Stamp, Stamp, usize), Damage> {
        let Head { command, rows, .. } = read_head(&mut Reader::new(bytes))?;
        Ok((command.stamp, command.closed, rows))
    }

    /// The name under which the body of `tenant` is sealed: it opens in this group, in this entry, under this head, and nowhere else.
    #[must_use]
    pub fn name(&self, group: GroupId, tenant: TenantId) -> Vec<u8> {
        let mut out = group.0.to_be_bytes().to_vec();
        out.extend_from_slice(&tenant.0.to_be_bytes());
        out.extend_from_slice(&self.clear());
        out
    }
}

/// What stands before the parts: a command that has none yet, and how many parts and rows follow.
struct Head {
    command: Command,
    parts: u16,
    rows: usize,
}

fn read_head(reader: &mut Reader<'_>) -> Result<Head, Damage> {
    if reader.take(4)? != [VERSION, 0, 0, 0] {
        return Err(malformed("a command of an unknown version"));
    }
    let (entry, stamp, closed) = (reader.array()?, Stamp(reader.u64()?), Stamp(reader.u64()?));
    let (meta_index, parts, rows) = (reader.u64()?, reader.u16()?, usize::from(reader.u16()?));
    let is_bounded = rows <= limits::COMMANDS_MAX && usize::from(parts) <= rows;
    if !is_bounded {
        return Err(malformed("more commands than an entry may have"));
    }
    let command = Command { entry, stamp, closed, meta_index, ..Command::default() };
    Ok(Head { command, parts, rows })
}

/// Bodies as they stand in a part, before it is sealed.
#[must_use]
pub fn join_bodies<'a>(bodies: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    bodies.for_each(|body| engine::wire::append_bytes32(&mut out, body));
    out
}

/// The bodies of an opened part: exactly `count`.
///
/// # Errors
/// `Malformed`: more, fewer, or they end early.
pub fn split_bodies(opened: &[u8], count: usize) -> Result<Vec<&[u8]>, Damage> {
    let mut reader = Reader::new(opened);
    let bodies = (0..count).map(|_| reader.bytes32(limits::ENTRY_BYTES_MAX)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(bodies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn some_command() -> impl Strategy<Value = Command> {
        let row = (any::<u16>(), any::<[u8; 16]>(), any::<u64>(), any::<u64>());
        let part = (any::<[u32; 3]>(), proptest::collection::vec(any::<u8>(), 0..40));
        let parts = proptest::collection::btree_map(any::<u64>(), part, 0..4);
        (any::<[u8; 16]>(), any::<[u64; 3]>(), proptest::collection::vec(row, 4..12), parts).prop_map(
            |(entry, [stamp, closed, meta_index], rows, parts)| {
                let parts: Vec<_> = parts
                    .into_iter()
                    .map(|(tenant, ([puts, deletes, range_deletes], sealed))| TenantPart {
                        tenant: TenantId(tenant),
                        counts: Counts { puts, deletes, range_deletes },
                        sealed: sealed.into(),
                    })
                    .collect();
                let count = parts.len();
                let rows = rows.into_iter().enumerate().take(if count == 0 { 0 } else { usize::MAX });
                let rows = rows.map(|(n, (part, session, number, until))| {
                    // Every part has a command.
                    let part = if n < count { n } else { usize::from(part) % count };
                    let part = u16::try_from(part).unwrap();
                    CommandRow { part, session, number, valid_until: Stamp(until) }
                });
                let (stamp, closed) = (Stamp(stamp), Stamp(closed));
                Command { entry, stamp, closed, meta_index, rows: rows.collect(), parts }
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(command in some_command(), cut in any::<prop::sample::Index>()) {
            let bytes = command.encode();
            prop_assert_eq!(&Command::decode(&bytes).unwrap(), &command);
            prop_assert_eq!(command.encoded_bytes(), bytes.len());
            prop_assert_eq!(Command::stamps(&bytes).unwrap(), (command.stamp, command.closed, command.rows.len()));
            let cut = cut.index(bytes.len());
            prop_assert!(Command::decode(&bytes.slice(..cut)).is_err());
            let longer: Bytes = [&bytes[..], &[0]].concat().into();
            prop_assert!(Command::decode(&longer).is_err());
        }

        #[test]
        fn bodies_come_apart_as_they_were(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6)) {
            let joined = join_bodies(bodies.iter().map(Vec::as_slice));
            prop_assert_eq!(split_bodies(&joined, bodies.len()).unwrap(), bodies.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert!(split_bodies(&joined, bodies.len() + 1).is_err());
            prop_assert!(bodies.is_empty() || split_bodies(&joined, bodies.len() - 1).is_err());
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        let part = |tenant| TenantPart { tenant: TenantId(tenant), ..TenantPart::default() };
        let row = |part| CommandRow { part, ..CommandRow::default() };
        let good =
            Command { rows: vec![row(0), row(1)], parts: vec![part(1), part(2)], ..Command::default() };
        assert!(Command::decode(&good.encode()).is_ok());
        let swapped = Command { parts: vec![part(2), part(1)], ..good.clone() };
        let unused = Command { rows: vec![row(0), row(0)], ..good.clone() };
        let nobody = Command { rows: vec![row(0), row(1), row(2)], ..good.clone() };
        let bare = Command { rows: Vec::new(), ..good.clone() };
        for bad in [swapped, unused, nobody, bare] {
            assert!(Command::decode(&bad.encode()).is_err(), "{bad:?}");
        }
        let mut version = good.encode().to_vec();
        version[0] = 2;
        assert!(Command::decode(&version.into()).is_err());
        let many = Command {
            rows: vec![row(0); limits::COMMANDS_MAX + 1],
            parts: vec![part(1)],
            ..Command::default()
        };
        assert!(Command::decode(&many.encode()).is_err());
    }
}
