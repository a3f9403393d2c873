//! Replication: three nodes in one process, each with a real log and a real pool, over a line in memory.
//!
//! The parent starts a child for every part, so that memory and processor time are that part's alone. Three nodes share one disk and
//! the processors of one machine, which three servers would not: what is told of a write is the price of all three.

mod catch_up;
mod cluster;
mod cost;
mod disk;
mod idle;
mod link;
mod load;
mod node;
mod operations;
mod plan;
mod raw;
mod recover;
mod report;
mod throughput;

use crate::clock::Stopwatch;
use crate::engine::figures::Figures;
use crate::{Outcome, spawn};
use plan::{COMMANDS, Job, Options, Part};

/// The hidden command that a child is started with.
pub const CHILD: &str = "raft-child";

/// Measures, and prints.
///
/// # Errors
/// An unknown option; what goes wrong in a child.
pub fn run(arguments: &[String]) -> Outcome<()> {
    let options = Options::parse(arguments)?;
    let mut all = Figures::new();
    for part in &options.parts {
        if *part == Part::Idle {
            for count in options.idle() {
                all.extend(measure(&options, *part, *count)?);
            }
        } else {
            // The cost is that of entries as large as they were when it was measured who writes how fast.
            let measured = all.get("disk.g1.w256.per_entry").map_or(COMMANDS, |mean| mean.round() as u64);
            all.extend(measure(&options, *part, measured.max(1))?);
        }
    }
    report::conclude(&mut all);
    print!("{}", report::table(&all));
    println!("{}", serde_json::json!({ "quick": options.is_quick, "figures": all }));
    Ok(())
}

/// What a child measures.
fn measure(options: &Options, part: Part, count: u64) -> Outcome<Figures> {
    let (dir, watch) = (tempfile::tempdir()?, Stopwatch::start());
    let job = Job { part, dir: dir.path().join("nodes"), is_quick: options.is_quick, count };
    let mut arguments = vec![CHILD.to_owned()];
    arguments.extend(job.arguments());
    let line = spawn::run(&arguments).map_err(|error| format!("{}: {error}", part.name()))?;
    let found = line.as_object().ok_or("a child printed something else")?;
    let prefix = match part {
        Part::Idle => format!("{}.{count}", part.name()),
        _ => part.name().to_owned(),
    };
    eprintln!("{prefix}: {:.1} s", watch.seconds());
    let figure =
        |(name, value): (&String, &serde_json::Value)| Some((format!("{prefix}.{name}"), value.as_f64()?));
    Ok(found.iter().filter_map(figure).collect())
}

/// Does one part, and prints a line of figures.
///
/// # Errors
/// What goes wrong in it.
pub fn child(arguments: &[String]) -> Outcome<()> {
    let job = Job::parse(arguments)?;
    std::fs::create_dir_all(&job.dir)?;
    let figures = match job.part {
        Part::Cost => {
            // On one thread: what it spends is what the steps spend.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            runtime.block_on(cost::run(&job))?
        }
        Part::Recover => recover::run(&job)?,
        part => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
            runtime.block_on(async {
                match part {
                    Part::CatchUp => catch_up::run(&job).await,
                    Part::Idle => idle::run(&job).await,
                    _ => throughput::run(&job).await,
                }
            })?
        }
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
