//! The page of the metrics and the tables they are served from say the same.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use engine::stats::{Figure, FigureKind, PoolStats};
use raft::stats::Stats;
use std::collections::BTreeSet;
use std::path::Path;

const PREFIX: &str = "dewpond_";

/// One row of the page.
struct Row {
    name: String,
    kind: String,
    unit: String,
    meaning: String,
    look_at: String,
}

fn page() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let [name, kind, unit, meaning, look_at] = cells.try_into().unwrap();
        Row { name: name.trim_matches('`').to_owned(), kind, unit, meaning, look_at }
    };
    rows.map(row).collect()
}

fn tables() -> Vec<Figure> {
    PoolStats::default().rows().chain(Stats::default().rows()).collect()
}

#[test]
fn every_metric_has_its_row_and_every_row_its_metric() {
    let room = |name: &str| name.split('_').nth(1).unwrap().to_owned();
    let rooms: BTreeSet<String> = tables().iter().map(|row| room(row.name)).collect();
    // The server adds rooms of its own, and compares them itself.
    let own = page().into_iter().filter(|row| rooms.contains(&room(&row.name)));
    let said: Vec<(String, String)> = own.map(|row| (row.name, row.kind)).collect();
    let kind = |kind| match kind {
        FigureKind::Counter => "counter",
        FigureKind::Gauge => "gauge",
    };
    let histograms = Stats::default().histograms();
    let timed = histograms.iter().map(|one| (one.name.to_owned(), "histogram".to_owned()));
    let served = tables().into_iter().map(|row| (row.name.to_owned(), kind(row.kind).to_owned()));
    let served = served.chain(timed);
    let (said_once, served): (BTreeSet<_>, BTreeSet<_>) = (said.iter().cloned().collect(), served.collect());
    assert_eq!(said_once.len(), said.len(), "a row twice");
    assert_eq!(served.len(), tables().len() + histograms.len(), "a metric twice");
    let missing: Vec<_> = served.difference(&said_once).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    let gone: Vec<_> = said_once.difference(&served).collect();
    assert!(gone.is_empty(), "in no table: {gone:?}");
}

#[test]
fn every_row_says_unit_and_meaning_and_names_what_there_is() {
    let rows = page();
    let names: BTreeSet<&str> = rows.iter().filter_map(|row| row.name.strip_prefix(PREFIX)).collect();
    assert_eq!(names.len(), rows.len(), "a name of somebody else");
    for row in &rows {
        assert!(row.name.ends_with(&format!("_{}", row.unit)), "{}: unit {}", row.name, row.unit);
        assert!(row.meaning.ends_with('.') && row.look_at.ends_with('.'), "{}", row.name);
        for named in row.look_at.split('`').skip(1).step_by(2) {
            if named.contains([' ', '.']) {
                // A command or a setting.
                continue;
            }
            let is_there = match named.strip_suffix('*') {
                Some(begin) => names.iter().any(|name| name.starts_with(begin)),
                None => names.contains(named),
            };
            assert!(is_there, "{} names `{named}`, which is nowhere", row.name);
        }
    }
}

/// What a pool counts stands in its table under the right name.
#[test]
fn a_pool_serves_what_it_has_counted() {
    let mut stats = PoolStats { open_files: 4, cache_bytes: 5, ..PoolStats::default() };
    stats.counters.work_failed = 6;
    let moved: Vec<_> =
        stats.rows().filter(|row| row.value > 0).map(|row| (row.name, row.kind, row.value)).collect();
    let wanted = [
        ("dewpond_pool_cache_bytes", FigureKind::Gauge, 5),
        ("dewpond_pool_open_files", FigureKind::Gauge, 4),
        ("dewpond_pool_failed_tasks", FigureKind::Counter, 6),
    ];
    assert_eq!(moved, wanted);
}
