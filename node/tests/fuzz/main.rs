//! Hostile bytes: whatever stands where a format is expected, its decoder answers or refuses, and what it answers keeps the promises
//! of the format. Each target is one file with a plain function over bytes. It is fed with the fixtures, each with every bit
//! flipped and cut everywhere, and with one mutation a seed (`DEWPOND_SEED`, `DEWPOND_CASES`).

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod archive_manifest;
mod archive_names;
mod hold_note;
mod join_token;
mod kv_command;
mod meta_command;
mod meta_rows;
mod passphrase_root;
#[path = "../rig/mod.rs"]
mod rig;
mod root_file;
#[path = "../rig/archive.rs"]
mod samples;
mod takeover_tail;

use rig::{Dice, items, listed, seeds, stored};
use std::path::PathBuf;

/// Seeds of a target, if nobody says otherwise.
const CASES: u64 = 3_000;

/// The items of a fixture, and the damaged one.
fn fixtures(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    let mut clean = items(&std::fs::read(folder.join(format!("{name}.bin"))).unwrap());
    clean.push(std::fs::read(folder.join(format!("{name}.damaged.bin"))).unwrap());
    clean
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
        for bit in 0..bytes.len().min(2_000) * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            target(&bytes);
        }
        (0..bytes.len()).for_each(|cut| target(&bytes[..cut]));
    }
    for seed in seeds(CASES) {
        let dice = Dice::new(seed);
        let mut bytes = clean[usize::try_from(dice.below(clean.len() as u64)).unwrap()].clone();
        mutate(&dice, &mut bytes);
        target(&bytes);
    }
}

#[test]
fn archive_names() {
    archive_names::run();
}

#[test]
fn archive_manifest() {
    archive_manifest::run();
}

#[test]
fn kv_command() {
    kv_command::run();
}

#[test]
fn meta_rows() {
    meta_rows::run();
}

#[test]
fn meta_command() {
    meta_command::run();
}

#[test]
fn takeover_tail() {
    takeover_tail::run();
}

#[test]
fn root_file() {
    root_file::run();
}

#[test]
fn passphrase_root() {
    passphrase_root::run();
}

#[test]
fn hold_note() {
    hold_note::run();
}

#[test]
fn join_token() {
    join_token::run();
}
