//! Pure: the identities that replication speaks of, beside those of the engine.

use engine::ids::NodeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One Raft group: the replicas of one shard, or the meta group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

impl GroupId {
    /// The group of all nodes.
    pub const META: Self = Self(0);
}

/// One copy of a group. Never used again in its group, whatever becomes of it; 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u64);

/// Names one entry of a group's log: the leader that made it, and its place. Of two, the one of the later leader is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader.
    pub term: u64,
    /// The leader.
    pub replica: ReplicaId,
    /// Place in the log, without gap; 0 is before the first entry of a group that was born empty.
    pub index: u64,
}

/// Whom a replica has promised its vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vote {
    /// In which term.
    pub term: u64,
    /// To whom.
    pub replica: ReplicaId,
    /// Whether a quorum has granted it: it is the leader.
    pub is_committed: bool,
}

/// What a replica is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Counts towards a quorum and may lead.
    #[default]
    Voter,
    /// Stores and applies, and does not count.
    Learner,
    /// Stores at once, applies late. Never counts, never votes, is never read.
    Delayed,
}

/// Where a replica lives, and what it is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The node.
    #[serde(serialize_with = "write_node", deserialize_with = "read_node")]
    pub node: NodeId,
    /// What for.
    pub role: Role,
}

fn write_node<S: Serializer>(node: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(node.0)
}

fn read_node<'a, D: Deserializer<'a>>(deserializer: D) -> Result<NodeId, D::Error> {
    u64::deserialize(deserializer).map(NodeId)
}

/// Who belongs to a group. Two sets of voters while it changes from one to the other: both must agree to everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// One or two sets of voters.
    pub voters: Vec<BTreeSet<ReplicaId>>,
    /// Every replica, voters included.
    pub seats: BTreeMap<ReplicaId, Seat>,
}

impl Membership {
    /// Whether it is in the middle of a change.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.voters.len() > 1
    }

    /// Whether the replica counts towards a quorum, of the old or the new set.
    #[must_use]
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.voters.iter().any(|set| set.contains(&replica))
    }
}

impl From<u64> for ReplicaId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g-{:x}", self.0)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r-{:x}", self.0)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.term, self.replica.0, self.index)
    }
}
