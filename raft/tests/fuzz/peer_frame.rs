//! Format: peer_frame.

use super::rig::items;
use super::{feed, fixture};
use bytes::Bytes;
use raft::net::envelope::Frame;

/// Bytes that decode encode to the same bytes.
fn target(bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(&Bytes::copy_from_slice(bytes)) {
        assert_eq!(frame.encode(), bytes, "one frame has one form");
    }
}

/// The same with its length and checksum mended, so that what they hide is reached.
fn mended(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if bytes.len() < 64 {
        return;
    }
    let length = u32::try_from(bytes.len() - 64).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[12..16].fill(0);
    let crc32 = crc32fast::hash(&bytes);
    bytes[12..16].copy_from_slice(&crc32.to_be_bytes());
    target(&bytes);
}

pub fn run() {
    let mut clean: Vec<Vec<u8>> =
        items(&fixture("peer_frame.bin")).iter().map(|item| item.to_vec()).collect();
    clean.push(fixture("peer_frame.damaged.bin"));
    feed(&clean, |bytes| {
        target(bytes);
        mended(bytes);
    });
}
