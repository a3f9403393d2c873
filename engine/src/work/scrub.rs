//! Scrub: walks every table file, one a step. Without keys it checks checksums and structure; with keys it opens every
//! block too. What it finds is told by file and block; nothing is changed.

use crate::error::{Damage, Error, Result};
use crate::ids::TableId;
use crate::limits;
use crate::sealed::scrub_clear;
use crate::table::{Table, TableFiles, Verified, owner_of};
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
    /// Files to walk still.
    pub files_left: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is damaged, by file and block; at most `SCRUB_FINDINGS_MAX`.
    pub findings: Vec<Damage>,
    /// Damaged places, those not listed included.
    pub findings_count: u64,
    /// Tables in which something is damaged.
    pub damaged: BTreeSet<TableId>,
    /// Files that could not be judged (a key or the disk was missing), and why.
    pub unjudged: BTreeMap<TableId, String>,
}

/// A scrub under way.
#[derive(Default)]
pub(crate) struct ScrubJob {
    /// Which scrub of this pool it is.
    number: u64,
    left: Vec<Arc<Table>>,
    /// Files that workers are at.
    in_hand: usize,
    with_keys: bool,
    report: ScrubReport,
}

/// A file to walk.
pub(crate) struct ScrubFile {
    pub(crate) table: Arc<Table>,
    /// Whether to open its blocks too.
    pub(crate) with_keys: bool,
    /// For which scrub.
    number: u64,
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
        let (is_done, files_left) = (left.is_empty(), left.len() as u64);
        let report = ScrubReport { is_done, files_left, ..ScrubReport::default() };
        let mut scrub = lock(&self.board.scrub);
        *scrub = ScrubJob { number: scrub.number + 1, left, in_hand: 0, with_keys, report };
        drop(scrub);
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

    /// The next file. Give it back with [`ScrubJob::note`].
    pub(crate) fn take(&mut self) -> Option<ScrubFile> {
        let table = self.left.pop()?;
        self.in_hand += 1;
        Some(ScrubFile { table, with_keys: self.with_keys, number: self.number })
    }

    /// Notes what was found in a file, or why it could not be judged.
    pub(crate) fn note(&mut self, file: &ScrubFile, verified: Result<Verified, String>) {
        if file.number != self.number {
            return;
        }
        self.in_hand -= 1;
        let report = &mut self.report;
        report.files += 1;
        report.files_left = report.files_left.saturating_sub(1);
        report.bytes += file.table.meta().bytes;
        let id = file.table.meta().id;
        match verified {
            Ok(Verified { found, unjudged }) => {
                report.unjudged.extend(unjudged.map(|error| (id, error.to_string())));
                report.findings_count += found.len() as u64;
                report.damaged.extend((!found.is_empty()).then_some(id));
                let room = limits::SCRUB_FINDINGS_MAX - report.findings.len();
                report.findings.extend(found.into_iter().take(room));
            }
            Err(cause) => {
                report.unjudged.insert(id, cause);
            }
        }
        report.is_done = self.left.is_empty() && self.in_hand == 0;
    }
}

/// Walks one file.
pub(crate) fn scrub_table(ground: &Ground, table: &Table, with_keys: bool) -> Result<Verified> {
    let id = table.meta().id;
    let handle = match ground.files.file(id) {
        Ok(handle) => handle,
        Err(Error::Damaged(damage)) => return Ok(Verified { found: vec![damage], unjudged: None }),
        Err(other) => return Err(other),
    };
    let mut progress = |bytes| {
        ground.charge_scrub(bytes);
        if ground.bell.is_closing() { Err(Error::Closed) } else { Ok(()) }
    };
    let found = scrub_clear(&*handle, &Files::place(id), id, &mut progress)?;
    let mut verified = Verified { found, unjudged: None };
    if with_keys && verified.found.is_empty() {
        let policy = ground.policy(crate::stamp::Stamp::MAX, 0);
        let skipped: BTreeSet<_> = policy.dropped.iter().map(|tenant| owner_of(*tenant)).collect();
        verified = table.verify(&skipped, &mut progress)?;
    }
    if !verified.found.is_empty() {
        ground.counters.damaged_tables.add(1);
    }
    Ok(verified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskFile;
    use crate::key::KeyRange;
    use crate::stamp::Stamp;
    use crate::table::TableMeta;

    struct NoFiles;

    impl TableFiles for NoFiles {
        fn file(&self, _: TableId) -> Result<Arc<dyn DiskFile>> {
            Err(Error::Closed)
        }

        fn dropped(&self, _: TableId) {}
    }

    fn table(n: u8) -> Arc<Table> {
        let meta = TableMeta {
            id: TableId([n; 16]),
            bytes: 10,
            content: [0; 32],
            crc32: 0,
            ends: [0; 32],
            least: Vec::new(),
            greatest: Vec::new(),
            span: KeyRange::all(),
            entries: 0,
            deletes: 0,
            tombstones: 0,
            least_stamp: Stamp::ZERO,
            greatest_stamp: Stamp::ZERO,
            stripes: Vec::new(),
            superseded: 0,
            first_expiry_ms: 0,
        };
        Arc::new(Table::shut(Arc::new(NoFiles), Arc::new(meta), Error::Closed))
    }

    #[test]
    fn a_scrub_is_done_when_the_last_worker_is_and_counts_its_own_files_only() {
        let mut job = ScrubJob { number: 1, left: vec![table(1), table(2)], ..ScrubJob::default() };
        let (one, two) = (job.take().unwrap(), job.take().unwrap());
        assert!(job.take().is_none() && !job.has_more());
        let rot = Damage::of(crate::error::Nature::Rot, "a block");
        job.note(&one, Ok(Verified { found: vec![rot], unjudged: None }));
        assert!(!job.report.is_done, "another worker is still at it");
        job.note(&two, Err("no key".to_owned()));
        assert!(job.report.is_done);
        assert_eq!((job.report.files, job.report.bytes, job.report.unjudged.len()), (2, 20, 1));
        assert_eq!(job.report.damaged, [one.table.meta().id].into());
        // A new scrub is not told of what an earlier one had in hand.
        let mut next = ScrubJob { number: 2, left: vec![table(3)], ..ScrubJob::default() };
        next.note(&one, Ok(Verified::default()));
        assert_eq!(next.report, ScrubReport::default());
    }
}
