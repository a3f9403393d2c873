//! Pure: why a message was not even looked at, as numbers that are for ever.
//! Format: peer_message, `docs/formats/peer_message.md`.

use super::body::malformed;
use engine::error::Damage;
use std::fmt;

/// Why a message was not even looked at. The numbers are for ever; the words say what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The frame's tag is of no generation of this cluster.
    OtherCluster = 1,
    /// The cluster has forked: one of the two nodes is of an earlier generation.
    OtherGeneration = 2,
    /// The group has no replica here.
    NoSuchGroup = 3,
    /// Another replica of the group lives here.
    OtherReplica = 4,
    /// The node or the group is starting.
    NotReady = 5,
    /// The replica waits for a decision of an operator.
    Parked = 6,
    /// More waits here than may.
    Overloaded = 7,
    /// The bytes were not what the format allows.
    Malformed = 8,
    /// The replica has failed, or is shut down.
    Stopped = 9,
    /// The entries are stamped ahead of the peer's clock.
    Ahead = 10,
    /// A later start of the same node has been heard, or another one as late: one of the two is a copy.
    Outlived = 11,
}

impl Refusal {
    /// Every one there is.
    pub const ALL: [Self; 11] = [
        Self::OtherCluster,
        Self::OtherGeneration,
        Self::NoSuchGroup,
        Self::OtherReplica,
        Self::NotReady,
        Self::Parked,
        Self::Overloaded,
        Self::Malformed,
        Self::Stopped,
        Self::Ahead,
        Self::Outlived,
    ];

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The one with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.number() == number)
    }

    pub(super) fn read(number: u8) -> Result<Self, Damage> {
        Self::from_number(number).ok_or_else(|| malformed("an unknown refusal"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherCluster => "the peer belongs to another cluster; correct its address",
            Self::OtherGeneration => {
                "the peer is of another generation of the cluster; wipe the node of the lower one and let it join anew"
            }
            Self::NoSuchGroup => "no replica of the group lives there; look up where its replicas are",
            Self::OtherReplica => "another replica of the group lives there; look up its id again",
            Self::NotReady => "the peer is starting; try again later",
            Self::Parked => "the replica is parked; an operator must decide how it goes on",
            Self::Overloaded => "too much waits at the peer; try again later, and send less",
            Self::Malformed => "the peer cannot read what was sent; compare the builds of both nodes",
            Self::Stopped => "the replica has stopped; look at its node",
            Self::Ahead => "the stamps are ahead of the peer's clock; set the clock right that is wrong",
            Self::Outlived => "another start of this node lives; stop the one whose disk is a copy",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_refusals_come_back_and_each_says_what_to_do() {
        for number in 0..=u8::MAX {
            let refusal = Refusal::from_number(number);
            assert_eq!(refusal.is_some(), (1..=11).contains(&number));
            assert!(refusal.is_none_or(|known| known.number() == number && known.to_string().contains("; ")));
        }
        assert_eq!(Refusal::read(12), Err(malformed("an unknown refusal")));
    }
}
