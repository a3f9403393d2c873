//! Clocks that are wrong.

use chaos_tests::aim::Aim;
use chaos_tests::run::{Outcome, Plan, run};
use chaos_tests::seed::Seed;

#[test]
fn a_leader_1_s_ahead_steps_down() {
    let mut given_way = 0;
    for seed in 40..44 {
        let plan = Plan {
            fault_ms: 20_000,
            quiet_ms: 20_000,
            keys_min: 40,
            aim: Some(Aim::LeaderAhead),
            ..Plan::default()
        };
        let Outcome { violation, report, timeline, .. } = run(Seed(seed), &plan);
        assert!(violation.is_none(), "{timeline}\nseed {seed}: {violation:?}");
        given_way += report.sometimes.get("leaders ahead that gave way").copied().unwrap_or(0);
    }
    println!("{given_way} leaders gave way");
    assert!(given_way >= 8);
}
