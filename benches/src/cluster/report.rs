//! Pure: what is concluded, and the tables.

use super::plan::{LOADED, STEPS};
use crate::engine::figures::Figures;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// A ratio: ours by etcd's.
struct Ratio {
    name: &'static str,
    /// Which figure of both it is of.
    of: &'static str,
    wanted: f64,
    /// Whether more is better.
    is_least: bool,
}

const fn least(name: &'static str, of: &'static str, wanted: f64) -> Ratio {
    Ratio { name, of, wanted, is_least: true }
}

const fn most(name: &'static str, of: &'static str, wanted: f64) -> Ratio {
    Ratio { name, of, wanted, is_least: false }
}

/// The ratios, and what is wanted of them first.
const RATIOS: [Ratio; 7] = [
    least("put64_ops_per_cpu", "put64.ops_per_cpu_s", 4.0),
    least("put64_ops", "put64.ops_per_s", 3.0),
    least("get64_ops_per_cpu", "get64.ops_per_cpu_s", 5.0),
    // No bar of its own.
    least("get64_ops", "get64.ops_per_s", 0.0),
    least("cas64_ops_per_cpu", "cas64.ops_per_cpu_s", 6.0),
    most("memory_500k", "memory_bytes", 1.0),
    most("disk_500k", "disk_bytes", 1.0),
];

/// Seconds without a write after the leader was killed, at most.
const FAILOVER_S: f64 = 4.0;
/// The two.
const SUBJECTS: [&str; 2] = ["ours", "etcd"];

fn both(all: &Figures, name: &str) -> Option<f64> {
    let of = |subject: &str| all.get(&format!("{subject}.{name}")).copied();
    let (ours, theirs) = (of("ours")?, of("etcd")?);
    (theirs > 0.0).then(|| ours / theirs)
}

/// The line that ends a run.
#[must_use]
pub fn line(all: &Figures, is_quick: bool) -> Value {
    let ratios = RATIOS.iter().filter_map(|ratio| Some((ratio.name.to_owned(), both(all, ratio.of)?.into())));
    let mut ratios: Map<String, Value> = ratios.collect();
    let failover_s = all.get("ours.failover_s").copied();
    ratios.extend(failover_s.map(|seconds| ("failover_s".to_owned(), seconds.into())));
    json!({ "quick": is_quick, "ratios": ratios, "failover_s": failover_s, "figures": all })
}

/// All tables: operations, size, and the bars.
#[must_use]
pub fn table(all: &Figures, is_quick: bool) -> String {
    let mut out = String::new();
    operations(&mut out, all);
    size(&mut out, all, is_quick);
    for ratio in &RATIOS {
        if let Some(figure) = both(all, ratio.of) {
            bar(&mut out, ratio.name, figure, (ratio.wanted, ratio.is_least));
        }
    }
    if let Some(seconds) = all.get("ours.failover_s") {
        bar(&mut out, "failover_s", *seconds, (FAILOVER_S, false));
    }
    out
}

fn bar(out: &mut String, name: &str, figure: f64, (wanted, is_least): (f64, bool)) {
    let is_met = if is_least { figure >= wanted } else { figure <= wanted };
    let (sign, met) = (if is_least { ">=" } else { "<=" }, if is_met { "met" } else { "MISSED" });
    let verdict = if wanted > 0.0 { format!("wanted {sign} {wanted} {met}") } else { "no bar".to_owned() };
    let _ = writeln!(out, "{name:<24}{figure:>10.2}   {verdict}");
}

fn operations(out: &mut String, all: &Figures) {
    let _ = writeln!(
        out,
        "Values of 256 B unless the name says more; the number is that of clients, each of which waits."
    );
    let titles = ["ops/s", "CPU us", "p50 ms", "p99 ms", "p99.9 ms", "failed"];
    let titles = titles.map(|title| format!("{title:>10}")).concat();
    let _ = writeln!(out, "{:<12}{:<6}{titles}   ops/s  ops by CPU", "", "");
    let columns =
        [("ops_per_s", 0), ("cpu_us", 1), ("p50_ms", 2), ("p99_ms", 2), ("p999_ms", 2), ("failures", 0)];
    for step in &STEPS {
        for subject in SUBJECTS {
            let figure = |name: &str| all.get(&format!("{subject}.{}.{name}", step.name)).copied();
            if figure("ops_per_s").is_none() {
                continue;
            }
            let cells = columns.map(|(name, decimals)| {
                figure(name).map_or(format!("{:>10}", "-"), |figure| format!("{figure:>10.decimals$}"))
            });
            let _ = write!(out, "{:<12}{subject:<6}{}", step.name, cells.concat());
            let ratio = |name: &str| both(all, &format!("{}.{name}", step.name));
            if let (true, Some(ops), Some(by_cpu)) =
                (subject == "etcd", ratio("ops_per_s"), ratio("ops_per_cpu_s"))
            {
                let _ = write!(out, "{ops:>8.2}{by_cpu:>12.2}");
            }
            out.push('\n');
        }
    }
    out.push('\n');
}

fn size(out: &mut String, all: &Figures, is_quick: bool) {
    let at_once = if is_quick { "; both loaded at once" } else { "" };
    let _ = writeln!(out, "{LOADED} records of 24 B and 256 B, three servers together{at_once}");
    let rows = [
        ("load: records a second", "load.rows_per_s", 1.0),
        ("load: CPU us a record", "load.cpu_us", 1.0),
        ("memory, MiB", "memory_bytes", 1_048_576.0),
        ("memory but for mapped files, MiB", "memory_own_bytes", 1_048_576.0),
        ("disk, MiB", "disk_bytes", 1_048_576.0),
        ("without writes after a kill, s", "failover_s", 1.0),
    ];
    let _ = writeln!(out, "{:<34}{:>12}{:>12}", "", SUBJECTS[0], SUBJECTS[1]);
    for (title, name, unit) in rows {
        let cells = SUBJECTS.map(|subject| {
            let figure = all.get(&format!("{subject}.{name}"));
            figure.map_or(format!("{:>12}", "-"), |figure| format!("{:>12.2}", figure / unit))
        });
        let _ = writeln!(out, "{title:<34}{}", cells.concat());
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rows: &[(&str, f64)]) -> Figures {
        rows.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect()
    }

    #[test]
    fn ratios_are_ours_by_theirs_and_bars_say_so() {
        let all = figures(&[
            ("ours.put64.ops_per_s", 900.0),
            ("etcd.put64.ops_per_s", 300.0),
            ("ours.put64.ops_per_cpu_s", 30.0),
            ("etcd.put64.ops_per_cpu_s", 10.0),
            ("ours.memory_bytes", 50.0),
            ("etcd.memory_bytes", 100.0),
            ("ours.failover_s", 2.5),
            ("ours.disk_bytes", 7.0),
        ]);
        let line = line(&all, true);
        assert_eq!(line["ratios"]["put64_ops"], 3.0);
        assert_eq!(line["ratios"]["memory_500k"], 0.5);
        assert_eq!((&line["failover_s"], &line["ratios"]["failover_s"]), (&json!(2.5), &json!(2.5)));
        assert!(line["ratios"].get("disk_500k").is_none());
        let text = table(&all, false);
        let found =
            |name: &str| text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
        assert!(found("put64_ops").ends_with(">= 3 met"));
        assert!(found("put64_ops_per_cpu").ends_with(">= 4 MISSED"));
        assert!(found("memory_500k").ends_with("<= 1 met") && found("failover_s").ends_with("<= 4 met"));
    }

    #[test]
    fn without_a_peer_there_are_figures_and_no_ratios() {
        let all = figures(&[("ours.put64.ops_per_s", 900.0), ("ours.failover_s", 9.0)]);
        let line = line(&all, false);
        assert_eq!(line["ratios"].as_object().unwrap().len(), 1);
        let text = table(&all, false);
        assert!(text.contains("put64") && text.contains("MISSED") && text.is_ascii());
    }
}
