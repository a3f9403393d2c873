//! When nothing goes wrong any more, nobody loses the lead, however far the nodes are from each other. Every run ends with a while in which
//! that is watched; these are runs in which an answer takes longer than a leader waits from one heartbeat to the next.

use chaos_tests::run::{Outcome, Plan, run};
use chaos_tests::seed::{Seed, Swarm};

#[test]
fn a_leader_whose_peers_are_further_away_than_one_beat_keeps_the_lead() {
    for seed in [2, 107].map(Seed) {
        let swarm = Swarm::draw(seed);
        assert!(
            *swarm.delay_ms.end() * 2 > swarm.heartbeat_ms.min(100),
            "{seed:?} has near nodes: {swarm:?}"
        );
        let plan = Plan { fault_ms: 15_000, quiet_ms: 30_000, keys_min: 40, ..Plan::default() };
        let Outcome { violation, timeline, .. } = run(seed, &plan);
        assert!(violation.is_none(), "{timeline}\n{seed:?}: {violation:?}");
    }
}
