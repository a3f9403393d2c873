//! Bytes are for ever: what yesterday's machine stored and sealed, today's reads and opens, and writes again to the byte.
//!
//! Each fixture is a list: of each piece its length, u32 big-endian, then its bytes. A fixture is never changed. A new format gets its
//! own by `DEWPOND_WRITE_FIXTURES=1 cargo test -p raft --test golden_machine`, which writes the files that do not exist and leaves all
//! others alone.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use bytes::Bytes;
use engine::Stamp;
use engine::entropy::Seeded;
use engine::error::Nature;
use engine::ids::{NodeId, TenantId};
use raft::command::{Command, CommandRow, Counts, TenantPart};
use raft::machine::digest::Digest;
use raft::machine::note::Note;
use raft::machine::once;
use raft::seal::{self, Opened, Times, Unsealed};
use raft::types::{GroupId, Membership, ReplicaId, Role, Seat};
use rig::{TENANT, id, sealer};
use std::path::PathBuf;

const G: GroupId = GroupId(0x1234);

fn stored(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(name);
    #[expect(clippy::disallowed_methods, reason = "the person who adds a format asks for its fixture")]
    let is_asked = std::env::var("DEWPOND_WRITE_FIXTURES").is_ok();
    if is_asked && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, make()).unwrap();
    }
    std::fs::read(path).unwrap()
}

fn list(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&u32::try_from(piece.len()).unwrap().to_be_bytes());
        out.extend_from_slice(piece);
    }
    out
}

fn listed(mut list: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Some((length, more)) = list.split_first_chunk::<4>() {
        let (one, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        pieces.push(one.to_vec());
        list = more;
    }
    pieces
}

const STAMP: Stamp = Stamp(0x018b_cfe5_6800_0003);

/// One that closes time, and one whose bodies are nothing that was sealed.
fn unsealed_commands() -> [Command; 2] {
    let part = |tenant, puts, deletes, range_deletes, sealed: &'static [u8]| TenantPart {
        tenant: TenantId(tenant),
        counts: Counts { puts, deletes, range_deletes },
        sealed: Bytes::from_static(sealed),
    };
    let row = |part, session, number, valid_until| CommandRow {
        part,
        session: [session; 16],
        number,
        valid_until: Stamp(valid_until),
    };
    [
        Command { entry: [0xc1; 16], stamp: STAMP, closed: STAMP, ..Command::default() },
        Command {
            entry: [0xc2; 16],
            stamp: STAMP,
            closed: Stamp(STAMP.0 - 1),
            meta_index: 77,
            rows: vec![row(1, 0x51, 1, 0x0102), row(0, 0, 0, 0), row(1, 0x51, u64::MAX, u64::MAX)],
            parts: vec![part(3, 1, 0, 0, b"one"), part(u64::MAX, 2, u32::MAX, 3, b"")],
        },
    ]
}

fn commands() -> [Unsealed; 2] {
    let one = |number, body: &'static [u8]| Unsealed {
        tenant: TENANT,
        session: [7; 16],
        number,
        valid_until: Stamp(STAMP.0 + 9),
        counts: Counts { puts: 1, deletes: 0, range_deletes: 0 },
        body: Bytes::from_static(body),
    };
    [one(1, b"first body"), one(2, b"")]
}

fn sealed_command() -> Command {
    let times = Times { stamp: STAMP, closed: STAMP, meta_index: 5 };
    seal::seal(&sealer(), &Seeded::new(3), G, times, &commands()).unwrap()
}

#[test]
fn command_version_1() {
    let made: Vec<Vec<u8>> = unsealed_commands().iter().map(|one| one.encode().to_vec()).collect();
    let all = [&made[..], &[sealed_command().encode().to_vec()]].concat();
    let found = listed(&stored("command.bin", || list(&all)));
    assert_eq!(found[..2], made);
    for (bytes, command) in found.iter().zip(unsealed_commands()) {
        assert_eq!(Command::decode(&Bytes::copy_from_slice(bytes)).unwrap(), command);
    }
    // What was sealed then opens now.
    let bytes = Bytes::copy_from_slice(&found[2]);
    let command = Command::decode(&bytes).unwrap();
    assert_eq!(command.encode(), bytes);
    assert_eq!((command.stamp, command.closed, command.meta_index), (STAMP, STAMP, 5));
    let opened = seal::open(&sealer(), G, &command, &|_| false).unwrap();
    assert!(opened == commands().map(|one| Opened::Body(one.body)));
    // The second: its tenants out of order.
    let damaged = stored("command.damaged.bin", || {
        let mut bytes = made[1].clone();
        bytes[48] ^= 0xff;
        bytes[68] ^= 0xff;
        bytes
    });
    assert_eq!(Command::decode(&damaged.into()).unwrap_err().nature, Nature::Malformed);
}

#[test]
fn once_row_version_1() {
    let replies: [&[u8]; 3] = [b"", b"stored", &[0xfe; 300]];
    let made: Vec<Vec<u8>> = replies.iter().map(|reply| once::encode(reply)).collect();
    let found = listed(&stored("once_row.bin", || list(&made)));
    assert_eq!(found, made);
    for (row, reply) in found.iter().zip(replies) {
        assert_eq!(once::decode(row).unwrap(), reply);
    }
    let request = once::Request { session: [0x51; 16], number: 0x0102_0304, valid_until: Stamp::new(9, 1) };
    let key = [&[0x51; 16][..], &[0, 0, 0, 0, 1, 2, 3, 4]].concat();
    assert_eq!((&request.key()[..], request.expires_ms()), (&key[..], 10));
    assert_eq!(once::COLLECTION.0, 0xffff_ffff);
    // One byte longer than it says.
    let damaged = stored("once_row.damaged.bin", || [&made[1][..], b"!"].concat());
    assert_eq!(once::decode(&damaged).unwrap_err().nature, Nature::Malformed);
}

fn notes() -> [Note; 3] {
    let seat = |node, role| Seat { node: NodeId(node), role };
    let seats = [
        (ReplicaId(1), seat(10, Role::Voter)),
        (ReplicaId(2), seat(20, Role::Learner)),
        (ReplicaId(3), seat(30, Role::Delayed)),
    ];
    let voters = |all: &[u64]| all.iter().copied().map(ReplicaId).collect();
    let mut digest = Digest::default();
    digest.fold(TENANT, STAMP, &[b"ran "]);
    digest.fold(TenantId(u64::MAX), STAMP, &[b"put", b"", b"x"]);
    let full = Note {
        group: G,
        applied: Some(id(5, 77)),
        membership_at: Some(id(4, 60)),
        membership: Membership { voters: vec![voters(&[1]), voters(&[1, 2])], seats: seats.into() },
        last: STAMP,
        digest,
    };
    let alone = Membership { voters: vec![voters(&[1])], seats: seats[..1].iter().copied().collect() };
    [Note::empty(G), Note { membership: alone, ..full.clone() }, full]
}

#[test]
fn machine_note_version_1() {
    let made: Vec<Vec<u8>> = notes().iter().map(Note::encode).collect();
    let found = listed(&stored("machine_note.bin", || list(&made)));
    assert_eq!(found, made);
    for (bytes, note) in found.iter().zip(notes()) {
        assert_eq!(Note::decode(bytes).unwrap(), note);
    }
    // Nothing applied, and yet an index.
    let damaged = stored("machine_note.damaged.bin", || {
        let mut bytes = made[0].clone();
        bytes[36] = 1;
        bytes
    });
    assert_eq!(Note::decode(&damaged).unwrap_err().nature, Nature::Malformed);
}
