//! Pure: what is concluded, and the tables.

use super::plan::{GROUPS, IDLE, WRITERS};
use crate::engine::figures::Figures;
use std::fmt::Write as _;

/// A bar: the figure, what it is from, and what is wanted.
pub struct Bar {
    /// Its name.
    pub name: &'static str,
    /// Which figure of a child it is.
    pub from: &'static str,
    /// What is wanted.
    pub wanted: f64,
    /// Whether more is better.
    pub is_least: bool,
}

/// What is wanted of replication.
pub const BARS: [Bar; 5] = [
    Bar { name: "proposals_per_sync_64", from: "disk.per_sync_64", wanted: 8.0, is_least: true },
    Bar { name: "groups64_vs_1", from: "disk.groups64_vs_1", wanted: 0.8, is_least: true },
    // Of the node that leads, which does the most.
    Bar { name: "cpu_us_per_proposal_256", from: "cost.leader_us", wanted: 15.0, is_least: false },
    Bar { name: "catch_up_mb_s", from: "catch-up.mb_s", wanted: 100.0, is_least: true },
    Bar { name: "catch_up_p99_ratio", from: "catch-up.p99_ratio", wanted: 2.0, is_least: false },
];

impl Bar {
    fn is_met(&self, figure: f64) -> bool {
        if self.is_least { figure >= self.wanted } else { figure <= self.wanted }
    }
}

/// Adds what follows from the figures of several children.
pub fn conclude(all: &mut Figures) {
    for bar in &BARS {
        if let Some(figure) = all.get(bar.from).copied() {
            all.insert(bar.name.to_owned(), figure);
        }
    }
    let memory = |all: &Figures, groups: u64| {
        let of = |name: &str| all.get(&format!("idle.{groups}.{name}")).copied();
        Some((of("memory_bytes")?, of("replicas")?))
    };
    let Some((least, few)) = memory(all, IDLE[0]) else { return };
    for groups in &IDLE[1..] {
        if let Some((bytes, replicas)) = memory(all, *groups) {
            let each = (bytes - least) / (replicas - few);
            all.insert(format!("idle.{groups}.memory_bytes_per_replica"), each);
        }
    }
}

fn cell(all: &Figures, name: &str, decimals: usize) -> String {
    all.get(name).map_or("-".to_owned(), |figure| format!("{figure:.decimals$}"))
}

/// All tables: of writes, cost, catching up, what is idle, and the bars.
#[must_use]
pub fn table(all: &Figures) -> String {
    let mut out = String::new();
    for part in ["disk", "memory"] {
        if all.keys().any(|name| name.starts_with(&format!("{part}."))) {
            writes(&mut out, all, part);
        }
    }
    for part in ["disk.raw", "memory.slow", "cost", "catch-up", "recover"] {
        rest(&mut out, all, part);
    }
    idle(&mut out, all);
    for bar in &BARS {
        if let Some(figure) = all.get(bar.name) {
            let (sign, met) = (if bar.is_least { ">=" } else { "<=" }, bar.is_met(*figure));
            let met = if met { "met" } else { "MISSED" };
            let _ = writeln!(out, "{:<32}{figure:>11.2}   wanted {sign} {} {met}", bar.name, bar.wanted);
        }
    }
    out
}

fn writes(out: &mut String, all: &Figures, part: &str) {
    let titles =
        ["groups", "writers", "a second", "p50 ms", "p99 ms", "CPU us", "syncs/s", "per sync", "per entry"];
    let _ =
        writeln!(out, "{part}: commands of 256 B, {} groups there, the first so many written to", GROUPS[2]);
    let _ = writeln!(out, "{}", titles.map(|title| format!("{title:>11}")).concat());
    let columns = [
        ("per_s", 0),
        ("p50_ms", 2),
        ("p99_ms", 2),
        ("cpu_us", 1),
        ("syncs_per_s", 0),
        ("per_sync", 1),
        ("per_entry", 1),
    ];
    for groups in GROUPS {
        for writers in WRITERS {
            let prefix = format!("{part}.g{groups}.w{writers}");
            let cells = columns.map(|(name, decimals)| cell(all, &format!("{prefix}.{name}"), decimals));
            let cells = cells.map(|cell| format!("{cell:>11}")).concat();
            let _ = writeln!(out, "{groups:>11}{writers:>11}{cells}");
        }
    }
    out.push('\n');
}

/// The figures of a part, a line each.
fn rest(out: &mut String, all: &Figures, part: &str) {
    let prefix = format!("{part}.");
    let mine = all.iter().filter(|(name, _)| name.starts_with(&prefix));
    let lines: Vec<String> = mine.map(|(name, figure)| format!("{name:<32}{figure:>11.2}\n")).collect();
    if !lines.is_empty() {
        let _ = writeln!(out, "{}", lines.concat());
    }
}

fn idle(out: &mut String, all: &Figures) {
    let columns = [
        ("start_s", "start s"),
        ("memory_bytes", "MiB"),
        ("memory_bytes_per_replica", "KiB each"),
        ("cpu_percent", "CPU %"),
        ("cpu_percent_closing", "CPU %, closing"),
    ];
    if !all.keys().any(|name| name.starts_with("idle.")) {
        return;
    }
    let _ =
        writeln!(out, "{:>11}{}", "idle groups", columns.map(|(_, title)| format!("{title:>16}")).concat());
    for groups in IDLE {
        let cells = columns.map(|(name, _)| {
            let unit = match name {
                "memory_bytes" => 1_048_576.0,
                "memory_bytes_per_replica" => 1_024.0,
                _ => 1.0,
            };
            let figure = all.get(&format!("idle.{groups}.{name}"));
            format!("{:>16}", figure.map_or("-".to_owned(), |figure| format!("{:.1}", figure / unit)))
        });
        let _ = writeln!(out, "{groups:>11}{}", cells.concat());
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_told_met_or_missed() {
        let mut all = Figures::new();
        for (from, figure) in [("disk.per_sync_64", 9.0), ("cost.leader_us", 20.0)] {
            all.insert(from.to_owned(), figure);
        }
        conclude(&mut all);
        let text = table(&all);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        assert!(line("proposals_per_sync_64").unwrap().ends_with(">= 8 met"));
        assert!(line("cpu_us_per_proposal_256").unwrap().ends_with("<= 15 MISSED"));
        assert_eq!(line("groups64_vs_1"), None);
        assert!(text.is_ascii());
    }

    #[test]
    fn memory_of_a_replica_is_what_more_of_them_take() {
        let mut all = Figures::new();
        for (groups, bytes) in [(1, 10_000.0), (100, 307_000.0)] {
            all.insert(format!("idle.{groups}.memory_bytes"), bytes);
            all.insert(format!("idle.{groups}.replicas"), f64::from(groups) * 3.0);
        }
        conclude(&mut all);
        assert_eq!(all["idle.100.memory_bytes_per_replica"], 1_000.0);
        assert!(!all.contains_key("idle.300.memory_bytes_per_replica"));
        assert!(table(&all).contains("idle groups"));
    }
}
