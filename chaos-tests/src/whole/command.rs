//! `chaos-tests whole --seeds N [--ms M] [--from S] [--jobs J]`: runs of whole nodes in a pretended world. One that breaks a promise is
//! made as small as it can be, one fault after the other; histories, timeline and a page lie in a folder then.

use super::nemesis::Planned;
use super::run::{Outcome, Plan, run};
use crate::coverage::WHOLE_RUNS_MIN;
use crate::processes::page::{self, Shown};
use crate::report::Batch;
use crate::seed::Seed;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// Where the folders of runs that failed are.
const RUNS: &str = "target/chaos/whole";
/// Runs that are spent to make a schedule smaller, at most.
const SHRINKS_MAX: usize = 40;

/// What was asked on the command line.
struct Asked {
    seeds: u64,
    from: u64,
    ms: u64,
    jobs: u64,
}

fn asked(words: impl Iterator<Item = String>, fresh: u64) -> Option<Asked> {
    let jobs = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let mut asked = Asked { seeds: 5, from: fresh, ms: 20_000, jobs };
    let mut words = words;
    while let Some(word) = words.next() {
        let value: u64 = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seeds" => asked.seeds = value,
            "--from" => asked.from = value,
            "--ms" => asked.ms = value,
            "--jobs" => asked.jobs = value.max(1),
            _ => return None,
        }
    }
    Some(asked)
}

/// Does what the words say.
pub fn command(words: impl Iterator<Item = String>, fresh: u64) -> ExitCode {
    let Some(asked) = asked(words, fresh) else {
        eprintln!("usage: chaos-tests whole --seeds N [--ms MILLISECONDS] [--from SEED] [--jobs THREADS]");
        return ExitCode::FAILURE;
    };
    println!(
        "whole nodes, seeds {}..{} of {} simulated ms each",
        asked.from,
        asked.from + asked.seeds,
        asked.ms
    );
    match perform(&asked) {
        Ok(batch) => {
            println!("{batch}");
            let unseen = crate::coverage::unseen_whole(&batch);
            if batch.runs < WHOLE_RUNS_MIN || asked.ms < 20_000 || unseen.is_empty() {
                return ExitCode::SUCCESS;
            }
            println!("no run has seen: {}", unseen.join(", "));
            ExitCode::FAILURE
        }
        Err(failed) => {
            tell(&failed, asked.ms);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a person waits is told, and decides nothing")]
fn perform(asked: &Asked) -> Result<Batch, Box<Outcome>> {
    let plan = Plan { fault_ms: asked.ms, ..Plan::default() };
    let (next, end) = (AtomicU64::new(asked.from), asked.from + asked.seeds);
    let (told, heard) = sync_channel(1);
    std::thread::scope(|scope| {
        for _ in 0..asked.jobs {
            let (told, next, plan) = (told.clone(), &next, &plan);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let begin = Instant::now();
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
            for undecided in &outcome.undecided {
                println!("nothing is proved of seed {}: {undecided}", outcome.report.seed.0);
            }
            if outcome.violation.is_some() {
                return Err(Box::new(outcome));
            }
        }
        Ok(batch)
    })
}

/// Leaves out one fault after the other, as long as the same judge objects.
#[must_use]
pub fn shrink(seed: Seed, fault_ms: u64, failed: &Outcome) -> Vec<Planned> {
    let judge = failed.violation.as_ref().map(|violation| violation.judge);
    let fails = |schedule: &[Planned]| {
        let plan = Plan { fault_ms, schedule: Some(schedule.to_vec()), ..Plan::default() };
        run(seed, &plan).violation.map(|violation| violation.judge) == judge
    };
    least(&failed.schedule, SHRINKS_MAX, fails)
}

/// Pure: the least of a list that still fails, left by dropping one after the other, in so many tries at most.
fn least<T: Clone>(all: &[T], tries_max: usize, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let (mut kept, mut at) = (all.to_vec(), 0);
    for _ in 0..tries_max {
        if at >= kept.len() {
            break;
        }
        let mut fewer = kept.clone();
        fewer.remove(at);
        if fails(&fewer) {
            kept = fewer;
        } else {
            at += 1;
        }
    }
    kept
}

fn tell(failed: &Outcome, ms: u64) {
    let seed = failed.report.seed;
    let again = format!("cargo run --release -p chaos-tests -- whole --seeds 1 --from {} --ms {ms}", seed.0);
    println!("{}", failed.timeline);
    if let Some(violation) = &failed.violation {
        println!("{violation}");
    }
    println!("seed {} again: {again}", seed.0);
    let kept = shrink(seed, ms, failed);
    println!("of {} faults these are enough:", failed.schedule.len());
    kept.iter().for_each(|one| println!("  {:>6} ms  {:?}", one.at_ms, one.fault));
    let folder = PathBuf::from(RUNS).join(seed.0.to_string());
    match write_down(&folder, failed, &again, &kept) {
        Ok(()) => {
            println!("everything lies in {}; timeline.txt and page.html tell what happened", folder.display())
        }
        Err(error) => println!("nothing is written down: {error}"),
    }
}

/// Histories, timeline and page.
fn write_down(folder: &Path, failed: &Outcome, again: &str, kept: &[Planned]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for (tenant, history, facts) in &failed.told {
        fs::write(folder.join(format!("history-{tenant}.jsonl")), history.to_json_lines())?;
        fs::write(folder.join(format!("told-{tenant}.jsonl")), crate::history::told::to_json_lines(facts))?;
    }
    let mut text = format!("{again}\n\n{}\n", failed.timeline);
    for one in kept {
        let _ = writeln!(text, "enough: {:>6} ms  {:?}", one.at_ms, one.fault);
    }
    if let Some(violation) = &failed.violation {
        let _ = writeln!(text, "\n{violation}");
    }
    fs::write(folder.join("timeline.txt"), text)?;
    let operations: Vec<_> =
        failed.told.iter().map(|(tenant, history, _)| (&tenant[..], history.operations())).collect();
    let violations: Vec<_> = failed.violation.iter().cloned().collect();
    let shown =
        Shown { title: again, events: &failed.events, operations: &operations, violations: &violations };
    fs::write(folder.join("page.html"), page::page(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_left_out() {
        let all: Vec<u32> = (0..12).collect();
        let fails = |kept: &[u32]| kept.contains(&3) && kept.contains(&7);
        assert_eq!(least(&all, 40, fails), [3, 7]);
        assert_eq!(least(&all, 2, fails), (2..12).collect::<Vec<_>>(), "it ends when its tries are over");
        assert_eq!(least(&all, 40, |_| false), all);
    }
}
