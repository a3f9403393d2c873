//! Export of a checkpoint: to a folder of any disk, or into a stream of bytes.
//! Format: checkpoint_stream, `docs/formats/checkpoint_stream.md`.

use super::Checkpoint;
use super::listing::ListedFile;
use crate::disk::{Disk, DiskFile, atomic};
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::TableId;
use crate::magic;
use crate::sealed::derive::Sha256;
use crate::table::TableFiles;
use crate::tablet::files::Files;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

/// Name of the listing in an exported folder.
pub const LISTING_NAME: &str = "checkpoint.dpl";
/// A file that is still being copied has this behind its name.
const PART_SUFFIX: &str = ".part";
pub(super) const PIECE_BYTES: usize = 1 << 20;
/// Marks of a stream: a file follows, or nothing more.
pub(super) const FILE_FOLLOWS: u8 = 1;
pub(super) const END: u8 = 0;

/// Moves `file.bytes` bytes in pieces from `read` to `write`, and checks that they are the content listed.
///
/// # Errors
/// What `read` and `write` return; `Damaged` if the content is another.
pub(super) fn copy_verified(
    file: &ListedFile,
    place: &str,
    mut read: impl FnMut(&mut [u8], u64) -> Result<()>,
    mut write: impl FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    let (mut digest, mut crc) = (Sha256::new(), crc32fast::Hasher::new());
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < file.bytes {
        let n = usize::try_from(file.bytes - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
        read(&mut piece[..n], at)?;
        digest.update(&piece[..n]);
        crc.update(&piece[..n]);
        write(&piece[..n], at)?;
        at += n as u64;
    }
    let is_crc_right = crc.finalize() == file.crc32;
    match (is_crc_right, digest.finish() == file.content) {
        (true, true) => Ok(()),
        (false, _) => Err(Damage::of(Nature::Rot, "checksum of the whole file").at(place).into()),
        (true, false) => Err(Damage::of(Nature::Tampered, "content id of the whole file").at(place).into()),
    }
}

pub(super) fn read_at(source: &dyn DiskFile, place: &str, out: &mut [u8], at: u64) -> Result<()> {
    source.read_exact_at(out, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Damage::of(Nature::Missing, "the file ends early").at(place).into(),
        _ => Error::io("read", Path::new(place), error),
    })
}

impl Checkpoint {
    /// Its files, in the listing's order.
    #[must_use]
    pub fn files(&self) -> Vec<ListedFile> {
        let mut files: Vec<_> = self.levels.tables().map(|meta| ListedFile::of(meta)).collect();
        files.sort_by_key(|file| file.id);
        files
    }

    /// The bytes of one of its files, if they are the content listed. Needs no key.
    ///
    /// # Errors
    /// `Damaged` names the file; `Unavailable` if the disk failed.
    pub fn content_of(&self, file: &ListedFile) -> Result<Vec<u8>> {
        let place = format!("tables/{}.dpb", file.id);
        let source = self.ground.files.file(file.id)?;
        let mut bytes = Vec::with_capacity(usize::try_from(file.bytes).unwrap_or(0));
        copy_verified(
            file,
            &place,
            |out, at| read_at(&*source, &place, out, at),
            |piece, _| {
                bytes.extend_from_slice(piece);
                Ok(())
            },
        )?;
        Ok(bytes)
    }

    /// Copies listing and files into `dir` of `disk`. A file that has its name there was synced whole before it got it, so it
    /// is left as it is, once its length agrees. The listing comes last, so a folder with a listing is whole. Needs no
    /// tenant's key. Returns bytes copied.
    ///
    /// # Errors
    /// `Damaged` names a file whose content is not what the manifest says; `Unavailable` if a disk failed.
    pub fn export_to_dir(&self, disk: &dyn Disk, dir: &Path) -> Result<u64> {
        disk.create_dir(dir).map_err(|error| Error::io("create folder", dir, error))?;
        let present: BTreeSet<String> =
            disk.list(dir).map_err(|error| Error::io("list", dir, error))?.into_iter().collect();
        let mut copied = 0;
        for file in self.files() {
            let name = format!("{}.dpb", file.id);
            let path = dir.join(&name);
            if present.contains(&name) {
                let length = disk.open(&path).and_then(|there| there.len());
                if length.map_err(|error| Error::io("measure", &path, error))? == file.bytes {
                    continue;
                }
                disk.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
            }
            let part = dir.join(format!("{name}{PART_SUFFIX}"));
            if present.contains(&format!("{name}{PART_SUFFIX}")) {
                disk.remove(&part).map_err(|error| Error::io("remove", &part, error))?;
            }
            if let Err(error) = self.copy_to(disk, &file, &part) {
                // A later export removes what cannot be removed now.
                let _ = disk.remove(&part);
                return Err(error);
            }
            disk.rename(&part, &path).map_err(|error| Error::io("rename", &part, error))?;
            copied += file.bytes;
        }
        disk.sync_dir(dir).map_err(|error| Error::io("sync folder", dir, error))?;
        atomic::replace(disk, dir, LISTING_NAME, &self.listing)
            .map_err(|error| Error::io("write listing in", dir, error))?;
        Ok(copied)
    }

    /// Reads bytes of one of its files, from `at` on: for a sender that goes on where an earlier transfer ended. The receiver checks
    /// the whole file when it imports it.
    ///
    /// # Errors
    /// `Damaged` if the file ends before; `Unavailable` if a disk failed.
    pub fn read_file(&self, file: TableId, at: u64, out: &mut [u8]) -> Result<()> {
        self.ground.charge(out.len() as u64);
        read_at(&*self.ground.files.file(file)?, &Files::place(file), out, at)
    }

    fn copy_to(&self, disk: &dyn Disk, file: &ListedFile, path: &Path) -> Result<()> {
        let source = self.ground.files.file(file.id)?;
        let target = disk.create(path).map_err(|error| Error::io("create", path, error))?;
        let place = Files::place(file.id);
        let write = |piece: &[u8], at| {
            self.ground.charge(piece.len() as u64);
            target.write_all_at(piece, at).map_err(|error| Error::io("write", path, error))
        };
        copy_verified(file, &place, |out, at| read_at(&*source, &place, out, at), write)?;
        target.sync().map_err(|error| Error::io("sync", path, error))
    }

    /// Writes listing and files into `out`, but for the files in `present`, which the receiver has. Returns bytes of
    /// files written. Needs no tenant's key.
    ///
    /// # Errors
    /// As [`Checkpoint::export_to_dir`]; the receiver notices a stream that ends early.
    pub fn export_to_stream(&self, out: &mut dyn Write, present: &BTreeSet<TableId>) -> Result<u64> {
        let failed = |error| Error::io("write", Path::new("checkpoint stream"), error);
        let mut head = magic::CHECKPOINT_STREAM.to_vec();
        head.extend_from_slice(&magic::CHECKPOINT_STREAM_VERSION.to_be_bytes());
        head.extend_from_slice(&[0, 0]);
        let length = u32::try_from(self.listing.len()).map_err(|_| Error::Invalid("a listing over 4 GiB"))?;
        head.extend_from_slice(&length.to_be_bytes());
        out.write_all(&head).map_err(failed)?;
        out.write_all(&self.listing).map_err(failed)?;
        let mut written = 0;
        for file in self.files().into_iter().filter(|file| !present.contains(&file.id)) {
            out.write_all(&[FILE_FOLLOWS]).and_then(|()| out.write_all(&file.id.0)).map_err(failed)?;
            out.write_all(&file.bytes.to_be_bytes()).map_err(failed)?;
            let source = self.ground.files.file(file.id)?;
            let place = Files::place(file.id);
            let read = |piece: &mut [u8], at| read_at(&*source, &place, piece, at);
            copy_verified(&file, &place, read, |piece, _| {
                self.ground.charge(piece.len() as u64);
                out.write_all(piece).map_err(failed)
            })?;
            written += file.bytes;
        }
        out.write_all(&[END]).and_then(|()| out.flush()).map_err(failed)?;
        Ok(written)
    }
}
