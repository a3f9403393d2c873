//! Import of a checkpoint: from a folder or a stream of bytes into a new tablet. Every byte is verified against the listing
//! before the tablet exists; files that are here already are not copied again.

use super::export::{END, FILE_FOLLOWS, LISTING_NAME, copy_verified, read_at};
use super::listing::{ListedFile, Listing, UnverifiedListing};
use crate::disk::Disk;
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{TableId, TabletId};
use crate::limits;
use crate::magic;
use crate::table::Table;
use crate::tablet::Tablet;
use crate::tablet::files::Files;
use crate::tablet::pool::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// What an import did.
pub struct Imported {
    /// The new tablet.
    pub tablet: Arc<Tablet>,
    /// Bytes of files that were copied.
    pub copied_bytes: u64,
    /// Files that were here already.
    pub skipped_files: usize,
}

impl Pool {
    /// Tables that some tablet here has: what a sender may leave out.
    #[must_use]
    pub fn tables_present(&self) -> BTreeSet<TableId> {
        self.pinned_tables().into_keys().collect()
    }

    /// The tables of all tablets, pinned: no file goes while these are held.
    fn pinned_tables(&self) -> BTreeMap<TableId, Arc<Table>> {
        let snapshots: Vec<_> = self.tablets().iter().map(|tablet| tablet.snapshot()).collect();
        snapshots
            .iter()
            .flat_map(|one| one.tables.iter().flatten())
            .map(|table| (table.meta().id, table.clone()))
            .collect()
    }

    /// Creates the tablet `id` from a folder that [`super::Checkpoint::export_to_dir`] wrote.
    ///
    /// # Errors
    /// `Damaged` names the listing or file that does not verify; `TabletExists`; `Unavailable` if a disk failed. Nothing
    /// of a failed import stays.
    pub fn import_from_dir(&self, disk: &dyn Disk, dir: &Path, id: TabletId) -> Result<Imported> {
        let path = dir.join(LISTING_NAME);
        let missing = |error: io::Error, path: &Path| match error.kind() {
            io::ErrorKind::NotFound => {
                Damage::of(Nature::Missing, "the file is not there").at(path.display()).into()
            }
            _ => Error::io("open", path, error),
        };
        let file = disk.open(&path).map_err(|error| missing(error, &path))?;
        let length = file.len().map_err(|error| Error::io("measure", &path, error))?;
        if length > limits::LISTING_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "listing bytes",
                got: length,
                max: limits::LISTING_BYTES_MAX,
            });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        read_at(&*file, LISTING_NAME, &mut bytes, 0)?;
        self.import(id, &bytes, |wanted, place, write| {
            let path = dir.join(format!("{}.dpb", wanted.id));
            let source = disk.open(&path).map_err(|error| missing(error, &path))?;
            if source.len().map_err(|error| Error::io("measure", &path, error))? != wanted.bytes {
                return Err(Damage::of(Nature::Missing, "another length than listed")
                    .at(path.display())
                    .into());
            }
            copy_verified(wanted, place, |out, at| read_at(&*source, place, out, at), write)
        })
    }

    /// Creates the tablet `id` from a stream that [`super::Checkpoint::export_to_stream`] wrote.
    ///
    /// # Errors
    /// As [`Pool::import_from_dir`]; `Damaged` also for a stream that ends early or lacks a file that is not here.
    pub fn import_from_stream(&self, source: &mut dyn Read, id: TabletId) -> Result<Imported> {
        let head: [u8; 12] = read_array(source)?;
        let [magic @ .., v0, v1, 0, 0, l0, l1, l2, l3] = head else {
            return Err(Damage::of(Nature::Malformed, "reserved bytes are not zero")
                .at("checkpoint stream")
                .into());
        };
        if magic != magic::CHECKPOINT_STREAM {
            return Err(Damage::of(Nature::WrongPlace, "no checkpoint stream")
                .at("checkpoint stream")
                .into());
        }
        let version = u16::from_be_bytes([v0, v1]);
        if version != magic::CHECKPOINT_STREAM_VERSION {
            let what = "checkpoint stream".to_owned();
            return Err(Error::Unsupported { what, found: u32::from(version), supported: "1" });
        }
        let length = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        if length > limits::LISTING_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "listing bytes",
                got: length,
                max: limits::LISTING_BYTES_MAX,
            });
        }
        let mut listing = Vec::new();
        source.take(length).read_to_end(&mut listing).map_err(stream_failed)?;
        let imported = self.import(id, &listing, |wanted, place, write| {
            // Files come in the listing's order, so the next one must be the one wanted.
            let mark = read_array::<1>(source)?;
            if mark != [FILE_FOLLOWS] || TableId(read_array(source)?) != wanted.id {
                return Err(Damage::of(Nature::Missing, "the stream leaves out a file that is not here")
                    .at(place)
                    .into());
            }
            if u64::from_be_bytes(read_array(source)?) != wanted.bytes {
                return Err(Damage::of(Nature::Malformed, "another length than listed").at(place).into());
            }
            copy_verified(wanted, place, |out, _| source.read_exact(out).map_err(stream_failed), write)
        })?;
        match read_array::<1>(source)? {
            [END] => Ok(imported),
            _ => Err(Damage::of(Nature::Malformed, "the stream goes on after its last file").into()),
        }
    }

    fn import(
        &self,
        id: TabletId,
        listing: &[u8],
        mut fetch: impl FnMut(&ListedFile, &str, Write<'_>) -> Result<()>,
    ) -> Result<Imported> {
        let unverified = UnverifiedListing::decode(listing).map_err(|error| error.at(LISTING_NAME))?;
        let listing = unverified.verify(&self.ground.sealer).map_err(|error| error.at(LISTING_NAME))?;
        let present = self.pinned_tables();
        let mut created = Vec::new();
        let mut done = self.fetch_missing(&listing, &present, &mut created, &mut fetch);
        if done.is_ok() {
            done = self.ground.files.sync_names();
        }
        let born = done.and_then(|()| self.adopt(id, &listing.levels));
        let tablet =
            born.inspect_err(|_| created.iter().for_each(|file| self.ground.files.discard(file.id)))?;
        let skipped_files = listing.files.len() - created.len();
        Ok(Imported { tablet, copied_bytes: created.iter().map(|file| file.bytes).sum(), skipped_files })
    }

    fn fetch_missing(
        &self,
        listing: &Listing,
        present: &BTreeMap<TableId, Arc<Table>>,
        created: &mut Vec<ListedFile>,
        fetch: &mut impl FnMut(&ListedFile, &str, Write<'_>) -> Result<()>,
    ) -> Result<()> {
        for file in &listing.files {
            if present.get(&file.id).is_some_and(|table| table.meta().content == file.content) {
                continue;
            }
            let path = self.ground.files.path(file.id);
            let target = self.ground.files.create_anew(file.id)?;
            created.push(file.clone());
            fetch(file, &Files::place(file.id), &mut |piece, at| {
                self.ground.charge(piece.len() as u64);
                target.write_all_at(piece, at).map_err(|error| Error::io("write", &path, error))
            })?;
            target.sync().map_err(|error| Error::io("sync", &path, error))?;
        }
        Ok(())
    }
}

type Write<'a> = &'a mut dyn FnMut(&[u8], u64) -> Result<()>;

fn stream_failed(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Damage::of(Nature::Missing, "the stream ends early").at("checkpoint stream").into()
        }
        _ => Error::io("read", Path::new("checkpoint stream"), error),
    }
}

fn read_array<const N: usize>(source: &mut dyn Read) -> Result<[u8; N]> {
    let mut out = [0; N];
    source.read_exact(&mut out).map_err(stream_failed)?;
    Ok(out)
}
