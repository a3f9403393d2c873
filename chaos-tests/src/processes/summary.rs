//! Pure: what a run of real processes says of itself: a line of JSON, and a ledger of such lines in which soaks are added up.

use super::fault::Tally;
use super::finals::Ends;
use crate::check::Violation;
use crate::check::watch::Covered;
use crate::report::Operations;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// The form of the line.
pub const SCHEMA: &str = "dewpond.chaos.processes/1";
/// In runs that break things for at least so long, every kind of fault must have come.
pub const UNHIT_MS: u64 = 120_000;

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The tree it was built from, as git names it; with `+` if files differ from it.
    pub tree: String,
    /// Its seed.
    pub seed: u64,
    /// Nodes it began with.
    pub nodes: usize,
    /// How long things went wrong, in milliseconds.
    pub fault_ms: u64,
    /// How long it took, in milliseconds.
    pub whole_ms: u64,
    /// What went wrong.
    pub tally: Tally,
    /// What became of requests.
    pub operations: Operations,
    /// Versions that the oracle knew, looks held against it, writes sent again.
    pub judged: (u64, u64, u64),
    /// What watches were held to.
    pub covered: Covered,
    /// What the end has found.
    pub ends: Ends,
    /// What is broken, or undecided.
    pub violations: Vec<Violation>,
}

impl Summary {
    /// Whether nothing is broken.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        !self.violations.iter().any(Violation::is_broken)
    }

    /// Faults that a run of this length must have seen, and has not.
    #[must_use]
    pub fn unhit(&self) -> Option<Violation> {
        let unhit = self.tally.unhit();
        let is_told = self.fault_ms >= UNHIT_MS && !unhit.is_empty();
        is_told.then(|| Violation::broken("coverage", format!("these faults never came: {unhit:?}")))
    }

    /// As a line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { tally, operations, ends, covered, .. } = self;
        let faults: BTreeMap<String, u64> =
            tally.hits.iter().map(|(fault, count)| (format!("{fault:?}"), *count)).collect();
        let skipped: BTreeMap<String, &String> =
            tally.skipped.iter().map(|(fault, why)| (format!("{fault:?}"), why)).collect();
        let violations: Vec<String> =
            self.violations.iter().map(|one| format!("{}: {}", one.judge, one.what)).collect();
        json!({
            "schema": SCHEMA,
            "passed": self.has_passed(),
            "tree": self.tree,
            "seed": self.seed,
            "nodes": self.nodes,
            "fault_ms": self.fault_ms,
            "whole_ms": self.whole_ms,
            "faults": faults,
            "skipped": skipped,
            "kills": tally.kills,
            "lost_syncs": tally.lost_syncs,
            "lost_bytes": tally.lost_bytes,
            "lost_names": tally.lost_names,
            "rot": { "refused": tally.rot_refused, "told": tally.rot_told, "unmet": tally.rot_unmet },
            "replaced": tally.replaced,
            "upgraded": tally.upgraded,
            "operations": { "ok": operations.ok, "failed": operations.failed, "unknown": operations.unknown },
            "versions": self.judged.0,
            "looks": self.judged.1,
            "again": self.judged.2,
            "watched": { "watches": covered.watches, "writes": covered.writes },
            "live_ms": ends.live_ms,
            "replicas_read": ends.replicas,
            "rows_compared": ends.rows,
            "files_searched": ends.files,
            "violations": violations,
        })
        .to_string()
    }
}

/// Several runs, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub runs: u64,
    /// Milliseconds in which things went wrong.
    pub fault_ms: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Processes that were stopped short.
    pub kills: u64,
    /// Losses of power in which something was lost.
    pub lost_syncs: u64,
    /// Violations.
    pub violations: u64,
}

/// Adds up the lines of a ledger that are of this tree, or of any.
#[must_use]
pub fn total(ledger: &str, tree: Option<&str>) -> Total {
    let mut total = Total::default();
    for line in ledger.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let is_of = line["schema"] == SCHEMA && tree.is_none_or(|tree| line["tree"] == tree);
        if !is_of {
            continue;
        }
        let number = |field: &str| line[field].as_u64().unwrap_or(0);
        total.runs += 1;
        total.fault_ms += number("fault_ms");
        total.kills += number("kills");
        total.lost_syncs += number("lost_syncs");
        total.violations += line["violations"].as_array().map_or(0, Vec::len) as u64;
        for (fault, count) in line["faults"].as_object().into_iter().flatten() {
            *total.faults.entry(fault.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    total
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, fault_ms, faults, kills, lost_syncs, violations } = self;
        let faults: Vec<String> = faults.iter().map(|(fault, count)| format!("{fault} {count}")).collect();
        write!(
            f,
            "{runs} runs, {:.1} minutes of faults, {kills} processes stopped short, {lost_syncs} losses of unsynced writes, {violations} \
             violations; {}",
            *fault_ms as f64 / 60_000.0,
            faults.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::fault::{FAULTS, Fault};

    fn summary() -> Summary {
        let mut tally = Tally { kills: 5, lost_syncs: 2, ..Tally::default() };
        tally.hit(Fault::Crash);
        tally.hit(Fault::Crash);
        Summary { tree: "abc".to_owned(), seed: 9, fault_ms: 60_000, tally, ..Summary::default() }
    }

    #[test]
    fn a_ledger_adds_up_what_runs_say() {
        let mut broken = summary();
        broken.violations.push(Violation::broken("bank", "money is gone"));
        assert!(!broken.has_passed());
        let other = Summary { tree: "def".to_owned(), ..summary() };
        let ledger = [summary(), broken, other].map(|one| one.to_json()).join("\n") + "\nno line of it\n";
        let of = total(&ledger, Some("abc"));
        assert_eq!((of.runs, of.kills, of.lost_syncs, of.violations, of.faults["Crash"]), (2, 10, 4, 1, 4));
        assert_eq!(total(&ledger, None).runs, 3);
        assert!(of.to_string().contains("2.0 minutes of faults"), "{of}");
    }

    #[test]
    fn a_long_run_must_have_seen_every_kind() {
        let short = summary();
        assert_eq!(short.unhit(), None);
        let mut long = Summary { fault_ms: UNHIT_MS, ..summary() };
        let told = long.unhit().unwrap();
        assert!(told.is_broken() && told.what.contains("CrashAll"), "{told}");
        FAULTS.into_iter().for_each(|fault| long.tally.hit(fault));
        assert_eq!(long.unhit(), None);
    }
}
