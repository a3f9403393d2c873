//! Format: peer_state.

use super::peer_message::target;
use super::rig::items;
use super::{feed, fixture};

pub fn run() {
    let mut clean: Vec<Vec<u8>> =
        items(&fixture("peer_state.bin")).iter().map(|item| item.to_vec()).collect();
    clean.push(fixture("peer_state.damaged.bin"));
    feed(&clean, target);
}
