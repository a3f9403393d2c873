//! Groups that rest: what they cost when nobody writes.

use super::cluster::Cluster;
use super::node::{NODES, Shape};
use super::plan::Job;
use crate::clock::Stopwatch;
use crate::engine::figures::Figures;
use crate::{Outcome, process};
use ::raft::group::settings::Pace;
use ::raft::limits::TICK_MS;
use futures_util::future::join_all;
use std::time::Duration;

/// Groups from which on a node should have the longer times.
const FAR_GROUPS: u64 = 500;
/// Milliseconds in which what a start leaves to be done is done.
const SETTLE_MS: u64 = 3_000;

/// Measures `job.count` groups.
///
/// # Errors
/// What goes wrong in the cluster.
pub async fn run(job: &Job) -> Outcome<Figures> {
    let pace = if job.count > FAR_GROUPS { Pace::FAR } else { Pace::PRODUCTION };
    let shape = Shape { dir: job.dir.clone(), groups: job.count, has_syncs: true, pace };
    let watch = Stopwatch::start();
    let cluster = Cluster::start(&shape).await?;
    let start_s = watch.seconds();
    tokio::time::sleep(Duration::from_millis(SETTLE_MS)).await;
    let quiet = cpu_percent(tokio::time::sleep(Duration::from_millis(job.idle_ms()))).await?;
    let memory = process::memory()?;
    let closing = cpu_percent(close(&cluster, job.idle_ms() / TICK_MS + 1)).await?;
    let pairs = [
        ("groups", job.count as f64),
        ("replicas", (job.count * NODES) as f64),
        ("start_s", start_s),
        ("memory_bytes", memory as f64),
        ("cpu_percent", quiet),
        ("cpu_percent_closing", closing),
        ("memory_bytes_closing", process::memory()? as f64),
        ("peak_bytes", process::peak_memory()? as f64),
    ];
    cluster.stop().await?;
    Ok(pairs.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect())
}

/// Hundredths of one processor that this process takes until `until` ends.
async fn cpu_percent(until: impl Future<Output = ()>) -> Outcome<f64> {
    let (watch, cpu) = (Stopwatch::start(), process::cpu_seconds()?);
    until.await;
    Ok((process::cpu_seconds()? - cpu) / watch.seconds() * 100.0)
}

/// Closes the time of every group, `times` over, as leaders of idle groups do: all at the end of a tick.
async fn close(cluster: &Cluster, times: u64) {
    for _ in 0..times {
        let watch = Stopwatch::start();
        join_all(cluster.routes.close_time()).await;
        let spent_ms = (watch.seconds() * 1e3) as u64;
        tokio::time::sleep(Duration::from_millis(TICK_MS.saturating_sub(spent_ms))).await;
    }
}
