//! Pure: why a peer that was asked has not answered.

use super::refusal::Refusal;
use engine::ids::NodeId;

/// Why a peer that was asked has not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It did not look at the message.
    #[error("{node} refuses: {refusal}")]
    Refused {
        /// The peer.
        node: NodeId,
        /// Why.
        refusal: Refusal,
    },
    /// Nothing came within the deadline, or nothing that answers. Whether it acted on the message is not known.
    #[error("{cause}")]
    Lost {
        /// What happened.
        cause: String,
    },
}

impl NoAnswer {
    pub(super) fn lost(cause: impl ToString) -> Self {
        Self::Lost { cause: cause.to_string() }
    }
}

impl From<NoAnswer> for String {
    fn from(why: NoAnswer) -> Self {
        why.to_string()
    }
}
