//! The proof that a replica may end. A replica that was removed is not told so by its group: whoever ends it asks the leader first, and the
//! leader asks its quorum, so that no membership of yesterday is taken for that of today.

use super::handle::{Group, Standing};
use super::outcome::NotNow;
use crate::types::{GroupId, ReplicaId};

/// A replica that no committed membership names any more, and none will: its id is never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    group: GroupId,
    replica: ReplicaId,
}

/// Why a replica may not end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRemoved {
    /// It has a seat, or a vote.
    #[error("it belongs to its group")]
    Member,
    /// The membership without it is not committed, and may never be.
    #[error("the membership without it is not committed")]
    NotCommitted,
    /// Who was asked cannot say so now.
    #[error(transparent)]
    NotNow(#[from] NotNow),
}

impl Removed {
    /// Asks `leader`, a replica of the group that leads it, whether `replica` has left. Waits at most `wait_ms`.
    ///
    /// # Errors
    /// See [`NotRemoved`].
    pub async fn ask(leader: &Group, replica: ReplicaId, wait_ms: u64) -> Result<Self, NotRemoved> {
        let read = leader.read_index(None, wait_ms).await?;
        leader.await_read(read, wait_ms).await?;
        has_left(&leader.standing(), replica)?;
        Ok(Self { group: leader.id(), replica })
    }

    /// As it is recorded where all nodes read it: a replica that led the group asked, and wrote it down. For the node on which the replica
    /// lives, which cannot ask.
    #[must_use]
    pub fn recorded(group: GroupId, replica: ReplicaId) -> Self {
        Self { group, replica }
    }

    /// The group.
    #[must_use]
    pub fn group(self) -> GroupId {
        self.group
    }

    /// The replica.
    #[must_use]
    pub fn replica(self) -> ReplicaId {
        self.replica
    }
}

fn has_left(standing: &Standing, replica: ReplicaId) -> Result<(), NotRemoved> {
    let (at, membership) = &standing.membership;
    if membership.seats.contains_key(&replica) || membership.is_voter(replica) {
        return Err(NotRemoved::Member);
    }
    if at.map(|id| id.index) > standing.committed.map(|id| id.index) {
        return Err(NotRemoved::NotCommitted);
    }
    Ok(())
}
