//! Pure: the bars, the table and the line.

use crate::engine::figures::Figures;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// A figure of the line, and what is wanted of it.
struct Bar {
    name: &'static str,
    wanted: f64,
    /// Whether more is better.
    is_least: bool,
}

const BARS: [Bar; 6] = [
    Bar { name: "replay_mb_s_core", wanted: 50.0, is_least: true },
    Bar { name: "snapshot_restore_vs_limit", wanted: 0.7, is_least: true },
    Bar { name: "restore_vs_pgbackrest", wanted: 2.0, is_least: true },
    Bar { name: "archive_lag_p99_ticks", wanted: 2.0, is_least: false },
    Bar { name: "archive_cost_percent", wanted: 5.0, is_least: false },
    Bar { name: "second_snapshot_percent", wanted: 10.0, is_least: false },
];

/// The line that ends a run.
#[must_use]
pub fn line(all: &Figures, is_quick: bool) -> Value {
    let of = |bar: &Bar| Some((bar.name.to_owned(), Value::from(*all.get(bar.name)?)));
    let figures: Map<String, Value> = BARS.iter().filter_map(of).collect();
    json!({ "quick": is_quick, "figures": figures, "all": all })
}

/// Every figure, and the bars.
#[must_use]
pub fn table(all: &Figures) -> String {
    let mut out = String::new();
    for (name, figure) in all {
        let _ = writeln!(out, "{name:<36}{figure:>14.3}");
    }
    out.push('\n');
    for Bar { name, wanted, is_least } in BARS {
        let Some(figure) = all.get(name).copied() else {
            let _ = writeln!(out, "{name:<28}{:>10}   not measured", "-");
            continue;
        };
        let is_met = if is_least { figure >= wanted } else { figure <= wanted };
        let (sign, met) = (if is_least { ">=" } else { "<=" }, if is_met { "met" } else { "MISSED" });
        let _ = writeln!(out, "{name:<28}{figure:>10.2}   wanted {sign} {wanted} {met}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_held_against_figures() {
        let mut all = Figures::new();
        all.insert("replay_mb_s_core".to_owned(), 60.0);
        all.insert("archive_cost_percent".to_owned(), 9.0);
        all.insert("other".to_owned(), 1.0);
        let table = table(&all);
        let line_of = |name: &str| table.lines().rfind(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line_of("replay_mb_s_core").ends_with(" met"));
        assert!(line_of("archive_cost_percent").ends_with("MISSED"));
        assert!(line_of("restore_vs_pgbackrest").ends_with("not measured"));
        let line = line(&all, true);
        assert_eq!(line["figures"].as_object().unwrap().len(), 2);
        assert_eq!(line["all"]["other"], 1.0);
    }
}
