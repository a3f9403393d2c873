//! Pure: what may be asked of a delayed node, and what it answers.

use super::donate::Wish;
use super::state::Late;
use super::suspects::Burst;
use crate::takeover::order as takeover;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};

/// What is asked of a delayed node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The gate stops where it is, at once.
    Hold {
        /// Why.
        reason: String,
    },
    /// The gate goes on as the delay says.
    Release {
        /// Why.
        reason: String,
    },
    /// The gate goes to just before this stamp, whatever the delay says, and stands there.
    Forward {
        /// Exclusive.
        before: Stamp,
        /// Why.
        reason: String,
    },
    /// Parked replicas take a fresh copy: they are not late for a delay.
    Accept {
        /// Why.
        reason: String,
    },
    /// What came in that is suspicious?
    Suspects,
    /// Rows of its cut go back into the cluster.
    Donate(Wish),
    /// It takes over, or tells what was cut off when it did.
    TakeOver(takeover::Ask),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// How it stands after that.
    State(Box<Late>),
    /// The bursts, the most suspicious first.
    Suspects(Vec<Burst>),
    /// The job that goes on.
    Job(u64),
    /// What is said of a takeover.
    TakeOver(takeover::Answer),
}

/// Rows of a tenant that one node asks another for, as they stand now.
#[derive(Clone, PartialEq, Eq)]
pub struct RowsAsked {
    /// Whose.
    pub tenant: TenantId,
    /// Of which collection.
    pub collection: CollectionId,
    /// The first key.
    pub start: Bytes,
    /// The first key behind; `None`: to the end.
    pub end: Option<Bytes>,
}

/// A row.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// When it was written.
    pub stamp: Stamp,
    /// When it goes by itself, in milliseconds since 1970; 0: never.
    pub expires_ms: u64,
}

/// Rows in the order of their keys, and where those begin that are left.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RowsPage {
    /// The rows.
    pub rows: Vec<Row>,
    /// The first key that was not looked at; `None`: all were.
    pub next: Option<Bytes>,
}

// A tenant's byte never reaches a line of the log.
impl std::fmt::Debug for RowsAsked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowsAsked({}, {})", self.tenant, self.collection)
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({})", self.stamp)
    }
}

impl std::fmt::Debug for RowsPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowsPage({} rows)", self.rows.len())
    }
}
