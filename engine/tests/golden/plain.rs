//! A table file as plain bytes in memory: written to a vector, read from one.
#![allow(dead_code, reason = "each test binary uses its part")]

use super::world::{CLUSTER, sealer};
use engine::disk::DiskFile;
use engine::entropy::Entropy;
use engine::ids::TableId;
use engine::range_tombstone::RangeTombstone;
use engine::read::{Cursor, OwnedSlot};
use engine::sealed::{BlockFile, FileKind, Sealer};
use engine::table::{Opened, OpenedBlocks, StripeMeta, Table, TableFiles, TableMeta, TableWriter};
use engine::{Result, Stamp, key};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

/// How errors name a table that is read from here.
pub const PLACE: &str = "the file";

/// A file in memory.
pub struct Memory(Mutex<Vec<u8>>);

impl Memory {
    pub fn new(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(bytes.to_vec())))
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl DiskFile for Memory {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let from = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
        let piece = from.and_then(|from| from.get(..out.len()));
        out.copy_from_slice(piece.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut file = self.0.lock().unwrap();
        assert_eq!(file.len() as u64, offset, "a table is written front to back");
        file.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::Error::other("a table is never cut"))
    }
}

struct OneFile(Arc<Memory>);

impl TableFiles for OneFile {
    fn file(&self, _: TableId) -> Result<Arc<dyn DiskFile>> {
        Ok(self.0.clone())
    }

    fn dropped(&self, _: TableId) {}
}

struct NoCache;

impl OpenedBlocks for NoCache {
    fn number_table(&self) -> u64 {
        0
    }

    fn get(&self, _: u64, _: u32) -> Option<Opened> {
        None
    }

    fn put(&self, _: u64, _: u32, _: Opened) {}
}

/// What a table holds: its versions, and its range tombstones by start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub entries: Vec<(Vec<u8>, OwnedSlot)>,
    pub ranges: Vec<RangeTombstone>,
}

/// Writes `content` as the table `id`; gives what a manifest knows of it, and its bytes.
pub fn write(
    id: TableId,
    created: Stamp,
    content: &Content,
    entropy: impl Entropy + 'static,
) -> (TableMeta, Vec<u8>) {
    let file = Memory::new(&[]);
    let mut writer = TableWriter::create(sealer(entropy), id, created, file.clone(), 512).unwrap();
    let mut ranges = content.ranges.iter().peekable();
    for (version, slot) in &content.entries {
        let tenant = key::tenant_of(version);
        while let Some(one) = ranges.next_if(|one| key::tenant_of(&one.start) <= tenant) {
            writer.tombstone(one.clone()).unwrap();
        }
        writer.add(version, slot.as_slot()).unwrap();
    }
    ranges.for_each(|one| writer.tombstone(one.clone()).unwrap());
    (writer.finish().unwrap(), file.bytes())
}

/// Opens `bytes` as the table of `meta`.
pub fn open(sealer: &Arc<Sealer>, meta: &TableMeta, bytes: &[u8]) -> Result<Arc<Table>> {
    let files = Arc::new(OneFile(Memory::new(bytes)));
    let meta = Arc::new(meta.clone());
    Table::open(sealer.clone(), files, Arc::new(NoCache), meta, PLACE.to_owned()).map(Arc::new)
}

/// All that `table` holds, as its walk and its range tombstones tell it.
pub fn content_of(table: &Arc<Table>) -> Result<Content> {
    let mut walk = table.cursor(false);
    walk.seek(&[])?;
    let mut entries = Vec::new();
    while let Some(version) = walk.key() {
        entries.push((version.to_vec(), walk.slot().to_owned()));
        walk.next()?;
    }
    let ranges = table.all_tombstones(&BTreeSet::new())?;
    Ok(Content { entries, ranges: ranges.iter().map(|one| RangeTombstone::clone(one)).collect() })
}

/// SHA-256 of header, directory and footer.
fn ends_of(bytes: &[u8]) -> [u8; 32] {
    let footer = &bytes[bytes.len() - 104..];
    let directory = u64::from_be_bytes(footer[..8].try_into().unwrap()) as usize;
    let mut digest = engine::sealed::derive::Sha256::new();
    digest.update(&bytes[..96]);
    digest.update(&bytes[directory..]);
    digest.finish()
}

/// What a manifest would know of the table file `bytes`, as far as reading needs it.
pub fn meta_of(id: TableId, bytes: &[u8]) -> TableMeta {
    assert_eq!(bytes[16..32], CLUSTER.0);
    let file = Memory::new(bytes);
    let opened =
        BlockFile::open(sealer(super::world::Same(0)), &*file, PLACE.to_owned(), FileKind::Table, id, None)
            .unwrap();
    let stripe = |row: &engine::sealed::DirectoryRow| StripeMeta {
        owner: row.owner,
        epoch: row.epoch,
        bytes: row.length,
        entries: row.entries,
    };
    TableMeta {
        id,
        bytes: bytes.len() as u64,
        content: [0; 32],
        crc32: 0,
        ends: ends_of(bytes),
        least: Vec::new(),
        greatest: Vec::new(),
        span: key::KeyRange::all(),
        entries: opened.rows().iter().map(|row| row.entries).sum(),
        deletes: 0,
        // Not zero, so that readers look for them.
        tombstones: u32::MAX,
        least_stamp: Stamp::ZERO,
        greatest_stamp: Stamp::MAX,
        stripes: opened.rows().iter().map(stripe).collect(),
        superseded: 0,
        first_expiry_ms: 0,
    }
}
