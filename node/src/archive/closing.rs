//! Pure: which marker comes next, and what it says: a function of the rows of the meta group alone, so that whoever closes after a crash puts
//! the same bytes under the same name.

use super::manifest::log::{CloseMarker, Gap, GroupRow};
use super::naming::{GapId, TickEnd};
use crate::meta::archive_row::{CloserRow, REPORTS_MAX, ReportRow};
use engine::ids::NodeId;
use raft::types::GroupId;
use std::collections::{BTreeMap, BTreeSet};

/// Files that one marker names, at most: what is over goes into the next.
const FILES_MAX: usize = 16_384;

/// The marker that `row` plans, from the reports that are there; `None`: one of them is not.
#[must_use]
pub fn marker(row: &CloserRow, reports: &BTreeMap<(NodeId, u64), ReportRow>) -> Option<CloseMarker> {
    let named: Option<Vec<&ReportRow>> = row.reports.iter().map(|key| reports.get(key)).collect();
    let named = named?;
    let mut groups: Vec<GroupRow> = named.iter().flat_map(|report| report.groups.iter().cloned()).collect();
    groups.sort_by_key(|row| (row.group, row.after, row.upto));
    let previous = if row.previous_end_s == 0 { Vec::new() } else { row.previous.to_vec() };
    Some(CloseMarker {
        generation: row.generation,
        end_s: row.end_s,
        previous_end_s: row.previous_end_s,
        previous,
        writer: row.writer.0,
        planned_ms: row.planned_ms,
        files: named.iter().flat_map(|report| report.files.iter().cloned()).collect(),
        groups,
        data: Vec::new(),
        floor: 0,
        alive: row.alive.iter().map(|group| group.0).collect(),
    })
}

/// The gaps behind which rows of a marker go on.
#[must_use]
pub fn gaps(marker: &CloseMarker) -> Vec<(GapId, Gap)> {
    let behind = marker.groups.iter().filter(|row| row.is_behind_gap && row.gap_from < row.after);
    let each = behind.map(|row| {
        let from = TickEnd(engine::Stamp(row.gap_from).ms() / 1_000);
        // The same gap is put again by whoever closes after a crash: its name follows from what it says.
        let [.., a, b] = (row.after ^ row.after >> 16).to_be_bytes();
        let gap = Gap {
            group: row.group,
            after: row.gap_from,
            upto: row.after,
            cause: 2,
            node: row.node,
            made_ms: marker.planned_ms,
            generation: marker.generation,
        };
        (GapId { from, group: row.group(), random: [a, b] }, gap)
    });
    each.collect()
}

/// What is planned behind the marker of `row`, which is put and has this digest. Reports of a node are taken in their order.
#[must_use]
pub fn next(
    row: Option<(&CloserRow, [u8; 32])>,
    reports: &BTreeMap<(NodeId, u64), ReportRow>,
    alive: &BTreeSet<GroupId>,
    (generation, end, writer, now_ms): (u64, TickEnd, NodeId, u64),
) -> CloserRow {
    let named: BTreeSet<(NodeId, u64)> =
        row.iter().flat_map(|(row, _)| row.reports.iter().copied()).collect();
    let fresh = reports.iter().filter(|(key, _)| !named.contains(*key));
    let mut files = 0;
    let fits = |(_, report): &(&(NodeId, u64), &ReportRow)| {
        files += report.files.len();
        files <= FILES_MAX
    };
    // By age: what a group has come to with one node stands before what it has come to with the next.
    let mut by_age: Vec<(&(NodeId, u64), &ReportRow)> = fresh.collect();
    by_age.sort_by_key(|((node, number), _)| (*number, *node));
    let mut taken: Vec<(NodeId, u64)> =
        by_age.into_iter().take(REPORTS_MAX).take_while(fits).map(|(key, _)| *key).collect();
    taken.sort_unstable();
    CloserRow {
        version: row.map_or(0, |(row, _)| row.version) + 1,
        generation,
        end_s: end.0,
        previous_end_s: row.map_or(0, |(row, _)| row.end_s),
        previous: row.map_or([0; 32], |(_, digest)| digest),
        writer,
        planned_ms: now_ms,
        reports: taken,
        alive: alive.iter().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::manifest::Body;

    fn report(node: u64, number: u64, groups: &[(u64, u64, u64)]) -> ((NodeId, u64), ReportRow) {
        let row = |(group, after, upto): &(u64, u64, u64)| GroupRow {
            group: *group,
            after: *after,
            upto: *upto,
            node,
            ..GroupRow::default()
        };
        let groups = groups.iter().map(row).collect();
        let row = ReportRow { node: NodeId(node), number, files: Vec::new(), groups };
        ((row.node, number), row)
    }

    const AT: (u64, TickEnd, NodeId, u64) = (1, TickEnd(10), NodeId(2), 11_000);

    #[test]
    fn a_marker_follows_from_the_rows_and_from_nothing_else() {
        let alive = BTreeSet::from([GroupId(1), GroupId(2)]);
        let mut reports = BTreeMap::from([report(2, 7, &[(1, 5, 9)]), report(1, 6, &[(1, 0, 5), (2, 0, 4)])]);
        let first = next(None, &reports, &alive, AT);
        assert_eq!(first.reports, [(NodeId(1), 6), (NodeId(2), 7)]);
        let found = marker(&first, &reports).unwrap();
        assert_eq!(marker(&first, &reports), Some(found.clone()));
        found.check().expect("rows of a group follow each other, whoever has collected them");
        let (key, more) = report(1, 8, &[(2, 4, 9)]);
        reports.insert(key, more);
        assert_eq!(marker(&first, &reports), Some(found), "what came later changes nothing");
        let second = next(Some((&first, [7; 32])), &reports, &alive, (1, TickEnd(15), NodeId(1), 16_000));
        assert_eq!((second.version, second.previous_end_s, second.previous), (2, 10, [7; 32]));
        assert_eq!(second.reports, [(NodeId(1), 8)], "what is named is not named again");
        reports.remove(&(NodeId(1), 8));
        assert_eq!(marker(&second, &reports), None);
    }

    #[test]
    fn a_row_behind_a_gap_is_told_as_one() {
        let alive = BTreeSet::from([GroupId(1)]);
        let (key, mut late) = report(1, 6, &[(1, 50, 60)]);
        (late.groups[0].is_behind_gap, late.groups[0].gap_from) = (true, 20);
        let reports = BTreeMap::from([(key, late)]);
        let found = marker(&next(None, &reports, &alive, AT), &reports).unwrap();
        let told = gaps(&found);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].1.after, told[0].1.upto), (20, 50));
        assert_eq!(told, gaps(&found), "the same name again");
    }
}
