//! Clusters in which the machines of nodes misbehave in one way alone: the way must have been gone, and everything must hold.

use chaos_tests::aim::Aim;
use chaos_tests::report::Batch;
use chaos_tests::run::{Outcome, Plan, run};
use chaos_tests::seed::{Fault, Seed};
use raft::planted::Planted;

/// Short runs, each of a few clusters.
fn plan(faults: &[(Fault, u32)]) -> Plan {
    let faults = faults.iter().copied().collect();
    let (fault_ms, quiet_ms, fault_every_ms) = (12_000, 30_000, 1_000);
    Plan { fault_ms, quiet_ms, faults, fault_every_ms, keys_min: 40, ..Plan::default() }
}

fn pass(faults: &[(Fault, u32)], seeds: std::ops::Range<u64>) -> Batch {
    let mut batch = Batch::default();
    for seed in seeds {
        let Outcome { report, violation, timeline, .. } = run(Seed(seed), &plan(faults));
        assert!(violation.is_none(), "{timeline}\nseed {seed}: {violation:?}");
        batch.add(&report);
    }
    println!("{batch}");
    batch
}

fn seen(batch: &Batch, branch: &str) -> u64 {
    batch.sometimes.get(branch).copied().unwrap_or(0)
}

/// No room fences the log and is acknowledged by nobody; with room the node serves again.
#[test]
fn a_disk_is_full_and_has_room_again() {
    let batch = pass(&[(Fault::DiskFull, 3), (Fault::Crash, 1)], 40..46);
    assert!(seen(&batch, "logs fenced by a full disk") >= 2, "{batch}");
    assert!(seen(&batch, "starts put off") >= 2, "{batch}");
}

/// What is sealed under a key that is away waits for it.
#[test]
fn the_keys_of_tenants_are_away() {
    let batch = pass(&[(Fault::KeysAway, 3), (Fault::Crash, 1)], 50..53);
    assert!(seen(&batch, "keys missed") > 100, "{batch}");
}

/// Links that say nothing of what is wrong with them.
#[test]
fn links_are_half_open_or_stand_still() {
    let batch = pass(&[(Fault::HalfOpen, 1), (Fault::Still, 1)], 60..66);
    assert!(seen(&batch, "changes of the leader") >= 3, "{batch}");
}

/// Nodes stand still, past every lease or hardly, and go on.
#[test]
fn nodes_stand_still_and_go_on() {
    let batch = pass(&[(Fault::Pause, 1)], 70..74);
    assert!(batch.faults[&Fault::Pause] >= 20 && seen(&batch, "changes of the leader") >= 8, "{batch}");
}

/// A leader that stood still finds another in its place; if it asked nobody, it would answer what is long past.
#[test]
fn a_leader_that_stood_still_answers_nothing_stale() {
    let sound = Plan { aim: Some(Aim::LeaderStoodStill), ..plan(&[]) };
    for seed in 80..83 {
        let Outcome { violation, timeline, .. } = run(Seed(seed), &sound);
        assert!(violation.is_none(), "{timeline}\nseed {seed}: {violation:?}");
    }
    let open = Plan { planted: Some(Planted::ReadWithoutQuorum), ..sound };
    let found = (80..83).find_map(|seed| run(Seed(seed), &open).violation);
    let found = found.expect("a read that asks nobody was not found out");
    println!("{found}");
    assert!(found.is_broken() && found.judge == "linearizable", "{found}");
}
