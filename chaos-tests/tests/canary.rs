//! A judge that never objected is a decoration: every bug that can be planted is found, within a number of runs that is printed; and
//! the same runs without it pass.

use chaos_tests::run::{Outcome, Plan, run};
use chaos_tests::seed::{Fault, Seed};
use raft::planted::{ALL, Planted};
use std::collections::BTreeMap;

/// Runs until one finds the bug, at most.
const SEEDS_MAX: u64 = 40;
/// Where the seeds begin.
const FROM: u64 = 700;

/// The schedule that brings a bug to light: plain ones find some only by luck.
fn plan(planted: Option<Planted>) -> Plan {
    use Fault::{Crash, Cut, CutOneWay, CutPair, Purge, Slow, Snapshot, Transfer};
    let (mix, fault_every_ms): (&[(Fault, u32)], u64) = match planted {
        Some(Planted::RestoreLeader | Planted::AcknowledgeBeforeSync | Planted::ForgetVote) => {
            (&[(Crash, 6), (CutPair, 1), (Transfer, 1)], 500)
        }
        Some(Planted::OpenStartGuard) => (&[(Crash, 4), (Cut, 2), (CutOneWay, 2), (CutPair, 2)], 300),
        Some(Planted::ForgetTruncation) => (&[(Crash, 3), (Cut, 3), (Transfer, 2)], 400),
        Some(Planted::ReadWithoutQuorum) => (&[(Cut, 3), (CutOneWay, 2), (CutPair, 2)], 1_000),
        Some(Planted::SnapshotClaimsMore | Planted::SnapshotForgetsDigest) => {
            (&[(Crash, 2), (Purge, 6), (Snapshot, 2)], 400)
        }
        Some(Planted::FlushBeforeLog) => (&[(Crash, 3), (Purge, 4), (Snapshot, 3)], 300),
        Some(Planted::RunAgain) => (&[(Crash, 2), (Cut, 2), (Slow, 2), (Transfer, 2)], 500),
        _ => (&[(Crash, 2), (Cut, 1), (Transfer, 1), (Slow, 1)], 700),
    };
    let faults: BTreeMap<_, _> = mix.iter().copied().collect();
    Plan { fault_ms: 12_000, quiet_ms: 20_000, planted, faults, fault_every_ms }
}

/// Which bugs a run of the tests looks for: all if asked, else a third, by the day.
fn chosen() -> Vec<Planted> {
    #[expect(clippy::disallowed_methods, reason = "a person asks for all of them")]
    let is_all = std::env::var("DEWPOND_CANARIES").is_ok_and(|which| which == "all");
    #[expect(clippy::disallowed_methods, reason = "which third it is today decides nothing about a run")]
    let day = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / 86_400);
    let third = usize::try_from(day % 3).unwrap_or(0);
    ALL.into_iter().enumerate().filter(|(n, _)| is_all || n % 3 == third).map(|(_, bug)| bug).collect()
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in chosen() {
        let plan = plan(Some(bug));
        let found = (FROM..FROM + SEEDS_MAX).find_map(|seed| {
            let Outcome { violation, .. } = run(Seed(seed), &plan);
            violation.map(|violation| (seed, violation))
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
            let sound = Plan { planted: None, ..plan(Some(bug)) };
            let Outcome { violation, timeline, .. } = run(Seed(seed), &sound);
            if let Some(violation) = violation {
                println!("{timeline}");
                panic!("seed {seed}, as for {bug:?}: {violation}");
            }
        }
    }
}
