//! Bytes are for ever: what yesterday's code wrote, today's reads, and writes again to the byte.
//!
//! Every fixture is a list: of each item its length, u32 big-endian, then its bytes. `meta_rows.bin` has rows whole: collection, key, value.
//! A fixture is never changed. A new format gets its own by `DEWPOND_WRITE_FIXTURES=1 cargo test -p node --test golden`, which writes
//! the files that do not exist and leaves all others alone.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::error::Nature;
use engine::wire::Reader;
use node::meta::command::MetaCommand;
use node::meta::rows::MetaRow;
use node::shard::command::KvCommand;
use rig::samples::{kv_commands, meta_commands, meta_rows, whole};
use rig::{items, listed, stored};

/// The items of a fixture, which are what is written today.
fn same(name: &str, today: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let found = items(&stored(&format!("{name}.bin"), || listed(&today)));
    assert_eq!(found, today, "{name}");
    found
}

#[test]
fn kv_command_version_1() {
    let found = same("kv_command", kv_commands().iter().map(KvCommand::encode).collect());
    for (bytes, command) in found.iter().zip(kv_commands()) {
        let read = KvCommand::decode(bytes).unwrap();
        assert_eq!((read.conditions.len(), read.encode()), (command.conditions.len(), command.encode()));
    }
    // An operation in a collection of the cluster's own.
    let damaged = stored("kv_command.damaged.bin", || {
        let mut bytes = kv_commands()[0].encode();
        bytes[7..9].copy_from_slice(&[0xff, 0xff]);
        bytes
    });
    assert_eq!(KvCommand::decode(&damaged).unwrap_err().nature, Nature::Malformed);
}

#[test]
fn meta_rows_version_1() {
    let found = same("meta_rows", meta_rows().iter().map(whole).collect());
    for (bytes, row) in found.iter().zip(meta_rows()) {
        let mut reader = Reader::new(bytes);
        assert_eq!(MetaRow::read(&mut reader).unwrap(), row);
        reader.end().unwrap();
    }
    // A shard with a replica whose id was not given.
    let damaged = stored("meta_rows.damaged.bin", || {
        let mut bytes = whole(&meta_rows()[2]);
        let at = 4 + 4 + 8 + 4 + 1 + 8 + 9 + 8 + 7;
        bytes[at] = 5;
        bytes
    });
    assert_eq!(MetaRow::read(&mut Reader::new(&damaged)).unwrap_err().nature, Nature::Malformed);
}

#[test]
fn meta_command_version_1() {
    let found = same("meta_command", meta_commands().iter().map(|one| one.encode().unwrap()).collect());
    for (bytes, command) in found.iter().zip(meta_commands()) {
        assert_eq!(MetaCommand::decode(bytes).unwrap(), command);
    }
    // More changes than there are.
    let damaged = stored("meta_command.damaged.bin", || {
        let mut bytes = meta_commands()[0].encode().unwrap();
        bytes[3] = 2;
        bytes
    });
    assert_eq!(MetaCommand::decode(&damaged).unwrap_err().nature, Nature::Malformed);
}
