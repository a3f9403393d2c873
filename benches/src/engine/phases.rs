//! What a child does in each phase. Every read checks that it got the value that was written.

use super::figures::Figures;
use super::plan::{self, BATCH_ROWS, Job, Phase, SCAN_ENTRIES};
use super::stores::{self, Store};
use super::workload::{self, Picker};
use crate::clock::Stopwatch;
use crate::{Outcome, process};
use std::io::Write;

/// Seconds after which a child that nobody ends, ends.
const CRASH_S_MAX: f64 = 60.0;
/// Times a row is written at most, over all phases.
const GENERATIONS: u64 = 8;
/// Rows that are looked for after a crash.
const LOOKED_FOR: u64 = 1_000;

/// Does a phase.
pub fn run(job: &Job) -> Outcome<Figures> {
    match job.phase {
        Phase::Load => write_all(job, 0),
        Phase::LoadAgain => load_again(job),
        Phase::Overwrite => write_all(job, 1),
        Phase::Warm => warm(job),
        Phase::ColdUniform => cold(job, Picker::uniform(job.keys, 11)),
        Phase::ColdZipf => cold(job, Picker::zipf(job.keys, 12)),
        Phase::ColdScan => cold_scan(job),
        Phase::Compact => compact(job),
        Phase::Crash => crash(job),
        Phase::Reopen => reopen(job),
    }
}

fn figures<const N: usize>(pairs: [(&str, f64); N]) -> Figures {
    pairs.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect()
}

/// Writes rows, each once, and makes them durable: the time of that counts. Then lets background work come to rest: that is
/// told beside it, since a load that leaves much to be done has only put off its price.
fn write_all(job: &Job, generation: u64) -> Outcome<Figures> {
    let mut store = stores::open(job.kind, &job.dir)?;
    let (watch, cpu) = (Stopwatch::start(), process::cpu_seconds()?);
    let count = plan::operations_of(job.phase, job.keys);
    write(&mut *store, count, job.keys, generation)?;
    store.make_durable()?;
    let (seconds, cpu_s) = (watch.seconds(), process::cpu_seconds()? - cpu);
    let watch = Stopwatch::start();
    store.put_down()?;
    let put_down_s = watch.seconds();
    let settle_s = put_down_s + process::await_quiet(|| store.is_idle())?;
    let mut all = figures([
        ("per_s", count as f64 / seconds),
        ("seconds", seconds),
        ("cpu_s", cpu_s),
        ("settle_s", settle_s),
        ("cpu_settled_s", process::cpu_seconds()? - cpu),
    ]);
    all.extend(store.own_figures().into_iter().map(|(name, figure)| (name.to_owned(), figure)));
    Ok(all)
}

/// The load alone: nobody reads what it leaves.
fn load_again(job: &Job) -> Outcome<Figures> {
    let mut store = stores::open(job.kind, &job.dir)?;
    let (watch, cpu) = (Stopwatch::start(), process::cpu_seconds()?);
    write(&mut *store, job.keys, job.keys, 0)?;
    store.make_durable()?;
    let (seconds, cpu_s) = (watch.seconds(), process::cpu_seconds()? - cpu);
    Ok(figures([("per_s", job.keys as f64 / seconds), ("seconds", seconds), ("cpu_s", cpu_s)]))
}

/// Writes the first `count` rows of a generation.
fn write(store: &mut dyn Store, count: u64, keys: u64, generation: u64) -> Outcome<()> {
    let mut rows = Vec::with_capacity(BATCH_ROWS);
    for turn in (0..count).step_by(BATCH_ROWS) {
        workload::fill(&mut rows, turn, BATCH_ROWS, keys, generation);
        store.write(&rows)?;
    }
    Ok(())
}

/// Reads `count` rows and tells how many a second.
fn reads(store: &mut dyn Store, picker: &mut Picker, count: u64) -> Outcome<f64> {
    let watch = Stopwatch::start();
    for _ in 0..count {
        let number = picker.next();
        let found = store.read(&workload::key(number))?;
        check_row(number, found, 0)?;
    }
    Ok(count as f64 / watch.seconds())
}

fn check_row(number: u64, found: Option<u64>, oldest: u64) -> Outcome<()> {
    let is_right = found.is_some_and(|head| (oldest..GENERATIONS).any(|n| workload::head(number, n) == head));
    if is_right { Ok(()) } else { Err(format!("row {number} is lost, or is not what was written").into()) }
}

/// Scans from `count` places and tells how many a second.
fn scans(store: &mut dyn Store, picker: &mut Picker, count: u64) -> Outcome<f64> {
    let watch = Stopwatch::start();
    let mut entries = 0;
    for _ in 0..count {
        let scanned = store.scan(&workload::key(picker.next()), SCAN_ENTRIES)?;
        entries += scanned.entries as u64;
        if scanned.bytes != scanned.entries * (workload::KEY_BYTES + workload::VALUE_BYTES) {
            return Err("a scan gave rows of another size".into());
        }
    }
    // Only those that begin near the end may be short.
    if entries < count * SCAN_ENTRIES as u64 * 9 / 10 {
        return Err(format!("{count} scans gave only {entries} entries").into());
    }
    Ok(count as f64 / watch.seconds())
}

fn warm(job: &Job) -> Outcome<Figures> {
    let watch = Stopwatch::start();
    let mut store = stores::open(job.kind, &job.dir)?;
    store.read(&workload::key(0))?;
    let open_s = watch.seconds();
    process::await_quiet(|| store.is_idle())?;
    let count = plan::operations_of(job.phase, job.keys);
    let mut uniform = Picker::uniform(job.keys, 1);
    let mut zipf = Picker::zipf(job.keys, 2);
    let mut starts = Picker::uniform(job.keys, 3);
    let store = &mut *store;
    reads(store, &mut uniform, count)?;
    let cpu = process::cpu_seconds()?;
    let uniform_per_s = reads(store, &mut uniform, count)?;
    let cpu_us = (process::cpu_seconds()? - cpu) / count as f64 * 1e6;
    reads(store, &mut zipf, count / 2)?;
    let zipf_per_s = reads(store, &mut zipf, count)?;
    scans(store, &mut starts, count / 200)?;
    let scans_per_s = scans(store, &mut starts, count / 40)?;
    let mut all = figures([
        ("open_s", open_s),
        ("uniform_per_s", uniform_per_s),
        ("uniform_cpu_us", cpu_us),
        ("zipf_per_s", zipf_per_s),
        ("scans_per_s", scans_per_s),
    ]);
    all.extend(store.own_figures().into_iter().map(|(name, figure)| (name.to_owned(), figure)));
    Ok(all)
}

fn cold(job: &Job, mut picker: Picker) -> Outcome<Figures> {
    let mut store = stores::open(job.kind, &job.dir)?;
    let cpu = process::cpu_seconds()?;
    let count = plan::operations_of(job.phase, job.keys);
    let per_s = reads(&mut *store, &mut picker, count)?;
    let cpu_us = (process::cpu_seconds()? - cpu) / count as f64 * 1e6;
    Ok(figures([("per_s", per_s), ("cpu_us", cpu_us)]))
}

fn cold_scan(job: &Job) -> Outcome<Figures> {
    let mut store = stores::open(job.kind, &job.dir)?;
    let count = plan::operations_of(job.phase, job.keys);
    let mut starts = Picker::uniform(job.keys, 13);
    Ok(figures([("per_s", scans(&mut *store, &mut starts, count)?)]))
}

fn compact(job: &Job) -> Outcome<Figures> {
    let mut store = stores::open(job.kind, &job.dir)?;
    let watch = Stopwatch::start();
    store.compact()?;
    let seconds = watch.seconds();
    let settle_s = process::await_quiet(|| store.is_idle())?;
    Ok(figures([("seconds", seconds + settle_s), ("settle_s", settle_s)]))
}

/// Writes some rows, makes them durable, says so, and writes on until it is ended from outside.
fn crash(job: &Job) -> Outcome<Figures> {
    let mut store = stores::open(job.kind, &job.dir)?;
    let durable = plan::operations_of(job.phase, job.keys);
    let mut rows = Vec::with_capacity(BATCH_ROWS);
    let mut turn = 0;
    while turn < durable {
        workload::fill(&mut rows, turn, BATCH_ROWS, job.keys, 2);
        store.write(&rows)?;
        turn += rows.len() as u64;
    }
    store.make_durable()?;
    println!("{{}}");
    std::io::stdout().flush()?;
    let watch = Stopwatch::start();
    let mut generation = 2;
    while watch.seconds() < CRASH_S_MAX {
        if turn >= job.keys {
            (turn, generation) = (0, (generation + 1).min(GENERATIONS - 1));
        }
        workload::fill(&mut rows, turn, BATCH_ROWS, job.keys, generation);
        store.write(&rows)?;
        turn += rows.len() as u64;
    }
    Err("nobody ended this child".into())
}

/// Opens what a crash left, and looks whether what was durable is there.
fn reopen(job: &Job) -> Outcome<Figures> {
    let durable = plan::operations_of(job.phase, job.keys);
    let first = workload::row_at(0, job.keys, 2);
    let watch = Stopwatch::start();
    let mut store = stores::open(job.kind, &job.dir)?;
    let opened_s = watch.seconds();
    let found = store.read(&workload::key(first))?;
    let seconds = watch.seconds();
    check_row(first, found, 2)?;
    for turn in (0..durable).step_by((durable / LOOKED_FOR).max(1) as usize) {
        let number = workload::row_at(turn, job.keys, 2);
        let found = store.read(&workload::key(number))?;
        check_row(number, found, 2)?;
    }
    Ok(figures([("seconds", seconds), ("first_read_s", seconds - opened_s)]))
}

#[cfg(test)]
mod tests {
    use super::super::plan::Kind;
    use super::*;

    /// Every phase but the one that waits to be ended, on a small store.
    #[test]
    fn the_phases_follow_on_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let keys = 3_000;
        for phase in Phase::ALL.into_iter().filter(|phase| !matches!(phase, Phase::Crash | Phase::Reopen)) {
            let folder = if phase == Phase::LoadAgain { "again" } else { "store" };
            let job = Job { kind: Kind::Ours, phase, dir: dir.path().join(folder), keys };
            let all = run(&job).unwrap();
            assert!(all.values().all(|figure| figure.is_finite()), "{phase:?}: {all:?}");
        }
    }

    #[test]
    fn a_wrong_row_is_noticed() {
        let head = workload::head(7, 2);
        assert!(check_row(7, Some(head), 2).is_ok() && check_row(7, Some(head), 0).is_ok());
        assert!(check_row(7, Some(head), 3).is_err(), "older than what was durable");
        assert!(check_row(8, Some(head), 0).is_err() && check_row(7, None, 0).is_err());
    }
}
