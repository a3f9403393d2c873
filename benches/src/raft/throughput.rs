//! How fast writes are, by writers and groups, and what they cost the disk and the processor.

use super::cluster::Cluster;
use super::load::{Seen, Writers};
use super::node::{NODES, Shape};
use super::operations::BODY_BYTES;
use super::plan::{GROUPS, GROUPS_ALL, Job, Part, WRITERS};
use super::raw;
use crate::Outcome;
use crate::clock::Stopwatch;
use crate::engine::figures::{Figures, median};
use ::raft::group::settings::Pace;
use ::raft::types::GroupId;
use std::time::Duration;

/// Milliseconds of a sync of a disk so slow that the processor is no limit: what is left is whether groups share syncs.
const SLOW_MS: u64 = 50;

/// One measurement.
struct Cell {
    seen: Seen,
    /// Syncs of the log of the node that leads the first group.
    syncs: u64,
    /// Bytes written to it.
    bytes: u64,
    /// Entries of all groups that are written to.
    entries: u64,
}

/// Measures every number of writers with every number of groups, and one group beside many.
///
/// # Errors
/// What goes wrong in the cluster.
pub async fn run(job: &Job) -> Outcome<Figures> {
    let has_syncs = job.part == Part::Disk;
    let shape = Shape { dir: job.dir.clone(), groups: GROUPS_ALL, has_syncs, pace: Pace::PRODUCTION };
    let watch = Stopwatch::start();
    let cluster = Cluster::start(&shape).await?;
    let mut all = Figures::from([("start_s".to_owned(), watch.seconds())]);
    let mut bytes_per_sync = 0;
    for groups in GROUPS {
        for writers in WRITERS {
            let cell = measure(&cluster, groups, writers, job.window_ms()).await?;
            if (groups, writers) == (1, 64) {
                bytes_per_sync = cell.bytes / cell.syncs.max(1);
            }
            all.extend(cell.figures(&format!("g{groups}.w{writers}")));
        }
    }
    compare(&cluster, job.rounds(), job.window_ms(), "", &mut all).await?;
    if !has_syncs {
        cluster.nodes().iter().for_each(|node| node.disk.slow_down(SLOW_MS));
        compare(&cluster, job.rounds() / 3, SLOW_MS * 20, "slow.", &mut all).await?;
    }
    cluster.stop().await?;
    if has_syncs {
        for files in [1, NODES] {
            let per_s = raw::syncs_per_s(&job.dir, files, bytes_per_sync, job.window_ms())?;
            all.insert(format!("raw.{files}.syncs_per_s"), per_s);
        }
        all.insert("raw.bytes_per_sync".to_owned(), bytes_per_sync as f64);
    }
    Ok(all)
}

/// One group beside many, 64 writers each, again and again: what else the machine does meets both.
async fn compare(cluster: &Cluster, rounds: usize, ms: u64, prefix: &str, all: &mut Figures) -> Outcome<()> {
    let (mut ratios, mut one_per_s, mut per_sync) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let one = measure(cluster, 1, 64, ms).await?;
        let many = measure(cluster, GROUPS_ALL, 64, ms).await?;
        ratios.push(many.per_s() / one.per_s());
        one_per_s.push(one.per_s());
        per_sync.push(one.per_sync());
    }
    for (name, figures) in [("groups64_vs_1", ratios), ("per_s_64", one_per_s), ("per_sync_64", per_sync)] {
        all.insert(format!("{prefix}{name}"), median(figures).unwrap_or(0.0));
    }
    Ok(())
}

fn entries(cluster: &Cluster, groups: u64) -> u64 {
    let routes = &cluster.routes;
    let last = |group| routes.standing(routes.leader_of(group), group).and_then(|one| one.last_index);
    (1..=groups).map(GroupId).filter_map(last).sum()
}

async fn measure(cluster: &Cluster, groups: u64, writers: u64, ms: u64) -> Outcome<Cell> {
    let writers = Writers::start(&cluster.routes, writers, groups, BODY_BYTES);
    // The first moments, in which everybody asks at once, are not of the rest.
    writers.watch_for(ms / 8).await?;
    let disk = &cluster.node(cluster.routes.leader_of(GroupId(1))).disk;
    let (counted, before) = (disk.counted(), entries(cluster, groups));
    let ((), seen) = writers.watch(tokio::time::sleep(Duration::from_millis(ms))).await?;
    let (now, after) = (disk.counted(), entries(cluster, groups));
    writers.end().await?;
    let (syncs, bytes) = (now.syncs - counted.syncs, now.bytes - counted.bytes);
    Ok(Cell { seen, syncs, bytes, entries: after - before })
}

impl Cell {
    fn per_s(&self) -> f64 {
        self.seen.commands as f64 / self.seen.seconds
    }

    fn per_sync(&self) -> f64 {
        self.seen.commands as f64 / self.syncs.max(1) as f64
    }

    fn figures(&self, prefix: &str) -> Figures {
        let Seen { commands, seconds, cpu_s, p50_s, p99_s } = self.seen;
        let each = commands.max(1) as f64;
        let pairs = [
            ("per_s", self.per_s()),
            ("p50_ms", p50_s * 1e3),
            ("p99_ms", p99_s * 1e3),
            ("cpu_us", cpu_s / each * 1e6),
            ("syncs_per_s", self.syncs as f64 / seconds),
            ("per_sync", self.per_sync()),
            ("per_entry", each / self.entries.max(1) as f64),
        ];
        pairs.into_iter().map(|(name, figure)| (format!("{prefix}.{name}"), figure)).collect()
    }
}
