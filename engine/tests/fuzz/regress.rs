//! Chosen inputs: such as once broke a promise, and such as no mutation comes upon. They are tried before any mutation.

use super::world::{C, T1, T2};
use engine::Stamp;
use engine::ids::{LogIndex, TableId, TabletId};
use engine::key::{KeyRange, row};
use engine::manifest::edit::{Applied, Edit};
use engine::read::Slot;
use engine::table::block::BlockBuilder;
use engine::table::index::PLACE_BYTES;
use engine::tablet::batch::Batch;

/// The inputs of `target`.
pub fn inputs(target: &str) -> Vec<Vec<u8>> {
    match target {
        "batch" => vec![range_over_two_tenants(), row_twice_with_one_stamp()],
        "block_file" => vec![stripe_behind_a_gap()],
        "checkpoint_listing" => vec![file_listed_twice()],
        "checkpoint_stream" => files_nobody_listed(),
        "key_index" => vec![place_that_expires()],
        "manifest_edit" => vec![tables_of_all_bytes_there_are(), tenant_with_two_floors()],
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

fn row_twice_with_one_stamp() -> Vec<u8> {
    let mut batch = Batch::new(LogIndex(1));
    batch.put(T1, C, b"a", b"1", Stamp::new(1, 0), 0).unwrap();
    batch.delete(T1, C, b"a", Stamp::new(1, 0)).unwrap();
    batch.encode()
}

/// A block file whose second stripe begins a byte later than the first ends, and ends where it did.
fn stripe_behind_a_gap() -> Vec<u8> {
    let mut file = super::fixture("block_file");
    let footer = file.len() - 104;
    let directory = u64::from_be_bytes(file[footer..footer + 8].try_into().unwrap());
    let second = usize::try_from(directory).unwrap() + 112;
    for (at, change) in [(second + 56, 1_u64), (second + 64, u64::MAX)] {
        let number = u64::from_be_bytes(file[at..at + 8].try_into().unwrap());
        file[at..at + 8].copy_from_slice(&number.wrapping_add(change).to_be_bytes());
    }
    file
}

fn file_listed_twice() -> Vec<u8> {
    let mut listing = super::fixture("checkpoint_listing");
    let stripes = u32::from_be_bytes(listing[52 + 60..52 + 64].try_into().unwrap()) as usize;
    let first = listing[52..52 + 64 + 32 * stripes].to_vec();
    listing[51] += 1;
    listing.splice(52..52, first);
    listing
}

fn place_that_expires() -> Vec<u8> {
    let mut index = BlockBuilder::default();
    index.add(b"last", Slot::Put { value: &[0; PLACE_BYTES], expires_ms: 1 });
    index.finish().to_vec()
}

fn tenant_with_two_floors() -> Vec<u8> {
    let floors = [(T1, Stamp::new(1, 0))].into();
    let mut edit = Edit { floors, ..Edit::empty(TabletId(1)) }.encode();
    let floor = edit.split_off(edit.len() - 16);
    *edit.last_mut().unwrap() = 2;
    [edit, floor.clone(), floor].concat()
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
