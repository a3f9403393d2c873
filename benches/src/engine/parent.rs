//! The parent: starts the children, phase by phase, store after store.

use super::figures::{Figures, Run};
use super::plan::{Job, Kind, Phase, keys_of};
use super::{CHILD, stores};
use crate::clock::Stopwatch;
use crate::options::Options;
use crate::process::{self, Coldness};
use crate::{Outcome, clock, spawn};
use std::path::Path;

/// Milliseconds a child goes on writing before it is ended.
const CRASH_AFTER_MS: u64 = 300;

/// Measures everything asked for, `options.runs` times.
pub fn measure(options: &Options) -> Outcome<Vec<Run>> {
    (1..=options.runs)
        .map(|number| {
            let dir = tempfile::tempdir()?;
            run_once(options, dir.path(), number)
        })
        .collect()
}

fn run_once(options: &Options, dir: &Path, number: usize) -> Outcome<Run> {
    let mut run = Run::default();
    for phase in &options.phases {
        let is_again = *phase == Phase::LoadAgain;
        let is_meant = |kind: &Kind| options.stores.contains(kind) && kind.does(*phase);
        let mut kinds: Vec<Kind> = Kind::ALL.into_iter().filter(is_meant).collect();
        if is_again {
            kinds.reverse();
        }
        for kind in kinds {
            let folder = if is_again { format!("{}-again", kind.name()) } else { kind.name().to_owned() };
            let keys = keys_of(kind, options.keys, options.is_quick);
            let job = Job { kind, phase: *phase, dir: dir.join(folder), keys };
            let watch = Stopwatch::start();
            let mut figures = run_job(&job, &mut run.is_cold)
                .map_err(|error| format!("{} of {}: {error}", phase.name(), kind.name()))?;
            // What this store has left to be written must not burden the next.
            process::sync(&job.dir)?;
            if is_again {
                std::fs::remove_dir_all(&job.dir)?;
            }
            figures.insert("wall_s".to_owned(), watch.seconds());
            eprintln!("run {number}: {} of {}: {}", phase.name(), kind.name(), summary(&figures));
            run.figures.insert((kind, *phase), figures);
        }
    }
    Ok(run)
}

fn summary(figures: &Figures) -> String {
    let words = figures.iter().map(|(name, figure)| format!("{name} {figure:.6}"));
    words.collect::<Vec<_>>().join(", ")
}

fn run_job(job: &Job, is_cold: &mut bool) -> Outcome<Figures> {
    let mut arguments = vec![CHILD.to_owned()];
    arguments.extend(job.arguments());
    if job.phase.is_cold() {
        *is_cold = process::cool(&job.dir)? == Coldness::Dropped;
    }
    // What a process finds when it opens the store.
    let opened_bytes = if job.phase == Phase::Reopen { Some(process::disk_bytes(&job.dir)?) } else { None };
    if job.phase == Phase::Crash {
        let mut child = spawn::start(&arguments)?;
        child.line()?;
        clock::rest(CRASH_AFTER_MS);
        child.end_now()?;
        return Ok(Figures::new());
    }
    let line = spawn::run(&arguments)?;
    let mut figures: Figures = line
        .as_object()
        .ok_or("a child printed something else")?
        .iter()
        .filter_map(|(name, figure)| Some((name.clone(), figure.as_f64()?)))
        .collect();
    let log_bytes = process::disk_bytes_of(&job.dir, &|name| stores::is_log(job.kind, name))?;
    figures.insert("disk_bytes".to_owned(), process::disk_bytes(&job.dir)? as f64);
    figures.insert("log_bytes".to_owned(), log_bytes as f64);
    if let Some(bytes) = opened_bytes {
        figures.insert("opened_bytes".to_owned(), bytes as f64);
    }
    Ok(figures)
}
