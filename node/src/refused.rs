//! Pure: why something that was asked for is not done, with the code that tells the caller what to do.

use engine::Stamp;
use engine::ids::NodeId;
use proto::errors::{self, code};
use raft::group::outcome::{NotApplied, NotNow};

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", errors::find(*code).map(errors::Entry::label).unwrap_or_default())]
pub struct Refused {
    /// The code, of the table of errors.
    pub code: u32,
    /// What happened, for people: no key, no value, no secret.
    pub text: String,
    /// The same may come again after so many milliseconds; 0: as the class of the code says.
    pub after_ms: u64,
    /// A node that is thought to be able to.
    pub better: Option<NodeId>,
    /// Of a condition that does not hold: which, from 0, and the stamp of what is there instead.
    pub condition: Option<(u32, Option<Stamp>)>,
}

impl Refused {
    /// With this code, in the words of the table.
    #[must_use]
    pub fn new(code: u32) -> Self {
        let says = errors::find(code).map_or("something without a name", |entry| entry.says);
        Self { code, text: says.to_owned(), after_ms: 0, better: None, condition: None }
    }

    /// With these words.
    #[must_use]
    pub fn saying(self, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..self }
    }

    /// The same may come again then.
    #[must_use]
    pub fn after(self, after_ms: u64) -> Self {
        Self { after_ms, ..self }
    }

    /// This node may be able to.
    #[must_use]
    pub fn better(self, better: Option<NodeId>) -> Self {
        Self { better, ..self }
    }

    /// This condition does not hold.
    #[must_use]
    pub fn condition(condition: u32, now: Option<Stamp>) -> Self {
        Self { condition: Some((condition, now)), ..Self::new(code::CONDITION_FAILED) }
    }

    /// Nobody is known to lead, or this node does.
    #[must_use]
    pub fn not_leader(better: Option<NodeId>) -> Self {
        match better {
            Some(_) => Self::new(code::WRONG_NODE).better(better),
            None => Self::new(code::NO_LEADER),
        }
    }
}

impl From<NotApplied> for Refused {
    fn from(error: NotApplied) -> Self {
        match error {
            NotApplied::NotLeader { leader } | NotApplied::Transferring { to: leader } => {
                Self::not_leader(leader.map(|(_, seat)| seat.node))
            }
            NotApplied::RetryLater { after_ms } => Self::new(code::OVERLOADED).after(after_ms),
            NotApplied::Refused { rule } => Self::new(code::MALFORMED).saying(rule),
            NotApplied::Unknown { cause } => Self::new(code::UNKNOWN_OUTCOME).saying(cause),
        }
    }
}

impl From<NotNow> for Refused {
    fn from(error: NotNow) -> Self {
        match error {
            NotNow::NotLeader { leader } => Self::not_leader(leader.map(|(_, seat)| seat.node)),
            NotNow::LeaderSilent { .. } => Self::new(code::NO_LEADER),
            NotNow::LeaderRefuses { leader: (_, seat), .. } => Self::not_leader(Some(seat.node)),
            NotNow::RetryLater { after_ms } => Self::new(code::NO_LEADER).after(after_ms),
            NotNow::Elsewhere { better } => Self::not_leader(better),
            NotNow::NotServing { .. } => Self::new(code::STARTING),
            NotNow::TooFarAhead { .. } => Self::new(code::STAMP_AHEAD),
            NotNow::Stopped { cause } => Self::new(code::NO_LEADER).saying(cause),
        }
    }
}

impl From<engine::Error> for Refused {
    fn from(error: engine::Error) -> Self {
        let code = match (&error, error.kind()) {
            (engine::Error::HistoryGone { .. }, _) => code::HISTORY_GONE,
            (engine::Error::NotYet { .. }, _) => code::STAMP_AHEAD,
            (_, engine::Kind::Invalid) => code::MALFORMED,
            (_, engine::Kind::Key) => code::KEY_AWAY,
            (_, engine::Kind::Unavailable) => code::OVERLOADED,
            (_, engine::Kind::Damaged) => code::DAMAGED,
            (_, engine::Kind::Stop) => code::DAMAGED,
        };
        // The words of the engine name files and ids, never what is in them.
        Self::new(code).saying(engine::error::with_sources(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_the_leader_says_who_is_and_everything_has_its_code() {
        let refused = Refused::from(NotApplied::NotLeader { leader: None });
        assert_eq!((refused.code, refused.better), (code::NO_LEADER, None));
        let refused = Refused::not_leader(Some(NodeId(2)));
        assert_eq!((refused.code, refused.better), (code::WRONG_NODE, Some(NodeId(2))));
        let later = Refused::from(NotApplied::RetryLater { after_ms: 7 });
        assert_eq!((later.code, later.after_ms), (code::OVERLOADED, 7));
        assert!(Refused::new(code::DISK_FULL).to_string().starts_with("DEW-4006: "));
        let now = Some(Stamp::new(5, 1));
        assert_eq!(Refused::condition(3, now).condition, Some((3, now)));
    }
}
