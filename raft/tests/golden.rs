//! Bytes are for ever: what yesterday's code wrote, today's opens, and writes again to the byte.
//!
//! `log_record.bin` is a list: of each record its length, u32 big-endian, then its bytes, at position 64 x n of a segment whose salt is
//! sixteen bytes 7. `log_segment.bin` is a whole segment. `gate_state.bin` is three states, one behind the other. A fixture is never changed. A new format gets its own by
//! `DEWPOND_WRITE_FIXTURES=1 cargo test -p raft --test golden`, which writes the files that do not exist and leaves all others alone.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use bytes::Bytes;
use engine::Stamp;
use engine::error::Nature;
use engine::ids::KeyEpoch;
use raft::delay::gate_state::STATE_BYTES;
use raft::delay::{GateState, Limit};
use raft::log::record::{Batch, Record, Salt};
use raft::log::segment::{Header, LogName};
use raft::log::tail::{self, Segment};
use raft::log::{Entry, GroupState, Mark};
use raft::types::{GroupId, ReplicaId, Vote};
use rig::{CLUSTER, NODE, id, sealer, stored};

const SALT: Salt = [7; 16];
const G: GroupId = GroupId(0x1234);

fn records() -> Vec<Record> {
    let vote = |is_committed| Vote { term: 5, replica: ReplicaId(3), is_committed };
    let entry = |payload: &[u8]| {
        let payload = Bytes::copy_from_slice(payload);
        Entry { log_id: id(5, 77), kind: 2, stamp: 0x0102_0304_0506_0708, payload }
    };
    let state = GroupState {
        replica: ReplicaId(3),
        replica_max: ReplicaId(4),
        vote: Some(vote(true)),
        purged: Some(id(1, 9)),
        last: Some(id(5, 77)),
        committed: None,
    };
    vec![
        Record::Batch(Batch { bytes: 640, durable: 128, link: [0xab; 16] }),
        Record::State(vec![]),
        Record::State(vec![(GroupId(1), GroupState::default()), (G, state)]),
        Record::Entry(G, entry(b"")),
        Record::Entry(G, entry(b"sealed bytes")),
        Record::Moved(G, entry(b"again")),
        Record::Vote(G, vote(false)),
        Record::Vote(G, vote(true)),
        Record::Truncate(G, None),
        Record::Truncate(G, Some(id(4, 70))),
        Record::Purge(G, id(4, 60)),
        Record::Committed(G, None),
        Record::Committed(G, Some(id(0, 0))),
        Record::Manifest(G, 12, Some(id(4, 50))),
        Record::Marks(vec![]),
        Record::Marks(vec![Mark { node: 8, log: [9; 16], position: 1 << 40 }]),
        Record::Open(G, ReplicaId(3)),
        Record::Close(G, ReplicaId(3)),
        Record::Incarnation(6, [0x11; 16]),
    ]
}

fn list(records: &[Record]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, record) in (0..).zip(records) {
        let mut bytes = Vec::new();
        record.append(&mut bytes, 64 * n, &SALT);
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&bytes);
    }
    out
}

#[test]
fn log_record_version_1() {
    let stored_list = stored("log_record.bin", || list(&records()));
    assert_eq!(list(&records()), stored_list);
    let mut rest = Bytes::from(stored_list);
    for (n, record) in (0..).zip(records()) {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let one = rest.slice(4..4 + length);
        assert_eq!(Record::decode(&one, 64 * n, &SALT).unwrap(), (record, length));
        rest = rest.slice(4 + length..);
    }
    assert!(rest.is_empty());
    // The entry, one byte of its payload changed.
    let damaged = stored("log_record.damaged.bin", || {
        let mut bytes = Vec::new();
        records()[4].append(&mut bytes, 256, &SALT);
        bytes[75] ^= 0x20;
        bytes
    });
    assert_eq!(Record::decode(&Bytes::from(damaged), 256, &SALT).unwrap_err().nature, Nature::Rot);
}

fn header() -> Header {
    Header {
        cluster: CLUSTER,
        generation: 3,
        node: NODE,
        log: LogName([0x10; 16]),
        number: 9,
        first_position: 70_000,
        bytes: 8 << 10,
        salt: SALT,
        epoch: KeyEpoch(1),
        link: [0xee; 16],
    }
}

/// A segment with two writes.
fn segment() -> Vec<u8> {
    let header = header();
    let chain = sealer().chain(NODE, header.epoch, &header.name()).unwrap();
    let mut bytes = header.encode();
    let (mut position, mut link) = (header.first_position, header.link);
    for records in [&records()[2..6], &records()[6..10]] {
        let (write, next) = tail::write(&header, &chain, position, &link, records, |_, _| {});
        bytes.extend_from_slice(&write);
        (position, link) = (position + write.len() as u64, next);
    }
    bytes.resize(usize::try_from(header.bytes).unwrap(), 0);
    bytes
}

fn walk(bytes: Vec<u8>) -> raft::Result<Vec<Record>> {
    let header = Header::decode(&bytes)?;
    let chain = sealer().chain(NODE, header.epoch, &header.name()).unwrap();
    let mut records = Vec::new();
    let bytes = Bytes::from(bytes);
    Segment { header: &header, bytes: &bytes, chain: &chain, next: None }.walk(|placed| {
        records.push(placed.record);
        Ok(())
    })?;
    Ok(records)
}

#[test]
fn log_segment_version_1() {
    let bytes = stored("log_segment.bin", segment);
    assert_eq!(segment(), bytes);
    assert_eq!(Header::decode(&bytes).unwrap(), header());
    assert_eq!(walk(bytes).unwrap(), records()[2..10]);
    // The first write, one byte changed: the second proves that it was durable.
    let damaged = stored("log_segment.damaged.bin", || {
        let mut bytes = segment();
        bytes[4_096 + 200] ^= 1;
        bytes
    });
    let error = walk(damaged).unwrap_err();
    assert!(matches!(error, raft::Error::DamagedInside { segment: 9, offset: 4_096, .. }), "{error}");
}

fn gate_states() -> [GateState; 3] {
    let gate = Stamp::new(1_700_000_000_000, 0xffff);
    let state = GateState { number: 9, gate, delay_ms: 3_600_000, ..GateState::default() };
    let void_until = Stamp::new(1_700_000_123_456, 7);
    [
        state,
        GateState { number: 10, limit: Limit::Hold(gate), void_until, ..state },
        GateState {
            number: 11,
            limit: Limit::Target(Stamp::new(1_700_000_099_999, 2)),
            delay_ms: 0,
            ..state
        },
    ]
}

#[test]
fn gate_state_version_1() {
    let bytes: Vec<u8> = gate_states().iter().flat_map(GateState::encode).collect();
    let stored_states = stored("gate_state.bin", || bytes.clone());
    assert_eq!(bytes, stored_states);
    for (one, state) in stored_states.chunks(STATE_BYTES).zip(gate_states()) {
        assert_eq!(GateState::decode(one).unwrap(), state);
    }
    // A hold that is not where the gate stands.
    let damaged = stored("gate_state.damaged.bin", || {
        let mut bytes = gate_states()[1].encode();
        bytes[39] ^= 1;
        bytes.to_vec()
    });
    assert_eq!(GateState::decode(&damaged).unwrap_err().nature, Nature::Malformed);
}
