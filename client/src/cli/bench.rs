//! Measures puts and gets against a cluster.

use super::Session;
use super::args::Bench;
use super::output::{Document, fields, progress, progress_end};
use crate::clock::{Deadline, now};
use crate::entropy;
use crate::{Collection, Raw, Result};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// What one worker has done.
#[derive(Default)]
struct Tally {
    us: Vec<u32>,
    failures: u64,
}

/// Runs the command.
pub async fn run(session: &Session, what: Bench) -> Result<()> {
    let collection = session.tenant()?.raw(&what.collection);
    let until = Deadline::after(Duration::from_secs(what.seconds));
    let what = Arc::new(what);
    let begun = now();
    progress(&format!("{} for {} s", what.what, what.seconds));
    let workers: Vec<_> =
        (0..what.in_flight).map(|_| tokio::spawn(work(collection.clone(), what.clone(), until))).collect();
    let mut all = Tally::default();
    for worker in workers {
        // A worker that panics is our bug, and is counted as one failure.
        let tally = worker.await.unwrap_or(Tally { us: vec![], failures: 1 });
        all.us.extend(tally.us);
        all.failures += tally.failures;
    }
    progress_end();
    let seconds = begun.elapsed().as_secs_f64();
    all.us.sort_unstable();
    let row = fields([
        ("what", what.what.as_str().into()),
        ("in_flight", what.in_flight.into()),
        ("operations", all.us.len().into()),
        ("failures", all.failures.into()),
        ("ops", ((all.us.len() as f64 / seconds).round()).into()),
        ("p50_us", percentile(&all.us, 500).into()),
        ("p99_us", percentile(&all.us, 990).into()),
        ("p999_us", percentile(&all.us, 999).into()),
        ("longest_us", all.us.last().copied().into()),
    ]);
    let columns =
        ["what", "in_flight", "operations", "failures", "ops", "p50_us", "p99_us", "p999_us", "longest_us"];
    Document::one("dew.bench.run/1", &columns, row).print(session.format)
}

async fn work(collection: Collection<Raw>, what: Arc<Bench>, until: Deadline) -> Tally {
    let mut tally = Tally::default();
    let value = Bytes::from(vec![b'x'; what.value_bytes]);
    let mut random = entropy::number();
    while !until.left().is_zero() {
        // A step of a known generator: the next key need not be secret.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = format!("key-{:010}", (random >> 20) % what.keys);
        let is_put = what.what == "put" || (what.what == "mix" && random >> 63 == 0);
        let begun = now();
        let ended = if is_put {
            collection.put(key, value.clone()).await.map(|_| ())
        } else {
            collection.get(key).await.map(|_| ())
        };
        match ended {
            Ok(()) => tally.us.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX)),
            Err(_) => tally.failures += 1,
        }
    }
    tally
}

/// The value below which so many of a thousand are; nothing of nothing.
fn percentile(sorted: &[u32], permille: usize) -> Option<u32> {
    let at = (sorted.len() * permille).div_ceil(1000).max(1) - 1;
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert_eq!((percentile(&sorted, 500), percentile(&sorted, 999)), (Some(500), Some(999)));
        assert_eq!((percentile(&[7], 999), percentile(&[], 500)), (Some(7), None));
    }
}
