//! One seed is one run, to the byte.

use chaos_tests::run::{Plan, run};
use chaos_tests::seed::Seed;

#[test]
fn one_seed_is_one_run() {
    let plan = Plan { fault_ms: 6_000, quiet_ms: 20_000, ..Plan::default() };
    for seed in [11, 1_004, 2_026] {
        let runs: Vec<_> = (0..3).map(|_| run(Seed(seed), &plan)).collect();
        for other in &runs[1..] {
            assert_eq!(other.report.trace_hash, runs[0].report.trace_hash, "seed {seed}");
            assert_eq!(other.history, runs[0].history, "seed {seed}");
        }
    }
}
