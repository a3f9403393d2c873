//! Pure: what the payload of a log entry is, by its kind; and a membership as bytes, for entries and for whatever else carries one.
//! Format: entry_payload, `docs/formats/entry_payload.md`.

use crate::limits;
use crate::types::{Membership, ReplicaId, Role, Seat};
use engine::error::{Damage, Nature};
use engine::ids::NodeId;
use engine::wire::Reader;
use std::collections::{BTreeMap, BTreeSet};

/// Kind of an entry without payload: a leader's first.
pub const BLANK: u8 = 0;
/// Kind of an entry whose payload is a command, opaque here.
pub const COMMAND: u8 = 1;
/// Kind of an entry whose payload is a membership.
pub const MEMBERSHIP: u8 = 2;
/// Version of the memberships this build writes.
pub const MEMBERSHIP_VERSION: u8 = 1;

/// Sets of voters a membership may have: the old and the new.
const SETS_MAX: usize = 2;

/// Why no group may have this membership; `None` if one may. Whoever proposes one asks first: only such a one becomes bytes.
#[must_use]
pub fn membership_fault(membership: &Membership) -> Option<&'static str> {
    let Membership { voters, seats } = membership;
    if voters.len() > SETS_MAX {
        return Some("more than two sets of voters");
    }
    if seats.len() > limits::MEMBERS_MAX {
        return Some("more seats than a group may have");
    }
    if voters.iter().any(BTreeSet::is_empty) {
        return Some("a set of voters without a voter");
    }
    if voters.iter().flatten().any(|voter| !seats.contains_key(voter)) {
        return Some("a voter without a seat");
    }
    None
}

/// A membership as the payload of an entry of kind [`MEMBERSHIP`].
///
/// # Panics
/// If [`membership_fault`] has something to say.
#[must_use]
pub fn encode_membership(membership: &Membership) -> Vec<u8> {
    let mut out = Vec::new();
    append_membership(&mut out, membership);
    out
}

/// The membership that `payload` is, all of it.
///
/// # Errors
/// `Malformed`: it is none, or something stands behind it.
pub fn decode_membership(payload: &[u8]) -> Result<Membership, Damage> {
    let mut reader = Reader::new(payload);
    let membership = read_membership(&mut reader)?;
    reader.end()?;
    Ok(membership)
}

/// Appends a membership, for a format that carries one.
///
/// # Panics
/// If [`membership_fault`] has something to say.
pub fn append_membership(out: &mut Vec<u8>, membership: &Membership) {
    assert_eq!(membership_fault(membership), None, "whoever proposes a membership asks first");
    out.extend_from_slice(&[
        MEMBERSHIP_VERSION,
        count(membership.voters.len()),
        count(membership.seats.len()),
    ]);
    for set in &membership.voters {
        out.push(count(set.len()));
        set.iter().for_each(|voter| out.extend_from_slice(&voter.0.to_be_bytes()));
    }
    for (replica, seat) in &membership.seats {
        out.extend_from_slice(&replica.0.to_be_bytes());
        out.extend_from_slice(&seat.node.0.to_be_bytes());
        out.push(number_of(seat.role));
    }
}

/// The membership at the front of what `reader` reads.
///
/// # Errors
/// `Malformed`: there is none.
pub fn read_membership(reader: &mut Reader<'_>) -> Result<Membership, Damage> {
    if reader.u8()? != MEMBERSHIP_VERSION {
        return Err(malformed("a membership of an unknown version"));
    }
    let (sets, seats) = (usize::from(reader.u8()?), usize::from(reader.u8()?));
    if sets > SETS_MAX || seats > limits::MEMBERS_MAX {
        return Err(malformed("a membership over its limits"));
    }
    let mut membership = Membership::default();
    for _ in 0..sets {
        membership.voters.push(read_voters(reader, seats)?);
    }
    membership.seats = read_seats(reader, seats)?;
    membership_fault(&membership).map_or(Ok(membership), |fault| Err(malformed(fault)))
}

fn read_voters(reader: &mut Reader<'_>, seats: usize) -> Result<BTreeSet<ReplicaId>, Damage> {
    let mut voters = BTreeSet::new();
    let count = usize::from(reader.u8()?);
    if count > seats {
        return Err(malformed("more voters than seats"));
    }
    for _ in 0..count {
        let voter = ReplicaId(reader.u64()?);
        if voters.last().is_some_and(|last| *last >= voter) {
            return Err(malformed("voters out of order"));
        }
        voters.insert(voter);
    }
    Ok(voters)
}

fn read_seats(reader: &mut Reader<'_>, count: usize) -> Result<BTreeMap<ReplicaId, Seat>, Damage> {
    let mut seats: BTreeMap<ReplicaId, Seat> = BTreeMap::new();
    for _ in 0..count {
        let (replica, node) = (ReplicaId(reader.u64()?), NodeId(reader.u64()?));
        let role = role_of(reader.u8()?).ok_or_else(|| malformed("an unknown role"))?;
        if seats.last_key_value().is_some_and(|(last, _)| *last >= replica) {
            return Err(malformed("seats out of order"));
        }
        seats.insert(replica, Seat { node, role });
    }
    Ok(seats)
}

fn number_of(role: Role) -> u8 {
    match role {
        Role::Voter => 1,
        Role::Learner => 2,
        Role::Delayed => 3,
    }
}

fn role_of(number: u8) -> Option<Role> {
    [Role::Voter, Role::Learner, Role::Delayed].into_iter().find(|role| number_of(*role) == number)
}

fn count(n: usize) -> u8 {
    u8::try_from(n).expect("SETS_MAX and MEMBERS_MAX fit u8")
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any membership a group may have.
    pub(crate) fn some_membership() -> impl Strategy<Value = Membership> {
        let role = prop_oneof![Just(Role::Voter), Just(Role::Learner), Just(Role::Delayed)];
        let seats = proptest::collection::btree_map(any::<u64>(), (any::<u64>(), role), 0..6);
        (seats, any::<[u8; 2]>()).prop_map(|(seats, choices)| {
            let seats: BTreeMap<ReplicaId, Seat> = seats
                .into_iter()
                .map(|(replica, (node, role))| (ReplicaId(replica), Seat { node: NodeId(node), role }))
                .collect();
            let chosen = |bits: u8| (0..8).zip(seats.keys()).filter(move |(n, _)| bits >> n & 1 == 1);
            let sets = choices.map(|bits| chosen(bits).map(|(_, replica)| *replica).collect());
            let voters = sets.into_iter().filter(|set: &BTreeSet<_>| !set.is_empty()).collect();
            Membership { voters, seats }
        })
    }

    fn membership() -> Membership {
        let seat = |replica, node, role| (ReplicaId(replica), Seat { node: NodeId(node), role });
        Membership {
            voters: vec![[1, 2].map(ReplicaId).into(), [ReplicaId(2)].into()],
            seats: [seat(1, 10, Role::Voter), seat(2, 20, Role::Voter), seat(3, 30, Role::Delayed)].into(),
        }
    }

    proptest! {
        #[test]
        fn a_membership_comes_back_and_no_other_bytes_say_it(membership in some_membership(), cut in any::<proptest::sample::Index>()) {
            let bytes = encode_membership(&membership);
            prop_assert_eq!(decode_membership(&bytes).unwrap(), membership);
            prop_assert!(decode_membership(&bytes[..cut.index(bytes.len())]).is_err());
            prop_assert!(decode_membership(&[&bytes[..], &[0]].concat()).is_err(), "trailing bytes");
        }
    }

    #[test]
    fn what_no_group_may_have_is_refused() {
        let bytes = encode_membership(&membership());
        // Version, sets, seats; the first set from 3, the second from 20; the seats from 29, each 17 bytes.
        let refused = [
            (0, 2, "a membership of an unknown version"),
            (1, 3, "a membership over its limits"),
            (2, 65, "a membership over its limits"),
            (2, 1, "more voters than seats"),
            (11, 3, "voters out of order"),
            (19, 1, "voters out of order"),
            (19, 9, "a voter without a seat"),
            (45, 4, "an unknown role"),
            (45, 0, "an unknown role"),
            (36, 2, "seats out of order"),
            (36, 7, "seats out of order"),
        ];
        for (at, byte, detail) in refused {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            assert_eq!(decode_membership(&bytes), Err(malformed(detail)), "byte {at} made {byte}");
        }
        let empty_set = [1, 1, 0, 0];
        assert_eq!(decode_membership(&empty_set), Err(malformed("a set of voters without a voter")));
    }

    #[test]
    fn as_many_seats_as_there_may_be_fit_and_one_more_does_not() {
        let with = |count: usize| {
            let seats = (1..=count as u64).map(|n| (ReplicaId(n), Seat::default())).collect();
            Membership { voters: vec![], seats }
        };
        let most = with(limits::MEMBERS_MAX);
        assert_eq!(decode_membership(&encode_membership(&most)), Ok(most));
        assert!(membership_fault(&with(limits::MEMBERS_MAX + 1)).is_some());
        let three = Membership { voters: vec![[ReplicaId(1)].into(); 3], ..with(1) };
        assert_eq!(membership_fault(&three), Some("more than two sets of voters"));
    }
}
