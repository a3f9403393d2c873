//! `chaos-tests sim --seeds N [--from S] [--ms M] [--jobs J] [--planted BUG | --sound BUG] | --schedule FILE`: runs seeds of groups of
//! consensus, prints what came of each, and fails if a promise was broken, or if a large batch has not entered every branch that it must.
//! With the name of a bug they are the runs that bring it to light, with it or without. A run that breaks a promise is tried again with
//! fewer kinds of faults; what is enough lies in a file then, and `--schedule` runs just that.

use crate::canary;
use crate::coverage;
use crate::report::Batch;
use crate::run::{Outcome, Plan, run};
use crate::schedule::{Schedule, What, least};
use crate::seed::{Fault, Seed, Swarm};
use raft::planted::{ALL, Planted};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// Where the schedules of runs that failed are.
const RUNS: &str = "target/chaos/sim";
/// Runs that are spent to leave kinds of faults out, at most.
const SHRINKS_MAX: usize = 12;
/// Milliseconds without faults, after which all must be well.
const QUIET_MS: u64 = 30_000;
/// Keys at least.
const KEYS_MIN: u64 = 40;

/// What was asked on the command line.
struct Asked {
    seeds: u64,
    from: u64,
    fault_ms: u64,
    jobs: u64,
    /// Whose runs, and whether the bug is planted in them.
    bug: Option<(Planted, bool)>,
    /// What goes wrong, if a file says so.
    schedule: Option<Schedule>,
}

/// Does what the words say.
pub fn command(words: impl Iterator<Item = String>, fresh: u64) -> ExitCode {
    let Some(asked) = asked(words, fresh) else {
        eprintln!(
            "usage: chaos-tests sim --seeds N [--from SEED] [--ms MILLISECONDS] [--jobs THREADS] [--planted BUG | --sound BUG] | --schedule FILE"
        );
        return ExitCode::FAILURE;
    };
    let Asked { seeds, from, fault_ms, .. } = asked;
    println!("seeds {from}..{} of {fault_ms} simulated ms each", from + seeds);
    match perform(&asked) {
        Ok(batch) => {
            println!("{batch}");
            said_all(&asked, &batch)
        }
        Err(failed) => {
            tell(&asked, &failed);
            ExitCode::FAILURE
        }
    }
}

/// What was broken, how to see it again, and which faults are enough for it.
fn tell(asked: &Asked, failed: &Outcome) {
    let (Seed(seed), fault_ms) = (failed.report.seed, asked.fault_ms);
    println!("{}", failed.timeline);
    if let Some(violation) = &failed.violation {
        println!("{violation}");
    }
    println!(
        "seed {seed} again: cargo run --release -p chaos-tests -- sim --seeds 1 --from {seed} --ms {fault_ms}"
    );
    if asked.bug.is_some() || asked.schedule.is_some() {
        return;
    }
    let schedule = shrink(Seed(seed), fault_ms, failed);
    let folder = PathBuf::from(RUNS).join(seed.to_string());
    match write_down(&folder, &schedule) {
        Ok(()) => println!("these faults are enough: sim --schedule {}/schedule.json", folder.display()),
        Err(error) => println!("nothing is written down: {error}"),
    }
}

fn write_down(folder: &Path, schedule: &Schedule) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("schedule.json"), schedule.to_json())
}

/// Leaves out one kind of fault after the other, as long as the same judge objects.
fn shrink(seed: Seed, ms: u64, failed: &Outcome) -> Schedule {
    let judge = |outcome: &Outcome| outcome.violation.as_ref().map(|violation| violation.judge);
    let swarm = Swarm::draw(seed);
    let schedule = |mix: &[(Fault, u32)]| {
        let what = What::Sim(mix.iter().copied().collect(), swarm.fault_every_ms);
        Schedule { seed, ms, what }
    };
    let all: Vec<(Fault, u32)> = swarm.faults.iter().map(|(fault, weight)| (*fault, *weight)).collect();
    let fails =
        |mix: &[(Fault, u32)]| !mix.is_empty() && judge(&run(seed, &plan(&schedule(mix)))) == judge(failed);
    schedule(&least(&all, SHRINKS_MAX, fails))
}

/// The run of a schedule.
fn plan(schedule: &Schedule) -> Plan {
    let drawn = Plan { fault_ms: schedule.ms, quiet_ms: QUIET_MS, keys_min: KEYS_MIN, ..Plan::default() };
    match &schedule.what {
        What::Sim(mix, every_ms) => Plan { faults: mix.clone(), fault_every_ms: *every_ms, ..drawn },
        What::Whole(_) => drawn,
    }
}

/// Fails if a batch that is large enough has not seen what it must.
fn said_all(asked: &Asked, batch: &Batch) -> ExitCode {
    let is_enough = batch.runs >= coverage::RUNS_MIN && asked.fault_ms >= coverage::FAULT_MS_MIN;
    let unseen = coverage::unseen(batch);
    if asked.bug.is_some() || asked.schedule.is_some() || !is_enough || unseen.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("no run has seen:");
    unseen.iter().for_each(|one| println!("  {one}"));
    ExitCode::FAILURE
}

#[expect(clippy::disallowed_methods, reason = "how long a person waits is told, and decides nothing")]
/// Runs the seeds on a few threads, each seed on one, and prints each when it is done. Stops at the first that fails.
fn perform(asked: &Asked) -> Result<Batch, Box<Outcome>> {
    let plan = match (asked.bug, &asked.schedule) {
        (None, Some(schedule)) => plan(schedule),
        (None, None) => {
            Plan { fault_ms: asked.fault_ms, quiet_ms: QUIET_MS, keys_min: KEYS_MIN, ..Plan::default() }
        }
        (Some((bug, is_planted)), _) => {
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

fn asked(mut words: impl Iterator<Item = String>, fresh: u64) -> Option<Asked> {
    let jobs = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let mut asked = Asked { seeds: 10, from: fresh, fault_ms: 60_000, jobs, bug: None, schedule: None };
    while let Some(word) = words.next() {
        let value = words.next()?;
        let bug = || ALL.into_iter().find(|bug| format!("{bug:?}") == value);
        match (word.as_str(), value.parse()) {
            ("--schedule", _) => {
                let schedule = Schedule::from_json(&fs::read_to_string(&value).ok()?)?;
                if !matches!(schedule.what, What::Sim(..)) {
                    return None;
                }
                (asked.seeds, asked.from, asked.fault_ms) = (1, schedule.seed.0, schedule.ms);
                asked.schedule = Some(schedule);
            }
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
