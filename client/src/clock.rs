//! The clocks of the system. Nothing else in this crate reads one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The moment until which a call may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So far from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        let now = now();
        // A time beyond what a clock can tell is as good as a year.
        Self(now.checked_add(time).unwrap_or(now + Duration::from_secs(31_536_000)))
    }

    /// What is left; nothing once it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(now())
    }
}

/// A moment to measure from.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "an application's clock is the system's")]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "an application's clock is the system's")]
pub fn now_ms() -> u64 {
    to_ms(SystemTime::now())
}

/// Milliseconds since 1970 of a moment; 0 before.
#[must_use]
pub fn to_ms(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds of a time.
#[must_use]
pub fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
