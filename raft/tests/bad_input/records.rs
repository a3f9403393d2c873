//! Records of the log that no build has ever written here. There are none that may be passed over.

use crate::rig::{NODE, Rig, entry, nobody, sealer};
use bytes::Bytes;
use engine::error::Nature;
use raft::Error;
use raft::log::record::{BATCH_RECORD_BYTES, Batch, HEAD_BYTES, Record};
use raft::log::segment::{Header, file_name};
use raft::log::tail::{self, Segment};
use raft::types::{GroupId, ReplicaId, Vote};
use std::path::PathBuf;

const GROUP: GroupId = GroupId(3);
const VERSION_AT: usize = 2;
const KIND_AT: usize = 3;

/// A log with an entry, and the path of its only segment.
fn written() -> (Rig, PathBuf) {
    let rig = Rig::new(1);
    let log = rig.open();
    log.open_replica(GROUP, ReplicaId(1), nobody()).unwrap();
    log.append(GROUP, vec![entry(GROUP, 1, 0)], nobody()).unwrap();
    log.step();
    (rig, PathBuf::from("/log").join(file_name(1)))
}

/// A whole write with a vote, of which byte `at` is `byte`: every checksum and the chain agree with that.
fn write(header: &Header, bytes: &Bytes, at: usize, byte: u8) -> (usize, Vec<u8>) {
    let chain = sealer().chain(NODE, header.epoch, &header.name()).unwrap();
    let segment = Segment { header, bytes, chain: &chain, next: None };
    let end = segment.walk(|_| Ok(())).unwrap();
    let vote = Record::Vote(GROUP, Vote { term: 9, ..Vote::default() });
    let (mut out, _) = tail::write(header, &chain, end.end, &end.link, &[vote], |_, _| {});
    let record = &mut out[BATCH_RECORD_BYTES..];
    record[at] = byte;
    record[24..28].fill(0);
    let length = u32::from_be_bytes(record[4..8].try_into().unwrap()) as usize;
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(&header.salt);
    crc32.update(&record[..HEAD_BYTES + length]);
    record[24..28].copy_from_slice(&crc32.finalize().to_be_bytes());
    let (whole, durable) = (out.len() as u64, end.end);
    let pieces = [&whole.to_be_bytes()[..], &durable.to_be_bytes(), &out[BATCH_RECORD_BYTES..]];
    let link = chain.link(&end.link, end.end, &pieces);
    let mut head = Vec::new();
    Record::Batch(Batch { bytes: whole, durable, link }).append(&mut head, end.end, &header.salt);
    out[..BATCH_RECORD_BYTES].copy_from_slice(&head);
    (usize::try_from(header.offset(end.end)).unwrap(), out)
}

/// Opens the log whose last write has a vote with this byte, and tells what was said; nothing on the disk is another then.
fn opened_with(at: usize, byte: u8) -> (u64, raft::Result<()>) {
    let (rig, path) = written();
    let bytes = Bytes::from(rig.disk.files()[&path].clone());
    let header = Header::decode(&bytes).unwrap();
    let (offset, write) = write(&header, &bytes, at, byte);
    rig.disk.tamper(&path, |file| file[offset..offset + write.len()].copy_from_slice(&write)).unwrap();
    let before = rig.disk.files();
    let opened = rig.try_open().map(|_| ());
    if opened.is_err() {
        assert!(rig.disk.files() == before, "a log that does not open is as it was");
    }
    (offset as u64, opened)
}

fn assert_refused(at: usize, byte: u8, detail: &str) {
    let (place, opened) = opened_with(at, byte);
    match opened {
        Err(ref error @ Error::DamagedInside { segment: 1, offset, ref damage }) => {
            assert_eq!((offset, damage.nature, damage.detail), (place, Nature::Malformed, detail));
            let told = error.to_string();
            assert!(told.contains("segment 1") && told.contains(&format!("byte {place}")), "{told}");
        }
        other => panic!("byte {at} made {byte}: {other:?}"),
    }
}

#[test]
fn a_record_of_an_unknown_kind_or_version_opens_no_log() {
    // The same write with the kind it has: it is the byte that is refused.
    assert!(opened_with(KIND_AT, 5).1.is_ok());
    for kind in [0, 14, 15, 128, 255] {
        assert_refused(KIND_AT, kind, "a record of an unknown kind");
    }
    for version in [0, 2, 255] {
        assert_refused(VERSION_AT, version, "a record of an unknown version");
    }
}
