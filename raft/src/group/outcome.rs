//! Pure: why a proposal was not applied, or a read not answered, and what the caller should do.

use super::lifecycle::Stage;
use crate::limits;
use crate::net::refusal::Refusal;
use crate::types::{ReplicaId, Seat};
use engine::Kind;
use engine::error::with_sources;
use engine::ids::NodeId;

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
    /// It was not taken: the leader has not heard its quorum for too long, too much waits, or the key of its tenant is not here now. The
    /// same again later.
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
    /// What is told of a command that cannot be sealed, because of `cause`. A key that is away comes back, unless its tenant
    /// `is_shredded`.
    #[must_use]
    pub fn not_sealed(cause: &engine::Error, is_shredded: bool) -> Self {
        match cause.kind() {
            Kind::Key if is_shredded => {
                Self::Refused { rule: "the keys of its tenant are gone for good".to_owned() }
            }
            Kind::Key | Kind::Unavailable => Self::RetryLater { after_ms: limits::KEY_RETRY_MS },
            Kind::Invalid | Kind::Damaged | Kind::Stop => Self::Refused { rule: with_sources(cause) },
        }
    }

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
    /// The leader was asked, and did not look at it: what is wrong there says the refusal.
    #[error("the leader {replica} refuses: {refusal}", replica = leader.0)]
    LeaderRefuses {
        /// Who leads.
        leader: (ReplicaId, Seat),
        /// Why.
        refusal: Refusal,
    },
    /// The leader was asked, and did not answer in time. It may lead no more.
    #[error("the leader {replica} does not answer", replica = leader.0)]
    LeaderSilent {
        /// Who was thought to lead.
        leader: (ReplicaId, Seat),
    },
    /// This replica cannot prove that its answer would be right: it is behind, late on purpose, or not sure what time it is.
    #[error("this replica cannot answer; ask another node")]
    Elsewhere {
        /// One that is thought to be able to.
        better: Option<NodeId>,
    },
    /// What is asked for lies so far in the future that it is a mistake. The same again would not be answered.
    #[error("the stamp lies {ahead_ms} ms in the future")]
    TooFarAhead {
        /// How far, in milliseconds.
        ahead_ms: u64,
    },
    /// The replica has stopped.
    #[error("the replica has stopped: {cause}")]
    Stopped {
        /// Why.
        cause: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::{KeyEpoch, Owner, Purpose, TenantId};

    #[test]
    fn who_cannot_be_sealed_comes_again_unless_that_is_for_good() {
        let (owner, purpose, epoch) = (Owner::Tenant(TenantId(7)), Purpose::Log, KeyEpoch(1));
        let later = NotApplied::RetryLater { after_ms: limits::KEY_RETRY_MS };
        let missing = || engine::Error::KeyMissing { owner, purpose, epoch };
        for away in [
            missing(),
            engine::Error::KeyUsedUp { owner, purpose, epoch },
            engine::Error::Catalog { verb: "unwrap a key", cause: "nobody answers".to_owned() },
        ] {
            assert_eq!(NotApplied::not_sealed(&away, false), later, "{away}");
        }
        let gone = NotApplied::Refused { rule: "the keys of its tenant are gone for good".to_owned() };
        assert_eq!(NotApplied::not_sealed(&missing(), true), gone);
        for broken in [engine::Error::Invalid("too much"), engine::Error::KnownAnswer("a cipher")] {
            let refused = NotApplied::Refused { rule: broken.to_string() };
            assert_eq!(NotApplied::not_sealed(&broken, false), refused);
        }
    }
}
