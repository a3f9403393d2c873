//! Inputs that once broke a promise. They are tried before any mutation.

use super::world::{C, T1, T2};
use engine::Stamp;
use engine::ids::{LogIndex, TableId, TabletId};
use engine::key::{KeyRange, row};
use engine::manifest::edit::{Applied, Edit};
use engine::tablet::batch::Batch;

/// The inputs of `target`.
pub fn inputs(target: &str) -> Vec<Vec<u8>> {
    match target {
        "batch" => vec![range_over_two_tenants()],
        "checkpoint_stream" => files_nobody_listed(),
        "manifest_edit" => vec![tables_of_all_bytes_there_are()],
        // A start shorter than a tenant id, and an end that reads as another tenant.
        "range_tombstones" => vec![b"\0\0\0\x01\0\0\0\x01\x01\0\0\0\0\0\0\0\0".to_vec()],
        _ => Vec::new(),
    }
}

/// A deletion that begins in one tenant and ends in another.
fn range_over_two_tenants() -> Vec<u8> {
    let mut batch = Batch::new(LogIndex(1));
    batch.delete_range(T1, C, b"a", Some(b"b"), Stamp::new(1, 0)).unwrap();
    let mut bytes = batch.encode();
    let (own, foreign) = (row(T1, C, b"b"), row(T2, C, b"b"));
    let at = bytes.windows(own.len()).position(|piece| piece == own).unwrap();
    bytes[at..at + foreign.len()].copy_from_slice(&foreign);
    bytes
}

/// Two tables of one level, each longer than any file can be.
fn tables_of_all_bytes_there_are() -> Vec<u8> {
    let edit = Edit::decode(&super::corpus("manifest_edit")[1]).unwrap();
    let (_, table) = edit.added.into_iter().find(|(_, table)| table.entries > 0).unwrap();
    let tables = [1, 2].map(|n| {
        let mut table = table.clone();
        (table.id, table.bytes) = (TableId([n; 16]), u64::MAX);
        table.stripes.iter_mut().for_each(|stripe| stripe.bytes = u64::MAX);
        (0, table)
    });
    Edit { added: tables.into(), ..Edit::birth(TabletId(1), KeyRange::all(), Applied::default()) }.encode()
}

/// The stream of the fixture with an empty file more, before the others and behind them.
fn files_nobody_listed() -> Vec<Vec<u8>> {
    let stream = super::fixture("checkpoint_stream");
    let first = 12 + u32::from_be_bytes(stream[8..12].try_into().unwrap()) as usize;
    let places = [(first, [0; 16]), (stream.len() - 1, [0xff; 16])];
    let insert = |(at, id): (usize, [u8; 16])| [&stream[..at], &[1], &id, &[0; 8], &stream[at..]].concat();
    places.map(insert).into()
}
