//! What a change of archives may do.

use super::{Draft, Tried, check, refused};
use crate::archive::manifest::log::GroupRow;
use crate::limits::ARCHIVE_LEASE_MS_MAX;
use crate::meta::archive_change::ArchiveChange;
use crate::meta::archive_row::{ArchivedRow, CloserRow, ReportRow, SnapshotRow};
use crate::meta::command::Reason;
use crate::meta::rows::{self, MetaRow};
use engine::ids::NodeId;
use raft::types::GroupId;

impl Draft<'_, '_> {
    reader_of!(archived, Archived, ArchivedRow, rows::ARCHIVED);
    reader_of!(report, Report, ReportRow, rows::REPORTS);
    reader_of!(closer, Closer, CloserRow, rows::CLOSER);
    reader_of!(snapshot, Snapshot, SnapshotRow, rows::SNAPSHOT);

    pub(super) fn archive(&mut self, change: ArchiveChange) -> Tried {
        match change {
            ArchiveChange::Take(node, until_ms, groups) => {
                self.check_lease(until_ms)?;
                groups.into_iter().try_for_each(|group| self.take_archiving(node, until_ms, group))
            }
            ArchiveChange::Report(row, until_ms) => {
                self.check_lease(until_ms)?;
                self.take_report(row, until_ms)
            }
            ArchiveChange::PlanMarker(row) => self.plan_marker(row),
            ArchiveChange::PutSnapshot(row) => {
                let before = self.snapshot(SnapshotRow::key())?.map_or(0, |row| row.version);
                check(row.version == before + 1, Reason::Stale)?;
                self.put(MetaRow::Snapshot(row));
                Ok(())
            }
        }
    }

    /// A lease that ends late would keep everybody else from archiving what its holder does not.
    fn check_lease(&self, until_ms: u64) -> Tried {
        check(until_ms <= self.now_ms().saturating_add(ARCHIVE_LEASE_MS_MAX), Reason::Impossible)
    }

    fn take_archiving(&mut self, node: NodeId, until_ms: u64, group: GroupId) -> Tried {
        let before = self.archived(ArchivedRow::key(group))?;
        let before = before.unwrap_or(ArchivedRow { group, ..ArchivedRow::default() });
        check(before.is_free_for(node, self.now_ms()), Reason::Stale)?;
        self.put(MetaRow::Archived(ArchivedRow { holder: node, until_ms, ..before }));
        Ok(())
    }

    fn take_report(&mut self, row: ReportRow, until_ms: u64) -> Tried {
        check(self.report(ReportRow::key(row.node, row.number))?.is_none(), Reason::Exists)?;
        for come in &row.groups {
            let Some(before) = self.archived(ArchivedRow::key(come.group()))? else {
                return refused(Reason::NotFound);
            };
            check(before.holder == row.node && goes_on(&before, come), Reason::Stale)?;
            let (_, upto) = come.span();
            let index = come.last_index().max(before.index);
            let has_begun = true;
            self.put(MetaRow::Archived(ArchivedRow { until_ms, upto, index, has_begun, ..before }));
        }
        self.put(MetaRow::Report(row));
        Ok(())
    }

    fn plan_marker(&mut self, row: CloserRow) -> Tried {
        let before = self.closer(CloserRow::key())?;
        let version = before.as_ref().map_or(0, |before| before.version);
        check(row.version == version + 1, Reason::Stale)?;
        if let Some(before) = before {
            let is_next = row.end_s > before.end_s && row.generation >= before.generation;
            let follows = row.generation > before.generation || row.previous_end_s == before.end_s;
            check(is_next && follows, Reason::Impossible)?;
            // Their marker is there.
            for (node, number) in before.reports {
                self.delete(rows::REPORTS, ReportRow::key(node, number));
            }
        }
        for (node, number) in &row.reports {
            check(self.report(ReportRow::key(*node, *number))?.is_some(), Reason::NotFound)?;
        }
        self.put(MetaRow::Closer(row));
        Ok(())
    }
}

/// Whether what a group has come to follows what was archived of it. What is missing between is said to be.
fn goes_on(before: &ArchivedRow, come: &GroupRow) -> bool {
    let (after, _) = come.span();
    if !before.has_begun {
        return come.begins == (after.0 != 0);
    }
    let from = if come.is_behind_gap { engine::Stamp(come.gap_from) } else { after };
    !come.begins && from == before.upto && after >= before.upto
}
