//! What archivers, closers, snapshots, collectors and pins may change, and what they may not.

use super::{Meta, NOW};
use engine::Stamp;
use engine::ids::NodeId;
use node::archive::manifest::log::GroupRow;
use node::archive::naming::{SnapshotId, TickEnd};
use node::limits;
use node::meta::archive_change::{ArchiveChange, PinEnd};
use node::meta::archive_row::{CloserRow, ReportRow, SnapshotRow, SnapshotState};
use node::meta::command::{Change, Reason};
use node::meta::pin_row::{CarriedRow, PinRow, SweepRow};
use raft::types::GroupId;

/// One archiver's report of one group.
fn report(node: u64, number: u64, (after, upto): (u64, u64)) -> ReportRow {
    let row = GroupRow { group: 7, after, upto, node, ..GroupRow::default() };
    ReportRow { node: NodeId(node), number, files: Vec::new(), groups: vec![row] }
}

fn reported(row: &ReportRow) -> Change {
    Change::Archive(ArchiveChange::Report(row.clone(), NOW + 10_000))
}

#[test]
fn a_group_is_archived_by_one_and_goes_on_where_it_was() {
    use Reason::{Exists, Impossible, NotFound, Stale};
    let mut meta = Meta::new();
    let take =
        |node, until_ms| Change::Archive(ArchiveChange::Take(NodeId(node), until_ms, vec![GroupId(7)]));
    let with = |row: ReportRow, change: &dyn Fn(&mut GroupRow)| {
        let mut row = row;
        change(&mut row.groups[0]);
        reported(&row)
    };
    meta.refused(reported(&report(1, 1, (0, 5))), NotFound);
    meta.refused(take(1, NOW + limits::ARCHIVE_LEASE_MS_MAX + 1), Impossible);
    meta.done(take(1, NOW + 10_000));
    meta.refused(take(2, NOW + 20_000), Stale);
    // What begins says so, and what does not begin behind something must not.
    meta.refused(reported(&report(1, 1, (3, 5))), Stale);
    meta.refused(with(report(1, 1, (0, 5)), &|row| row.begins = true), Stale);
    meta.refused(reported(&report(2, 1, (0, 5))), Stale);
    meta.done(reported(&report(1, 1, (0, 5))));
    let wrong: [(ReportRow, Reason); 4] = [
        (report(1, 1, (5, 9)), Exists),
        (report(1, 2, (4, 9)), Stale),
        (report(1, 2, (6, 9)), Stale),
        (report(2, 2, (5, 9)), Stale),
    ];
    for (row, why) in wrong {
        meta.refused(reported(&row), why);
    }
    // Behind a gap it goes on from where the gap begins: that is where it was.
    meta.refused(with(report(1, 2, (8, 9)), &|row| (row.is_behind_gap, row.gap_from) = (true, 6)), Stale);
    meta.refused(with(report(1, 2, (4, 9)), &|row| (row.is_behind_gap, row.gap_from) = (true, 5)), Stale);
    meta.refused(with(report(1, 2, (5, 9)), &|row| row.begins = true), Stale);
    meta.done(with(report(1, 2, (8, 9)), &|row| (row.is_behind_gap, row.gap_from) = (true, 5)));
    assert_eq!(meta.view().archived[&GroupId(7)].upto, Stamp(9));
    meta.done(take(1, NOW + 30_000));
    meta.now_ms += 30_000;
    meta.done(take(2, meta.now_ms + 10_000));
    meta.refused(reported(&report(1, 3, (9, 11))), Stale);
    meta.done(Change::Archive(ArchiveChange::Report(report(2, 3, (9, 11)), meta.now_ms + 10_000)));
}

#[test]
fn a_marker_names_reports_that_are_there_and_follows_the_one_before() {
    use Reason::{Impossible, NotFound, Stale};
    let mut meta = Meta::new();
    let plan = |row: &CloserRow| Change::Archive(ArchiveChange::PlanMarker(row.clone()));
    let first = CloserRow { version: 1, generation: 1, end_s: 10, writer: NodeId(1), ..CloserRow::default() };
    meta.done(Change::Archive(ArchiveChange::Take(NodeId(1), NOW + 10_000, vec![GroupId(7)])));
    meta.done(reported(&report(1, 1, (0, 5))));
    meta.refused(plan(&CloserRow { version: 2, ..first.clone() }), Stale);
    meta.refused(plan(&CloserRow { reports: vec![(NodeId(1), 2)], ..first.clone() }), NotFound);
    meta.done(plan(&CloserRow { reports: vec![(NodeId(1), 1)], ..first.clone() }));
    assert_eq!(meta.view().reports.len(), 1, "its marker may not be put yet");
    meta.refused(plan(&first), Stale);
    let next = CloserRow { version: 2, end_s: 15, previous_end_s: 10, previous: [7; 32], ..first };
    for (row, why) in [
        (CloserRow { end_s: 11, previous_end_s: 5, ..next.clone() }, Impossible),
        (CloserRow { end_s: 10, previous_end_s: 9, ..next.clone() }, Impossible),
        (CloserRow { version: 3, ..next.clone() }, Stale),
        (CloserRow { reports: vec![(NodeId(1), 1)], ..next.clone() }, NotFound),
    ] {
        meta.refused(plan(&row), why);
    }
    meta.done(plan(&next));
    assert_eq!(meta.view().reports.len(), 0, "what a marker that is put names goes");
    let later =
        CloserRow { version: 3, generation: 2, end_s: 20, previous_end_s: 0, previous: [0; 32], ..next };
    meta.done(plan(&later));
    meta.refused(
        plan(&CloserRow { version: 4, generation: 1, end_s: 25, previous_end_s: 20, ..later }),
        Impossible,
    );
}

#[test]
fn nobody_begins_a_snapshot_while_objects_are_deleted_and_nobody_deletes_during_one() {
    use Reason::{Impossible, Stale, State};
    let mut meta = Meta::new();
    let now = NOW;
    let sweep =
        |node, until_ms| Change::Archive(ArchiveChange::TakeSweep(SweepRow { node: NodeId(node), until_ms }));
    let put = |version, state| {
        Change::Archive(ArchiveChange::PutSnapshot(SnapshotRow {
            version,
            state,
            cut_s: 9,
            ..SnapshotRow::default()
        }))
    };
    meta.refused(sweep(1, now + limits::ARCHIVE_LEASE_MS_MAX + 1), Impossible);
    meta.done(sweep(1, now + 60_000));
    meta.done(sweep(1, now + 70_000));
    meta.refused(sweep(2, now + 60_000), Stale);
    meta.refused(put(1, SnapshotState::Running), State);
    meta.now_ms += 70_000;
    meta.refused(put(2, SnapshotState::Running), Stale);
    meta.done(put(1, SnapshotState::Running));
    meta.refused(sweep(2, meta.now_ms + 60_000), State);
    meta.done(put(2, SnapshotState::Idle));
    meta.done(sweep(2, meta.now_ms + 60_000));
    meta.done(put(3, SnapshotState::Failed));
}

#[test]
fn a_pin_only_becomes_more_until_it_is_ended() {
    use Reason::{Impossible, NotFound, Stale, State};
    let mut meta = Meta::new();
    let put = |row: &PinRow| Change::Archive(ArchiveChange::PutPin(row.clone()));
    let end = |id, is_hold| {
        let (by, why) = ("ada".to_owned(), "over".to_owned());
        Change::Archive(ArchiveChange::EndPin(PinEnd { id, is_hold, by, why }))
    };
    let snapshot = |second| SnapshotId { cut: TickEnd(second), random: [1; 4] };
    let pin = PinRow {
        id: [1; 8],
        renewal: 1,
        made_ms: NOW,
        until_ms: NOW + 1_000,
        after: Stamp(5),
        upto: Stamp(9),
        snapshots: vec![snapshot(5)],
        ..PinRow::default()
    };
    meta.refused(end([1; 8], false), NotFound);
    meta.refused(put(&PinRow { renewal: 2, ..pin.clone() }), Impossible);
    meta.refused(put(&PinRow { until_ms: NOW, ..pin.clone() }), Impossible);
    meta.refused(put(&PinRow { is_hold: true, ..pin.clone() }), Impossible);
    meta.done(put(&pin));
    meta.refused(put(&pin), Stale);
    let next = PinRow { renewal: 2, until_ms: NOW + 2_000, ..pin.clone() };
    let less = [
        PinRow { until_ms: NOW + 999, ..next.clone() },
        PinRow { after: Stamp(6), ..next.clone() },
        PinRow { upto: Stamp(8), ..next.clone() },
        PinRow { snapshots: vec![snapshot(6)], ..next.clone() },
        PinRow { made_ms: NOW + 1, ..next.clone() },
        PinRow { is_hold: true, until_ms: u64::MAX, ..next.clone() },
    ];
    for row in less {
        meta.refused(put(&row), Impossible);
    }
    meta.done(put(&PinRow { upto: Stamp(20), snapshots: vec![snapshot(5), snapshot(6)], ..next.clone() }));
    meta.refused(end([1; 8], true), NotFound);
    meta.done(end([1; 8], false));
    assert!(!meta.view().pins[&[1; 8]].lives(NOW));
    assert_eq!(meta.view().pins[&[1; 8]].renewal, 3, "what was ended is known to be");
    meta.refused(end([1; 8], false), State);
    meta.refused(put(&PinRow { renewal: 4, until_ms: NOW + 9_000, ..next }), State);
    let hold = PinRow { id: [2; 8], is_hold: true, until_ms: u64::MAX, ..pin };
    meta.done(put(&hold));
    meta.refused(end([2; 8], false), NotFound);
    meta.refused(put(&PinRow { renewal: 2, until_ms: NOW + 5_000, ..hold }), Impossible);
    meta.now_ms += 1_000_000_000;
    meta.done(end([2; 8], true));
}

#[test]
fn what_is_carried_only_becomes_more() {
    let mut meta = Meta::new();
    let carry = |upto| Change::Archive(ArchiveChange::Carry(CarriedRow { upto: Stamp(upto) }));
    meta.refused(carry(0), Reason::Stale);
    meta.done(carry(5));
    meta.refused(carry(5), Reason::Stale);
    meta.refused(carry(4), Reason::Stale);
    meta.done(carry(6));
    assert_eq!(meta.view().carried, Stamp(6));
}
