//! One immutable sorted file: a sequence of tenant stripes, each sealed under its own tenant's key.
//!
//! A stripe has its own data blocks, key index, filter and range tombstones; no block mixes tenants. The clear directory of the
//! block file says whose stripes there are and under which epochs, and nothing a client wrote.

mod archived;
pub mod block;
mod cursor;
pub mod filter;
mod heads;
pub mod index;
mod reader;
pub mod stripe;
#[cfg(test)]
mod tests;
pub mod tombstones;
mod verify;
mod writer;

pub use cursor::{Reach, TableCursor};
pub use reader::{Opened, OpenedBlocks, OpenedStripe, Table, TableFiles};
pub use verify::Verified;
pub use writer::TableWriter;

use crate::ids::{KeyEpoch, Owner, TableId, TenantId};
use crate::key::KeyRange;
use crate::redact::redacted_debug;
use crate::sealed::DirectoryRow;
use crate::stamp::Stamp;

/// What a manifest knows of one table.
#[derive(Clone, PartialEq, Eq)]
pub struct TableMeta {
    /// Its random name.
    pub id: TableId,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Content id: SHA-256 of all bytes of the file.
    pub content: [u8; 32],
    /// CRC32 of all bytes of the file.
    pub crc32: u32,
    /// SHA-256 of the file's header, directory and footer.
    pub ends: [u8; 32],
    /// First version key; empty if it has only range tombstones.
    pub least: Vec<u8>,
    /// Last version key; empty if it has only range tombstones.
    pub greatest: Vec<u8>,
    /// The rows it touches, range tombstones included.
    pub span: KeyRange,
    /// Versions.
    pub entries: u64,
    /// Versions that are point tombstones.
    pub deletes: u64,
    /// Range tombstones.
    pub tombstones: u32,
    /// Least stamp in it.
    pub least_stamp: Stamp,
    /// Greatest stamp in it.
    pub greatest_stamp: Stamp,
    /// Its stripes, in order.
    pub stripes: Vec<StripeMeta>,
    /// Versions that have a newer one of their row in the same table: they stay for the history window only. 0 also of tables
    /// written before this was counted.
    pub superseded: u64,
    /// Milliseconds since 1970 from which some value in it can be left behind as expired; 0 if none ever, or as above.
    pub first_expiry_ms: u64,
}

redacted_debug!(TableMeta, id, bytes, entries, deletes, tombstones, least_stamp, greatest_stamp, stripes, superseded, first_expiry_ms; least, greatest);

impl TableMeta {
    /// What the directory of a table tells, where no manifest does: nothing of its keys, so it may touch any row and hold range tombstones.
    #[must_use]
    pub fn of_rows(id: TableId, bytes: u64, rows: &[DirectoryRow]) -> Self {
        let stripe = |row: &DirectoryRow| StripeMeta {
            owner: row.owner,
            epoch: row.epoch,
            bytes: row.length,
            entries: row.entries,
        };
        Self {
            id,
            bytes,
            content: [0; 32],
            crc32: 0,
            ends: [0; 32],
            least: Vec::new(),
            greatest: Vec::new(),
            span: KeyRange::all(),
            entries: rows.iter().map(|row| row.entries).sum(),
            deletes: 0,
            tombstones: u32::MAX,
            least_stamp: rows.iter().map(|row| row.least).min().unwrap_or_default(),
            greatest_stamp: rows.iter().map(|row| row.greatest).max().unwrap_or_default(),
            stripes: rows.iter().map(stripe).collect(),
            superseded: 0,
            first_expiry_ms: 0,
        }
    }

    /// Bytes it takes in a manifest edit, at most.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let span_end = self.span.end.as_ref().map_or(0, Vec::len);
        let keys = self.least.len() + self.greatest.len() + self.span.start.len() + span_end;
        208 + keys + self.stripes.len() * 29
    }
}

/// What a manifest knows of one stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripeMeta {
    /// Whose bytes.
    pub owner: Owner,
    /// Under which epoch of the owner's data key.
    pub epoch: KeyEpoch,
    /// Bytes of the stripe.
    pub bytes: u64,
    /// Versions in it.
    pub entries: u64,
}

/// Whose key seals the rows of `tenant`: its own; tenant 0 is the cluster.
#[must_use]
pub fn owner_of(tenant: TenantId) -> Owner {
    if tenant == TenantId(0) { Owner::Cluster } else { Owner::Tenant(tenant) }
}
