//! Format: block_file. A table with every kind of stripe and block, compressed and not, of four owners.

use super::plain::{self, Content, Memory, PLACE};
use super::tables::{AT_MS, all_kinds, range};
use super::world::{CLUSTER, Same, T1, T2, T3, sealer};
use super::{Refusal, assert_same, damaged, fixture, refusal};
use engine::ids::{KeyEpoch, KeyId, Owner, Purpose, TableId, TenantId};
use engine::sealed::directory::{
    DirectoryRow, FOOTER_BYTES, Footer, ROW_BYTES, check_directory, decode_directory,
};
use engine::sealed::{BlockFile, FileKind, Header, scrub_clear};
use engine::table::{StripeMeta, TableMeta};
use engine::{Kind, Nature, Stamp, key};
use std::collections::BTreeSet;

pub const ID: TableId = TableId([0xf1; 16]);
const CREATED: Stamp = Stamp(AT_MS << 16);
const HEADER_BYTES: usize = 96;
/// The blocks: stripe, type, codec, and how many of these follow each other. Every type is there, and data with either codec.
const RUNS: [[usize; 4]; 14] = [
    [0, 6, 1, 1],
    [1, 1, 1, 5],
    [1, 1, 0, 1],
    [1, 1, 1, 1],
    [1, 1, 0, 1],
    [1, 1, 1, 1],
    [1, 1, 0, 1],
    [1, 2, 1, 1],
    [1, 3, 0, 1],
    [1, 4, 1, 1],
    [1, 5, 0, 1],
    [2, 6, 1, 1],
    [3, 4, 1, 1],
    [3, 5, 1, 1],
];

fn made() -> (TableMeta, Vec<u8>) {
    plain::write(ID, CREATED, &all_kinds(), Same(0xa5))
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Every frame: where it begins, its bytes, and its number, stripe, type and codec.
fn frames(bytes: &[u8], end: usize) -> Vec<(usize, usize, [usize; 4])> {
    let (mut at, mut all) = (HEADER_BYTES, Vec::new());
    while at < end {
        let length = number(bytes, at + 4) + 44;
        let [kind, codec] = [12, 13].map(|offset| usize::from(bytes[at + offset]));
        all.push((at, length, [number(bytes, at), number(bytes, at + 8), kind, codec]));
        at += length;
    }
    assert_eq!(at, end);
    all
}

/// Runs of blocks of one stripe, type and codec, in order: stripe, type, codec, how many.
fn runs(bytes: &[u8], end: usize) -> Vec<[usize; 4]> {
    let mut runs: Vec<[usize; 4]> = Vec::new();
    for (expected, (_, _, [number, stripe, kind, codec])) in (0..).zip(frames(bytes, end)) {
        assert_eq!(number, expected);
        match runs.last_mut() {
            Some(run) if run[..3] == [stripe, kind, codec] => run[3] += 1,
            _ => runs.push([stripe, kind, codec, 1]),
        }
    }
    runs
}

fn check_header(bytes: &[u8]) {
    let header = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap()).unwrap();
    let want = Header {
        suite: 1,
        kind: FileKind::Table as u8,
        created: CREATED,
        cluster: CLUSTER,
        file: ID,
        salt: [0xa5; 32],
    };
    assert_eq!(header, want);
}

/// The footer's fields and the directory's; gives where the directory begins.
fn check_ends(bytes: &[u8]) -> usize {
    let (body, end) = bytes.split_last_chunk::<FOOTER_BYTES>().unwrap();
    let footer = Footer::decode(end, bytes.len() as u64).unwrap();
    assert_eq!((footer.rows, footer.blocks, footer.mac_epoch), (4, 18, KeyEpoch(1)));
    assert_eq!(footer.file_bytes, bytes.len() as u64);
    let directory = &body[usize::try_from(footer.directory_offset).unwrap()..];
    assert_eq!(directory.len(), 4 * ROW_BYTES);
    check_directory(directory, end).unwrap();
    let rows = decode_directory(directory, &footer).unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.owner, row.epoch, row.blocks, row.entries, row.least, row.greatest))
        .collect();
    let at = |counter| Stamp::new(AT_MS, counter);
    assert_eq!(
        told,
        [
            (Owner::Cluster, KeyEpoch(1), 1, 3, at(1), at(3)),
            (Owner::Tenant(T1), KeyEpoch(9), 14, 81, at(1), at(6)),
            (Owner::Tenant(T2), KeyEpoch(3), 1, 1, at(3), at(4)),
            (Owner::Tenant(T3), KeyEpoch(1), 2, 0, at(0), at(89)),
        ]
    );
    check_places(bytes, &rows);
    assert!(rows.iter().all(|row| row.purpose == Purpose::Data));
    let published = *b"\xf2\x5f\x67\xaf\x0b\x9e\x69\x68\xaa\x45\x14\x44";
    assert_eq!(rows[1].commitment[..12], published, "the commitment of the published answer");
    assert_ne!(rows[1].key_id, KeyId::default());
    usize::try_from(footer.directory_offset).unwrap()
}

/// Every stripe begins where the one before ended, and ends with its last frame.
fn check_places(bytes: &[u8], rows: &[DirectoryRow]) {
    let (mut offset, mut block) = (HEADER_BYTES as u64, 0);
    for row in rows {
        assert_eq!((row.offset, row.first_block), (offset, block));
        let last = usize::try_from(row.end_offset).unwrap();
        assert_eq!(number(bytes, last), (row.first_block + row.blocks - 1) as usize);
        assert_eq!(row.end_offset + number(bytes, last + 4) as u64 + 44, row.offset + row.length);
        (offset, block) = (offset + row.length, block + row.blocks);
    }
}

fn check_content(meta: &TableMeta, bytes: &[u8]) {
    let table = plain::open(&sealer(Same(0)), meta, bytes).unwrap();
    assert_eq!(plain::content_of(&table).unwrap(), all_kinds());
    assert_eq!(table.verify(&BTreeSet::new(), &mut |_| Ok(())).unwrap().found, []);
    for (version, slot) in all_kinds().entries {
        let (row, stamp) = key::split(&version);
        assert_eq!(table.get(row, stamp).unwrap(), Some((stamp, slot)));
    }
    let covering = |tenant: TenantId, user: &[u8], counter| {
        let all = table.tombstones(tenant).unwrap();
        all.and_then(|all| all.covering(&range(tenant, user, b"", 0).start, Stamp::new(AT_MS, counter)))
    };
    assert_eq!(covering(TenantId(0), b"a", 9), None);
    assert_eq!(covering(T1, b"a", 4), Some(Stamp::new(AT_MS, 1)));
    assert_eq!(covering(T2, b"x", 9), Some(Stamp::new(AT_MS, 3)));
    assert_eq!(covering(T3, b"007", 90), Some(Stamp::new(AT_MS, 7)));
}

#[test]
fn version_1() {
    let (meta, made) = made();
    let stored = fixture("block_file", &made);

    check_header(&stored);
    let end = check_ends(&stored);
    assert_eq!(runs(&stored, end), RUNS);
    let file = Memory::new(&stored);
    let opened = BlockFile::open(sealer(Same(0)), &*file, PLACE.into(), FileKind::Table, ID, None).unwrap();
    assert_eq!((opened.created(), opened.rows().len()), (CREATED, 4));
    assert_eq!(scrub_clear(&*file, PLACE, ID, &mut |_| Ok(())).unwrap(), []);
    check_content(&meta, &stored);
    let row = |row: &DirectoryRow| StripeMeta {
        owner: row.owner,
        epoch: row.epoch,
        bytes: row.length,
        entries: row.entries,
    };
    assert_eq!(meta.stripes, opened.rows().iter().map(row).collect::<Vec<_>>());
    assert_eq!((meta.id, meta.bytes, meta.crc32), (ID, stored.len() as u64, crc32fast::hash(&stored)));
    assert_same("block_file", &stored, &made);
    check_damaged(&meta, &stored, frames(&stored, end)[5].0);
}

/// A bit of the ciphertext of block 5, whose frame begins at `frame`.
fn check_damaged(meta: &TableMeta, clean: &[u8], frame: usize) {
    let rotten = damaged("block_file", clean, |bytes| bytes[frame + 24 + 30] ^= 4);
    let want =
        Refusal { kind: Kind::Damaged, nature: Some(Nature::Rot), place: PLACE.to_owned(), block: Some(5) };
    let found = scrub_clear(&*Memory::new(&rotten), PLACE, ID, &mut |_| Ok(())).unwrap();
    assert_eq!(found.into_iter().map(refusal).collect::<Vec<_>>(), [want]);
    let table = plain::open(&sealer(Same(0)), meta, &rotten).unwrap();
    let (mut read, mut refused) = (0, 0);
    for (version, slot) in all_kinds().entries {
        let (row, stamp) = key::split(&version);
        match table.get(row, stamp) {
            Ok(found) => {
                assert_eq!(found, Some((stamp, slot)));
                read += 1;
            }
            Err(error) => {
                let error = refusal(error);
                assert_eq!(
                    (error.nature, error.place.as_str(), error.block),
                    (Some(Nature::Rot), PLACE, Some(5))
                );
                refused += 1;
            }
        }
    }
    assert_eq!((read, refused), (78, 7), "only what stands in the block is refused");
    let content = plain::content_of(&table).map(|_: Content| ());
    assert_eq!(refusal(content.unwrap_err()).block, Some(5));
}
