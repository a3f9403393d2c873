//! A wall clock that a test may set: only in builds with the feature `clock-offset`, which nobody may ask for but `chaos-tests`. There it
//! is as far ahead of the system's as a file says, which the environment names; without that, or without a number in it, not at all.

use rustix::time::{ClockId, clock_gettime};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Names the file. It holds milliseconds; below 0 the clock is behind.
pub const VARIABLE: &str = "CHAOS_CLOCK_OFFSET";
/// How old what was read may be.
const FRESH_MS: u64 = 20;

static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
static READ_AT_MS: AtomicU64 = AtomicU64::new(0);
static OFFSET_MS: AtomicI64 = AtomicI64::new(0);

/// How far the wall clock is to be ahead.
pub(crate) fn offset_ms() -> i64 {
    let Some(file) = FILE.get_or_init(|| std::env::var_os(VARIABLE).map(PathBuf::from)) else { return 0 };
    let now = clock_gettime(ClockId::Monotonic);
    let now_ms = now.tv_sec.unsigned_abs() * 1_000 + now.tv_nsec.unsigned_abs() / 1_000_000;
    if now_ms.saturating_sub(READ_AT_MS.load(Ordering::Relaxed)) >= FRESH_MS {
        READ_AT_MS.store(now_ms, Ordering::Relaxed);
        let text = std::fs::read_to_string(file).unwrap_or_default();
        OFFSET_MS.store(text.trim().parse().unwrap_or(0), Ordering::Relaxed);
    }
    OFFSET_MS.load(Ordering::Relaxed)
}
