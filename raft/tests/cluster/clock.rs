//! The clocks of a node of a test.

use super::EPOCH_MS;
use engine::clock::Clock;
use raft::time::BootClock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::time::Instant;

/// Time of the runtime, which stands still while anything is to be done.
pub struct TestClock {
    began: Instant,
    /// The machine has slept for so long: all clocks know but the monotonic one.
    pub slept_ms: AtomicU64,
    /// The wall clock is ahead by so much.
    pub ahead_ms: AtomicU64,
    /// No peer agrees with the wall clock.
    pub is_lonely: AtomicBool,
    /// Peers say that the wall clock is wrong.
    pub is_disputed: AtomicBool,
}

impl TestClock {
    pub fn begin() -> Arc<Self> {
        let (slept_ms, ahead_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        let (is_lonely, is_disputed) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { began: Instant::now(), slept_ms, ahead_ms, is_lonely, is_disputed })
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        EPOCH_MS + self.boot_ms() + self.ahead_ms.load(Ordering::SeqCst)
    }
}

impl BootClock for TestClock {
    fn boot_ms(&self) -> u64 {
        self.monotonic_ms() + self.slept_ms.load(Ordering::SeqCst)
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn wall_ms(&self) -> u64 {
        self.now_ms()
    }

    fn is_disputed(&self) -> bool {
        self.is_disputed.load(Ordering::SeqCst)
    }

    fn agreed_ms(&self) -> Option<u64> {
        (!self.is_lonely.load(Ordering::SeqCst)).then(|| self.now_ms())
    }
}

/// A clock that is a little later whenever somebody looks.
pub fn ticks() -> u64 {
    static TICKS: AtomicU64 = AtomicU64::new(0);
    TICKS.fetch_add(1, Ordering::Relaxed)
}
