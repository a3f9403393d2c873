//! Bytes are for ever: names and manifests of archives that yesterday's code wrote, today's reads, and writes again to the byte.
//!
//! `archive_names.bin` is a list of names, one of every kind; `archive_manifest.bin` one of manifests, each as the object of its name.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;
#[path = "rig/archive.rs"]
mod samples;

use engine::wire::Reader;
use node::archive::naming::Name;
use node::meta::command::MetaCommand;
use node::meta::rows::MetaRow;
use rig::samples::whole;
use rig::{items, listed, stored};
use samples::{
    archive_commands, archive_rows, manifests, names, opens, retain_commands, retain_rows, same, tombs,
};

#[test]
fn archive_names_version_1() {
    let found =
        same("archive_names", &names().iter().map(|name| name.to_string().into_bytes()).collect::<Vec<_>>());
    for (text, name) in found.iter().zip(names()) {
        assert_eq!(Name::parse(std::str::from_utf8(text).unwrap()), Some(name));
    }
    // A marker of the 29th of a February that has 28 days.
    let damaged = stored("archive_names.damaged.bin", || b"tick/2026-02-29/14/0505.g7.man".to_vec());
    assert_eq!(Name::parse(std::str::from_utf8(&damaged).unwrap()), None);
}

#[test]
fn archive_manifest_version_1() {
    let found =
        same("archive_manifest", &manifests().into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>());
    for (bytes, (name, _)) in found.iter().zip(manifests()) {
        assert!(opens(&name, bytes), "{name}");
        for (other, _) in manifests().iter().filter(|(other, _)| *other != name) {
            assert!(!opens(other, bytes), "{name} is not {other}");
        }
    }
    // One byte of a body changed under a checksum that agrees.
    let damaged = stored("archive_manifest.damaged.bin", || {
        let mut bytes = found[2].clone();
        bytes[70] ^= 1;
        let at = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..at]).to_be_bytes();
        bytes[at..].copy_from_slice(&crc);
        bytes
    });
    assert!(!opens(&names()[3], &damaged));
}

#[test]
fn rows_and_commands_of_archiving() {
    let found = same("meta_rows.archive", &archive_rows().iter().map(whole).collect::<Vec<_>>());
    for (bytes, row) in found.iter().zip(archive_rows()) {
        assert_eq!(MetaRow::read(&mut Reader::new(bytes)).unwrap(), row);
    }
    let commands: Vec<_> = archive_commands().iter().map(|one| one.encode().unwrap()).collect();
    for (bytes, command) in same("meta_command.archive", &commands).iter().zip(archive_commands()) {
        assert_eq!(MetaCommand::decode(bytes).unwrap(), command);
    }
}

#[test]
fn tombs_that_say_what_of_the_log_is_collected() {
    let found =
        same("archive_manifest.tombs", &tombs().into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>());
    for (bytes, (name, _)) in found.iter().zip(tombs()) {
        assert!(opens(&name, bytes), "{name}");
    }
}

#[test]
fn rows_and_commands_of_retention() {
    let found = same("meta_rows.retain", &retain_rows().iter().map(whole).collect::<Vec<_>>());
    for (bytes, row) in found.iter().zip(retain_rows()) {
        assert_eq!(MetaRow::read(&mut Reader::new(bytes)).unwrap(), row);
    }
    let commands: Vec<_> = retain_commands().iter().map(|one| one.encode().unwrap()).collect();
    for (bytes, command) in same("meta_command.retain", &commands).iter().zip(retain_commands()) {
        assert_eq!(MetaCommand::decode(bytes).unwrap(), command);
    }
}
