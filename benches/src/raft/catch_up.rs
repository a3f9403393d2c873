//! A node that was away while much was written: how fast it comes back, and what others notice.

use super::cluster::Cluster;
use super::load::Writers;
use super::node::Shape;
use super::operations::BODY_BYTES;
use super::plan::Job;
use crate::Outcome;
use crate::clock::Stopwatch;
use crate::engine::figures::Figures;
use ::raft::group::settings::Pace;
use ::raft::types::{GroupId, ReplicaId};
use std::time::Duration;

const GROUP: GroupId = GroupId(1);
/// The place of the node that is away. The first leads.
const AWAY: usize = 2;
/// Bytes of a command while much is written.
const LARGE_BYTES: usize = 4 << 10;
/// Writers of those.
const LARGE_WRITERS: u64 = 64;
/// Writers that notice, or not.
const OTHERS: u64 = 16;
/// Seconds after which a node that is not back is a failure.
const BACK_S_MAX: f64 = 600.0;
/// Milliseconds between two looks.
const LOOK_MS: u64 = 5;

/// When the node that was away had come how far, in seconds.
struct Back {
    /// Its log and pool were open again.
    started_s: f64,
    /// Behind that: the first entry it lacked was durable.
    first_s: f64,
    /// Which part of all it lacked was still missing then.
    rest: f64,
    /// Behind that: the last one was durable.
    stored_s: f64,
    /// Behind the first: the last one was applied.
    applied_s: f64,
}

/// Measures.
///
/// # Errors
/// What goes wrong in the cluster.
pub async fn run(job: &Job) -> Outcome<Figures> {
    let shape = Shape { dir: job.dir.clone(), groups: 1, has_syncs: true, pace: Pace::PRODUCTION };
    let mut cluster = Cluster::start(&shape).await?;
    let others = Writers::start(&cluster.routes, OTHERS, 1, BODY_BYTES);
    let before = others.watch_for(if job.is_quick { 2_000 } else { 10_000 }).await?;
    cluster.stop_node(AWAY).await?;
    let watch = Stopwatch::start();
    let large = Writers::start(&cluster.routes, LARGE_WRITERS, 1, LARGE_BYTES);
    while large.begun() * (LARGE_BYTES as u64) < job.missed_bytes() {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    let bytes = large.begun() * LARGE_BYTES as u64;
    large.end().await?;
    let write_s = watch.seconds();
    let away = others.watch_for(if job.is_quick { 1_000 } else { 5_000 }).await?;
    let (back, meanwhile) = others.watch(come_back(&mut cluster)).await?;
    let back = back?;
    let after = others.watch_for(if job.is_quick { 1_000 } else { 5_000 }).await?;
    others.end().await?;
    cluster.stop().await?;
    let megabytes = bytes as f64 / 1e6;
    let pairs = [
        ("missed_mb", megabytes),
        ("write_mb_s", megabytes / write_s),
        ("started_s", back.started_s),
        ("first_s", back.first_s),
        ("mb_s", megabytes * back.rest / back.stored_s),
        ("applied_mb_s", megabytes * back.rest / back.applied_s),
        ("cpu_cores_meanwhile", meanwhile.cpu_s / meanwhile.seconds),
        ("p99_before_ms", before.p99_s * 1e3),
        ("p99_away_ms", away.p99_s * 1e3),
        ("p99_meanwhile_ms", meanwhile.p99_s * 1e3),
        ("p99_after_ms", after.p99_s * 1e3),
        ("p99_ratio", meanwhile.p99_s / before.p99_s),
        ("per_s_before", before.commands as f64 / before.seconds),
        ("per_s_meanwhile", meanwhile.commands as f64 / meanwhile.seconds),
    ];
    Ok(pairs.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect())
}

/// Starts the node again, and waits until it has all that was written before.
async fn come_back(cluster: &mut Cluster) -> Outcome<Back> {
    let watch = Stopwatch::start();
    let leader = |cluster: &Cluster| cluster.routes.standing(cluster.routes.leader_of(GROUP), GROUP);
    let stored = |cluster: &Cluster| {
        let matched = leader(cluster)?.matched;
        Some(matched.get(&ReplicaId(AWAY as u64 + 1))?.as_ref()?.index)
    };
    let wanted = leader(cluster).and_then(|standing| standing.last_index).ok_or("nobody leads")?;
    let from = stored(cluster).unwrap_or(0);
    cluster.start_node(AWAY).await?;
    let started_s = watch.seconds();
    let reaches = async |wanted: u64, reached: &dyn Fn(&Cluster) -> Option<u64>| -> Outcome<f64> {
        while reached(cluster).is_none_or(|index| index < wanted) {
            if watch.seconds() > BACK_S_MAX {
                return Err("a node that was away does not come back".into());
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        Ok(watch.seconds())
    };
    let first_s = reaches(from + 1, &stored).await?;
    // What the first answer brought was on its way before.
    let reached = stored(cluster).unwrap_or(from);
    let rest = wanted.saturating_sub(reached) as f64 / (wanted - from).max(1) as f64;
    let last_s = reaches(wanted, &stored).await?;
    let applied = |cluster: &Cluster| Some(cluster.routes.standing(AWAY, GROUP)?.applied?.index);
    let end_s = reaches(wanted, &applied).await?;
    let first_after_s = first_s - started_s;
    Ok(Back {
        started_s,
        first_s: first_after_s,
        rest,
        stored_s: last_s - first_s,
        applied_s: end_s - first_s,
    })
}
