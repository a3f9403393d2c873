//! What a change of archives may do.

use super::{Draft, Tried, check, refused};
use crate::archive::manifest::log::GroupRow;
use crate::limits::ARCHIVE_LEASE_MS_MAX;
use crate::meta::archive_change::{ArchiveChange, PinEnd};
use crate::meta::archive_row::{ArchivedRow, CloserRow, ReportRow, SnapshotRow, SnapshotState};
use crate::meta::command::Reason;
use crate::meta::pin_row::{CarriedRow, PinRow, SweepRow};
use crate::meta::rows::{self, MetaRow};
use engine::ids::NodeId;
use raft::types::GroupId;

impl Draft<'_, '_> {
    reader_of!(closer, Closer, CloserRow, rows::CLOSER);
    reader_of!(pin, Pin, PinRow, rows::PINS);
    reader_of!(sweep, Sweep, SweepRow, rows::SWEEP);

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
            ArchiveChange::PutSnapshot(row) => self.put_snapshot(row),
            ArchiveChange::PutPin(row) => self.put_pin(row),
            ArchiveChange::EndPin(end) => self.end_pin(end),
            ArchiveChange::TakeSweep(row) => self.take_sweep(row),
            ArchiveChange::Carry(row) => {
                // What the nodes have let go does not come back.
                let before = self.carried(CarriedRow::key())?.unwrap_or_default();
                check(row.upto > before.upto, Reason::Stale)?;
                self.put(MetaRow::Carried(row));
                Ok(())
            }
        }
    }

    fn put_snapshot(&mut self, row: SnapshotRow) -> Tried {
        let before = self.snapshot(SnapshotRow::key())?.unwrap_or_default();
        check(row.version == before.version + 1, Reason::Stale)?;
        if row.state == SnapshotState::Running && before.state != SnapshotState::Running {
            // What it finds at the site and does not ship again must not go meanwhile.
            let now_ms = self.now_ms();
            check(self.sweep(SweepRow::key())?.is_none_or(|sweep| !sweep.lives(now_ms)), Reason::State)?;
        }
        self.put(MetaRow::Snapshot(row));
        Ok(())
    }

    fn take_sweep(&mut self, row: SweepRow) -> Tried {
        self.check_lease(row.until_ms)?;
        let snapshot = self.snapshot(SnapshotRow::key())?.unwrap_or_default();
        check(snapshot.state != SnapshotState::Running, Reason::State)?;
        let now_ms = self.now_ms();
        let before = self.sweep(SweepRow::key())?.filter(|before| before.lives(now_ms));
        check(before.is_none_or(|before| before.node == row.node), Reason::Stale)?;
        self.put(MetaRow::Sweep(row));
        Ok(())
    }

    /// What stays only ever becomes more.
    fn put_pin(&mut self, row: PinRow) -> Tried {
        let now_ms = self.now_ms();
        match self.pin(PinRow::key(row.id))? {
            None => {
                check(row.renewal == 1 && row.lives(now_ms), Reason::Impossible)?;
                // A hold ends when somebody ends it.
                check(!row.is_hold || row.until_ms == u64::MAX, Reason::Impossible)?;
            }
            Some(old) => {
                check(row.renewal == old.renewal + 1, Reason::Stale)?;
                check(old.lives(now_ms), Reason::State)?;
                check(row.renews(&old, now_ms), Reason::Impossible)?;
            }
        }
        self.put(MetaRow::Pin(row));
        Ok(())
    }

    fn end_pin(&mut self, end: PinEnd) -> Tried {
        let (now_ms, PinEnd { id, is_hold, by, why }) = (self.now_ms(), end);
        let Some(old) = self.pin(PinRow::key(id))?.filter(|old| old.is_hold == is_hold) else {
            return refused(Reason::NotFound);
        };
        check(old.lives(now_ms), Reason::State)?;
        let renewal = old.renewal + 1;
        self.put(MetaRow::Pin(PinRow { renewal, until_ms: now_ms, by, why, ..old }));
        Ok(())
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
