//! Pure: what is asked of a node that is to take over, and what it answers.

use super::tail::Lost;
use engine::Stamp;
use engine::ids::{NodeId, TenantId};

/// As of when it takes over. It is always said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All at or below this stamp.
    Upto(Stamp),
    /// All that the node has.
    Newest,
}

/// What a takeover would be, or is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The generation that begins.
    pub generation: u64,
    /// As of when.
    pub upto: Stamp,
    /// Up to which stamp the node has applied.
    pub gate: Stamp,
    /// Up to which stamp it has everything.
    pub received: Option<Stamp>,
    /// How much of what was seen lies behind that, in milliseconds.
    pub lost_ms: u64,
    /// Bytes that are to be applied first.
    pub pending_bytes: u64,
    /// Nodes of the generation that ends which answer.
    pub living: Vec<NodeId>,
    /// Nodes of it that do not: nobody knows whether they live.
    pub silent: Vec<NodeId>,
    /// Whether it was decided: the node begins again.
    pub is_decided: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A promotion.
    Promote {
        /// As of when.
        target: Target,
        /// Why.
        reason: String,
        /// Nothing is done: it is only said what would be.
        is_plan: bool,
    },
    /// What was cut off when that generation began.
    Tail(u64),
    /// What the node would hold of a tenant as of this stamp. Nothing is done.
    Digest(TenantId, Stamp),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a promotion.
    Plan(Plan),
    /// What was cut off, and how many more rows there are than one answer tells.
    Tail(Vec<Lost>, u64),
    /// Rows that never expire, and one number for all of them.
    Digest(u64, [u8; 32]),
}
