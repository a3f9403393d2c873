//! How long a log takes to be read at a start, and what a plain read of its files takes.

use super::disk::CountingDisk;
use super::node::sealer;
use super::plan::Job;
use crate::clock::{Stopwatch, System};
use crate::engine::figures::Figures;
use crate::process::{cool, peak_memory};
use crate::{Outcome, process};
use ::engine::ids::NodeId;
use ::raft::log::{Entry, Log, LogConfig, LogParts, LogThread};
use ::raft::types::{GroupId, LogId, ReplicaId};
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, mpsc};

/// The node whose log it is.
const NODE: NodeId = NodeId(1);
/// Bytes of an entry: as large as those of 64 writers of 256 bytes.
const ENTRY_BYTES: usize = 20 << 10;
/// Groups the entries are of, by turns.
const GROUPS: u64 = 64;
/// Answers that wait to be heard; with more of them the log waits.
const ANSWERS_MAX: usize = 1_024;
/// Bytes that wait to be written at once.
const WAITING_BYTES: usize = 16 << 20;

fn open(dir: &Path, disk: &CountingDisk) -> Outcome<Arc<Log>> {
    let (disk, sealer, entropy) = (Arc::new(disk.clone()), sealer(NODE)?, Arc::new(System));
    let parts = LogParts { disk, sealer, entropy, node: NODE, stats: Arc::default() };
    Ok(Log::open(LogConfig::new(dir.join("log")), parts)?)
}

/// Writes `bytes` of entries; returns how many.
fn fill(log: &Arc<Log>, bytes: u64) -> Outcome<u64> {
    let thread = LogThread::start(log.clone())?;
    let (told, heard) = mpsc::sync_channel(ANSWERS_MAX);
    let done = |told: &mpsc::SyncSender<_>| -> ::raft::log::Done {
        let told = told.clone();
        // Nobody listens any more only if somebody else has failed.
        Box::new(move |outcome| _ = told.send(outcome))
    };
    for group in 1..=GROUPS {
        log.open_replica(GroupId(group), ReplicaId(1), done(&told))?;
    }
    let count = bytes / ENTRY_BYTES as u64;
    for n in 0..count {
        let mut payload = vec![0; ENTRY_BYTES];
        payload.iter_mut().zip(n..).for_each(|(byte, n)| *byte = (n * 167) as u8);
        let log_id = LogId { term: 1, replica: ReplicaId(1), index: n / GROUPS + 1 };
        let entry = Entry { log_id, kind: 1, stamp: n, payload: payload.into() };
        log.append(GroupId(n % GROUPS + 1), vec![entry], done(&told))?;
        while log.waiting_bytes() > WAITING_BYTES {
            heard.recv()??;
        }
    }
    drop(told);
    for outcome in heard {
        outcome?;
    }
    drop(thread);
    Ok(count)
}

/// Reads every file of a folder, from its beginning to its end; returns the bytes.
fn read_all(dir: &Path) -> Outcome<u64> {
    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
    for file in std::fs::read_dir(dir)? {
        let mut file = std::fs::File::open(file?.path())?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                more => bytes += more as u64,
            }
        }
    }
    Ok(bytes)
}

/// Measures.
///
/// # Errors
/// Disk; a log that does not open, or lacks an entry.
pub fn run(job: &Job) -> Outcome<Figures> {
    let (dir, disk) = (&job.dir, CountingDisk::new(true));
    let (watch, count) = (Stopwatch::start(), fill(&open(dir, &disk)?, job.missed_bytes())?);
    let write_s = watch.seconds();
    cool(dir)?;
    let watch = Stopwatch::start();
    let bytes = read_all(&dir.join("log"))?;
    let raw_s = watch.seconds();
    let timed = || -> Outcome<f64> {
        let (watch, cpu) = (Stopwatch::start(), process::cpu_seconds()?);
        let log = open(dir, &disk)?;
        let seconds = watch.seconds();
        let here: u64 = log.groups().values().filter_map(|group| Some(group.last?.index)).sum();
        eprintln!(
            "recovered {here} entries in {seconds:.2} s, {:.2} s of a processor",
            process::cpu_seconds()? - cpu
        );
        if here != count {
            return Err(format!("of {count} entries {here} came back").into());
        }
        Ok(seconds)
    };
    let warm_s = timed()?;
    cool(dir)?;
    let cold_s = timed()?;
    let pairs = [
        ("log_mb", bytes as f64 / 1e6),
        ("entries", count as f64),
        ("write_mb_s", bytes as f64 / 1e6 / write_s),
        ("raw_read_s", raw_s),
        ("cold_s", cold_s),
        ("warm_s", warm_s),
        ("cold_vs_raw", cold_s / raw_s),
        ("peak_bytes", peak_memory()? as f64),
    ];
    Ok(pairs.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect())
}
