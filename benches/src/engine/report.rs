//! Pure: the table for people, and the line for programs.

use super::figures::{RATIOS, Run, median_of, ratio};
use super::plan::{
    BATCH_ROWS, CACHE_BYTES, Kind, MEMTABLE_BYTES, Phase, SCAN_ENTRIES, keys_of, operations_of,
};
use super::workload::{KEY_BYTES, VALUE_BYTES};
use crate::options::Options;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;

type Pick = fn(&Run, Kind) -> Option<f64>;

const MIB: f64 = 1_048_576.0;

/// The lines of the table: what, decimals, and where the figure is.
const LINES: [(&str, usize, Pick); 31] = [
    ("load: keys a second", 0, |run, kind| run.get(kind, Phase::Load, "per_s")),
    ("load: seconds until durable", 1, |run, kind| run.get(kind, Phase::Load, "seconds")),
    ("load: CPU seconds until durable", 1, |run, kind| run.get(kind, Phase::Load, "cpu_s")),
    ("load again: keys a second", 0, |run, kind| run.get(kind, Phase::LoadAgain, "per_s")),
    ("load again: CPU seconds until durable", 1, |run, kind| run.get(kind, Phase::LoadAgain, "cpu_s")),
    ("load: more seconds until at rest", 1, |run, kind| run.get(kind, Phase::Load, "settle_s")),
    ("load: CPU seconds until at rest", 1, |run, kind| run.get(kind, Phase::Load, "cpu_settled_s")),
    ("load: disk after, MiB", 0, |run, kind| run.get(kind, Phase::Load, "disk_bytes").map(|n| n / MIB)),
    ("load: peak memory, MiB", 0, |run, kind| run.get(kind, Phase::Load, "memory_bytes").map(|n| n / MIB)),
    ("warm reads, uniform, a second", 0, |run, kind| run.get(kind, Phase::Warm, "uniform_per_s")),
    ("warm reads, uniform, CPU us each", 1, |run, kind| run.get(kind, Phase::Warm, "uniform_cpu_us")),
    ("warm reads, Zipfian, a second", 0, |run, kind| run.get(kind, Phase::Warm, "zipf_per_s")),
    ("warm scans of 100, a second", 0, |run, kind| run.get(kind, Phase::Warm, "scans_per_s")),
    ("reads and scans: peak memory, MiB", 0, |run, kind| {
        run.get(kind, Phase::Warm, "memory_bytes").map(|n| n / MIB)
    }),
    ("cold reads, uniform, a second", 0, |run, kind| run.get(kind, Phase::ColdUniform, "per_s")),
    ("cold reads, Zipfian, a second", 0, |run, kind| run.get(kind, Phase::ColdZipf, "per_s")),
    ("cold scans of 100, a second", 0, |run, kind| run.get(kind, Phase::ColdScan, "per_s")),
    ("overwrite: keys a second", 0, |run, kind| run.get(kind, Phase::Overwrite, "per_s")),
    ("overwrite: CPU seconds until durable", 1, |run, kind| run.get(kind, Phase::Overwrite, "cpu_s")),
    ("overwrite: more seconds until at rest", 1, |run, kind| run.get(kind, Phase::Overwrite, "settle_s")),
    ("overwrite: CPU seconds until at rest", 1, |run, kind| run.get(kind, Phase::Overwrite, "cpu_settled_s")),
    ("overwrite: disk after, MiB", 0, |run, kind| {
        run.get(kind, Phase::Overwrite, "disk_bytes").map(|n| n / MIB)
    }),
    ("overwrite: peak memory, MiB", 0, |run, kind| {
        run.get(kind, Phase::Overwrite, "memory_bytes").map(|n| n / MIB)
    }),
    ("compact: seconds", 1, |run, kind| run.get(kind, Phase::Compact, "seconds")),
    ("compact: disk after, MiB", 0, |run, kind| run.get(kind, Phase::Compact, "disk_bytes").map(|n| n / MIB)),
    ("compact: of that its own log, MiB", 0, |run, kind| {
        run.get(kind, Phase::Compact, "log_bytes").map(|n| n / MIB)
    }),
    ("compact: peak memory, MiB", 0, |run, kind| {
        run.get(kind, Phase::Compact, "memory_bytes").map(|n| n / MIB)
    }),
    ("open, closed well: seconds", 3, |run, kind| run.get(kind, Phase::Warm, "open_s")),
    ("reopen after SIGKILL: seconds", 3, |run, kind| run.get(kind, Phase::Reopen, "seconds")),
    ("reopen: disk, MiB", 0, |run, kind| run.get(kind, Phase::Reopen, "opened_bytes").map(|n| n / MIB)),
    ("reopen: disk after, MiB", 0, |run, kind| run.get(kind, Phase::Reopen, "disk_bytes").map(|n| n / MIB)),
];

/// The table of medians, with what was measured and how.
#[must_use]
pub fn table(options: &Options, runs: &[Run]) -> String {
    let mut out = head(options, runs);
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| options.stores.contains(kind)).collect();
    let mut line = |title: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: String = cells.map(|cell| format!("{cell:>11}")).collect();
        let _ = writeln!(out, "{title:<40}{cells}");
    };
    line("", &mut kinds.iter().map(|kind| kind.name().to_owned()));
    line("keys", &mut kinds.iter().map(|kind| keys_of(*kind, options.keys, options.is_quick).to_string()));
    for (title, decimals, pick) in LINES {
        let figures: Vec<_> = kinds.iter().map(|kind| median_of(runs, |run| pick(run, *kind))).collect();
        if figures.iter().any(Option::is_some) {
            let cell =
                |figure: &Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.decimals$}"));
            line(title, &mut figures.iter().map(cell));
        }
    }
    out.push('\n');
    for name in RATIOS {
        let found = median_of(runs, |run| ratio(run, name));
        let _ =
            writeln!(out, "{name:<40}{:>11}", found.map_or("-".to_owned(), |found| format!("{found:.3}")));
    }
    out
}

fn head(options: &Options, runs: &[Run]) -> String {
    let reads = |phase| operations_of(phase, options.keys);
    let cold = match runs.iter().all(|run| run.is_cold) {
        true => "with the page cache dropped before",
        false => {
            "after the page cache was asked to let go of the store's files, for all alike; it may have kept some"
        }
    };
    format!(
        "Medians of {} run(s), {} random keys of {KEY_BYTES} B with incompressible values of {VALUE_BYTES} B, batches of \
         {BATCH_ROWS} without a sync each,\nmade durable at the end of a load; {} MiB of cache each. Null is ours with nothing \
         sealed. Peers keep a log of their own, ours leaves it to its\ncaller. Reads: {} warm of each kind, {} warm scans of \
         {SCAN_ENTRIES}; {} cold of each kind and {} cold scans, {cold}.\nA store with fewer keys has fewer reads in \
         proportion. {} keys are overwritten. disk_fjall leaves out fjall's log. memory_budget is by {} MiB.\n\n",
        runs.len(),
        options.keys,
        CACHE_BYTES >> 20,
        reads(Phase::Warm),
        reads(Phase::Warm) / 40,
        reads(Phase::ColdUniform),
        reads(Phase::ColdScan),
        reads(Phase::Overwrite),
        (MEMTABLE_BYTES + CACHE_BYTES) >> 20,
    )
}

/// One line of JSON: the ratios, and the median of every figure by store and phase.
#[must_use]
pub fn json(options: &Options, runs: &[Run]) -> String {
    let ratios: Map<String, Value> = RATIOS
        .into_iter()
        .map(|name| (name.to_owned(), json!(median_of(runs, |run| ratio(run, name)))))
        .collect();
    let mut figures: Map<String, Value> = Map::new();
    let names: BTreeSet<_> = runs
        .iter()
        .flat_map(|run| &run.figures)
        .flat_map(|((kind, phase), figures)| figures.keys().map(|name| (*kind, *phase, name.as_str())))
        .collect();
    for (kind, phase, name) in names {
        let found = median_of(runs, |run| run.get(kind, phase, name));
        figures.insert(format!("{}.{}.{name}", kind.name(), phase.name()), json!(found));
    }
    let (keys, is_quick) = (options.keys, options.is_quick);
    json!({ "keys": keys, "quick": is_quick, "runs": runs.len(), "ratios": ratios, "figures": figures })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::parse(&["--quick".to_owned()]).unwrap()
    }

    fn run_of(per_s: f64) -> Run {
        let mut run = Run::default();
        for (kind, per_s) in [(Kind::Ours, per_s), (Kind::Fjall, 2.0)] {
            run.figures.entry((kind, Phase::Load)).or_default().insert("per_s".to_owned(), per_s);
        }
        run
    }

    #[test]
    fn the_line_has_every_ratio_and_nothing_else_there() {
        let runs = [run_of(3.0), run_of(5.0), run_of(40.0)];
        let value: Value = serde_json::from_str(&json(&options(), &runs)).unwrap();
        let ratios = value["ratios"].as_object().unwrap();
        assert_eq!(ratios.keys().map(String::as_str).collect::<BTreeSet<_>>(), RATIOS.into_iter().collect());
        assert_eq!(ratios["load_fjall"], json!(2.5));
        assert_eq!(ratios["load_sled"], Value::Null);
        assert_eq!(value["figures"]["ours.load.per_s"], json!(5.0));
    }

    #[test]
    fn the_table_shows_what_there_is() {
        let text = table(&options(), &[run_of(3.0)]);
        assert!(text.is_ascii());
        let line = text.lines().find(|line| line.starts_with("load: keys a second")).unwrap();
        let cells: Vec<&str> = line.split_whitespace().skip(4).collect();
        assert_eq!(cells, ["3", "2", "-", "-", "-"]);
        assert!(!text.contains("warm reads, uniform, a second"));
        assert!(text.lines().any(|line| line.starts_with("load_fjall") && line.ends_with("1.500")));
    }
}
