//! Hostile bytes: whatever stands where a format is expected, its decoders answer or refuse, and what they answer keeps the
//! promises of the format.
//!
//! Each target is one file with a plain function over bytes, and one test here. It is fed, in this order, with the fixtures of
//! all formats, with chosen bytes, with every fixture of its own with a bit flipped, a byte shorter and longer, and then with one
//! mutation a seed (`DEWPOND_SEED`, `DEWPOND_CASES`). A failure prints the target, the bytes, and the command that repeats
//! it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod batch;
mod block_file;
mod catalog_rows;
mod checkpoint_listing;
mod checkpoint_stream;
mod context;
mod data_block;
mod edges;
mod envelope;
mod filter;
mod key;
mod key_index;
mod manifest_edit;
mod memory;
mod mutate;
#[path = "../golden/objects.rs"]
mod objects;
#[path = "../golden/plain.rs"]
mod plain;
mod range_tombstones;
mod regress;
#[path = "../rig/mod.rs"]
mod rig;
mod stripe;
#[path = "../golden/world.rs"]
mod world;

use rig::{Dice, seeds};
use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use world::{FORMATS, WHOLE};

/// Seeds of a target, if nobody says otherwise: all targets together take a few seconds.
const CASES: u64 = 5_000;
/// From this length on not every bit is flipped, but for those of so many bytes at either end.
const LONG_BYTES: usize = 2 << 10;
const ENDS_BYTES: usize = 128;
/// Bytes of a failing input that are printed.
const PRINTED_BYTES: usize = 16 << 10;

/// The stored bytes of a fixture.
fn fixture(name: &str) -> Vec<u8> {
    fs::read(world::folder().join(format!("{name}.bin"))).unwrap()
}

/// Fixtures of later versions of a format.
const LATER: [(&str, &str); 1] = [("manifest_edit", "../v2/manifest_edit")];

/// The names of the fixtures of `format`, by version.
fn names(format: &str) -> impl Iterator<Item = &str> {
    let later = LATER.iter().filter(move |(of, _)| *of == format).map(|(_, name)| *name);
    std::iter::once(format).chain(later)
}

fn items(format: &str, file: Vec<u8>) -> Vec<Vec<u8>> {
    if WHOLE.contains(&format) { vec![file] } else { world::split(&file) }
}

/// What the fixtures of `format` hold: of a list each item.
fn clean(format: &str) -> Vec<Vec<u8>> {
    names(format).flat_map(|name| items(format, fixture(name))).collect()
}

/// As [`clean`], with what the damaged fixtures hold.
fn corpus(format: &str) -> Vec<Vec<u8>> {
    let damaged = names(format).flat_map(|name| items(format, fixture(&format!("{name}.damaged"))));
    clean(format).into_iter().chain(damaged).collect()
}

/// `bytes` with one bit flipped, for every bit; inside long ones for one bit a byte.
fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let length = bytes.len();
    let is_flipped = move |at: usize, bit: usize| {
        length < LONG_BYTES || at < ENDS_BYTES || at + ENDS_BYTES >= length || at % 8 == bit
    };
    let bits = (0..length).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    bits.filter(move |(at, bit)| is_flipped(*at, *bit)).map(|(at, bit)| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << bit;
        flipped
    })
}

/// Runs `target` over `bytes`, and tells how to do that again if it fails.
fn attempt(target: &str, run: fn(&[u8]), bytes: &[u8], seed: Option<u64>) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(bytes))) else { return };
    let shown = &bytes[..bytes.len().min(PRINTED_BYTES)];
    let hex = shown.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    println!(
        "target {target} fails for {} bytes, {}",
        bytes.len(),
        if shown == bytes { "all:" } else { "at first:" }
    );
    println!("{hex}");
    let steer = seed.map_or(String::new(), |seed| format!("DEWPOND_SEED={seed} DEWPOND_CASES=1 "));
    println!("repeat: {steer}cargo test -p engine --test fuzz -- --exact {target} --nocapture");
    resume_unwind(panic);
}

/// Feeds a target.
fn feed(target: &str, run: fn(&[u8])) {
    let before = memory::peak_bytes();
    let own = corpus(target);
    let all: Vec<Vec<u8>> = FORMATS.iter().flat_map(|format| corpus(format)).collect();
    all.iter().for_each(|bytes| attempt(target, run, bytes, None));
    regress::inputs(target).iter().for_each(|bytes| attempt(target, run, bytes, None));
    for bytes in clean(target) {
        flipped(&bytes).for_each(|bytes| attempt(target, run, &bytes, None));
    }
    for bytes in &own {
        attempt(target, run, &bytes[..bytes.len().saturating_sub(1)], None);
        attempt(target, run, &[&bytes[..], &[0]].concat(), None);
    }
    for seed in seeds(CASES) {
        let bytes = mutate::mutated(&Dice::new(seed), &own, &all);
        attempt(target, run, &bytes, Some(seed));
    }
    memory::check(target, before);
}

#[test]
fn batch() {
    feed("batch", batch::run);
}

#[test]
fn block_file() {
    feed("block_file", block_file::run);
}

#[test]
fn catalog_rows() {
    feed("catalog_rows", catalog_rows::run);
}

#[test]
fn checkpoint_listing() {
    feed("checkpoint_listing", checkpoint_listing::run);
}

#[test]
fn checkpoint_stream() {
    feed("checkpoint_stream", checkpoint_stream::run);
}

#[test]
fn context() {
    feed("context", context::run);
}

#[test]
fn data_block() {
    feed("data_block", data_block::run);
}

#[test]
fn envelope() {
    feed("envelope", envelope::run);
}

#[test]
fn filter() {
    feed("filter", filter::run);
}

#[test]
fn key() {
    feed("key", key::run);
}

#[test]
fn key_index() {
    feed("key_index", key_index::run);
}

#[test]
fn manifest_edit() {
    feed("manifest_edit", manifest_edit::run);
}

#[test]
fn range_tombstones() {
    feed("range_tombstones", range_tombstones::run);
}

#[test]
fn stripe() {
    feed("stripe", stripe::run);
}

#[test]
fn limits() {
    edges::stand_where_they_are_said();
}
