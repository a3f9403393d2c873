//! Format: peer_message.

use super::rig::items;
use super::{feed, fixture};
use bytes::Bytes;
use raft::net::message::Message;

/// Bytes that decode encode to the same bytes: a kind, then a body.
pub(super) fn target(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    if let Ok(message) = Message::decode(*kind, &Bytes::copy_from_slice(body)) {
        assert_eq!(message.kind(), *kind);
        let mut again = Vec::new();
        message.append_body(&mut again);
        assert_eq!(again, body, "one message has one form");
    }
}

pub fn run() {
    let mut clean: Vec<Vec<u8>> =
        items(&fixture("peer_message.bin")).iter().map(|item| item.to_vec()).collect();
    clean.push(fixture("peer_message.damaged.bin"));
    feed(&clean, target);
}
