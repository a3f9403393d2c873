//! Pure: from the membership there is and the seats that are wanted to one safe change. The leader makes it, and asks again when it is
//! committed; each change is made only if the membership is still the one that was looked at.
//!
//! In this order: leave a joint membership; add who is missing, as a learner; give a seat its role; make voters of all that have
//! caught up, at once; then take those away that are not wanted, one at a time, the leader last and after it has handed over.
//! A Delayed seat is never made a voter. No change leaves voters of which no majority lives.

use crate::limits;
use crate::types::{Membership, ReplicaId, Role, Seat};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether it is heard: [`crate::group::handover::is_heard`].
    pub is_live: bool,
    /// Whether it has caught up ([`super::catch_up::CatchUp`]).
    pub is_caught_up: bool,
    /// Of a Delayed seat: whether its clamp is off and it has applied all that is proven.
    pub is_lifted: bool,
}

/// What is known of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture<'a> {
    /// Who belongs to it now.
    pub now: &'a Membership,
    /// Who should.
    pub wanted: &'a BTreeMap<ReplicaId, Seat>,
    /// Of each replica; what is missing is not known to live.
    pub known: &'a BTreeMap<ReplicaId, Known>,
    /// Who decides.
    pub leader: ReplicaId,
    /// Since how many ms the membership has been as it is.
    pub unchanged_ms: u64,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Leave the joint membership, for these voters.
    Finish(BTreeSet<ReplicaId>),
    /// Add a learner.
    Add(ReplicaId, Seat),
    /// Give one that is no voter this seat.
    SetSeat(ReplicaId, Seat),
    /// These are the voters: more than before, or one less. Who was one stays as a learner.
    SetVoters(BTreeSet<ReplicaId>),
    /// Hand leadership to another, and ask there.
    HandOver(ReplicaId),
    /// Take away one that is no voter.
    Remove(ReplicaId),
}

/// Why nothing is changed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// All is as wanted.
    Done,
    /// No voter is wanted: that cannot be meant.
    NoVoters,
    /// This replica has not caught up, or does not live.
    CatchingUp(ReplicaId),
    /// This Delayed seat still holds entries back.
    Clamped(ReplicaId),
    /// This replica would have to become delayed or move to another node: it takes one with a new id.
    NeedsNew(ReplicaId),
    /// Without a majority that lives, no change is safe.
    NoMajority,
    /// The leader is not wanted and none may follow it now.
    NoHeir,
}

/// The next change.
///
/// # Errors
/// `Rest`: none now, and why.
pub fn step(picture: &Picture<'_>) -> Result<Change, Rest> {
    let Picture { now, wanted, leader, .. } = picture;
    let is_wanted_voter = |id: &ReplicaId| wanted.get(id).is_some_and(|seat| seat.role == Role::Voter);
    let voters = now.voters.last().cloned().unwrap_or_default();
    if !picture.majority_lives(&voters) {
        return Err(Rest::NoMajority);
    }
    if now.is_joint() {
        return Ok(Change::Finish(voters));
    }
    if !wanted.keys().any(is_wanted_voter) {
        return Err(Rest::NoVoters);
    }
    if let Some((id, seat)) = wanted.iter().find(|(id, _)| !now.seats.contains_key(id)) {
        return Ok(Change::Add(*id, *seat));
    }
    let seats = picture.seat(&voters);
    if let Ok(Some(change)) = seats {
        return Ok(change);
    }
    // Replicas that wait for something. Others go on, but none is taken away before all that should count do.
    let mut waits = seats.err();
    let coming = || wanted.keys().copied().filter(|id| is_wanted_voter(id) && !voters.contains(id));
    // All at once, in one joint change: from one voter to three a group is never one of two, which the loss of any stops.
    let ready: BTreeSet<ReplicaId> = coming().filter(|id| picture.is_ready(*id)).collect();
    if !ready.is_empty() {
        let more: BTreeSet<ReplicaId> = voters.union(&ready).copied().collect();
        return if picture.majority_lives(&more) {
            Ok(Change::SetVoters(more))
        } else {
            Err(Rest::NoMajority)
        };
    }
    waits = waits.or(coming().next().map(Rest::CatchingUp));
    let is_settled = wanted.keys().filter(|id| is_wanted_voter(id)).all(|id| voters.contains(id));
    let unwanted: Vec<ReplicaId> = voters.iter().copied().filter(|id| !is_wanted_voter(id)).collect();
    if is_settled && let Some(id) = unwanted.iter().find(|id| *id != leader).or(unwanted.first()) {
        return picture.demote(*id, &voters);
    }
    if let Some(id) = now.seats.keys().find(|id| !voters.contains(id) && !wanted.contains_key(id)) {
        return Ok(Change::Remove(*id));
    }
    let is_delayed = |(_, seat): &(&ReplicaId, &Seat)| seat.role == Role::Delayed;
    if picture.unchanged_ms >= limits::SEAT_AGAIN_MS
        && let Some((id, seat)) = now.seats.iter().find(is_delayed)
    {
        return Ok(Change::SetSeat(*id, *seat));
    }
    Err(waits.unwrap_or(Rest::Done))
}

impl Picture<'_> {
    fn known(&self, id: ReplicaId) -> Known {
        let known = self.known.get(&id).copied().unwrap_or_default();
        Known { is_live: known.is_live || id == self.leader, ..known }
    }

    fn majority_lives(&self, voters: &BTreeSet<ReplicaId>) -> bool {
        voters.iter().filter(|id| self.known(**id).is_live).count() > voters.len() / 2
    }

    /// The first seat that is not as wanted and can be.
    fn seat(&self, voters: &BTreeSet<ReplicaId>) -> Result<Option<Change>, Rest> {
        let mut waits = None;
        for (id, wanted) in self.wanted.iter().filter(|(id, _)| !voters.contains(id)) {
            let Some(seat) = self.now.seats.get(id).filter(|seat| *seat != wanted) else { continue };
            let rest = match (seat.role, wanted.role) {
                _ if seat.node != wanted.node => Rest::NeedsNew(*id),
                (_, Role::Delayed) => Rest::NeedsNew(*id),
                (Role::Delayed, _) if !self.known(*id).is_lifted => Rest::Clamped(*id),
                (Role::Delayed, _) => {
                    return Ok(Some(Change::SetSeat(*id, Seat { role: Role::Learner, ..*wanted })));
                }
                _ => return Ok(Some(Change::SetSeat(*id, *wanted))),
            };
            waits = waits.or(Some(rest));
        }
        waits.map_or(Ok(None), Err)
    }

    /// Whether one that is to vote may.
    fn is_ready(&self, id: ReplicaId) -> bool {
        let known = self.known(id);
        let has_seat = self.now.seats.get(&id).is_some_and(|seat| seat.role == Role::Voter);
        has_seat && known.is_live && known.is_caught_up
    }

    fn demote(&self, id: ReplicaId, voters: &BTreeSet<ReplicaId>) -> Result<Change, Rest> {
        let mut rest = voters.clone();
        rest.remove(&id);
        if id == self.leader {
            let may_follow = |id: &&ReplicaId| self.known(**id).is_live && self.known(**id).is_caught_up;
            return rest.iter().find(may_follow).map(|id| Change::HandOver(*id)).ok_or(Rest::NoHeir);
        }
        if self.majority_lives(&rest) { Ok(Change::SetVoters(rest)) } else { Err(Rest::NoMajority) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::NodeId;
    use proptest::prelude::*;

    const GOOD: Known = Known { is_live: true, is_caught_up: true, is_lifted: false };

    fn seat(id: u64, role: Role) -> Seat {
        Seat { node: NodeId(id), role }
    }

    fn seats(of: &[(u64, Role)]) -> BTreeMap<ReplicaId, Seat> {
        of.iter().map(|(id, role)| (ReplicaId(*id), seat(*id, *role))).collect()
    }

    fn ids(of: &[u64]) -> BTreeSet<ReplicaId> {
        of.iter().copied().map(ReplicaId).collect()
    }

    fn membership(of: &[(u64, Role)]) -> Membership {
        let voters =
            of.iter().filter(|(_, role)| *role == Role::Voter).map(|(id, _)| ReplicaId(*id)).collect();
        Membership { voters: vec![voters], seats: seats(of) }
    }

    fn all_good() -> BTreeMap<ReplicaId, Known> {
        (1..10).map(|id| (ReplicaId(id), GOOD)).collect()
    }

    fn next(
        now: &Membership,
        wanted: &[(u64, Role)],
        known: &BTreeMap<ReplicaId, Known>,
    ) -> Result<Change, Rest> {
        let wanted = seats(wanted);
        step(&Picture { now, wanted: &wanted, known, leader: ReplicaId(1), unchanged_ms: 0 })
    }

    use Role::{Delayed as D, Learner as L, Voter as V};

    #[test]
    fn one_thing_at_a_time_in_order() {
        let now = membership(&[(1, V), (2, V), (3, V)]);
        let known = all_good();
        let asked = |wanted: &[(u64, Role)]| next(&now, wanted, &known);
        assert_eq!(asked(&[(1, V), (2, V), (3, V)]), Err(Rest::Done));
        assert_eq!(asked(&[(1, V), (2, V), (4, V)]), Ok(Change::Add(ReplicaId(4), seat(4, V))));
        assert_eq!(asked(&[(1, L)]), Err(Rest::NoVoters));
        assert_eq!(asked(&[(1, V), (2, V)]), Ok(Change::SetVoters(ids(&[1, 2]))));
        assert_eq!(asked(&[(1, V), (2, V), (3, L)]), Ok(Change::SetVoters(ids(&[1, 2]))));
        assert_eq!(asked(&[(2, V), (3, V)]), Ok(Change::HandOver(ReplicaId(2))));
        assert_eq!(asked(&[(3, V)]), Ok(Change::SetVoters(ids(&[1, 3]))), "the leader goes last");
        let joint = Membership { voters: vec![ids(&[1, 2]), ids(&[1, 3])], ..now.clone() };
        assert_eq!(next(&joint, &[(9, V)], &known), Ok(Change::Finish(ids(&[1, 3]))));
        let mut joining = now.clone();
        joining.seats.insert(ReplicaId(4), seat(4, V));
        let wanted = [(1, V), (2, V), (4, V)];
        assert_eq!(next(&joining, &wanted, &known), Ok(Change::SetVoters(ids(&[1, 2, 3, 4]))));
        for waiting in [Known { is_live: false, ..GOOD }, Known { is_caught_up: false, ..GOOD }] {
            let mut known = known.clone();
            known.insert(ReplicaId(4), waiting);
            assert_eq!(next(&joining, &wanted, &known), Err(Rest::CatchingUp(ReplicaId(4))), "3 stays");
        }
        let mut young = membership(&[(1, V), (2, V), (3, V), (4, V)]);
        young.voters = vec![ids(&[1])];
        let all = [(1, V), (2, V), (3, V), (4, V)];
        assert_eq!(next(&young, &all, &known), Ok(Change::SetVoters(ids(&[1, 2, 3, 4]))), "all at once");
        let mut one_waits = known.clone();
        one_waits.insert(ReplicaId(3), Known { is_caught_up: false, ..GOOD });
        assert_eq!(next(&young, &all, &one_waits), Ok(Change::SetVoters(ids(&[1, 2, 4]))));
        let mut left = now.clone();
        left.voters = vec![ids(&[1, 2])];
        assert_eq!(next(&left, &[(1, V), (2, V)], &known), Ok(Change::Remove(ReplicaId(3))));
        assert_eq!(
            next(&left, &[(1, V), (2, V), (3, L)], &known),
            Ok(Change::SetSeat(ReplicaId(3), seat(3, L)))
        );
    }

    #[test]
    fn a_delayed_seat_becomes_a_learner_first_and_only_when_lifted() {
        let now = membership(&[(1, V), (2, D)]);
        let mut known = all_good();
        let wanted = [(1, V), (2, V)];
        assert_eq!(next(&now, &wanted, &known), Err(Rest::Clamped(ReplicaId(2))));
        known.get_mut(&ReplicaId(2)).unwrap().is_lifted = true;
        let learner = Change::SetSeat(ReplicaId(2), seat(2, L));
        assert_eq!(next(&now, &wanted, &known), Ok(learner));
        let undelayed = membership(&[(1, V), (2, L)]);
        assert_eq!(next(&undelayed, &wanted, &known), Ok(Change::SetSeat(ReplicaId(2), seat(2, V))));
        assert_eq!(next(&undelayed, &[(1, V), (2, D)], &known), Err(Rest::NeedsNew(ReplicaId(2))));
        let wanted = seats(&[(1, V), (2, D)]);
        let (leader, unchanged_ms) = (ReplicaId(1), limits::SEAT_AGAIN_MS);
        let old = Picture { now: &now, wanted: &wanted, known: &known, leader, unchanged_ms };
        assert_eq!(step(&old), Ok(Change::SetSeat(ReplicaId(2), seat(2, D))));
        assert_eq!(step(&Picture { unchanged_ms: limits::SEAT_AGAIN_MS - 1, ..old }), Err(Rest::Done));
    }

    #[test]
    fn nothing_is_risked() {
        let now = membership(&[(1, V), (2, V), (3, V)]);
        let lives = |of: &[u64]| {
            (1..10).map(|id| (ReplicaId(id), Known { is_live: of.contains(&id), ..GOOD })).collect()
        };
        assert_eq!(next(&now, &[(1, V)], &lives(&[])), Err(Rest::NoMajority));
        // Of 1 and 2 alone both would have to live.
        assert_eq!(next(&now, &[(1, V), (2, V)], &lives(&[1, 3])), Err(Rest::NoMajority));
        assert_eq!(next(&now, &[(1, V), (2, V)], &lives(&[1, 2])), Ok(Change::SetVoters(ids(&[1, 2]))));
        let alone = membership(&[(1, V), (2, L)]);
        assert_eq!(next(&alone, &[(2, V)], &lives(&[])), Ok(Change::SetSeat(ReplicaId(2), seat(2, V))));
        let pair = membership(&[(1, V), (2, V)]);
        assert_eq!(next(&pair, &[(2, V)], &lives(&[1])), Err(Rest::NoMajority), "2 is dead");
        let moved: BTreeMap<_, _> = [(ReplicaId(1), seat(1, V)), (ReplicaId(2), seat(9, L))].into();
        let known = all_good();
        let picture =
            Picture { now: &alone, wanted: &moved, known: &known, leader: ReplicaId(1), unchanged_ms: 0 };
        assert_eq!(step(&picture), Err(Rest::NeedsNew(ReplicaId(2))));
    }

    fn role() -> impl Strategy<Value = Role> {
        prop_oneof![Just(V), Just(L), Just(D)]
    }

    proptest! {
        /// Whatever is wanted, whoever lives: each change keeps a majority that lives, no seat of the delayed votes, no voter is
        /// taken away without a vote of the rest, and with all well it ends where it was wanted to.
        #[test]
        fn every_change_is_safe_and_all_together_arrive(
            begin in proptest::collection::btree_map(1u64..7, role(), 1..5),
            wanted in proptest::collection::btree_map(1u64..9, role(), 1..6),
            dead in proptest::collection::btree_set(1u64..9, 0..3),
        ) {
            let mut begin: Vec<(u64, Role)> = begin.into_iter().collect();
            begin[0].1 = V;
            let mut now = membership(&begin);
            let wanted_seats = seats(&wanted.into_iter().collect::<Vec<_>>());
            let known: BTreeMap<_, _> = (1..9).map(|id| {
                (ReplicaId(id), Known { is_live: !dead.contains(&id), is_caught_up: true, is_lifted: true })
            }).collect();
            let mut leader = *now.voters[0].first().unwrap();
            let mut rest = None;
            for _ in 0..60 {
                let picture = Picture { now: &now, wanted: &wanted_seats, known: &known, leader, unchanged_ms: 0 };
                let change = match step(&picture) { Ok(change) => change, Err(why) => { rest = Some(why); break } };
                match change {
                    Change::Finish(voters) => now.voters = vec![voters],
                    Change::Add(id, seat) => prop_assert!(now.seats.insert(id, seat).is_none()),
                    Change::SetSeat(id, seat) => {
                        prop_assert!(!now.is_voter(id));
                        prop_assert!(now.seats[&id].role != D || seat.role != V, "delayed to voter at once");
                        now.seats.insert(id, seat);
                    }
                    Change::SetVoters(voters) => {
                        let gone = now.voters[0].difference(&voters).count();
                        let come = voters.difference(&now.voters[0]).count();
                        prop_assert!((gone == 0 && come > 0) || (gone == 1 && come == 0), "{} {}", gone, come);
                        prop_assert!(voters.contains(&leader), "the leader takes itself away");
                        let lives = voters.iter().filter(|id| known[id].is_live || **id == leader).count();
                        prop_assert!(lives * 2 > voters.len());
                        for id in voters.difference(&now.voters[0]) {
                            prop_assert!(now.seats[id].role == V && known[id].is_live);
                        }
                        now.voters = vec![voters];
                    }
                    Change::HandOver(to) => {
                        prop_assert!(now.is_voter(to) && to != leader && known[&to].is_live);
                        leader = to;
                    }
                    Change::Remove(id) => {
                        prop_assert!(!now.is_voter(id) && !wanted_seats.contains_key(&id));
                        now.seats.remove(&id);
                    }
                }
            }
            let rest = rest.expect("it comes to rest");
            if rest == Rest::Done {
                let voters: BTreeSet<_> = wanted_seats.iter().filter(|(_, seat)| seat.role == V).map(|(id, _)| *id).collect();
                prop_assert_eq!(&now.voters[0], &voters);
                prop_assert_eq!(&now.seats, &wanted_seats);
            }
            let has_voter = wanted_seats.values().any(|seat| seat.role == V);
            let is_new = wanted_seats.iter().all(|(id, seat)| seat.role != D || now.seats.get(id).is_none_or(|now| now.role == D));
            if dead.is_empty() && has_voter && is_new {
                prop_assert_eq!(rest, Rest::Done, "{:?}", now);
            }
        }
    }
}
