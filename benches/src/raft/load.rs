//! Writers that wait for each command before the next, and what they see.

use super::cluster::Routes;
use super::operations::put;
use crate::clock::Stopwatch;
use crate::{Outcome, process};
use ::raft::types::GroupId;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Writers at work.
pub struct Writers {
    stage: Arc<Stage>,
    tasks: Vec<JoinHandle<Outcome<()>>>,
}

/// What writers share.
struct Stage {
    routes: Arc<Routes>,
    groups: u64,
    body_bytes: usize,
    next: AtomicU64,
    is_over: AtomicBool,
    /// Seconds of every command since they were last taken.
    latencies: Mutex<Vec<f32>>,
}

/// What writers saw in a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Commands that were answered.
    pub commands: u64,
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Processor seconds of the whole process.
    pub cpu_s: f64,
    /// Half of the commands took no longer, in seconds.
    pub p50_s: f64,
    /// All but one in a hundred took no longer, in seconds.
    pub p99_s: f64,
}

impl Writers {
    /// Starts `count` of them on the first `groups` groups; each goes on from one group to the next if there are more groups.
    #[must_use]
    pub fn start(routes: &Arc<Routes>, count: u64, groups: u64, body_bytes: usize) -> Self {
        let stage = Arc::new(Stage {
            routes: routes.clone(),
            groups: groups.min(routes.groups()),
            body_bytes,
            next: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            latencies: Mutex::default(),
        });
        let tasks = (0..count).map(|n| tokio::spawn(write(stage.clone(), n, count))).collect();
        Self { stage, tasks }
    }

    fn take(&self) -> Vec<f32> {
        std::mem::take(&mut *self.stage.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What they see until `until` ends.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub async fn watch<T>(&self, until: impl Future<Output = T>) -> Outcome<(T, Seen)> {
        self.take();
        let (watch, cpu) = (Stopwatch::start(), process::cpu_seconds()?);
        let ended = until.await;
        let (mut all, seconds) = (self.take(), watch.seconds());
        let cpu_s = process::cpu_seconds()? - cpu;
        let (p50_s, p99_s) = (percentile(&mut all, 50), percentile(&mut all, 99));
        Ok((ended, Seen { commands: all.len() as u64, seconds, cpu_s, p50_s, p99_s }))
    }

    /// What they see in `ms` milliseconds, after a fifth of that to get going.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub async fn watch_for(&self, ms: u64) -> Outcome<Seen> {
        tokio::time::sleep(Duration::from_millis(ms / 5)).await;
        Ok(self.watch(tokio::time::sleep(Duration::from_millis(ms))).await?.1)
    }

    /// Commands they have begun so far.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.stage.next.load(Ordering::Relaxed)
    }

    /// Lets them end.
    ///
    /// # Errors
    /// A command was not answered.
    pub async fn end(self) -> Outcome<()> {
        self.stage.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok(())
    }
}

async fn write(stage: Arc<Stage>, writer: u64, writers: u64) -> Outcome<()> {
    let mut turn = writer;
    while !stage.is_over.load(Ordering::Relaxed) {
        let group = GroupId(turn % stage.groups + 1);
        let command = put(stage.next.fetch_add(1, Ordering::Relaxed), stage.body_bytes);
        let watch = Stopwatch::start();
        stage.routes.submit(group, &command).await?;
        let latency = watch.seconds() as f32;
        stage.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
        turn += writers;
    }
    Ok(())
}

/// What `percent` of a hundred are not above; 0 of nothing.
fn percentile(all: &mut [f32], percent: usize) -> f64 {
    let Some(last) = all.len().checked_sub(1) else { return 0.0 };
    let (_, found, _) = all.select_nth_unstable_by(last * percent / 100, f32::total_cmp);
    f64::from(*found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted() {
        let mut all: Vec<f32> = (0..=100u8).rev().map(f32::from).collect();
        assert_eq!((percentile(&mut all, 50), percentile(&mut all, 99)), (50.0, 99.0));
        assert_eq!(percentile(&mut [], 99), 0.0);
        assert_eq!(percentile(&mut [7.0], 99), 7.0);
    }
}
