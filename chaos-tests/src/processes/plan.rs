//! Pure: what a run of real processes is asked to do, from the words of the command line.

use crate::seed::Seed;
use std::path::PathBuf;

/// How to ask.
pub const USAGE: &str = "usage: chaos-tests processes [--minutes N] [--seed S] [--nodes 3..5] [--program FILE] \
    [--upgrade-from FILE] [--folder DIR] [--ledger FILE] [--keep]";

/// Nodes of a cluster.
const NODES: std::ops::RangeInclusive<usize> = 3..=5;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long things go wrong, in milliseconds. It is longer, by half at most, if some kind has not come yet.
    pub fault_ms: u64,
    /// The name of the run.
    pub seed: Seed,
    /// Nodes.
    pub nodes: usize,
    /// The server; built beside, if none is named.
    pub program: Option<PathBuf>,
    /// The server that the cluster begins with, if it is to be upgraded.
    pub upgrade_from: Option<PathBuf>,
    /// Where everything lies.
    pub folder: Option<PathBuf>,
    /// The file that soaks are added up in.
    pub ledger: Option<PathBuf>,
    /// Whether all of it stays, though nothing is wrong.
    pub is_kept: bool,
}

impl Plan {
    /// What the words say; the seed is `fresh` if they name none.
    ///
    /// # Errors
    /// What is wrong with them, for people.
    pub fn parse(mut words: impl Iterator<Item = String>, fresh: u64) -> Result<Self, String> {
        let mut plan = Self {
            fault_ms: 120_000,
            seed: Seed(fresh),
            nodes: *NODES.start(),
            program: None,
            upgrade_from: None,
            folder: None,
            ledger: None,
            is_kept: false,
        };
        while let Some(word) = words.next() {
            if word == "--keep" {
                plan.is_kept = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
            let wrong = || format!("`{word} {value}` cannot be");
            match word.as_str() {
                "--minutes" => plan.fault_ms = minutes(&value).ok_or_else(wrong)?,
                "--seed" => plan.seed = Seed(value.parse().map_err(|_| wrong())?),
                "--nodes" => {
                    plan.nodes =
                        value.parse().ok().filter(|nodes| NODES.contains(nodes)).ok_or_else(wrong)?;
                }
                "--program" => plan.program = Some(value.into()),
                "--upgrade-from" => plan.upgrade_from = Some(value.into()),
                "--folder" => plan.folder = Some(value.into()),
                "--ledger" => plan.ledger = Some(value.into()),
                _ => return Err(format!("`{word}` is unknown")),
            }
        }
        Ok(plan)
    }

    /// The command that does the same again.
    #[must_use]
    pub fn command(&self) -> String {
        let mut command = format!(
            "cargo run --release -p chaos-tests -- processes --minutes {} --seed {} --nodes {}",
            self.fault_ms as f64 / 60_000.0,
            self.seed.0,
            self.nodes
        );
        if let Some(from) = &self.upgrade_from {
            command += &format!(" --upgrade-from {}", from.display());
        }
        command
    }
}

/// Minutes, also parts of one; a day at most.
fn minutes(text: &str) -> Option<u64> {
    let minutes: f64 = text.parse().ok()?;
    ((0.1..=1_440.0).contains(&minutes)).then_some((minutes * 60_000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Plan, String> {
        Plan::parse(words.split_whitespace().map(str::to_owned), 77)
    }

    #[test]
    fn words_become_a_plan_and_a_plan_says_its_words() {
        let plan = parsed("").unwrap();
        assert_eq!((plan.fault_ms, plan.seed, plan.nodes, plan.is_kept), (120_000, Seed(77), 3, false));
        let plan = parsed("--minutes 0.5 --seed 9 --nodes 5 --upgrade-from old --keep").unwrap();
        assert_eq!((plan.fault_ms, plan.seed, plan.nodes, plan.is_kept), (30_000, Seed(9), 5, true));
        let command = plan.command();
        let words = command.split_once("processes").unwrap().1;
        assert_eq!(Plan { is_kept: true, ..parsed(words).unwrap() }, plan);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (words, why) in [
            ("--minutes", "needs a value"),
            ("--minutes 0", "`--minutes 0` cannot be"),
            ("--minutes NaN", "cannot be"),
            ("--minutes 99999", "cannot be"),
            ("--seed -1", "cannot be"),
            ("--nodes 2", "cannot be"),
            ("--nodes 6", "cannot be"),
            ("--speed 9", "`--speed` is unknown"),
        ] {
            assert!(parsed(words).unwrap_err().contains(why), "{words}");
        }
    }
}
