//! Where time comes from that nobody sets, and what peers make of the clock that somebody does.

/// The clocks of a node. In a simulation each node has its own.
pub trait BootClock: Send + Sync + 'static {
    /// Milliseconds since some moment before the process began. Goes on while the machine sleeps.
    fn boot_ms(&self) -> u64;

    /// Milliseconds of the clock that consensus goes by. Stands still while the machine sleeps.
    fn monotonic_ms(&self) -> u64;

    /// The wall clock, in milliseconds since 1970, right or wrong.
    fn wall_ms(&self) -> u64;

    /// Whether peers say that the wall clock is wrong by more than [`crate::limits::CLOCK_PART_MS_MAX`]. Not so if none was heard yet.
    fn is_disputed(&self) -> bool;

    /// The wall clock, in milliseconds since 1970, if peers agree with it; `None` if not, or if none was heard yet.
    fn agreed_ms(&self) -> Option<u64>;
}
