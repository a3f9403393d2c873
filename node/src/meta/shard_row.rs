//! Pure: the row of a group: which tenants it holds, and who is to have a replica. `ShardRow::follows` holds what must never happen out:
//! a replica id given twice, or a replica forgotten that still lives.
//! Format: meta_rows, `docs/formats/meta_rows.md`.

use super::fields::{append_option, append_u64, malformed, read_option, read_version};
use crate::shard::map::ShardRange;
use engine::error::Damage;
use engine::ids::{NodeId, TenantId};
use engine::wire::Reader;
use raft::limits::MEMBERS_MAX;
use raft::types::{GroupId, ReplicaId, Role, Seat};
use std::collections::BTreeMap;

/// Version of the row this build writes.
pub const VERSION: u8 = 1;

/// A group, and what the cluster wants of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardRow {
    /// The group.
    pub group: GroupId,
    /// The first tenant it holds.
    pub start: TenantId,
    /// The first tenant behind them; `None`: it holds all others.
    pub end: Option<TenantId>,
    /// Rises by one with every change of this row.
    pub version: u64,
    /// Who is to belong to it.
    pub seats: BTreeMap<ReplicaId, Seat>,
    /// Who is not to belong to it any more, and may still: where it lives.
    pub leaving: BTreeMap<ReplicaId, NodeId>,
    /// Who has left it for good, as its leader has said, and may still lie on a disk: where.
    pub gone: BTreeMap<ReplicaId, NodeId>,
    /// The id that the next new replica is given. None is given twice.
    pub next_replica: ReplicaId,
}

impl ShardRow {
    /// The row of a new group, which one node founds.
    #[must_use]
    pub fn founded(range: ShardRange, node: NodeId) -> Self {
        let ShardRange { group, start, end } = range;
        let seats = [(ReplicaId(1), Seat { node, role: Role::Voter })].into();
        Self { group, start, end, version: 1, seats, next_replica: ReplicaId(2), ..Self::default() }
    }

    /// The row that wants `replica`, which is damaged, no more, so that another one comes in its place; `None` if that is not safe: it is not
    /// wanted anyhow, is the only one, or another one is on its way out.
    #[must_use]
    pub fn without(&self, replica: ReplicaId) -> Option<Self> {
        if self.seats.len() < 2 || !self.leaving.is_empty() || !self.gone.is_empty() {
            return None;
        }
        let mut next = Self { version: self.version + 1, ..self.clone() };
        let seat = next.seats.remove(&replica)?;
        next.leaving.insert(replica, seat.node);
        Some(next)
    }

    /// The row after its leader has said that `replica` has left the group for good; `None` if it was not leaving.
    #[must_use]
    pub fn has_left(&self, replica: ReplicaId) -> Option<Self> {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        let node = next.leaving.remove(&replica)?;
        next.gone.insert(replica, node);
        Some(next)
    }

    /// The row after the node of `replica`, which was gone, has said that nothing of it is left; `None` if it was not gone.
    #[must_use]
    pub fn has_ended(&self, replica: ReplicaId) -> Option<Self> {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        next.gone.remove(&replica).map(|_| next)
    }

    /// The key of its row.
    #[must_use]
    pub fn key(group: GroupId) -> Vec<u8> {
        group.0.to_be_bytes().to_vec()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        append_u64(&mut out, self.start.0);
        append_option(&mut out, self.end.map(|end| end.0));
        append_u64(&mut out, self.version);
        append_u64(&mut out, self.next_replica.0);
        out.extend_from_slice(&count(self.seats.len()));
        for (id, seat) in &self.seats {
            let role = match seat.role {
                Role::Voter => 1,
                Role::Learner => 2,
                Role::Delayed => 3,
            };
            append_u64(&mut out, id.0);
            append_u64(&mut out, seat.node.0);
            out.push(role);
        }
        for map in [&self.leaving, &self.gone] {
            out.extend_from_slice(&count(map.len()));
            for (id, node) in map {
                append_u64(&mut out, id.0);
                append_u64(&mut out, node.0);
            }
        }
        out
    }

    /// Reads what [`ShardRow::key`] and [`ShardRow::value`] wrote.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damage> {
        let (mut key, mut reader) = (Reader::new(key), Reader::new(value));
        let group = GroupId(key.u64()?);
        key.end()?;
        read_version(&mut reader, VERSION)?;
        let (start, end) = (TenantId(reader.u64()?), read_option(&mut reader)?.map(TenantId));
        let (version, next_replica) = (reader.u64()?, ReplicaId(reader.u64()?));
        let seats = read_map(&mut reader, |reader| {
            let node = NodeId(reader.u64()?);
            let role = match reader.u8()? {
                1 => Role::Voter,
                2 => Role::Learner,
                3 => Role::Delayed,
                _ => return Err(malformed("an unknown role")),
            };
            Ok(Seat { node, role })
        })?;
        let leaving = read_map(&mut reader, |reader| Ok(NodeId(reader.u64()?)))?;
        let gone = read_map(&mut reader, |reader| Ok(NodeId(reader.u64()?)))?;
        reader.end()?;
        let row = Self { group, start, end, version, seats, leaving, gone, next_replica };
        row.check().map_err(malformed)?;
        Ok(row)
    }

    /// Every replica it speaks of, with its node. Wanted ones first.
    pub fn replicas(&self) -> impl Iterator<Item = (ReplicaId, NodeId)> {
        let seats = self.seats.iter().map(|(id, seat)| (*id, seat.node));
        seats.chain(self.leaving.iter().chain(&self.gone).map(|(id, node)| (*id, *node)))
    }

    /// Nodes with a replica that is wanted there, or has not left the group yet.
    pub fn staying(&self) -> impl Iterator<Item = NodeId> {
        self.seats.values().map(|seat| seat.node).chain(self.leaving.values().copied())
    }

    /// Nodes with a replica that is wanted there and answers clients: no delayed one does.
    pub fn answering(&self) -> impl Iterator<Item = NodeId> {
        self.seats.values().filter(|seat| seat.role != Role::Delayed).map(|seat| seat.node)
    }

    /// Whether it can be at all.
    fn check(&self) -> Result<(), &'static str> {
        let mut ids: Vec<ReplicaId> = self.replicas().map(|(id, _)| id).collect();
        ids.sort_unstable();
        let sizes = [self.seats.len(), self.leaving.len(), self.gone.len()];
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            Err("a replica that stands twice in a shard")
        } else if ids.first().is_some_and(|id| id.0 == 0)
            || ids.last().is_some_and(|id| *id >= self.next_replica)
        {
            Err("a replica whose id was not given")
        } else if self.end.is_some_and(|end| end <= self.start) {
            Err("a shard that ends before it begins")
        } else if self.group.0 == 0 || self.version == 0 || sizes.iter().any(|size| *size > MEMBERS_MAX) {
            Err("a shard without group or version, or of too many replicas")
        } else {
            Ok(())
        }
    }

    /// Whether this may follow `old` (`None`: nothing): its version is the next, it holds the same tenants, every replica it speaks of is
    /// an old one on its old node or has an id that was never given, and none that may live is forgotten.
    #[must_use]
    pub fn follows(&self, old: Option<&Self>) -> bool {
        let Some(old) = old else {
            return self.version == 1 && self.check().is_ok();
        };
        let known: BTreeMap<ReplicaId, NodeId> = old.replicas().collect();
        let is_same = |id: &ReplicaId, node: &NodeId| known.get(id) == Some(node);
        let is_new = |id: &ReplicaId| *id >= old.next_replica;
        let seats = self
            .seats
            .iter()
            .all(|(id, seat)| is_new(id) || is_same(id, &seat.node) && !old.gone.contains_key(id));
        let leaving = self.leaving.iter().all(|(id, node)| is_same(id, node) && !old.gone.contains_key(id));
        let gone = self.gone.iter().all(|(id, node)| is_same(id, node));
        let lives = |id: &ReplicaId| {
            self.seats.contains_key(id) || self.leaving.contains_key(id) || self.gone.contains_key(id)
        };
        let none_forgotten = old.seats.keys().chain(old.leaving.keys()).all(lives);
        let is_range = (self.group, self.start, self.end) == (old.group, old.start, old.end);
        let rises = self.version == old.version + 1 && self.next_replica >= old.next_replica;
        is_range && rises && seats && leaving && gone && none_forgotten && self.check().is_ok()
    }
}

fn count(n: usize) -> [u8; 2] {
    u16::try_from(n).expect("MEMBERS_MAX fits u16").to_be_bytes()
}

fn read_map<T>(
    reader: &mut Reader<'_>,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Damage>,
) -> Result<BTreeMap<ReplicaId, T>, Damage> {
    let (count, mut map) = (usize::from(reader.u16()?), BTreeMap::new());
    if count > MEMBERS_MAX {
        return Err(malformed("more replicas than a group may have"));
    }
    for _ in 0..count {
        let id = ReplicaId(reader.u64()?);
        if map.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(malformed("replicas out of order"));
        }
        map.insert(id, read(reader)?);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(node: u64) -> Seat {
        Seat { node: NodeId(node), role: Role::Voter }
    }

    fn row() -> ShardRow {
        ShardRow {
            group: GroupId(2),
            start: TenantId(1),
            version: 1,
            seats: [(ReplicaId(1), seat(1)), (ReplicaId(2), seat(2))].into(),
            next_replica: ReplicaId(3),
            ..ShardRow::default()
        }
    }

    #[test]
    fn a_group_is_founded_by_one() {
        let row = ShardRow::founded(ShardRange::META, NodeId(7));
        assert!(row.follows(None));
        assert_eq!(ShardRow::decode(&ShardRow::key(row.group), &row.value()).unwrap(), row);
    }

    #[test]
    fn no_id_is_given_twice_and_nobody_is_forgotten() {
        let old = row();
        assert!(old.follows(None));
        let mut next = ShardRow { version: 2, ..old.clone() };
        assert!(next.follows(Some(&old)) && !old.follows(Some(&old)));
        next.seats.insert(ReplicaId(3), seat(3));
        assert!(!next.follows(Some(&old)), "not given yet");
        next.next_replica = ReplicaId(4);
        assert!(next.follows(Some(&old)));
        let mut forgets = next.clone();
        forgets.seats.remove(&ReplicaId(1));
        assert!(!forgets.follows(Some(&old)));
        forgets.leaving.insert(ReplicaId(1), NodeId(1));
        assert!(forgets.follows(Some(&old)));
        let mut moves = next.clone();
        moves.seats.insert(ReplicaId(1), seat(9));
        assert!(!moves.follows(Some(&old)), "a replica does not move");
        let ranged = ShardRow { end: Some(TenantId(7)), ..next.clone() };
        assert!(!ranged.follows(Some(&old)));
        assert_eq!((next.has_left(ReplicaId(1)), forgets.has_ended(ReplicaId(1))), (None, None));
        let without = old.without(ReplicaId(2)).unwrap();
        assert!(without.follows(Some(&old)) && without.leaving.contains_key(&ReplicaId(2)));
        assert_eq!(without.without(ReplicaId(1)), None, "one at a time, and never the last");
        assert_eq!(old.without(ReplicaId(9)), None);
        let gone = forgets.has_left(ReplicaId(1)).unwrap();
        assert!(gone.follows(Some(&forgets)));
        let mut returns = ShardRow { version: 4, ..gone.clone() };
        returns.seats.insert(ReplicaId(1), seat(1));
        returns.gone.clear();
        assert!(!returns.follows(Some(&gone)), "who is gone is gone");
        let ended = gone.has_ended(ReplicaId(1)).unwrap();
        assert!(ended.follows(Some(&gone)));
        let again = ShardRow { version: 5, seats: [(ReplicaId(1), seat(1))].into(), ..ended.clone() };
        assert!(!again.follows(Some(&ended)));
    }
}
