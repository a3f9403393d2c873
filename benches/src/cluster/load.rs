//! Clients that wait for each answer before they ask again, and what they see.

use super::plan::{Act, LOADED, Step};
use super::store::{Store, Version};
use crate::clock::Stopwatch;
use crate::engine::workload::{Dice, mix};
use crate::{Outcome, process};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Bytes that values are cut from. No compression makes them fewer.
const POOL_BYTES: usize = 4 << 20;
/// Getting going; counted; over.
const COUNTS: u8 = 1;
const OVER: u8 = 2;
/// Failures in a row after which a client gives up.
const FAILURES_MAX: u32 = 20;

/// What all clients of a step share.
struct Stage {
    store: Store,
    step: Step,
    pool: Bytes,
    phase: AtomicU8,
}

/// What they saw in the windows of a step.
#[derive(Default)]
pub struct Seen {
    /// Milliseconds of every operation that was done.
    latencies_ms: Vec<f32>,
    failures: u64,
    seconds: f64,
    /// Processor seconds of all servers.
    cpu_s: f64,
}

impl Seen {
    /// Adds another window.
    pub fn join(&mut self, other: Self) {
        self.latencies_ms.extend(other.latencies_ms);
        self.failures += other.failures;
        self.seconds += other.seconds;
        self.cpu_s += other.cpu_s;
    }

    /// Figures, by name.
    pub fn figures(&mut self) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        let done = self.latencies_ms.len() as f64;
        self.latencies_ms.sort_unstable_by(f32::total_cmp);
        let of = |permille| permille_of(&self.latencies_ms, permille);
        [
            ("ops_per_s", done / self.seconds),
            ("ops_per_cpu_s", done / self.cpu_s.max(0.01)),
            ("cpu_us", self.cpu_s * 1e6 / done.max(1.0)),
            ("p50_ms", of(500)),
            ("p99_ms", of(990)),
            ("p999_ms", of(999)),
            ("failures", self.failures as f64),
        ]
        .into_iter()
    }
}

/// What `permille` of a thousand are not above; 0 of nothing.
fn permille_of(sorted: &[f32], permille: usize) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    f64::from(sorted[last * permille / 1_000])
}

/// What the clients of a step see in `ms` milliseconds, after a fifth of that to get going.
///
/// # Errors
/// A client gave up; `/proc` is not there.
pub async fn watch(store: &Store, servers: &[u32], step: &Step, ms: u64) -> Outcome<Seen> {
    let words = (0..POOL_BYTES as u64 / 8).flat_map(|word| mix(word ^ 0x7261_6e64).to_le_bytes());
    let stage = Arc::new(Stage {
        store: store.clone(),
        step: *step,
        pool: words.collect::<Vec<u8>>().into(),
        phase: AtomicU8::new(0),
    });
    let clients: Vec<_> = (0..step.clients).map(|client| tokio::spawn(ask(stage.clone(), client))).collect();
    tokio::time::sleep(Duration::from_millis(ms / 5)).await;
    let (watch, before) = (Stopwatch::start(), process::cpu_seconds_of(servers)?);
    stage.phase.store(COUNTS, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    stage.phase.store(OVER, Ordering::Relaxed);
    let (seconds, cpu_s) = (watch.seconds(), process::cpu_seconds_of(servers)? - before);
    let mut seen = Seen { seconds, cpu_s, ..Seen::default() };
    for client in clients {
        let (latencies_ms, failures) = client.await??;
        seen.join(Seen { latencies_ms, failures, ..Seen::default() });
    }
    Ok(seen)
}

/// One client: its milliseconds, and how often it failed.
async fn ask(stage: Arc<Stage>, client: u64) -> Outcome<(Vec<f32>, u64)> {
    let (mut dice, mut version) = (Dice::new(client ^ 0x6c6f_6164), None);
    let (mut latencies_ms, mut failures, mut in_a_row) = (Vec::new(), 0, 0);
    loop {
        let phase = stage.phase.load(Ordering::Relaxed);
        if phase == OVER {
            return Ok((latencies_ms, failures));
        }
        let watch = Stopwatch::start();
        match stage.once(client, &mut dice, &mut version).await {
            Ok(()) => {
                in_a_row = 0;
                // What ends after the window does not count, as what began before it does.
                if phase == COUNTS && stage.phase.load(Ordering::Relaxed) == COUNTS {
                    latencies_ms.push((watch.seconds() * 1e3) as f32);
                }
            }
            Err(error) => {
                version = None;
                failures += 1;
                in_a_row += 1;
                if in_a_row > FAILURES_MAX {
                    return Err(error);
                }
            }
        }
    }
}

impl Stage {
    async fn once(&self, client: u64, dice: &mut Dice, version: &mut Option<Version>) -> Outcome<()> {
        let (number, is_read) = (dice.below(LOADED), dice.below(2) == 0);
        match self.step.act {
            Act::Get => self.store.get(number).await.map(drop),
            Act::Mix if is_read => self.store.get(number).await.map(drop),
            Act::Put | Act::Mix => self.store.put(number, self.value(dice)).await.map(drop),
            Act::Cas => {
                let value = self.value(dice);
                let written = match *version {
                    Some(version) => self.store.swap(client, value, version).await?,
                    None => self.store.put(client, value).await?,
                };
                *version = Some(written);
                Ok(())
            }
        }
    }

    fn value(&self, dice: &mut Dice) -> Bytes {
        let bytes = self.step.value_bytes;
        let at = dice.below((POOL_BYTES - bytes) as u64) as usize;
        self.pool.slice(at..at + bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permilles_are_of_the_sorted() {
        let sorted: Vec<f32> = (0..=1_000u16).map(f32::from).collect();
        assert_eq!((permille_of(&sorted, 500), permille_of(&sorted, 999)), (500.0, 999.0));
        assert_eq!((permille_of(&[], 500), permille_of(&[7.0], 999)), (0.0, 7.0));
    }

    #[test]
    fn windows_add_up() {
        let window = |ms: f32| Seen { latencies_ms: vec![ms; 10], failures: 1, seconds: 2.0, cpu_s: 0.5 };
        let mut seen = window(1.0);
        seen.join(window(3.0));
        let found: std::collections::BTreeMap<_, _> = seen.figures().collect();
        assert_eq!((found["ops_per_s"], found["ops_per_cpu_s"], found["cpu_us"]), (5.0, 20.0, 50_000.0));
        assert_eq!((found["p50_ms"], found["p99_ms"], found["failures"]), (1.0, 3.0, 2.0));
    }
}
