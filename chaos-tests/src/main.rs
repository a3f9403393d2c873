//! `chaos-tests sim --seeds N [--from S] [--ms M]`: runs seeds, prints what came of them, and fails if a promise was broken.

#![forbid(unsafe_code)]

use chaos_tests::report::Batch;
use chaos_tests::run::{Plan, run};
use chaos_tests::seed::Seed;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (mut seeds, mut from, mut fault_ms) = (10_u64, None, 60_000);
    let is_sim = words.next().as_deref() == Some("sim");
    while let Some(word) = words.next() {
        let number = words.next().and_then(|number| number.parse().ok());
        match (word.as_str(), number) {
            ("--seeds", Some(number)) => seeds = number,
            ("--from", Some(number)) => from = Some(number),
            ("--ms", Some(number)) => fault_ms = number,
            _ => return usage(),
        }
    }
    if !is_sim {
        return usage();
    }
    let from = from.unwrap_or_else(fresh);
    let plan = Plan { fault_ms, quiet_ms: 30_000 };
    println!("seeds {from}..{} of {fault_ms} ms", from + seeds);
    let mut batch = Batch::default();
    for seed in from..from + seeds {
        let outcome = run(Seed(seed), &plan);
        batch.add(&outcome.report);
        println!("{}", outcome.report.to_json());
        if let Some(violation) = outcome.violation {
            println!("{}\n{violation}", outcome.timeline);
            println!("again: chaos-tests sim --seeds 1 --from {seed} --ms {fault_ms}");
            return ExitCode::FAILURE;
        }
    }
    println!("{batch}");
    ExitCode::SUCCESS
}

/// Seeds that were not run before.
fn fresh() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() * 1_000)
}

fn usage() -> ExitCode {
    eprintln!("usage: chaos-tests sim --seeds N [--from SEED] [--ms MILLISECONDS]");
    ExitCode::FAILURE
}
