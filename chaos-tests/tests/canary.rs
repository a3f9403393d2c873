//! A judge that never objected is a decoration: every bug that can be planted is found, within a number of runs that is printed; and
//! the same runs without it pass.

use chaos_tests::canary::{plan, whole_plan};
use chaos_tests::check::Violation;
use chaos_tests::planted::{FROM, Found, SEEDS_MAX, seek};
use chaos_tests::run::{Outcome, run};
use chaos_tests::seed::Seed;
use chaos_tests::whole;
use raft::planted::{ALL, Planted};

/// Which bugs a run of the tests looks for: all or the one asked for by name, else a third, by the day.
fn chosen() -> Vec<Planted> {
    #[expect(clippy::disallowed_methods, reason = "a person asks for all of them, or for one")]
    let asked = std::env::var("DEWPOND_CANARIES").ok();
    #[expect(clippy::disallowed_methods, reason = "which third it is today decides nothing about a run")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let third = usize::try_from(now.map_or(0, |since| since.as_secs() / 86_400) % 3).unwrap_or(0);
    let is_chosen = |n: usize, bug: Planted| match asked.as_deref() {
        Some("all") => true,
        Some(name) => format!("{bug:?}") == name,
        None => n % 3 == third,
    };
    let chosen: Vec<_> =
        ALL.into_iter().enumerate().filter(|(n, bug)| is_chosen(*n, *bug)).map(|(_, bug)| bug).collect();
    println!("{} of {} bugs: {chosen:?}", chosen.len(), ALL.len());
    assert!(!chosen.is_empty(), "no bug has this name");
    chosen
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in chosen() {
        match seek(bug) {
            Some(Found { violation, runs }) => {
                let what: String = violation.what.chars().take(110).collect();
                println!("{bug:?}: found in run {runs} by {}: {what}", violation.judge);
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} runs: {missed:?}");
}

#[test]
fn the_same_runs_without_a_bug_pass() {
    for bug in chosen() {
        for seed in FROM..FROM + 2 {
            let (violation, timeline) = match whole_plan(bug) {
                Some(plan) => {
                    let outcome = whole::run::run(Seed(seed), &whole::run::Plan { planted: None, ..plan });
                    (outcome.violation, outcome.timeline)
                }
                None => {
                    let Outcome { violation, timeline, .. } = run(Seed(seed), &plan(bug));
                    (violation, timeline)
                }
            };
            if let Some(violation) = violation.filter(Violation::is_broken) {
                println!("{timeline}");
                panic!("seed {seed}, as for {bug:?}: {violation}");
            }
        }
    }
}
