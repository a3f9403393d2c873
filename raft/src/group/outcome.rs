//! Pure: why a proposal was not applied, or a read not answered, and what the caller should do.

use super::lifecycle::Stage;
use crate::types::{ReplicaId, Seat};

/// Why a proposal was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApplied {
    /// This replica does not lead: it was not taken, and will not be applied. Ask the one named, if one is.
    #[error("this replica does not lead")]
    NotLeader {
        /// Who is thought to lead.
        leader: Option<(ReplicaId, Seat)>,
    },
    /// The lead is being handed over: it was not taken. Ask the one named, a little later.
    #[error("the lead is being handed over")]
    Transferring {
        /// To whom.
        to: Option<(ReplicaId, Seat)>,
    },
    /// It was not taken: the leader has not heard its quorum for too long, or too much waits. The same again later.
    #[error("retry in {after_ms} ms")]
    RetryLater {
        /// When, in milliseconds; 0 at the next heartbeat.
        after_ms: u64,
    },
    /// It breaks a rule: it was not taken, and never will be.
    #[error("refused: {rule}")]
    Refused {
        /// Which.
        rule: String,
    },
    /// It may have been taken, and may be applied still. The same request number again gets the first answer.
    #[error("not known whether it is applied: {cause}")]
    Unknown {
        /// What happened.
        cause: String,
    },
}

impl NotApplied {
    /// Whether it certainly is not, and never will be, applied.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}

/// Why a read cannot be answered here now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// Another replica leads, or none.
    #[error("this replica does not lead")]
    NotLeader {
        /// Who is thought to lead.
        leader: Option<(ReplicaId, Seat)>,
    },
    /// Not within the time allowed. The same again later.
    #[error("retry in {after_ms} ms")]
    RetryLater {
        /// When, in milliseconds.
        after_ms: u64,
    },
    /// The replica is not read at this stage of its life: another one is.
    #[error("the replica is {stage}, and not read")]
    NotServing {
        /// Where it stands.
        stage: Stage,
    },
    /// The replica has stopped.
    #[error("the replica has stopped: {cause}")]
    Stopped {
        /// Why.
        cause: String,
    },
}
