//! Tick files: what was committed in a tick, as an immutable table of the engine. One format, one reader and one merge serve tables,
//! ticks, snapshots and restores.

use super::Result;
use super::manifest::log::FileRow;
use super::manifest::sha256;
use super::naming::{Name, ResidencyClass, TickEnd};
use bytes::Bytes;
use engine::disk::{Disk, DiskFile};
use engine::error::{Damage, Nature};
use engine::ids::{NodeId, TableId, TenantId};
use engine::key;
use engine::range_tombstone::RangeTombstone;
use engine::read::{Cursor, OwnedSlot, Slot};
use engine::sealed::Sealer;
use engine::table::{Reach, Table, TableMeta, TableWriter};
use engine::{Error, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Raw bytes at which a data block is closed: ticks are read from end to end, so their blocks are larger than those of tables.
pub const BLOCK_BYTES: usize = 16 << 10;
/// Tenants of a file that a marker lists: beyond, whoever looks for one must look into the file.
pub const TENANTS_LISTED_MAX: usize = 1_024;
/// Bytes that an entry costs in memory beside its key and its value.
const ENTRY_BYTES: usize = 96;

/// What is collected for a tick: each version once, however often it was heard of.
#[derive(Default)]
pub struct Collected {
    versions: BTreeMap<Vec<u8>, OwnedSlot>,
    ranges: BTreeSet<RangeTombstone>,
    bytes: usize,
}

impl Collected {
    /// Takes a version.
    pub fn version(&mut self, version: Vec<u8>, slot: OwnedSlot) {
        let value_bytes = if let OwnedSlot::Put { value, .. } = &slot { value.len() } else { 0 };
        let bytes = version.len() + value_bytes + ENTRY_BYTES;
        if self.versions.insert(version, slot).is_none() {
            self.bytes += bytes;
        }
    }

    /// Takes the deletion of a range, which lies inside one tenant.
    pub fn range(&mut self, one: RangeTombstone) {
        let bytes = one.start.len() + one.end.len() + ENTRY_BYTES;
        if self.ranges.insert(one) {
            self.bytes += bytes;
        }
    }

    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.ranges.is_empty()
    }

    /// Everything of `other` too.
    pub fn join(&mut self, other: Self) {
        other.versions.into_iter().for_each(|(version, slot)| self.version(version, slot));
        other.ranges.into_iter().for_each(|one| self.range(one));
    }

    /// Whose rows are in it, ascending.
    #[must_use]
    pub fn tenants(&self) -> BTreeSet<TenantId> {
        let versions = self.versions.keys().map(|version| key::tenant_of(version));
        versions.chain(self.ranges.iter().map(|one| key::tenant_of(&one.start))).collect()
    }

    /// Leaves out all rows of `tenant`.
    pub fn forget(&mut self, tenant: TenantId) {
        self.versions.retain(|version, _| key::tenant_of(version) != tenant);
        self.ranges.retain(|one| key::tenant_of(&one.start) != tenant);
    }
}

/// Writes tick files into a folder of this node.
pub struct TickWriter<'a> {
    /// Seals them.
    pub sealer: &'a Arc<Sealer>,
    /// Holds the folder.
    pub disk: &'a dyn Disk,
    /// The folder.
    pub folder: &'a Path,
    /// The end of the tick.
    pub end: TickEnd,
    /// This node.
    pub node: NodeId,
}

/// A tick file that lies in the folder.
pub struct Written {
    /// As markers name it.
    pub row: FileRow,
    /// The name of the file in the folder.
    pub file: String,
}

impl TickWriter<'_> {
    /// Writes all of `collected`, into as many files as it takes; `table` names each. They are durable, but for their names.
    ///
    /// # Errors
    /// `Key`: a tenant's data key is not here. `Unavailable`: the disk.
    pub fn write(
        &self,
        collected: &Collected,
        table: &mut dyn FnMut() -> TableId,
    ) -> engine::Result<Vec<Written>> {
        let mut ranges = collected.ranges.iter().peekable();
        let mut versions = collected.versions.iter().peekable();
        let mut out = Vec::new();
        while ranges.peek().is_some() || versions.peek().is_some() {
            let id = table();
            let (mut writer, file) = self.begin(id)?;
            while !writer.is_full() {
                let next = versions.peek().map(|(version, _)| key::tenant_of(version));
                let is_due =
                    |one: &&RangeTombstone| next.is_none_or(|next| key::tenant_of(&one.start) <= next);
                if let Some(one) = ranges.next_if(|one| is_due(one)) {
                    writer.tombstone(one.clone())?;
                } else if let Some((version, slot)) = versions.next() {
                    writer.add(version, slot.as_slot())?;
                } else {
                    break;
                }
            }
            out.push(Written { row: self.row(&writer.finish()?), file });
        }
        Ok(out)
    }

    fn begin(&self, id: TableId) -> engine::Result<(TableWriter, String)> {
        let name = format!("{id}.blk");
        let path = self.folder.join(&name);
        let file = self.disk.create(&path).map_err(|error| Error::io("create", &path, error))?;
        let created = self.end.upto();
        Ok((TableWriter::create(self.sealer.clone(), id, created, file, BLOCK_BYTES)?, name))
    }

    fn row(&self, meta: &TableMeta) -> FileRow {
        let tenants: Vec<u64> = meta.stripes.iter().map(|stripe| stripe.owner.id()).collect();
        FileRow {
            end_s: self.end.0,
            node: self.node.0,
            class: u32::from(ResidencyClass::default().0),
            table: meta.id.0.to_vec(),
            bytes: meta.bytes,
            sha256: meta.content.to_vec(),
            least: meta.least_stamp.0,
            greatest: meta.greatest_stamp.0,
            entries: meta.entries,
            tenants: if tenants.len() > TENANTS_LISTED_MAX { Vec::new() } else { tenants },
        }
    }
}

/// Bytes that were fetched, as a file to read from.
pub struct Fetched(pub Bytes);

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "what was fetched is only read"))
}

impl DiskFile for Fetched {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = from.checked_add(out.len()).and_then(|end| self.0.get(from..end));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        read_only()
    }
}

/// Checks that `bytes` are what a manifest has said of the object `name`.
///
/// # Errors
/// `Damage`, which names it: `Missing` (shorter), `Tampered`.
pub fn check_content(name: &Name, bytes: &[u8], length: u64, digest: &[u8; 32]) -> Result<(), Damage> {
    let damage = if (bytes.len() as u64) < length {
        Damage::of(Nature::Missing, "the object is shorter than its manifest says")
    } else if sha256(bytes) != *digest {
        Damage::of(Nature::Tampered, "SHA-256 of the object")
    } else {
        return Ok(());
    };
    Err(damage.at(name))
}

/// Opens a tick file that was fetched, if it is what a marker has said: size, SHA-256, id and stamps. Rows are opened with the keys of
/// their tenants when they are walked over.
///
/// # Errors
/// `Damaged`, which names the object; `Key`: the cluster's mac key is not here.
pub fn open(sealer: Arc<Sealer>, row: &FileRow, bytes: Bytes) -> engine::Result<Arc<Table>> {
    let name = Name::TickFile(row.name()?);
    check_content(&name, &bytes, row.bytes, &row.digest()?)?;
    let table = Table::open_alone(sealer, Arc::new(Fetched(bytes)), row.table()?, name.to_string())?;
    let meta = table.meta();
    if (meta.least_stamp, meta.greatest_stamp, meta.entries)
        != (Stamp(row.least), Stamp(row.greatest), row.entries)
    {
        let other = Damage::of(Nature::Malformed, "other stamps or counts than its marker says");
        return Err(other.at(&name).into());
    }
    Ok(Arc::new(table))
}

/// Walks over the versions of a table that are in `reach`, in order.
///
/// # Errors
/// `Damaged`, `Key`, and what `each` returns.
pub fn for_each(
    table: &Arc<Table>,
    reach: Reach,
    mut each: impl FnMut(&[u8], Slot<'_>) -> engine::Result<()>,
) -> engine::Result<()> {
    let mut cursor = table.cursor(false).within(reach);
    cursor.seek(b"")?;
    while let Some(version) = cursor.key() {
        key::check_version(version)?;
        each(version, cursor.slot())?;
        cursor.next()?;
    }
    Ok(())
}
