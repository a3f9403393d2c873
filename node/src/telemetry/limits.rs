//! Pure: bounds of what is told, each with its reason.

use crate::work::crowd::Bounds;

/// Connections that read metrics at once: a few readers; of more, the oldest must go.
pub const READERS: Bounds = Bounds { all: 16, of_source: 16 };
/// Bytes of the head of a request for metrics: what any reader sends.
pub const REQUEST_BYTES_MAX: usize = 8 << 10;
/// So long its head may take, in milliseconds.
pub const REQUEST_MS: u64 = 5_000;
/// So long the answer may take, in milliseconds.
pub const ANSWER_MS: u64 = 10_000;
/// Lines that one place in the code writes to the log at once: what an event of many groups or nodes says. More of the same tell nothing
/// new.
pub const LINES_AT_ONCE: u64 = 100;
/// Lines it may write in each second that follows: at 300 bytes each, 130 MiB a day, which no disk is filled with before somebody looks.
pub const LINES_A_SECOND: u64 = 5;
/// Between two times that it is said how many were left out, in milliseconds.
pub const LEFT_OUT_MS: u64 = 10_000;
