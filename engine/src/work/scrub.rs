//! Scrub: walks every table file, one a step. Without keys it checks checksums and structure; with keys it opens every
//! block too. What it finds is told by file and block; nothing is changed.

use crate::error::{Damage, Error, Result};
use crate::ids::TableId;
use crate::limits;
use crate::sealed::scrub_clear;
use crate::table::{Table, TableFiles, owner_of};
use crate::tablet::files::Files;
use crate::tablet::ground::Ground;
use crate::tablet::lock;
use crate::tablet::pool::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a scrub has found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Whether every file has been walked.
    pub is_done: bool,
    /// Files walked.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is damaged, by file and block; at most `SCRUB_FINDINGS_MAX`.
    pub findings: Vec<Damage>,
    /// Damaged places, those not listed included.
    pub findings_count: u64,
    /// Files that could not be judged (a key or the disk was missing), and why.
    pub unjudged: BTreeMap<TableId, String>,
}

/// A scrub under way.
#[derive(Default)]
pub(crate) struct ScrubJob {
    left: Vec<Arc<Table>>,
    with_keys: bool,
    report: ScrubReport,
}

impl Pool {
    /// Begins a scrub of all tables there are now; one that was under way is given up. `with_keys` also opens every block,
    /// but for those of dropped tenants.
    pub fn request_scrub(&self, with_keys: bool) {
        let snapshots: Vec<_> = self.tablets().iter().map(|tablet| tablet.snapshot()).collect();
        let tables = snapshots.iter().flat_map(|one| one.tables.iter().flatten());
        let by_id: BTreeMap<TableId, Arc<Table>> =
            tables.map(|table| (table.meta().id, table.clone())).collect();
        let left: Vec<_> = by_id.into_values().rev().collect();
        let report = ScrubReport { is_done: left.is_empty(), ..ScrubReport::default() };
        *lock(&self.board.scrub) = ScrubJob { left, with_keys, report };
        self.ground.bell.ring();
    }

    /// What the newest scrub has found so far.
    #[must_use]
    pub fn scrub_report(&self) -> ScrubReport {
        lock(&self.board.scrub).report.clone()
    }
}

impl ScrubJob {
    pub(crate) fn has_more(&self) -> bool {
        !self.left.is_empty()
    }

    /// The next file, and whether to open its blocks.
    pub(crate) fn take(&mut self) -> Option<(Arc<Table>, bool)> {
        self.left.pop().map(|table| (table, self.with_keys))
    }

    pub(crate) fn note(&mut self, table: &Table, found: Result<Vec<Damage>>) {
        let report = &mut self.report;
        report.files += 1;
        report.bytes += table.meta().bytes;
        match found {
            Ok(found) => {
                report.findings_count += found.len() as u64;
                let room = limits::SCRUB_FINDINGS_MAX - report.findings.len();
                report.findings.extend(found.into_iter().take(room));
            }
            Err(error) => {
                report.unjudged.insert(table.meta().id, error.to_string());
            }
        }
        report.is_done = self.left.is_empty();
    }
}

/// Walks one file.
pub(crate) fn scrub_table(ground: &Ground, table: &Table, with_keys: bool) -> Result<Vec<Damage>> {
    let id = table.meta().id;
    let handle = match ground.files.file(id) {
        Ok(handle) => handle,
        Err(Error::Damaged(damage)) => return Ok(vec![damage]),
        Err(other) => return Err(other),
    };
    let mut found = scrub_clear(&*handle, &Files::place(id), id, &mut |bytes| ground.charge(bytes))?;
    if with_keys && found.is_empty() {
        let policy = ground.policy(crate::stamp::Stamp::MAX);
        let skipped: BTreeSet<_> = policy.dropped.iter().map(|tenant| owner_of(*tenant)).collect();
        found = table.verify(&skipped)?;
    }
    if !found.is_empty() {
        ground.counters.damaged_tables.add(1);
    }
    Ok(found)
}
