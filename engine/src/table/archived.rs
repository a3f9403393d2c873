//! A table that no manifest knows: its clear ends say what stripes there are. For files of an archive, whose bytes whoever fetched them
//! has held against a signed digest.

use super::{OpenedBlocks, Table, TableFiles, TableMeta};
use crate::disk::DiskFile;
use crate::error::Result;
use crate::ids::TableId;
use crate::key::KeyRange;
use crate::sealed::{BlockFile, FileKind, Sealer};
use crate::stamp::Stamp;
use crate::table::{Opened, StripeMeta};
use std::sync::Arc;

/// The one handle of a table that stands alone.
struct Alone(Arc<dyn DiskFile>);

impl TableFiles for Alone {
    fn file(&self, _: TableId) -> Result<Arc<dyn DiskFile>> {
        Ok(self.0.clone())
    }

    fn dropped(&self, _: TableId) {}
}

/// Keeps nothing: such a table is walked once.
struct Nothing;

impl OpenedBlocks for Nothing {
    fn number_table(&self) -> u64 {
        0
    }

    fn get(&self, _: u64, _: u32) -> Option<Opened> {
        None
    }

    fn put(&self, _: u64, _: u32, _: Opened) {}
}

/// What the clear ends of a table say, as far as a manifest would: its keys are not among it.
fn described(file: &BlockFile, id: TableId, bytes: u64) -> TableMeta {
    let rows = file.rows();
    let stripes = rows.iter().map(|row| StripeMeta {
        owner: row.owner,
        epoch: row.epoch,
        bytes: row.length,
        entries: row.entries,
    });
    TableMeta {
        id,
        bytes,
        content: [0; 32],
        crc32: 0,
        ends: file.ends(),
        least: Vec::new(),
        greatest: Vec::new(),
        span: KeyRange::all(),
        entries: rows.iter().map(|row| row.entries).sum(),
        deletes: 0,
        // As many as there may be: each stripe says for itself how many there are.
        tombstones: u32::MAX,
        least_stamp: rows.iter().map(|row| row.least).min().unwrap_or(Stamp::MAX),
        greatest_stamp: rows.iter().map(|row| row.greatest).max().unwrap_or(Stamp::ZERO),
        stripes: stripes.collect(),
        superseded: 0,
        first_expiry_ms: 0,
    }
}

impl Table {
    /// Opens the table `id` in `file` by what it says of itself. `place` names it in errors. Its checksums and its digest over the whole
    /// are not known here: [`TableMeta::content`], `crc32`, the keys, `deletes`, `superseded` and `first_expiry_ms` of its
    /// [`Table::meta`] say nothing, `tombstones` only that there may be some, and `span` is everything.
    ///
    /// # Errors
    /// As [`BlockFile::open`].
    pub fn open_alone(
        sealer: Arc<Sealer>,
        file: Arc<dyn DiskFile>,
        id: TableId,
        place: String,
    ) -> Result<Self> {
        let length =
            file.len().map_err(|error| crate::Error::io("measure", std::path::Path::new(&place), error))?;
        let opened = BlockFile::open(sealer.clone(), &*file, place.clone(), FileKind::Table, id, None)?;
        let meta = described(&opened, id, length);
        Self::open(sealer, Arc::new(Alone(file)), Arc::new(Nothing), Arc::new(meta), place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::error::Nature;
    use crate::ids::{Owner, TenantId};
    use crate::range_tombstone::RangeTombstone;
    use crate::read::{Cursor, Slot};
    use crate::table::tests::{begin, version};
    use crate::{Error, key};
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn a_table_opens_without_its_manifest_and_holds_what_was_written() {
        let (mut writer, disk, sealer) = begin(256);
        for n in 0..50_u8 {
            let value = [n; 60];
            writer.add(&version(1, &[n], 2), Slot::Put { value: &value, expires_ms: 0 }).unwrap();
        }
        let start = key::row(TenantId(2), crate::ids::CollectionId(1), b"a");
        let one = RangeTombstone { end: key::after_row(&start), start, stamp: Stamp(3) };
        writer.tombstone(one.clone()).unwrap();
        let meta = writer.finish().unwrap();
        let file = disk.open(Path::new("/t")).unwrap();
        let opened = |id| Table::open_alone(sealer.clone(), file.clone(), id, "log/t".into());
        let table = Arc::new(opened(meta.id).unwrap());
        assert_eq!((table.meta().entries, table.meta().bytes), (50, meta.bytes));
        assert_eq!((table.meta().least_stamp, table.meta().greatest_stamp), (Stamp(2), Stamp(3)));
        let owners: Vec<Owner> = table.meta().stripes.iter().map(|stripe| stripe.owner).collect();
        assert_eq!(owners, [Owner::Tenant(TenantId(1)), Owner::Tenant(TenantId(2))]);
        let mut walk = table.cursor(false);
        walk.seek(b"").unwrap();
        let mut entries = 0;
        while walk.key().is_some() {
            entries += 1;
            walk.next().unwrap();
        }
        assert_eq!(entries, 50);
        let found: Vec<RangeTombstone> = table
            .all_tombstones(&BTreeSet::new())
            .unwrap()
            .into_iter()
            .map(|one| RangeTombstone::clone(&one))
            .collect();
        assert_eq!(found, [one]);
        assert!(table.verify(&BTreeSet::new(), &mut |_| Ok(())).unwrap().found.is_empty());
        let Err(Error::Damaged(damage)) = opened(TableId([8; 16])) else { panic!("another id opens") };
        assert_eq!(damage.nature, Nature::WrongPlace);
    }
}
