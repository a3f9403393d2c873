//! Pure: every bound of the client, with its reason.

/// How long a connection may take to stand. Loopback needs a millisecond, another continent half a second.
pub const CONNECT_MS: u64 = 1000;
/// How long a call may take with all its attempts, unless somebody says otherwise.
pub const CALL_MS: u64 = 5000;
/// How long past its deadline a write may still be sent again: room for clocks that disagree and for a caller that asks once more.
pub const WRITE_VALID_MS: u64 = 120_000;
/// A write under a key of the caller's own holds for ten to twelve minutes: its end is a multiple of this, so that whoever sends it again
/// after a restart of its own finds the end that it was sent with. Servers remember fifteen minutes at most.
pub const NAMED_STEP_MS: u64 = 120_000;
/// So many of these ends may be in force at once.
pub const NAMED_STEPS: u64 = 6;
/// How long the ids of an import hold: so long after a crash it goes on and writes nothing twice. Servers remember fifteen minutes at most.
pub const IMPORT_VALID_MS: u64 = 600_000;
/// With less time left ids are renewed: a batch that is sent must have time to be answered.
pub const IMPORT_RENEW_MS: u64 = 60_000;
/// Rows of one scan in a transaction: each is a condition of its commit.
pub const TXN_SCAN_ROWS_MAX: u64 = 1_000;
/// Calls that wait for an answer on the stream to one node; the next waits for a place.
pub const IN_FLIGHT_MAX: usize = 4096;
/// Calls that are on their way into the stream to one node.
pub const OUTBOUND_MAX: usize = 1024;
/// Greatest message, both ways: a batch of 8 MiB and its frame.
pub const MESSAGE_BYTES_MAX: usize = 12 << 20;
/// Tenants whose route is kept. A service has one, a tool few.
pub const ROUTES_MAX: usize = 1024;
/// Nodes that are known, seeds included.
pub const NODES_MAX: usize = 256;
/// First wait before the same is sent again.
pub const BACKOFF_FIRST_MS: u64 = 10;
/// Longest wait before the same is sent again: an election takes about a second.
pub const BACKOFF_LONGEST_MS: u64 = 500;
/// Redirections that are followed without a wait; then the nodes disagree, and waiting helps more.
pub const HOPS_MAX: u32 = 3;
/// How long one attempt waits for its answer before the same request is sent to whoever leads then.
pub const ATTEMPT_MS: u64 = 2000;
/// Events of a watch that a server may send ahead.
pub const WATCH_CREDIT: u32 = 2048;
/// Keys that a watch remembers as delivered since the last progress; no more credit is given beyond.
pub const WATCH_SEEN_MAX: usize = 65_536;
/// Silence after which a watch goes elsewhere: twice what a server may keep silent.
pub const WATCH_SILENCE_MS: u64 = 10_000;
/// Receive window of a stream: what the product of 100 ms and 40 MiB a second needs.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Receive window of a connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

const _: () = {
    assert!(BACKOFF_FIRST_MS < BACKOFF_LONGEST_MS);
    assert!(CALL_MS < WRITE_VALID_MS);
    assert!(OUTBOUND_MAX <= IN_FLIGHT_MAX);
    assert!(WATCH_CREDIT as usize <= WATCH_SEEN_MAX);
    assert!(IMPORT_RENEW_MS < IMPORT_VALID_MS && IMPORT_VALID_MS < 15 * 60_000 - 120_000);
    assert!(NAMED_STEPS * NAMED_STEP_MS < 15 * 60_000 - 120_000);
};
