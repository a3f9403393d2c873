//! Whole nodes in one thread: one seed is one run, to the byte; and a few runs of fixed seeds, that a change must pass.

use chaos_tests::history::Outcome as Told;
use chaos_tests::seed::{Fault, Seed};
use chaos_tests::whole::nemesis::Planned;
use chaos_tests::whole::run::{Outcome, Plan, run};
use raft::planted::Planted;

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

fn alone(fault: Fault, dice: u64) -> Option<Vec<Planned>> {
    Some(vec![Planned { at_ms: 500, fault, dice }])
}

#[test]
fn while_nobody_reaches_the_key_service_whoever_runs_serves_and_whoever_starts_waits() {
    let plan = Plan { fault_ms: 4_000, schedule: alone(Fault::KeysAway, 5), ..Plan::default() };
    let Outcome { report, violation, timeline, events, told, .. } = run(Seed(31), &plan);
    assert!(violation.is_none(), "{timeline}\n{violation:?}");
    assert!(report.sometimes.contains_key("starts that waited for the key service"), "{report}");
    let away = events[0].at_ms..events[0].at_ms + 1_000;
    let served = told.iter().flat_map(|(_, history, _)| history.operations());
    let served =
        served.filter(|one| away.contains(&one.invoked.at_ms) && matches!(one.outcome(), Told::Ok(_)));
    assert!(served.count() > 3, "nobody is served meanwhile: {report}");
}

#[test]
fn a_node_that_runs_on_an_older_disk_is_told() {
    let plan = Plan { fault_ms: 6_000, schedule: alone(Fault::OldDisk, 3), ..Plan::default() };
    let Outcome { report, violation, timeline, .. } = run(Seed(32), &plan);
    assert!(violation.is_none(), "{timeline}\n{violation:?}");
    let sometimes = &report.sometimes;
    assert!(
        sometimes.contains_key("older disks refused") && sometimes.contains_key("nodes replaced"),
        "{report}"
    );
    let planted = Plan { planted: Some(Planted::AcceptOlderDisk), ..plan };
    let judge = run(Seed(32), &planted).violation.map(|violation| violation.judge);
    assert_eq!(judge, Some("older"));
}
