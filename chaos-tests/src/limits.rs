//! Pure: every bound of the judges and of a run's own records, with its unit and its reason.

/// Operations of one key in flight at once, of those that were answered: one bit each in a configuration.
pub const PENDING_MAX: usize = 128;

/// Configurations that one answer may leave or pass through: each new one is held against all of the same value, so that more is a
/// history nobody can judge in reasonable time (a minute).
pub const CONFIGURATIONS_MAX: usize = 1 << 16;

/// Operations of a failing window that are looked at one by one to see whether the failure needs them: the work is squared.
pub const SHRINK_OPERATIONS_MAX: usize = 400;

/// Lines that a violation shows: what a person reads.
pub const LINES_MAX: usize = 40;

/// Lines of the trace that are kept to be read: the last seconds of a run. The hash is over all of them.
pub const TRACE_LINES_MAX: usize = 4096;

const _: () = {
    assert!(PENDING_MAX <= u128::BITS as usize); // a bit each
    assert!(LINES_MAX < TRACE_LINES_MAX);
};
