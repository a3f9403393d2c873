//! Where monotonic time comes from.

/// Time that never goes back and is not set by anybody: it goes on while the machine sleeps.
pub trait BootClock: Send + Sync + 'static {
    /// Milliseconds since some moment before the process began.
    fn boot_ms(&self) -> u64;
}
