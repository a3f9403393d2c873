//! How fixtures are read, written once, and compared.

mod batch;
mod block_file;
mod catalog_rows;
mod checkpoint_listing;
mod checkpoint_stream;
mod context;
mod data_block;
mod envelope;
mod filter;
mod key;
mod key_index;
mod manifest_edit;
mod objects;
mod plain;
mod pool;
mod range_tombstones;
mod stripe;
mod sums;
mod tables;
mod world;

use engine::{Error, Kind, Nature};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What an error says of itself, its words left out.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    kind: Kind,
    nature: Option<Nature>,
    place: String,
    block: Option<u32>,
}

fn refusal(error: impl Into<Error>) -> Refusal {
    let error = error.into();
    let kind = error.kind();
    match error {
        Error::Damaged(damage) => {
            Refusal { kind, nature: Some(damage.nature), place: damage.place, block: damage.block }
        }
        _ => Refusal { kind, nature: None, place: String::new(), block: None },
    }
}

/// The refusal of bytes for which no place is named yet.
fn unplaced(nature: Nature) -> Refusal {
    Refusal { kind: Kind::Damaged, nature: Some(nature), place: String::new(), block: None }
}

fn may_write() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "writing a fixture is asked for from outside, once in its life"
    )]
    let switch = std::env::var("DEWPOND_WRITE_FIXTURES");
    switch.is_ok_and(|switch| switch == "1")
}

/// The stored bytes of the file `name`. One that does not exist becomes `made`, if writing is switched on.
fn stored(name: &str, made: &[u8]) -> Vec<u8> {
    let path = world::folder().join(name);
    match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_write() => {
            write_new(&path, made);
            made.to_vec()
        }
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn write_new(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create_new(path).and_then(|mut file| file.write_all(bytes)).unwrap();
}

/// The stored fixture of the format `name`; see [`stored`].
fn fixture(name: &str, made: &[u8]) -> Vec<u8> {
    stored(&format!("{name}.bin"), made)
}

/// The stored damaged fixture of the format `name`: `clean` after `change`, and nothing else.
fn damaged(name: &str, clean: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut changed = clean.to_vec();
    change(&mut changed);
    assert_ne!(changed, clean, "{name}: a change that changes nothing");
    let name = format!("{name}.damaged.bin");
    let bytes = stored(&name, &changed);
    assert_same(&name, &bytes, &changed);
    bytes
}

/// As [`damaged`], of a list: the items, of which `at` is the one changed.
fn damaged_item(name: &str, clean: &[u8], at: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<Vec<u8>> {
    let change = |bytes: &mut Vec<u8>| {
        let mut items = world::split(bytes);
        change(&mut items[at]);
        *bytes = world::join(items);
    };
    world::split(&damaged(name, clean, change))
}

/// Demands the stored bytes of what was made anew.
fn assert_same(name: &str, stored: &[u8], made: &[u8]) {
    let differs = stored.iter().zip(made).position(|(a, b)| a != b);
    let at = differs.unwrap_or(stored.len().min(made.len()));
    let lengths = (stored.len(), made.len());
    assert!(stored == made, "{name}: other bytes than stored, first at {at}; lengths {lengths:?}");
}
