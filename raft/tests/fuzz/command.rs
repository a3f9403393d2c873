//! Format: command.

use super::{feed, fixture, listed};
use bytes::Bytes;
use raft::command::{Command, join_bodies, split_bodies};
use raft::limits::COMMANDS_MAX;

/// Bytes that are a command encode to the same bytes, and their head says of them what they are.
fn target(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let head = Command::stamps(&bytes);
    if let Ok(command) = Command::decode(&bytes) {
        assert_eq!(command.encode(), bytes);
        assert_eq!(head.unwrap(), (command.stamp, command.closed, command.rows.len()));
        assert!(command.rows.len() <= COMMANDS_MAX && command.parts.len() <= command.rows.len());
    }
}

/// Bytes that are bodies join to the same bytes.
fn bodies(bytes: &[u8]) {
    for count in 0..4 {
        if let Ok(bodies) = split_bodies(bytes, count) {
            assert_eq!(bodies.len(), count);
            assert_eq!(join_bodies(bodies.into_iter()), bytes);
        }
    }
}

pub fn run() {
    let mut clean = listed(&fixture("command.bin"));
    clean.push(fixture("command.damaged.bin"));
    feed(&clean, |bytes| {
        target(bytes);
        bodies(bytes);
    });
}
