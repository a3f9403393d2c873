//! Format: entry_payload.

use super::rig::items;
use super::{feed, fixture};
use raft::payload::{MEMBERSHIP, decode_membership, encode_membership, membership_fault};

pub fn run() {
    let list = items(&fixture("entry_payload.bin"));
    let memberships = list.iter().filter(|item| item[0] == MEMBERSHIP).map(|item| item[1..].to_vec());
    let clean: Vec<Vec<u8>> = memberships.chain([fixture("entry_payload.damaged.bin")]).collect();
    feed(&clean, |bytes| {
        let Ok(membership) = decode_membership(bytes) else { return };
        assert_eq!(membership_fault(&membership), None);
        assert_eq!(encode_membership(&membership), bytes, "one membership has one form");
    });
}
