//! `chaos-tests sim --seeds N [--from S] [--ms M] [--jobs J] [--planted BUG | --sound BUG]`: runs seeds, prints what came of each, and
//! fails if a promise was broken, or if a large batch has not entered every branch that it must. With the name of a bug they are the runs that bring it to light, with it or without.
//! `chaos-tests processes` breaks real processes: see [`chaos_tests::processes`]; `whole` runs whole nodes in a pretended world
//! ([`chaos_tests::whole`]), `planted` plants bugs ([`chaos_tests::planted`]), `soak` runs for hours ([`chaos_tests::soak`]).

#![forbid(unsafe_code)]

use chaos_tests::canary;
use chaos_tests::coverage;
use chaos_tests::planted;
use chaos_tests::processes;
use chaos_tests::report::Batch;
use chaos_tests::run::{Outcome, Plan, run};
use chaos_tests::seed::Seed;
use chaos_tests::soak;
use chaos_tests::whole;
use raft::planted::{ALL, Planted};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What was asked on the command line.
struct Asked {
    seeds: u64,
    from: u64,
    fault_ms: u64,
    jobs: u64,
    /// Whose runs, and whether the bug is planted in them.
    bug: Option<(Planted, bool)>,
}

fn main() -> ExitCode {
    let rest = || std::env::args().skip(2);
    match std::env::args().nth(1).as_deref() {
        Some("processes") => return processes::command(rest(), fresh()),
        Some("whole") => return whole::command::command(rest(), fresh()),
        Some("planted") => return planted::command(rest()),
        Some("soak") => return soak::command(rest(), fresh()),
        _ => {}
    }
    let Some(asked) = asked() else {
        eprintln!(
            "usage: chaos-tests sim --seeds N [--from SEED] [--ms MILLISECONDS] [--jobs THREADS] [--planted BUG | --sound BUG]\n       chaos-tests whole | planted | soak | processes ..."
        );
        return ExitCode::FAILURE;
    };
    let Asked { seeds, from, fault_ms, .. } = asked;
    println!("seeds {from}..{} of {fault_ms} simulated ms each", from + seeds);
    let batch = perform(&asked);
    match batch {
        Ok(batch) => {
            println!("{batch}");
            said_all(&asked, &batch)
        }
        Err(failed) => {
            let (Seed(seed), violation) = (failed.report.seed, failed.violation);
            println!("{}", failed.timeline);
            if let Some(violation) = violation {
                println!("{violation}");
            }
            println!(
                "seed {seed} again: cargo run --release -p chaos-tests -- sim --seeds 1 --from {seed} --ms {fault_ms}"
            );
            ExitCode::FAILURE
        }
    }
}

/// Fails if a batch that is large enough has not seen what it must.
fn said_all(asked: &Asked, batch: &Batch) -> ExitCode {
    let is_enough = batch.runs >= coverage::RUNS_MIN && asked.fault_ms >= coverage::FAULT_MS_MIN;
    let unseen = coverage::unseen(batch);
    if asked.bug.is_some() || !is_enough || unseen.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("no run has seen:");
    unseen.iter().for_each(|one| println!("  {one}"));
    ExitCode::FAILURE
}

#[expect(clippy::disallowed_methods, reason = "how long a person waits is told, and decides nothing")]
/// Runs the seeds on a few threads, each seed on one, and prints each when it is done. Stops at the first that fails.
fn perform(asked: &Asked) -> Result<Batch, Box<Outcome>> {
    let plan = match asked.bug {
        None => Plan { fault_ms: asked.fault_ms, quiet_ms: 30_000, keys_min: 40, ..Plan::default() },
        Some((bug, is_planted)) => {
            Plan { fault_ms: asked.fault_ms, planted: is_planted.then_some(bug), ..canary::plan(bug) }
        }
    };
    let (next, end) = (AtomicU64::new(asked.from), asked.from + asked.seeds);
    let (told, heard) = sync_channel(1);
    std::thread::scope(|scope| {
        for _ in 0..asked.jobs {
            let (told, next, plan) = (told.clone(), &next, &plan);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let begin = Instant::now();
                    if seed >= end {
                        break;
                    }
                    let mut outcome = run(Seed(seed), plan);
                    outcome.report.real_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
                    if told.send(outcome).is_err() {
                        break;
                    }
                }
            });
        }
        drop(told);
        let mut batch = Batch::default();
        for outcome in heard {
            batch.add(&outcome.report);
            println!("{}", outcome.report.to_json());
            match &outcome.violation {
                Some(violation) if violation.is_broken() => return Err(Box::new(outcome)),
                Some(undecided) => {
                    println!("nothing is proved of seed {}: {undecided}", outcome.report.seed.0)
                }
                None => {}
            }
        }
        Ok(batch)
    })
}

fn asked() -> Option<Asked> {
    let mut words = std::env::args().skip(1);
    if words.next()? != "sim" {
        return None;
    }
    let jobs = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let mut asked = Asked { seeds: 10, from: fresh(), fault_ms: 60_000, jobs, bug: None };
    while let Some(word) = words.next() {
        let value = words.next()?;
        let bug = || ALL.into_iter().find(|bug| format!("{bug:?}") == value);
        match (word.as_str(), value.parse()) {
            ("--planted", _) => asked.bug = Some((bug()?, true)),
            ("--sound", _) => asked.bug = Some((bug()?, false)),
            ("--seeds", Ok(seeds)) => asked.seeds = seeds,
            ("--from", Ok(from)) => asked.from = from,
            ("--ms", Ok(fault_ms)) => asked.fault_ms = fault_ms,
            ("--jobs", Ok(jobs)) if jobs > 0 => asked.jobs = jobs,
            _ => return None,
        }
    }
    Some(asked)
}

#[expect(clippy::disallowed_methods, reason = "a seed is chosen here, before any run begins")]
/// A seed that was not run before.
fn fresh() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() * 1_000)
}
