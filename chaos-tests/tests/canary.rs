//! A judge that never objected is a decoration: every bug that can be planted is found, within a number of runs that is printed; and
//! the same runs without it pass.

use chaos_tests::canary::plan;
use chaos_tests::check::Violation;
use chaos_tests::run::{Outcome, Plan, run};
use chaos_tests::seed::Seed;
use raft::planted::{ALL, Planted};

/// Runs until one finds the bug, at most.
const SEEDS_MAX: u64 = 40;
/// Where the seeds begin.
const FROM: u64 = 700;

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
        let plan = Plan { planted: Some(bug), ..plan(bug) };
        let found = (FROM..FROM + SEEDS_MAX).find_map(|seed| {
            let Outcome { violation, .. } = run(Seed(seed), &plan);
            violation.filter(Violation::is_broken).map(|violation| (seed, violation))
        });
        match found {
            Some((seed, violation)) => {
                let what: String = violation.what.chars().take(110).collect();
                println!("{bug:?}: found in run {} by {}: {what}", seed - FROM + 1, violation.judge);
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
            let Outcome { violation, timeline, .. } = run(Seed(seed), &plan(bug));
            if let Some(violation) = violation.filter(Violation::is_broken) {
                println!("{timeline}");
                panic!("seed {seed}, as for {bug:?}: {violation}");
            }
        }
    }
}
