//! The whole server beside etcd: three nodes each, processes on loopback with mutual TLS and one disk, in turns, under the same load.
//!
//! Both clusters run all the time, and each measurement of ours is followed by the same one of etcd's; a quick run alone loads both at
//! once, so that how fast they load says nothing there. Load and servers share the
//! processors of one machine, so operations a second are those of a crowded machine; operations by processor seconds of the servers
//! leave the load out. Both are asked at their leader, over one connection.

mod etcd;
mod failover;
pub mod load;
mod ours;
mod peer;
pub mod plan;
mod report;
pub mod store;

use crate::clock::Stopwatch;
use crate::engine::figures::Figures;
use crate::{Outcome, process};
use load::Seen;
pub use ours::DEADLINE;
use ours::Ours;
use peer::Peer;
use plan::{LOADED, Options, STEPS, Step};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
pub use store::COLLECTION;
use store::Store;

/// Words of the server's own command line: with them this program is the server.
pub const SERVER: [&str; 3] = ["init", "join", "serve"];
/// Rows loaded by one call.
const BATCH_ROWS: u64 = 128;
/// Those who load, each waiting for its batch.
const LOADERS: u64 = 8;

/// Is the server.
pub fn serve() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    node::cmd::run(clap::Parser::parse_from(arguments))
}

/// A cluster under measurement.
struct Subject {
    name: &'static str,
    store: Store,
    /// Processes of its servers.
    servers: Vec<u32>,
    /// Where they keep everything.
    folders: Vec<PathBuf>,
}

/// Measures, and prints.
///
/// # Errors
/// An unknown option; a cluster that does not come up, or does not answer.
pub fn run(arguments: &[String]) -> Outcome<()> {
    let options = Options::parse(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ground = tempfile::Builder::new().prefix("dewpond-benches-").tempdir_in(&options.dir)?;
    let figures = runtime.block_on(measure(&options, ground.path()))?;
    print!("{}", report::table(&figures, options.is_quick));
    println!("{}", report::line(&figures, options.is_quick));
    Ok(())
}

async fn measure(options: &Options, ground: &Path) -> Outcome<Figures> {
    let watch = Stopwatch::start();
    let (ours_in, peer_in) = (ground.join("ours"), ground.join("etcd"));
    let (mut ours, mut peer) = futures_util::try_join!(Ours::start(&ours_in), start_peer(options, &peer_in))?;
    let mut subjects = vec![ours.subject()?];
    subjects.extend(peer.as_ref().map(Peer::subject));
    eprintln!("{:6.1} s  the clusters serve", watch.seconds());
    let mut figures = Figures::new();
    if options.is_quick {
        // Only what lies there afterwards counts.
        for loaded in futures_util::future::try_join_all(subjects.iter().map(fill)).await? {
            figures.extend(loaded);
        }
    } else {
        for subject in &subjects {
            figures.extend(fill(subject).await?);
        }
    }
    rest_of(options.rest_ms()).await;
    for subject in &subjects {
        weigh(subject, &mut figures)?;
    }
    eprintln!("{:6.1} s  {LOADED} records lie in each", watch.seconds());
    if let Some(peer) = &mut peer {
        // A fast load leaves it with a large buffer, all of which etcd 3.4 copies at each read from then on.
        peer.restart().await?;
        subjects[1] = peer.subject();
    }
    for step in STEPS.iter().filter(|step| options.does(step)) {
        compare(&subjects, step, options, &mut figures).await?;
        eprintln!("{:6.1} s  {}", watch.seconds(), step.name);
    }
    if options.has_failover() {
        let stores: Vec<Store> = subjects.into_iter().map(|subject| subject.store).collect();
        let seconds =
            failover::measure(&stores[0], ours.leader().await?, |place| ours.end_now(place)).await?;
        figures.insert("ours.failover_s".to_owned(), seconds);
        if let (Some(peer), Some(store)) = (&mut peer, stores.get(1)) {
            let leader = peer.leader().await?;
            let seconds = failover::measure(store, leader, |place| peer.end_now(place)).await?;
            figures.insert("etcd.failover_s".to_owned(), seconds);
        }
        eprintln!("{:6.1} s  the leaders were killed", watch.seconds());
    }
    Ok(figures)
}

/// Starts etcd, if it is to be compared and is there.
async fn start_peer(options: &Options, folder: &Path) -> Outcome<Option<Peer>> {
    if !options.has_peer {
        return Ok(None);
    }
    let Some(program) = peer::installed() else {
        eprintln!("etcd is not installed (Debian package etcd-server): ours is measured alone");
        return Ok(None);
    };
    Ok(Some(Peer::start(&program, folder).await?))
}

/// Loads the records. Returns how fast that went.
async fn fill(subject: &Subject) -> Outcome<Figures> {
    let (watch, before) = (Stopwatch::start(), process::cpu_seconds_of(&subject.servers)?);
    let loaders = (0..LOADERS).map(|loader| {
        let store = subject.store.clone();
        tokio::spawn(async move {
            let mut at = loader * BATCH_ROWS;
            while at < LOADED {
                store.load(at..LOADED.min(at + BATCH_ROWS)).await?;
                at += LOADERS * BATCH_ROWS;
            }
            Outcome::Ok(())
        })
    });
    for loader in loaders.collect::<Vec<_>>() {
        loader.await??;
    }
    let (seconds, cpu_s) = (watch.seconds(), process::cpu_seconds_of(&subject.servers)? - before);
    let rows = [("rows_per_s", LOADED as f64 / seconds), ("cpu_us", cpu_s * 1e6 / LOADED as f64)];
    let figure = |(name, figure): (&str, f64)| (format!("{}.load.{name}", subject.name), figure);
    Ok(rows.into_iter().map(figure).collect())
}

/// What its servers take of memory and disk.
fn weigh(subject: &Subject, figures: &mut Figures) -> Outcome<()> {
    let memory = process::memory_of(&subject.servers)?;
    let mut disk = 0;
    for folder in &subject.folders {
        disk += process::disk_bytes(folder)?;
    }
    let mut add = |name: &str, bytes: u64| figures.insert(format!("{}.{name}", subject.name), bytes as f64);
    add("memory_bytes", memory.all);
    add("memory_own_bytes", memory.own);
    add("disk_bytes", disk);
    Ok(())
}

/// One step of both, in turns.
async fn compare(subjects: &[Subject], step: &Step, options: &Options, figures: &mut Figures) -> Outcome<()> {
    let mut all: Vec<Seen> = subjects.iter().map(|_| Seen::default()).collect();
    for _ in 0..options.rounds() {
        for (subject, seen) in subjects.iter().zip(&mut all) {
            let once = load::watch(&subject.store, &subject.servers, step, options.window_ms()).await;
            seen.join(once.map_err(|error| format!("{} {}: {error}", subject.name, step.name))?);
        }
    }
    for (subject, seen) in subjects.iter().zip(&mut all) {
        let found = seen.figures();
        figures
            .extend(found.map(|(name, figure)| (format!("{}.{}.{name}", subject.name, step.name), figure)));
    }
    Ok(())
}

/// Lets both come to rest: tables are written out, and what was merged is dropped.
async fn rest_of(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
