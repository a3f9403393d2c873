//! The leader is killed: how long nothing is written then.

use super::plan::LOADED;
use super::store::Store;
use crate::Outcome;
use crate::clock::Stopwatch;
use crate::engine::workload::{Dice, value};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Clients that write, each waiting for its answer.
const WRITERS: u64 = 8;
/// How long they write before.
const BEFORE: Duration = Duration::from_millis(1_000);
/// After which nobody waits for a new leader any longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between a failure and the next attempt.
const PAUSE: Duration = Duration::from_millis(20);
/// How long answers may be on their way.
const UNDER_WAY: Duration = Duration::from_millis(50);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// What the writers share.
struct Stage {
    store: Store,
    is_over: AtomicBool,
    written: AtomicU64,
}

impl Stage {
    async fn write(&self, writer: u64) {
        let mut dice = Dice::new(writer ^ 0x6661_696c);
        while !self.is_over.load(Ordering::Relaxed) {
            let number = dice.below(LOADED);
            let bytes = Bytes::copy_from_slice(&value(number, 1));
            match self.store.put(number, bytes).await {
                Ok(_) => _ = self.written.fetch_add(1, Ordering::Relaxed),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Seconds from the kill of `leader` until a write is answered that it has not answered.
///
/// # Errors
/// Nothing was written before it, or nothing for a long time after.
pub async fn measure(store: &Store, leader: usize, kill: impl FnOnce(usize) -> Outcome<()>) -> Outcome<f64> {
    let stage =
        Arc::new(Stage { store: store.clone(), is_over: AtomicBool::new(false), written: AtomicU64::new(0) });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let stage = stage.clone();
            tokio::spawn(async move { stage.write(writer).await })
        })
        .collect();
    tokio::time::sleep(BEFORE).await;
    if stage.written.load(Ordering::Relaxed) == 0 {
        return Err("nothing is written while all nodes run".into());
    }
    kill(leader)?;
    let killed = Stopwatch::start();
    // Answers that were on their way when it died have come in by then; no leader is elected so soon.
    tokio::time::sleep(UNDER_WAY).await;
    let until = async {
        let before = stage.written.load(Ordering::Relaxed);
        while stage.written.load(Ordering::Relaxed) == before {
            tokio::time::sleep(LOOK).await;
        }
        killed.seconds()
    };
    let seconds = tokio::time::timeout(PATIENCE, until).await.map_err(|_| "no leader was found")?;
    stage.is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await?;
    }
    Ok(seconds)
}
