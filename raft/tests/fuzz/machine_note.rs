//! Format: machine_note.

use super::{feed, fixture, listed};
use raft::machine::note::Note;
use raft::payload::membership_fault;

fn target(bytes: &[u8]) {
    let Ok(note) = Note::decode(bytes) else { return };
    assert_eq!(note.encode(), bytes);
    assert_eq!(membership_fault(&note.membership), None);
}

pub fn run() {
    let mut clean = listed(&fixture("machine_note.bin"));
    clean.push(fixture("machine_note.damaged.bin"));
    feed(&clean, target);
    // What stands behind the digest, which is long and may be anything.
    for note in &clean {
        for bit in 1_094 * 8..note.len() * 8 {
            let mut bytes = note.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            target(&bytes);
        }
    }
}
