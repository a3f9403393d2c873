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
    /// Tables that are here whole, in some tablet or held by some reader: what a sender may leave out.
    #[must_use]
    pub fn tables_present(&self) -> BTreeSet<TableId> {
        self.ground.files.live_tables().into_keys().collect()
    }

    /// Creates the tablet `id` from a folder that [`super::Checkpoint::export_to_dir`] wrote.
    ///
    /// # Errors
    /// `Damaged` names the listing or file that does not verify; `TabletExists`; `Unavailable` if a disk failed. Nothing
    /// of a failed import stays, unless the catalog failed: open the pool again to see whether the tablet is there.
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
        let fetch = |wanted: &ListedFile, place: &str, write: Write<'_>| {
            let path = dir.join(format!("{}.dpb", wanted.id));
            let source = disk.open(&path).map_err(|error| missing(error, &path))?;
            if source.len().map_err(|error| Error::io("measure", &path, error))? != wanted.bytes {
                let damage = Damage::of(Nature::Missing, "another length than listed");
                return Err(damage.at(path.display()).into());
            }
            copy_verified(wanted, place, |out, at| read_at(&*source, place, out, at), write)
        };
        self.import(id, &bytes, fetch, || Ok(()))
    }

    /// Creates the tablet `id` from a stream that [`super::Checkpoint::export_to_stream`] wrote. Files that are here already
    /// may stand in the stream or be left out of it.
    ///
    /// # Errors
    /// As [`Pool::import_from_dir`]; `Damaged` also for a stream that ends early, goes on after its end, or lacks a file
    /// that is not here.
    pub fn import_from_stream(&self, source: &mut dyn Read, id: TabletId) -> Result<Imported> {
        let at_stream = |error: Error| error.at("checkpoint stream");
        let listing = read_listing(source).map_err(at_stream)?;
        let unverified = UnverifiedListing::decode(&listing).map_err(|error| error.at(LISTING_NAME))?;
        let listed = unverified.files.iter().map(|file| (file.id, file.bytes)).collect();
        let source = std::cell::RefCell::new(FileStream { source, listed, next: None, has_ended: false });
        self.import(
            id,
            &listing,
            |wanted, place, write| source.borrow_mut().fetch(wanted, place, write).map_err(at_stream),
            || source.borrow_mut().finish().map_err(at_stream),
        )
    }

    fn import(
        &self,
        id: TabletId,
        listing: &[u8],
        mut fetch: impl FnMut(&ListedFile, &str, Write<'_>) -> Result<()>,
        finish: impl FnOnce() -> Result<()>,
    ) -> Result<Imported> {
        let unverified = UnverifiedListing::decode(listing).map_err(|error| error.at(LISTING_NAME))?;
        let listing = unverified.verify(&self.ground.sealer).map_err(|error| error.at(LISTING_NAME))?;
        // Pinned: no file goes while these are held.
        let present = self.ground.files.live_tables();
        let mut created = Vec::new();
        let born = self
            .fetch_missing(&listing, &present, &mut created, &mut fetch)
            .and_then(|()| finish())
            .and_then(|()| self.ground.files.sync_names())
            .and_then(|()| self.adopt(id, &listing.levels));
        let tablet = born.inspect_err(|error| {
            // After a commit of unknown outcome the files stay: when the pool is opened again they are the tablet's, or nobody's.
            if !matches!(error, Error::Catalog { .. }) {
                created.iter().for_each(|file| self.ground.files.discard(file.id));
            }
        })?;
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

/// Head and listing of a checkpoint stream.
fn read_listing(source: &mut dyn Read) -> Result<Vec<u8>> {
    let [m0, m1, m2, m3, v0, v1, r0, r1, l0, l1, l2, l3]: [u8; 12] = read_array(source)?;
    if [m0, m1, m2, m3] != magic::CHECKPOINT_STREAM {
        return Err(Damage::of(Nature::WrongPlace, "no checkpoint stream").into());
    }
    let version = u16::from_be_bytes([v0, v1]);
    if version != magic::CHECKPOINT_STREAM_VERSION {
        let what = "checkpoint stream".to_owned();
        return Err(Error::Unsupported { what, found: u32::from(version), supported: "1" });
    }
    if [r0, r1] != [0, 0] {
        return Err(Damage::of(Nature::Malformed, "reserved bytes are not zero").into());
    }
    let length = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
    if length > limits::LISTING_BYTES_MAX {
        return Err(Error::TooLarge { what: "listing bytes", got: length, max: limits::LISTING_BYTES_MAX });
    }
    let mut listing = Vec::new();
    source.take(length).read_to_end(&mut listing).map_err(stream_failed)?;
    match listing.len() as u64 == length {
        true => Ok(listing),
        false => Err(Damage::of(Nature::Missing, "the stream ends early").into()),
    }
}

/// The files of a stream, in the listing's order.
struct FileStream<'a> {
    source: &'a mut dyn Read,
    /// Files that the listing names and that have not come yet.
    listed: BTreeMap<TableId, u64>,
    /// A file whose head has been read and whose bytes have not.
    next: Option<(TableId, u64)>,
    has_ended: bool,
}

impl FileStream<'_> {
    fn peek(&mut self) -> Result<Option<(TableId, u64)>> {
        if self.next.is_none() && !self.has_ended {
            match read_array::<1>(self.source)? {
                [FILE_FOLLOWS] => {
                    let id = TableId(read_array(self.source)?);
                    let bytes = u64::from_be_bytes(read_array(self.source)?);
                    self.listed = self.listed.split_off(&id);
                    if self.listed.remove(&id) != Some(bytes) {
                        let detail = "a file that is not listed, or not in the listing's order or length";
                        return Err(Damage::of(Nature::Malformed, detail).into());
                    }
                    self.next = Some((id, bytes));
                }
                [END] => self.has_ended = true,
                _ => return Err(Damage::of(Nature::Malformed, "an unknown mark in the stream").into()),
            }
        }
        Ok(self.next)
    }

    /// Passes over the bytes of a file that is here already.
    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.next = None;
        let skipped = io::copy(&mut self.source.take(bytes), &mut io::sink()).map_err(stream_failed)?;
        match skipped == bytes {
            true => Ok(()),
            false => Err(Damage::of(Nature::Missing, "the stream ends early").into()),
        }
    }

    fn fetch(&mut self, wanted: &ListedFile, place: &str, write: Write<'_>) -> Result<()> {
        while let Some((_, bytes)) = self.peek()?.filter(|(id, _)| *id < wanted.id) {
            self.skip(bytes)?;
        }
        if self.next.take_if(|(id, _)| *id == wanted.id).is_none() {
            let damage = Damage::of(Nature::Missing, "the stream leaves out a file that is not here");
            return Err(damage.at(place).into());
        }
        let source = &mut self.source;
        copy_verified(wanted, place, |out, _| source.read_exact(out).map_err(stream_failed), write)
    }

    /// To the end of the stream, which must be there.
    fn finish(&mut self) -> Result<()> {
        while let Some((_, bytes)) = self.peek()? {
            self.skip(bytes)?;
        }
        Ok(())
    }
}

fn stream_failed(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Damage::of(Nature::Missing, "the stream ends early").into(),
        _ => Error::io("read", Path::new("checkpoint stream"), error),
    }
}

fn read_array<const N: usize>(source: &mut dyn Read) -> Result<[u8; N]> {
    let mut out = [0; N];
    source.read_exact(&mut out).map_err(stream_failed)?;
    Ok(out)
}
