//! Hostile bytes: whatever stands where a format is expected, its decoder answers or refuses, and what it answers keeps the promises
//! of the format. Each target is one file with a plain function over bytes. It is fed with the fixtures, each with every bit
//! flipped and cut everywhere, and with one mutation a seed (`DEWPOND_SEED`, `DEWPOND_CASES`).

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod command;
mod entry_payload;
mod gate_state;
mod log_record;
mod log_segment;
mod machine_note;
mod once_row;
mod peer_claim;
mod peer_frame;
mod peer_hearsay;
mod peer_message;
mod peer_state;
mod peer_word;
#[path = "../rig/mod.rs"]
mod rig;

use rig::{Dice, seeds};
use std::path::PathBuf;

/// Seeds of a target, if nobody says otherwise.
const CASES: u64 = 3_000;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(name);
    std::fs::read(path).unwrap()
}

/// The pieces of a fixture that is a list: of each its length, u32 big-endian, then its bytes.
fn listed(mut list: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Some((length, more)) = list.split_first_chunk::<4>() {
        let (one, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        pieces.push(one.to_vec());
        list = more;
    }
    pieces
}

/// A few changes at random: bits, bytes, pieces moved, the end cut or grown.
fn mutate(dice: &Dice, bytes: &mut Vec<u8>) {
    for _ in 0..1 + dice.below(4) {
        let length = bytes.len() as u64;
        let at = |dice: &Dice| usize::try_from(dice.below(length.max(1))).unwrap();
        match dice.below(6) {
            0 | 1 if length > 0 => {
                let place = at(dice);
                bytes[place] ^= 1 << dice.below(8);
            }
            2 if length > 0 => {
                let place = at(dice);
                bytes[place] = dice.below(256) as u8;
            }
            3 if length > 8 => {
                let (from, to) = (at(dice).min(bytes.len() - 8), at(dice).min(bytes.len() - 8));
                bytes.copy_within(from..from + 8, to);
            }
            4 => bytes.truncate(at(dice)),
            _ => bytes.extend((0..dice.below(40)).map(|_| dice.below(256) as u8)),
        }
    }
}

/// Feeds `target` with `clean`, its neighbours, and its mutations.
fn feed(clean: &[Vec<u8>], target: impl Fn(&[u8])) {
    for bytes in clean {
        target(bytes);
        for bit in 0..bytes.len().min(600) * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            target(&bytes);
        }
        (0..bytes.len()).step_by(7).for_each(|cut| target(&bytes[..cut]));
    }
    for seed in seeds(CASES) {
        let dice = Dice::new(seed);
        let mut bytes = clean[usize::try_from(dice.below(clean.len() as u64)).unwrap()].clone();
        mutate(&dice, &mut bytes);
        target(&bytes);
    }
}

#[test]
fn command() {
    command::run();
}

#[test]
fn gate_state() {
    gate_state::run();
}

#[test]
fn log_record() {
    log_record::run();
}

#[test]
fn log_segment() {
    log_segment::run();
}

#[test]
fn entry_payload() {
    entry_payload::run();
}

#[test]
fn peer_claim() {
    peer_claim::run();
}

#[test]
fn peer_frame() {
    peer_frame::run();
}

#[test]
fn peer_hearsay() {
    peer_hearsay::run();
}

#[test]
fn peer_state() {
    peer_state::run();
}

#[test]
fn peer_word() {
    peer_word::run();
}

#[test]
fn peer_message() {
    peer_message::run();
}

#[test]
fn machine_note() {
    machine_note::run();
}

#[test]
fn once_row() {
    once_row::run();
}
