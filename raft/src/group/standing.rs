//! How a replica stands.

use crate::types::{LogId, Membership, ReplicaId, Vote};
use std::collections::BTreeMap;

/// What a replica knows of its group, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its vote.
    pub vote: Vote,
    /// Whether it leads, as far as it knows.
    pub is_leader: bool,
    /// Who leads, as far as it knows.
    pub leader: Option<ReplicaId>,
    /// Greatest index of its log.
    pub last_index: Option<u64>,
    /// What it knows to be committed.
    pub committed: Option<LogId>,
    /// What it has applied.
    pub applied: Option<LogId>,
    /// What its last snapshot holds.
    pub snapshot: Option<LogId>,
    /// What is purged.
    pub purged: Option<LogId>,
    /// Who belongs to the group, and the entry that said so.
    pub membership: (Option<LogId>, Membership),
    /// Of a leader: how far each replica's log agrees with its own.
    pub matched: BTreeMap<ReplicaId, Option<LogId>>,
    /// Of a leader: how long ago each replica was last heard, in milliseconds; `None` if never.
    pub heard_ms: BTreeMap<ReplicaId, Option<u64>>,
    /// Why it has stopped, if it has.
    pub stopped: Option<String>,
}
