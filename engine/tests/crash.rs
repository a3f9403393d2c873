//! A crash at every disk operation of a scripted run: what was durable is there, what was not is in the caller's log, and
//! nothing is left over.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::disk::sim::Faults;
use rig::script::Script;
use rig::seeds;

fn operations_of(seed: u64) -> u64 {
    let mut script = Script::new(seed);
    script.run();
    assert!(!script.rig.disk.is_down());
    script.rig.disk.operations()
}

fn crash_at(seed: u64, operation: u64) {
    let mut script = Script::new(seed);
    script.rig.disk.set_faults(Faults { crash_at: Some(operation), ..Faults::default() });
    script.run();
    assert!(script.rig.disk.is_down(), "seed {seed}: operation {operation} was not reached");
    script.recover(&format!("seed {seed}, crash at operation {operation}"));
}

#[test]
fn every_operation_may_be_the_last() {
    let seed = 7;
    let operations = operations_of(seed);
    assert!(operations > 300, "{operations} operations are too few to mean anything");
    (1..=operations).for_each(|operation| crash_at(seed, operation));
}

#[test]
fn other_scripts_may_end_anywhere_too() {
    for seed in seeds(4) {
        let operations = operations_of(seed);
        (1..=operations).skip(seed as usize % 7).step_by(7).for_each(|operation| crash_at(seed, operation));
    }
}

#[test]
fn a_run_without_a_crash_is_right() {
    let mut script = Script::new(11);
    script.run();
    script.recover("no crash before");
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| {
        let mut script = Script::new(seed);
        script.run();
        (script.rig.disk.operations(), script.rig.disk.files(), script.rig.catalog.all())
    };
    assert!(run(5) == run(5), "the same seed gave another disk");
    assert!(run(5) != run(6), "seeds do not matter");
}
