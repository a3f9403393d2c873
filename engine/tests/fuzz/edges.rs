//! That limits stand where they are said: what reaches one is taken, and what is one more is refused.

use super::world::{C, Same, T1, sealer};
use engine::ids::{KeyEpoch, LogIndex, Owner, Purpose, TabletId};
use engine::key::{KeyRange, check_version, decode_row, row, version};
use engine::manifest::edit::{Applied, Edit};
use engine::range_tombstone::RangeTombstone;
use engine::read::Slot;
use engine::sealed::directory::{FOOTER_BYTES, Footer, ROW_BYTES};
use engine::sealed::envelope::{EXTRA_BYTES, read_header};
use engine::sealed::{EnvelopeKind, SecretBytes};
use engine::table::block::{Block, BlockBuilder, BlockCursor};
use engine::table::filter::Filter;
use engine::table::tombstones;
use engine::tablet::batch::Batch;
use engine::{Stamp, limits};
use std::sync::Arc;

/// A limit, and whether what is so much above it is taken.
type Limit = (&'static str, fn(usize) -> bool);

const LIMITS: [Limit; 15] = [
    ("user key", |over| {
        // Zero bytes, which take two each.
        let row = row(T1, C, &vec![0; limits::KEY_BYTES_MAX + over]);
        decode_row(&row).is_ok() && check_version(&version(&row, Stamp::ZERO)).is_ok()
    }),
    ("note of a batch", |over| batch(limits::NOTE_BYTES_MAX + over, 1, 1)),
    ("value of a batch", |over| batch(1, limits::VALUE_BYTES_MAX + over, 1)),
    ("operations of a batch", |over| batch(1, 1, limits::BATCH_OPERATIONS_MAX + over)),
    ("note of an edit", |over| edit(limits::NOTE_BYTES_MAX + over, 1)),
    ("bound of an edit", |over| edit(1, limits::BOUND_BYTES_MAX + over)),
    ("key of a table", |over| table(limits::VERSION_KEY_BYTES_MAX + over, 0)),
    ("level of a table", |over| table(30, limits::LEVELS - 1 + over)),
    ("key of a block", |over| {
        let mut builder = BlockBuilder::default();
        builder.add(&vec![7; limits::VERSION_KEY_BYTES_MAX + over], Slot::Delete);
        let block = Block::new(SecretBytes::from(builder.finish().to_vec()), 0).unwrap();
        BlockCursor::new(Arc::new(block)).seek_first().is_ok()
    }),
    ("bound of a range tombstone", |over| {
        let start = T1.0.to_be_bytes().to_vec();
        let mut end = start.clone();
        end.resize(limits::BOUND_BYTES_MAX + over, 0xff);
        tombstones::decode(&tombstones::encode(&[RangeTombstone { start, end, stamp: Stamp::ZERO }])).is_ok()
    }),
    ("probes of a filter", |over| {
        let probes = 30 + u8::try_from(over).unwrap();
        Filter::new(SecretBytes::from(vec![probes, 0, 0, 0, 0, 0, 0, 0, 1])).is_ok()
    }),
    ("stripes of a file", |over| footer(limits::FILE_STRIPES_MAX + over as u32, 1)),
    ("blocks of a file", |over| footer(1, limits::FILE_BLOCKS_MAX + over as u32)),
    ("envelope that is sealed", |over| {
        let plain = vec![0; limits::ENVELOPE_BYTES_MAX + over];
        let kind = EnvelopeKind::Floor;
        sealer(Same(1)).seal_envelope(Owner::Cluster, Purpose::Meta, kind, b"", &plain).is_ok()
    }),
    ("envelope that is opened", |over| {
        let mut sealed = vec![0; limits::ENVELOPE_BYTES_MAX + EXTRA_BYTES + over];
        sealed[..4].copy_from_slice(&[1, 1, 0, EnvelopeKind::Floor as u8]);
        read_header(&sealed, EnvelopeKind::Floor).is_ok()
    }),
];

pub fn stand_where_they_are_said() {
    for (name, is_taken) in LIMITS {
        assert!(is_taken(0), "{name}: the limit itself is refused");
        assert!(!is_taken(1), "{name}: more than the limit is taken");
    }
}

fn append_bytes32(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Whether a batch of so many puts is taken, each of so many bytes, with a note of so many.
fn batch(note: usize, value: usize, puts: usize) -> bool {
    let mut operations = Vec::new();
    for counter in 0..u16::try_from(puts).unwrap() {
        let version = version(&row(T1, C, b"k"), Stamp::new(1, counter));
        operations.push(1);
        operations.extend_from_slice(&u16::try_from(version.len()).unwrap().to_be_bytes());
        operations.extend_from_slice(&version);
        operations.extend_from_slice(&[0; 8]);
        append_bytes32(&mut operations, &vec![0; value]);
    }
    let mut bytes = vec![0, 1, 1, 0];
    bytes.extend_from_slice(&LogIndex(1).0.to_be_bytes());
    append_bytes32(&mut bytes, &vec![0; note]);
    bytes.extend_from_slice(&u32::try_from(puts).unwrap().to_be_bytes());
    append_bytes32(&mut bytes, &operations);
    Batch::decode(&bytes).is_ok()
}

fn edit(note: usize, bound: usize) -> bool {
    let applied = Applied { index: LogIndex(1), stamp: Stamp::ZERO, note: vec![0; note] };
    let range = KeyRange { start: Vec::new(), end: Some(vec![1; bound]) };
    Edit::decode(&Edit::birth(TabletId(1), range, applied).encode()).is_ok()
}

fn table(key: usize, level: usize) -> bool {
    let mut edit = Edit::decode(&super::clean("manifest_edit")[1]).unwrap();
    let (_, mut table) = edit.added.iter().find(|(_, table)| table.entries > 0).cloned().unwrap();
    table.greatest = vec![0xff; key];
    edit.added = vec![(u8::try_from(level).unwrap(), table)];
    Edit::decode(&edit.encode()).is_ok()
}

fn footer(rows: u32, blocks: u32) -> bool {
    let directory_offset = 96;
    let file_bytes = directory_offset + u64::from(rows) * ROW_BYTES as u64 + FOOTER_BYTES as u64;
    let (digest, mac, mac_epoch) = ([0; 32], [0; 32], KeyEpoch(1));
    let footer = Footer { directory_offset, file_bytes, rows, blocks, mac_epoch, digest, mac };
    Footer::decode(&footer.encode(&[]), file_bytes).is_ok()
}
