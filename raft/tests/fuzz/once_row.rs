//! Format: once_row.

use super::{feed, fixture, listed};
use raft::limits::REPLY_BYTES_MAX;
use raft::machine::once;

pub fn run() {
    let mut clean = listed(&fixture("once_row.bin"));
    clean.push(fixture("once_row.damaged.bin"));
    feed(&clean, |bytes| {
        let Ok(reply) = once::decode(bytes) else { return };
        assert!(reply.len() <= REPLY_BYTES_MAX);
        assert_eq!(once::encode(reply), bytes);
    });
}
