//! The operating system's time and randomness. The only file here that asks for them.

use ::engine::clock::Clock;
use ::engine::entropy::Entropy;
use raft::time::BootClock;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The operating system's clock and randomness.
pub struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "a benchmark is its own server")]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Entropy for System {
    #[expect(clippy::disallowed_methods, reason = "a benchmark is its own server")]
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives randomness");
    }
}

impl BootClock for System {
    fn boot_ms(&self) -> u64 {
        static START: OnceLock<Stopwatch> = OnceLock::new();
        (START.get_or_init(Stopwatch::start).seconds() * 1e3) as u64
    }

    fn monotonic_ms(&self) -> u64 {
        self.boot_ms()
    }

    fn wall_ms(&self) -> u64 {
        self.now_ms()
    }

    fn is_disputed(&self) -> bool {
        false
    }

    fn agreed_ms(&self) -> Option<u64> {
        Some(self.now_ms())
    }
}

/// Processor seconds of the thread that asks, user and system: what else the machine does is not in it.
#[must_use]
pub fn thread_cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// Measures how long something takes.
#[derive(Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Does nothing for `ms` milliseconds.
pub fn rest(ms: u64) {
    let never = Condvar::new();
    let mutex = Mutex::new(());
    let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = never.wait_timeout_while(guard, Duration::from_millis(ms), |()| true);
}
