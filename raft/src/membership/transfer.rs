//! Pure: who may lead next? Nobody below would ask: leadership given to a learner leaves a group of one voter dead until it is started
//! again, given to a dead voter it is gone for a while.

use crate::types::{LogId, Membership, ReplicaId};
use std::fmt;

/// What is known of a replica that may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heir {
    /// Whether it is heard: [`crate::group::handover::is_heard`].
    pub is_live: bool,
    /// The last entry it has matched. Proposals pause while this is waited for.
    pub matched: Option<LogId>,
    /// Whether its clock agrees with its peers.
    pub is_clock_agreed: bool,
    /// Whether its start guard is open.
    pub is_guard_open: bool,
}

/// Why a replica may not lead next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHeir {
    /// The membership is changing.
    Joint,
    /// It leads already.
    Leads,
    /// It is no voter.
    NoVoter,
    /// It was not heard of late.
    Silent,
    /// Its clock does not agree.
    Clock,
    /// Its start guard is not open yet.
    Guarded,
    /// It has not matched the last entry.
    Behind {
        /// What it has matched.
        matched: Option<LogId>,
        /// The last entry.
        last: Option<LogId>,
    },
}

/// Whether `leader` may hand over to `to`, with `last` being the last entry of its log.
///
/// # Errors
/// `NotHeir`, with the reason.
pub fn may_lead(
    membership: &Membership,
    leader: ReplicaId,
    to: ReplicaId,
    heir: &Heir,
    last: Option<LogId>,
) -> Result<(), NotHeir> {
    if membership.is_joint() {
        return Err(NotHeir::Joint);
    }
    if to == leader {
        return Err(NotHeir::Leads);
    }
    if !membership.is_voter(to) {
        return Err(NotHeir::NoVoter);
    }
    if !heir.is_live {
        return Err(NotHeir::Silent);
    }
    if !heir.is_clock_agreed {
        return Err(NotHeir::Clock);
    }
    if !heir.is_guard_open {
        return Err(NotHeir::Guarded);
    }
    if heir.matched != last {
        return Err(NotHeir::Behind { matched: heir.matched, last });
    }
    Ok(())
}

impl fmt::Display for NotHeir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joint => "the membership is changing",
            Self::Leads => "it leads already",
            Self::NoVoter => "it is no voter",
            Self::Silent => "it was not heard of late",
            Self::Clock => "its clock does not agree with its peers",
            Self::Guarded => "it has just started and gives no vote yet",
            Self::Behind { .. } => "it has not matched the last entry",
        })
    }
}

impl std::error::Error for NotHeir {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_refuses_alone() {
        let id = |index| Some(LogId { term: 1, replica: ReplicaId(1), index });
        let heir = Heir { is_live: true, matched: id(9), is_clock_agreed: true, is_guard_open: true };
        let uniform = Membership { voters: vec![[1, 2].map(ReplicaId).into()], seats: [].into() };
        let joint = Membership { voters: vec![[1, 2].map(ReplicaId).into(); 2], seats: [].into() };
        let asked = |to, heir: Heir| may_lead(&uniform, ReplicaId(1), ReplicaId(to), &heir, id(9));
        assert_eq!(asked(2, heir), Ok(()));
        assert_eq!(may_lead(&joint, ReplicaId(1), ReplicaId(2), &heir, id(9)), Err(NotHeir::Joint));
        assert_eq!(asked(1, heir), Err(NotHeir::Leads));
        assert_eq!(asked(3, heir), Err(NotHeir::NoVoter));
        assert_eq!(asked(2, Heir { is_live: false, ..heir }), Err(NotHeir::Silent));
        assert_eq!(asked(2, Heir { is_clock_agreed: false, ..heir }), Err(NotHeir::Clock));
        assert_eq!(asked(2, Heir { is_guard_open: false, ..heir }), Err(NotHeir::Guarded));
        for matched in [None, id(8), id(10)] {
            let behind = NotHeir::Behind { matched, last: id(9) };
            assert_eq!(asked(2, Heir { matched, ..heir }), Err(behind));
        }
    }
}
