//! Where time comes from. The engine asks; the server answers from its guarded clock, a simulator from its own.

use crate::limits;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of wall-clock time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// A clock that stands still until it is told to move, for tests and simulators.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `ms` milliseconds since 1970.
    #[must_use]
    pub fn new(ms: u64) -> Self {
        Self(AtomicU64::new(ms))
    }

    /// Moves the clock to `ms` milliseconds since 1970.
    pub fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    /// Moves the clock on by `ms` milliseconds.
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Time that has passed while somebody looked, whatever the clock shows: one that is wrong, goes back or jumps ahead makes little
/// of it.
#[derive(Debug)]
pub(crate) struct Passed {
    seen_ms: AtomicU64,
    passed_ms: AtomicU64,
}

impl Passed {
    /// Nothing has passed yet.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { seen_ms: AtomicU64::new(now_ms), passed_ms: AtomicU64::new(0) }
    }

    /// A look at the clock, which shows `now_ms`.
    pub(crate) fn look(&self, now_ms: u64) {
        let seen_ms = self.seen_ms.swap(now_ms, Ordering::Relaxed);
        let step_ms = now_ms.saturating_sub(seen_ms).min(limits::CLOCK_STEP_MS_MAX);
        self.passed_ms.fetch_add(step_ms, Ordering::Relaxed);
    }

    /// Milliseconds that have passed.
    pub(crate) fn ms(&self) -> u64 {
        self.passed_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_as_it_is_seen_and_not_by_jumps() {
        let passed = Passed::new(1_000);
        passed.look(1_500);
        assert_eq!(passed.ms(), 500);
        passed.look(200);
        assert_eq!(passed.ms(), 500, "a clock that went back");
        passed.look(700);
        assert_eq!(passed.ms(), 1_000);
        passed.look(u64::MAX);
        assert_eq!(passed.ms(), 1_000 + limits::CLOCK_STEP_MS_MAX, "a clock that jumps");
    }
}
