//! Pure: the identities that replication speaks of, beside those of the engine.

use std::fmt;

/// One Raft group: the replicas of one shard, or the meta group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// One copy of a group. Never used again in its group, whatever becomes of it; 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
