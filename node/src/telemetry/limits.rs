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
