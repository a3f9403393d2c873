//! Pure: what a run says of itself, and what a batch of runs must have seen.

use crate::history::{History, Outcome};
use crate::seed::{Fault, Seed};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub seed: Seed,
    /// The hash of its trace.
    pub trace_hash: u64,
    /// How long it was in the world, in milliseconds.
    pub simulated_ms: u64,
    /// How long one waited for it, in milliseconds.
    pub real_ms: u64,
    /// How often each fault was injected.
    pub faults: BTreeMap<Fault, u64>,
    /// What became of the operations.
    pub operations: Operations,
    /// Rare branches, and how often each was entered.
    pub sometimes: BTreeMap<&'static str, u64>,
}

/// Operations by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Answered.
    pub ok: u64,
    /// Refused, and certainly not carried out.
    pub failed: u64,
    /// Perhaps carried out.
    pub unknown: u64,
}

/// Several runs, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many.
    pub runs: u64,
    /// Simulated milliseconds, all together.
    pub simulated_ms: u64,
    /// Real milliseconds, all together.
    pub real_ms: u64,
    /// How often each fault was injected.
    pub faults: BTreeMap<Fault, u64>,
    /// What became of the operations.
    pub operations: Operations,
    /// Rare branches, and how often each was entered.
    pub sometimes: BTreeMap<&'static str, u64>,
}

impl Operations {
    /// Those of a history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut operations = Self::default();
        for operation in history.operations() {
            match operation.outcome() {
                Outcome::Ok(_) => operations.ok += 1,
                Outcome::Failed => operations.failed += 1,
                Outcome::Unknown => operations.unknown += 1,
            }
        }
        operations
    }
}

impl Report {
    /// A fault was injected.
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// A rare branch was entered.
    pub fn sometimes(&mut self, branch: &'static str) {
        *self.sometimes.entry(branch).or_default() += 1;
    }

    /// As a line of JSON, for a file that grows from run to run.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Operations { ok, failed, unknown } = self.operations;
        let faults: BTreeMap<String, u64> =
            self.faults.iter().map(|(fault, count)| (format!("{fault:?}"), *count)).collect();
        let value: Value = json!({
            "seed": self.seed.0,
            "trace_hash": format!("{:016x}", self.trace_hash),
            "simulated_ms": self.simulated_ms,
            "real_ms": self.real_ms,
            "faults": faults,
            "operations": { "ok": ok, "failed": failed, "unknown": unknown },
            "sometimes": self.sometimes,
        });
        value.to_string()
    }
}

impl Batch {
    /// One more run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.simulated_ms += report.simulated_ms;
        self.real_ms += report.real_ms;
        report.faults.iter().for_each(|(fault, count)| *self.faults.entry(*fault).or_default() += count);
        let Operations { ok, failed, unknown } = report.operations;
        self.operations.ok += ok;
        self.operations.failed += failed;
        self.operations.unknown += unknown;
        let seen = report.sometimes.iter();
        seen.for_each(|(branch, count)| *self.sometimes.entry(branch).or_default() += count);
    }

    /// Of the branches that a batch must enter, those that no run entered: what they would have shown was not tried.
    #[must_use]
    pub fn unseen(&self, wanted: &[&'static str]) -> BTreeSet<&'static str> {
        let is_unseen = |branch: &&&str| self.sometimes.get(**branch).is_none_or(|count| *count == 0);
        wanted.iter().filter(is_unseen).copied().collect()
    }
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ok, {} failed, {} unknown", self.ok, self.failed, self.unknown)
    }
}

fn counts<K: fmt::Debug>(of: &BTreeMap<K, u64>) -> String {
    let each: Vec<String> = of.iter().map(|(what, count)| format!("{what:?} {count}")).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ").replace('"', "") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed: Seed(seed), trace_hash, simulated_ms, real_ms, faults, operations, sometimes } =
            self;
        writeln!(f, "seed {seed}: {simulated_ms} ms simulated in {real_ms} ms, trace {trace_hash:016x}")?;
        writeln!(f, "  faults: {}", counts(faults))?;
        writeln!(f, "  operations: {operations}")?;
        write!(f, "  sometimes: {}", counts(sometimes))
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, simulated_ms, real_ms, faults, operations, sometimes } = self;
        writeln!(f, "{runs} runs: {simulated_ms} ms simulated in {real_ms} ms")?;
        writeln!(f, "  faults: {}", counts(faults))?;
        writeln!(f, "  operations: {operations}")?;
        write!(f, "  sometimes: {}", counts(sometimes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Action, Answer, ClientId, Key};

    fn report(seed: u64) -> Report {
        let mut report = Report { seed: Seed(seed), simulated_ms: 60_000, real_ms: 20, ..Report::default() };
        report.fault(Fault::Cut);
        report.fault(Fault::Crash);
        report.fault(Fault::Cut);
        report.sometimes("torn tail");
        report
    }

    #[test]
    fn a_run_says_all_it_counted() {
        let mut history = History::default();
        for outcome in [Outcome::Ok(Answer::Value(None)), Outcome::Failed, Outcome::Unknown, Outcome::Unknown]
        {
            let id = history.invoke(ClientId(0), Action::Read { key: Key(0) }, 0);
            history.complete(id, outcome, 1);
        }
        history.invoke(ClientId(0), Action::Read { key: Key(0) }, 2);
        let report = Report { operations: Operations::of(&history), ..report(9) };
        let text = report.to_string();
        for piece in [
            "seed 9: 60000 ms simulated in 20 ms",
            "Crash 1, Cut 2",
            "1 ok, 1 failed, 3 unknown",
            "torn tail 1",
        ] {
            assert!(text.contains(piece), "{piece} in {text}");
        }
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!((&value["seed"], &value["faults"]["Cut"]), (&json!(9), &json!(2)));
        assert_eq!(
            (&value["operations"]["unknown"], &value["sometimes"]["torn tail"]),
            (&json!(3), &json!(1))
        );
    }

    #[test]
    fn a_batch_names_what_no_run_has_seen() {
        let mut batch = Batch::default();
        batch.add(&report(1));
        batch.add(&Report { operations: Operations { ok: 5, failed: 3, unknown: 1 }, ..report(2) });
        assert_eq!(batch.operations, Operations { ok: 5, failed: 3, unknown: 1 });
        assert_eq!((batch.runs, batch.simulated_ms, batch.faults[&Fault::Cut]), (2, 120_000, 4));
        assert_eq!(batch.unseen(&["torn tail", "old disk"]), BTreeSet::from(["old disk"]));
        assert!(batch.to_string().contains("torn tail 2"), "{batch}");
    }
}
