//! A node's wall clock: the simulated time, and how far the node believes it to be elsewhere.

use engine::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::Instant;

/// Where the simulated time begins: milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_750_000_000_000;

/// The true time of a run.
#[derive(Clone, Copy, Debug)]
pub struct Time(Instant);

impl Time {
    /// Begins now. Must be called inside the run.
    #[must_use]
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the run began.
    #[must_use]
    pub fn ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One node's wall clock.
#[derive(Debug)]
pub struct WallClock {
    time: Time,
    off_ms: AtomicI64,
}

impl WallClock {
    /// A clock that is right.
    #[must_use]
    pub fn new(time: Time) -> Arc<Self> {
        Arc::new(Self { time, off_ms: AtomicI64::new(0) })
    }

    /// Moves it against the true time, in milliseconds.
    pub fn set_off(&self, off_ms: i64) {
        self.off_ms.store(off_ms, Ordering::SeqCst);
    }

    /// The true time since the run began, which no node can set.
    #[must_use]
    pub fn true_ms(&self) -> u64 {
        self.time.ms()
    }

    /// How far it is off, in milliseconds.
    #[must_use]
    pub fn off_ms(&self) -> i64 {
        self.off_ms.load(Ordering::SeqCst)
    }
}

impl Clock for WallClock {
    fn now_ms(&self) -> u64 {
        (EPOCH_MS + self.time.ms()).saturating_add_signed(self.off_ms())
    }
}
