//! What the check of the demo has found, as one line of JSON.

use serde::Serialize;

/// The form of the line.
pub const SCHEMA: &str = "dewpond.demo.check/1";

/// The form of the line of the ways back.
pub const RECOVERY_SCHEMA: &str = "dewpond.demo.recovery/1";

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// The form of this line.
    pub schema: &'static str,
    /// Whether all went as it has to.
    pub passed: bool,
    /// What went wrong first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Seconds it took.
    pub seconds: f64,
    /// Records that were imported.
    pub records: usize,
    /// Records that were read back through each node.
    pub read_back: Vec<usize>,
    /// The node that was killed while it led.
    pub killed: String,
    /// Milliseconds from the kill to the next batch that was acknowledged.
    pub failover_ms: u64,
    /// Records of the second import that were lost.
    pub lost: usize,
    /// Records of the second import that were written more than once.
    pub doubled: usize,
    /// Milliseconds that the killed node needed, from its start, to have all that the others had.
    pub caught_up_ms: u64,
    /// Records that were there after all nodes had been stopped and started.
    pub after_restart: usize,
    /// Groups of which the fourth node has a replica.
    pub on_fourth: usize,
    /// Snapshots that it took from peers to get them, as its metrics say.
    pub snapshots_on_fourth: u64,
    /// What the past said: records overwritten since and read as they were before.
    pub as_of: usize,
    /// The code with which one tenant's identity was refused the data of another.
    pub foreign_read: String,
    /// Bytes of tables under old keys when the rotation began.
    pub old_key_bytes: u64,
    /// How far the rotation came, in thousandths.
    pub coverage_permille: u32,
    /// Files that were searched for readable bytes.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files with readable bytes of a tenant.
    pub readable: usize,
}

/// What was found on the ways back.
#[derive(Debug, Default, Serialize)]
pub struct Recovered {
    /// The form of this line.
    pub schema: &'static str,
    /// Whether all went as it has to.
    pub passed: bool,
    /// What went wrong first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Seconds it took.
    pub seconds: f64,
    /// Records that were imported, of both tenants.
    pub records: usize,
    /// Bytes of the snapshot in the archive.
    pub snapshot_bytes: u64,
    /// Records that were deleted, in two mistakes.
    pub deleted: usize,
    /// Records compared after the tenant had been put back in place.
    pub in_place: usize,
    /// Seconds from the plan to the tenant as it was.
    pub in_place_s: f64,
    /// Deleted records that were read in the archive as they were.
    pub looked_back: usize,
    /// Records compared of the tenant made from the archive.
    pub from_archive: usize,
    /// Seconds from the plan to the new tenant.
    pub from_archive_s: f64,
    /// Records compared after the delayed node had given back what was deleted.
    pub donated: usize,
    /// Seconds from the order to the rows being back.
    pub donated_s: f64,
    /// Stamp of the second mistake.
    pub commit: u64,
    /// Seconds from the last write to its being in the archive of the other region.
    pub until_copied_s: f64,
    /// Files of nodes, archives and keyring that were searched for readable bytes.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files with readable bytes of a tenant.
    pub readable: usize,
    /// Records compared in the new cluster: all tenants, through each node.
    pub came_back: usize,
    /// Seconds from the loss of everything to three nodes that serve.
    pub come_back_s: f64,
}
