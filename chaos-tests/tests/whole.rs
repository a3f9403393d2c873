//! Whole nodes in one thread: one seed is one run, to the byte; and a few runs of fixed seeds, that a change must pass.

use chaos_tests::seed::{Fault, Seed};
use chaos_tests::whole::nemesis::Planned;
use chaos_tests::whole::run::{Outcome, Plan, run};

#[test]
fn one_seed_is_one_run_of_whole_nodes() {
    let plan = Plan { fault_ms: 6_000, ..Plan::default() };
    for seed in [11, 2_026] {
        let runs: Vec<_> = (0..3).map(|_| run(Seed(seed), &plan)).collect();
        for other in &runs[1..] {
            assert_eq!(other.report.trace_hash, runs[0].report.trace_hash, "seed {seed}");
            assert_eq!(other.told, runs[0].told, "seed {seed}");
        }
    }
}

#[test]
fn a_few_runs_of_whole_nodes_pass() {
    let plan = Plan { fault_ms: 10_000, ..Plan::default() };
    for seed in 1..=3 {
        let Outcome { report, violation, timeline, .. } = run(Seed(seed), &plan);
        println!("{report}");
        if let Some(violation) = violation {
            println!("{timeline}");
            panic!("seed {seed}: {violation}");
        }
        assert!(report.operations.ok > 200 && report.sometimes.contains_key("replicas compared"), "{report}");
    }
}

/// Runs that once found something in the code.
#[test]
fn what_whole_nodes_found_stays_mended() {
    // A node was drained and came back. Its replica of the meta group had left that, so that the node heard of nothing any more.
    let drain = Planned { at_ms: 500, fault: Fault::Membership, dice: 7 };
    let plan = Plan { fault_ms: 15_000, schedule: Some(vec![drain]), ..Plan::default() };
    let Outcome { report, violation, timeline, .. } = run(Seed(104), &plan);
    assert!(violation.is_none(), "{timeline}\n{violation:?}");
    assert!(report.sometimes.contains_key("nodes undrained"), "{report}");

    // What opened a watch was lost on its way, and whoever watched waited for an answer longer than the run.
    let plan = Plan { fault_ms: 15_000, ..Plan::default() };
    let Outcome { violation, timeline, .. } = run(Seed(402_526_254_082), &plan);
    assert!(violation.is_none(), "{timeline}\n{violation:?}");
}
