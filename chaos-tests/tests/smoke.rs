//! A few runs of every kind of misfortune, of fixed seeds: what a change must pass before anything longer is begun.

use chaos_tests::report::Batch;
use chaos_tests::run::{Outcome, Plan, run};
use chaos_tests::seed::Seed;

#[test]
fn a_few_runs_pass() {
    let plan = Plan { fault_ms: 20_000, quiet_ms: 30_000, keys_min: 40, ..Plan::default() };
    let mut batch = Batch::default();
    for seed in 1..=6 {
        let Outcome { report, violation, timeline, .. } = run(Seed(seed), &plan);
        batch.add(&report);
        if let Some(violation) = violation {
            println!("{timeline}");
            panic!("seed {seed}: {violation}");
        }
    }
    println!("{batch}");
    assert!(batch.operations.ok > 5_000, "{batch}");
    assert_eq!(batch.unseen(&["entries applied", "recoveries compared", "digests compared"]), [].into());
}
