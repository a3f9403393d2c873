//! Lets snapshots go slower while clients wait, and not at all while it is quiet. What is to be done follows from [`crate::archive::pace`].

use super::Server;
use crate::archive::pace::{Limits, Seen, Throttle, p99};
use crate::archive::schedule::Quiet;
use crate::archive::site::Pace;
use crate::archive::site::bucket::Bucket;
use crate::telemetry::calls::{LATENCY_MS, TOOK};
use engine::clock::Clock;
use futures_util::future::BoxFuture;
use raft::time::BootClock;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Between two looks at how clients are served, in milliseconds.
const LOOK_MS: u64 = 500;

struct State {
    throttle: Throttle,
    bucket: Bucket,
    counted: [u64; TOOK],
    looked_ms: u64,
}

/// How fast snapshots may go, at all sites together.
pub struct Calm(Mutex<State>);

impl Default for Calm {
    fn default() -> Self {
        let (throttle, bucket) = (Throttle::default(), Bucket::new(0, 0));
        Self(Mutex::new(State { throttle, bucket, counted: [0; TOOK], looked_ms: 0 }))
    }
}

impl Calm {
    /// How long whoever moves so many bytes waits, in milliseconds. `count` tells how long calls took so far, and how many are under way.
    fn take(
        &self,
        bytes: u64,
        now_ms: u64,
        limits: Limits,
        count: impl FnOnce() -> ([u64; TOOK], u64),
    ) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since_ms = now_ms.saturating_sub(state.looked_ms);
        if since_ms >= LOOK_MS {
            let (counted, calls) = count();
            // What was counted long ago says nothing of now.
            let is_recent = since_ms < 20 * LOOK_MS;
            let p99_ms = is_recent.then(|| p99(&LATENCY_MS, &state.counted, &counted)).flatten();
            (state.counted, state.looked_ms) = (counted, now_ms);
            state.throttle = state.throttle.after(Seen { p99_ms, calls }, limits);
            let rate = state.throttle.rate_bytes_s();
            state.bucket.set_rate(rate);
        }
        state.bucket.take(bytes, now_ms)
    }

    /// Bytes a second that snapshots may move; 0: as fast as it goes.
    pub(super) fn rate_bytes_s(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).throttle.rate_bytes_s()
    }
}

/// The pace of a snapshot to one site, or from one.
pub(super) struct Paced<'a> {
    pub(super) server: &'a Server,
    /// When nothing goes there.
    pub(super) quiet: &'a [Quiet],
}

impl Pace for Paced<'_> {
    fn wait(&self, bytes: u64) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let now_s = self.server.clock.now_ms() / 1_000;
            if self.quiet.iter().any(|window| window.holds(now_s)) {
                return false;
            }
            let limits = self.server.live.load().calm;
            let (server, now_ms) = (self.server, self.server.clock.monotonic_ms());
            let wait_ms = server.calm.take(bytes, now_ms, limits, || server.told.calls.foreground());
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_moves_bytes_waits_longer_while_clients_wait() {
        let (calm, limits) = (Calm::default(), Limits { p99_ms: 50, calls: 0 });
        let counted = |slow: u64| {
            let mut counted = [0; TOOK];
            counted[LATENCY_MS.len() - 1] = slow;
            (counted, 0)
        };
        let take = |now_ms, slow| calm.take(64 << 20, now_ms, limits, || counted(slow));
        assert_eq!(take(1_000, 0), 0);
        assert_eq!(
            (take(2_000, 100), calm.rate_bytes_s()),
            (0, 64 << 20),
            "nothing is in it but what was not used"
        );
        assert_eq!(
            (take(2_100, 999), calm.rate_bytes_s()),
            (0, 64 << 20),
            "it is looked at now and then only"
        );
        assert_eq!((take(2_500, 300) > 1_000, calm.rate_bytes_s()), (true, 32 << 20));
        for look in 1..=6 {
            take(2_500 + look * LOOK_MS, 300);
        }
        assert_eq!(calm.rate_bytes_s(), 0, "nobody waits any more");
        // After a long time counters say nothing.
        take(100_000, 5_000);
        assert_eq!(calm.rate_bytes_s(), 0);
    }
}
