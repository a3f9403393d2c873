//! The judges. Each takes plain values and finds nothing or a [`Violation`]; none of them looks into a node by itself.
//! [`PROPERTIES`] says what each holds, and which page promises it.

pub mod again;
pub mod apart;
pub mod append;
pub mod bank;
pub mod delayed;
pub mod digest;
pub mod durable;
pub mod ledger;
pub mod linearizable;
pub mod past;
pub mod raft;
pub mod ranges;
pub mod watch;

use crate::limits::LINES_MAX;
use std::fmt;

/// What one judge holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// The judge: a file of this folder.
    pub judge: &'static str,
    /// What is promised.
    pub promise: &'static str,
    /// The page of `docs` that promises it.
    pub page: &'static str,
}

/// All of them, one a file. Each has a row in `docs/testing.md`.
pub const PROPERTIES: [Property; 13] = [
    Property {
        judge: "again",
        promise: "a write that is sent again under its number is applied once, and answered as it was",
        page: "docs/protocols/wire.md",
    },
    Property {
        judge: "apart",
        promise: "nobody is shown a byte of another tenant, or may change one",
        page: "docs/testing.md",
    },
    Property {
        judge: "append",
        promise: "every list is one list: no element lost, twice, or out of order, and no answer older than an earlier one",
        page: "docs/testing.md",
    },
    Property {
        judge: "bank",
        promise: "the sum of all accounts is the same at every stamp, and each holds what the transfers explain",
        page: "docs/testing.md",
    },
    Property {
        judge: "delayed",
        promise: "a delayed node applies nothing early, and what it has applied is one cut through all its groups",
        page: "docs/testing.md",
    },
    Property {
        judge: "digest",
        promise: "replicas that applied the same entries hold the same state",
        page: "docs/testing.md",
    },
    Property {
        judge: "durable",
        promise: "what was acknowledged is there, at its stamp, and nothing else; what was seen stays",
        page: "docs/testing.md",
    },
    Property {
        judge: "ledger",
        promise: "a node that comes back knows every vote, entry, snapshot and gate that it had promised",
        page: "docs/protocols/log.md",
    },
    Property {
        judge: "linearizable",
        promise: "one order of all requests, each between its question and its answer, explains every answer about a register",
        page: "docs/testing.md",
    },
    Property {
        judge: "past",
        promise: "a read as of a stamp finds what was there, and a bounded one is no older than it may be, at any replica",
        page: "docs/protocols/reads.md",
    },
    Property {
        judge: "raft",
        promise: "one leader, matching logs, complete leaders, one sequence of applied entries; nothing committed is lost",
        page: "docs/testing.md",
    },
    Property {
        judge: "ranges",
        promise: "replicas say the same of every range of rows, and it is what a reader finds there",
        page: "docs/protocols/groups.md",
    },
    Property {
        judge: "watch",
        promise: "a watch tells every write of its range once, those of one key in the order of their stamps",
        page: "docs/protocols/watch.md",
    },
];

/// How sure a judge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The promise is broken.
    Broken,
    /// The judge gave up at a bound of its own, which it names. Neither good nor bad; but nothing was proved.
    Undecided,
}

/// What a judge found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which judge.
    pub judge: &'static str,
    /// How sure it is.
    pub verdict: Verdict,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What led to it, a line each, oldest first.
    pub lines: Vec<String>,
}

impl Violation {
    /// A promise that is broken.
    #[must_use]
    pub fn broken(judge: &'static str, what: impl Into<String>) -> Self {
        Self { judge, verdict: Verdict::Broken, what: what.into(), lines: vec![] }
    }

    /// A history that the judge cannot judge.
    #[must_use]
    pub fn undecided(judge: &'static str, what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Undecided, ..Self::broken(judge, what) }
    }

    /// The same, with what led to it.
    #[must_use]
    pub fn with(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.lines.extend(lines);
        self
    }

    /// Whether the promise is broken, and not only unproved.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.verdict == Verdict::Broken
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_broken() { "" } else { " (undecided)" };
        write!(f, "{}{verdict}: {}", self.judge, self.what)?;
        let hidden = self.lines.len().saturating_sub(LINES_MAX);
        if hidden > 0 {
            write!(f, "\n  ... {hidden} lines before")?;
        }
        self.lines.iter().skip(hidden).try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_judge_is_listed_and_has_its_row() {
        let page = include_str!("../../../docs/testing.md");
        for Property { judge, .. } in PROPERTIES {
            assert!(page.contains(&format!("| `{judge}` |")), "{judge}");
        }
        let doors = include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("pub mod "));
        let judges: Vec<&str> = doors.map(|door| door.trim_end_matches(';')).collect();
        assert_eq!(judges, PROPERTIES.map(|property| property.judge));
    }

    #[test]
    fn a_violation_shows_its_end_and_how_much_it_hides() {
        let violation =
            Violation::broken("bank", "money is gone").with((0..LINES_MAX + 2).map(|n| format!("line {n}")));
        let text = violation.to_string();
        assert!(text.starts_with("bank: money is gone\n  ... 2 lines before\n  line 2\n"), "{text}");
        assert_eq!(text.lines().count(), LINES_MAX + 2);
        assert!(
            Violation::undecided("bank", "too many").to_string().starts_with("bank (undecided): too many")
        );
    }
}
