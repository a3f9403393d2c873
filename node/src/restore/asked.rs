//! Pure: what a restore asks of the nodes that have the shards, and what they answer. No row of it is ever printed.

use crate::shard::door::WriteId;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};

/// What is asked.
#[derive(Clone)]
pub enum Ask {
    /// How far back a tenant can be read.
    Reach(TenantId),
    /// Rows of a tenant, whatever state it is in.
    Page(PageAsked),
    /// Writes all of a command or nothing.
    Write {
        /// Whose rows.
        tenant: TenantId,
        /// A kv command.
        command: Bytes,
        /// What makes it harmless when it comes again.
        id: WriteId,
        /// The tenant must be one that serves.
        is_serving: bool,
    },
    /// Comes back when the node knows an entry of the meta group and no write of the tenant is under way that was let in before.
    Settle {
        /// The tenant.
        tenant: TenantId,
        /// Index of the entry.
        index: u64,
    },
    /// How many writes a tenant has seen.
    Count {
        /// The tenant.
        tenant: TenantId,
        /// Behind this stamp.
        after: Stamp,
    },
}

/// Which rows.
#[derive(Clone)]
pub struct PageAsked {
    /// Whose.
    pub tenant: TenantId,
    /// Which collection.
    pub collection: CollectionId,
    /// The first key.
    pub start: Bytes,
    /// The first key behind; `None`: all that follow.
    pub end: Option<Bytes>,
    /// It goes on behind this key.
    pub after: Option<Bytes>,
    /// As of this stamp; [`Stamp::ZERO`]: as they are now.
    pub at: Stamp,
    /// Values are left out.
    pub keys_only: bool,
}

/// What is answered.
#[derive(Clone)]
pub enum Answer {
    /// To `Reach`.
    Reach(Reach),
    /// To `Page`.
    Page(Page),
    /// To `Write`.
    Stamp(Stamp),
    /// To `Settle`.
    Settled {
        /// Nothing that was told there of the tenant is newer.
        stamp: Stamp,
        /// The node leads the shard, and whoever leads it from now on acknowledges no write of the tenant without knowing the entry.
        is_bound: bool,
    },
    /// To `Count`.
    Count(u64),
}

/// How far back a tenant can be read, and what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The first stamp as of which it can be read.
    pub oldest: Stamp,
    /// The last one.
    pub newest: Stamp,
    /// Bytes of it in tables.
    pub bytes: u64,
}

/// Some rows.
#[derive(Clone, Default)]
pub struct Page {
    /// In the order of their keys.
    pub rows: Vec<PageRow>,
    /// The key that was looked at last; `None`: there are no more.
    pub next: Option<Bytes>,
    /// The stamp it was read at.
    pub at: Stamp,
}

/// A row.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PageRow {
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// When it was written.
    pub stamp: Stamp,
    /// When it expires: milliseconds since 1970, 0 never.
    pub expires_ms: u64,
}

impl PageRow {
    /// Bytes of key and value.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }
}

// A tenant's byte never reaches a line of the log, nor the words of a test that fails.
impl std::fmt::Debug for PageRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PageRow {{ {} bytes, {} }}", self.bytes(), self.stamp)
    }
}
