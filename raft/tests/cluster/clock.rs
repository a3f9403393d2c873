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
    /// No peer agrees with the wall clock.
    pub is_lonely: AtomicBool,
}

impl TestClock {
    pub fn begin() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            slept_ms: AtomicU64::new(0),
            is_lonely: AtomicBool::new(false),
        })
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        EPOCH_MS + self.boot_ms()
    }
}

impl BootClock for TestClock {
    fn boot_ms(&self) -> u64 {
        self.monotonic_ms() + self.slept_ms.load(Ordering::SeqCst)
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn agreed_ms(&self) -> Option<u64> {
        (!self.is_lonely.load(Ordering::SeqCst)).then(|| self.now_ms())
    }
}
