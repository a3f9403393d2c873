//! `chaos-tests soak --hours H [--ledger FILE]`: runs fresh seeds until the time is over: groups of consensus and whole nodes, by turns.
//! Every run adds a line to a ledger, so that several soaks can be added up; in the end there is one summary.

use crate::report::Report;
use crate::run;
use crate::seed::{Fault, Seed};
use crate::whole;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// The form of a line.
pub const SCHEMA: &str = "dewpond.chaos.soak/1";
/// Where the ledger is, if nobody says.
const LEDGER: &str = "target/chaos/soak.jsonl";
/// Of so many seeds one is a run of whole nodes, which takes longer.
const WHOLE_EVERY: u64 = 8;
/// Milliseconds with faults of a run of groups, and of one of whole nodes.
const FAULT_MS: [u64; 2] = [60_000, 20_000];

/// A run, as the ledger keeps it.
struct Line {
    kind: &'static str,
    report: Report,
    violation: Option<String>,
}

impl Line {
    fn json(&self, tree: &str) -> Value {
        let count = |(fault, count): (&Fault, &u64)| (format!("{fault:?}"), *count);
        let faults: BTreeMap<String, u64> = self.report.faults.iter().map(count).collect();
        json!({
            "schema": SCHEMA,
            "tree": tree,
            "kind": self.kind,
            "seed": self.report.seed.0,
            "simulated_ms": self.report.simulated_ms,
            "operations": self.report.operations.ok,
            "faults": faults,
            "violation": self.violation,
        })
    }
}

fn one(seed: u64) -> Line {
    if seed.is_multiple_of(WHOLE_EVERY) {
        let plan = whole::run::Plan { fault_ms: FAULT_MS[1], ..whole::run::Plan::default() };
        let outcome = whole::run::run(Seed(seed), &plan);
        let violation = outcome.violation.map(|one| format!("{}: {}", one.judge, one.what));
        return Line { kind: "whole", report: outcome.report, violation };
    }
    let plan = run::Plan { fault_ms: FAULT_MS[0], quiet_ms: 30_000, keys_min: 40, ..run::Plan::default() };
    let outcome = run::run(Seed(seed), &plan);
    let broken = outcome.violation.filter(crate::check::Violation::is_broken);
    let violation = broken.map(|one| format!("{}: {}", one.judge, one.what));
    Line { kind: "sim", report: outcome.report, violation }
}

/// Pure: what a ledger adds up to, of one tree or of all.
#[must_use]
pub fn summary(ledger: &str, tree: Option<&str>) -> String {
    let lines = ledger.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.filter(|line| line["schema"] == SCHEMA && tree.is_none_or(|tree| line["tree"] == tree));
    let (mut runs, mut ms, mut broken) = (BTreeMap::<String, u64>::new(), 0, 0);
    let (mut faults, mut operations) = (BTreeMap::<String, u64>::new(), 0);
    for line in lines {
        *runs.entry(line["kind"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        ms += line["simulated_ms"].as_u64().unwrap_or(0);
        operations += line["operations"].as_u64().unwrap_or(0);
        broken += u64::from(!line["violation"].is_null());
        for (fault, count) in line["faults"].as_object().into_iter().flatten() {
            *faults.entry(fault.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    let list = |of: &BTreeMap<String, u64>| {
        of.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "runs: {}; {:.1} simulated hours, {operations} operations answered; {} faults: {}; {broken} violations",
        list(&runs),
        ms as f64 / 3_600_000.0,
        faults.values().sum::<u64>(),
        list(&faults)
    )
}

fn asked(words: &[String]) -> Option<(f64, PathBuf)> {
    let (mut hours, mut ledger) = (None, PathBuf::from(LEDGER));
    for pair in words.chunks(2) {
        match pair {
            [word, value] if word == "--hours" => {
                hours = value.parse().ok().filter(|hours: &f64| *hours > 0.0)
            }
            [word, value] if word == "--ledger" => ledger = PathBuf::from(value),
            _ => return None,
        }
    }
    hours.map(|hours| (hours, ledger))
}

/// Does what the words say.
pub fn command(words: impl Iterator<Item = String>, fresh: u64) -> ExitCode {
    let words: Vec<String> = words.collect();
    let Some((hours, ledger)) = asked(&words) else {
        eprintln!("usage: chaos-tests soak --hours HOURS [--ledger FILE]");
        return ExitCode::FAILURE;
    };
    let tree = crate::processes::tree();
    println!("soak of {hours} hours from seed {fresh}, tree {tree}, ledger {}", ledger.display());
    let broken = match open(&ledger).and_then(|file| soak(hours, fresh, (file, &tree))) {
        Ok(broken) => broken,
        Err(error) => {
            eprintln!("{}: {error}", ledger.display());
            return ExitCode::FAILURE;
        }
    };
    let all = fs::read_to_string(&ledger).unwrap_or_default();
    println!("of this tree: {}", summary(&all, Some(&tree)));
    println!("of all trees: {}", summary(&all, None));
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn open(ledger: &Path) -> std::io::Result<File> {
    if let Some(folder) = ledger.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(ledger)
}

/// Runs until the time is over. How many runs broke a promise.
#[expect(
    clippy::disallowed_methods,
    reason = "a soak takes as long as a person has said, and no run sees it"
)]
fn soak(hours: f64, from: u64, (mut ledger, tree): (File, &str)) -> std::io::Result<u64> {
    let end = Instant::now() + Duration::from_secs_f64(hours * 3_600.0);
    let (next, (told, heard)) = (AtomicU64::new(from), sync_channel(1));
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (told, next) = (told.clone(), &next);
            scope.spawn(move || {
                while Instant::now() < end {
                    let line = one(next.fetch_add(1, Ordering::Relaxed));
                    if told.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        drop(told);
        let mut broken = 0;
        for line in heard {
            writeln!(ledger, "{}", line.json(tree))?;
            if let Some(violation) = &line.violation {
                broken += 1;
                println!("{} seed {}: {violation}", line.kind, line.report.seed.0);
            }
        }
        Ok(broken)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_adds_up_by_tree() {
        let mut report = Report { seed: Seed(8), simulated_ms: 1_800_000, ..Report::default() };
        report.fault(Fault::Cut);
        let line = Line { kind: "sim", report, violation: None };
        let broken =
            Line { kind: "whole", violation: Some("bank: gone".to_owned()), report: line.report.clone() };
        let ledger = format!("{}\n{}\n{}\nno line\n", line.json("a"), line.json("b"), broken.json("b"));
        let of_b = summary(&ledger, Some("b"));
        assert_eq!(
            of_b,
            "runs: sim 1, whole 1; 1.0 simulated hours, 0 operations answered; 2 faults: Cut 2; 1 violations"
        );
        assert!(summary(&ledger, None).starts_with("runs: sim 2, whole 1; 1.5 simulated hours"));
        let word = |text: &str| text.to_owned();
        assert_eq!(asked(&[word("--hours"), word("0.5")]), Some((0.5, PathBuf::from(LEDGER))));
        assert_eq!(
            (asked(&[]), asked(&[word("--hours"), word("-1")]), asked(&[word("--hours")])),
            (None, None, None)
        );
    }
}
