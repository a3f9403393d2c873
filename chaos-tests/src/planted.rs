//! `chaos-tests planted [--third K] [--bug NAME]`: plants every bug there is, one after the other, and looks who finds it. A bug that
//! nobody finds fails: a judge that never objected is a decoration.

use crate::canary;
use crate::check::Violation;
use crate::run;
use crate::seed::Seed;
use crate::whole;
use raft::planted::{ALL, Planted};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Runs until one finds the bug, at most.
pub const SEEDS_MAX: u64 = 40;
/// Where the seeds begin.
pub const FROM: u64 = 700;

/// Who found a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The judge, and what it says.
    pub violation: Violation,
    /// In which run.
    pub runs: u64,
}

/// Looks for a bug in the runs for it.
#[must_use]
pub fn seek(bug: Planted) -> Option<Found> {
    let found = (FROM..FROM + SEEDS_MAX).find_map(|seed| {
        let violation = match canary::whole_plan(bug) {
            Some(plan) => whole::run::run(Seed(seed), &plan).violation,
            None => run::run(Seed(seed), &run::Plan { planted: Some(bug), ..canary::plan(bug) }).violation,
        };
        violation.filter(Violation::is_broken).map(|violation| (seed, violation))
    });
    found.map(|(seed, violation)| Found { violation, runs: seed - FROM + 1 })
}

/// The bugs of a third of all.
#[must_use]
pub fn third(which: u64) -> Vec<Planted> {
    let is_of = |at: usize| at as u64 % 3 == which % 3;
    ALL.into_iter().enumerate().filter(|(at, _)| is_of(*at)).map(|(_, bug)| bug).collect()
}

fn asked(words: &[String]) -> Option<Vec<Planted>> {
    match words {
        [] => Some(ALL.to_vec()),
        [word, value] if word == "--third" => value.parse().ok().map(third),
        [word, value] if word == "--bug" => {
            Some(vec![ALL.into_iter().find(|bug| format!("{bug:?}") == *value)?])
        }
        _ => None,
    }
}

/// Does what the words say.
#[expect(clippy::disallowed_methods, reason = "how long a person waits is told, and decides nothing")]
pub fn command(words: impl Iterator<Item = String>) -> ExitCode {
    let words: Vec<String> = words.collect();
    let Some(bugs) = asked(&words) else {
        eprintln!("usage: chaos-tests planted [--third NUMBER | --bug NAME]");
        return ExitCode::FAILURE;
    };
    println!("| bug | caught by | seeds needed | seconds |\n|---|---|---|---|");
    let (next, caught) = (AtomicUsize::new(0), Mutex::new(0_usize));
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    let found = seek(*bug);
                    let mut caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
                    *caught += usize::from(found.is_some());
                    println!("{}", row(*bug, found.as_ref(), begin.elapsed().as_secs_f64()));
                }
            });
        }
    });
    let caught = caught.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("planted {} caught {caught}", bugs.len());
    if caught == bugs.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(bug: Planted, found: Option<&Found>, seconds: f64) -> String {
    let who = found.map_or_else(|| "nobody".to_owned(), |found| found.violation.judge.to_owned());
    let runs = found.map_or_else(|| format!("over {SEEDS_MAX}"), |found| found.runs.to_string());
    format!("| {bug:?} | {who} | {runs} | {seconds:.1} |")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_thirds_are_all_and_none_is_in_two() {
        let mut all: Vec<Planted> = (0..3).flat_map(third).collect();
        all.sort_unstable();
        let mut wanted = ALL.to_vec();
        wanted.sort_unstable();
        assert_eq!(all, wanted);
        assert_eq!((third(4), asked(&[]).map(|all| all.len())), (third(1), Some(ALL.len())));
        let word = |text: &str| text.to_owned();
        assert_eq!(asked(&[word("--bug"), word("GateEarly")]), Some(vec![Planted::GateEarly]));
        assert_eq!(
            (asked(&[word("--bug"), word("None")]), asked(&[word("--third"), word("x")])),
            (None, None)
        );
    }

    #[test]
    fn a_row_says_who_found_it_and_when() {
        let found = Found { violation: Violation::broken("ledger", "x"), runs: 3 };
        assert_eq!(row(Planted::ForgetVote, Some(&found), 1.25), "| ForgetVote | ledger | 3 | 1.2 |");
        assert_eq!(row(Planted::ForgetVote, None, 60.0), "| ForgetVote | nobody | over 40 | 60.0 |");
    }
}
