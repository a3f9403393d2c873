//! Reads block files: verified at the door, block by block afterwards; and walks one without any key.

use super::block_file::{
    BlockPlace, BlockType, FRAME_EXTRA_BYTES, FRAME_HEAD_BYTES, FileKind, FrameHead, HEADER_BYTES, Header,
    StripeKeys, check_frame, tag_of,
};
use super::compression::unpack;
use super::context::BlockPosition;
use super::derive::{self, Sha256};
use super::directory::{DirectoryRow, FOOTER_BYTES, Footer, ROW_BYTES, check_directory, decode_directory};
use super::{Sealer, SecretBytes};
use crate::disk::DiskFile;
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{Owner, Purpose, TableId};
use crate::limits;
use crate::stamp::Stamp;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// An opened block file: checksums of its ends agree and its footer is authentic. What the header and the directory say is
/// proved by the first use of a stripe's key (commitment) and by each block (context); a scrub holds both against the digest
/// in the footer. Holds no handle: one is passed to each read.
pub struct BlockFile {
    sealer: Arc<Sealer>,
    place: String,
    kind: FileKind,
    header: Header,
    footer: Footer,
    rows: Vec<DirectoryRow>,
    ends: [u8; 32],
    /// Derived when a stripe is first read; dropped by [`BlockFile::forget_keys`].
    keys: Vec<RwLock<Option<Arc<StripeKeys>>>>,
}

fn read(file: &dyn DiskFile, place: &str, out: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(out, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Damage::of(Nature::Missing, "the file ends early").at(place).into(),
        _ => Error::io("read", Path::new(place), error),
    })
}

struct Ends {
    header: Header,
    header_bytes: [u8; HEADER_BYTES],
    footer: Footer,
    footer_bytes: [u8; FOOTER_BYTES],
    directory: Vec<u8>,
}

fn read_ends(file: &dyn DiskFile, place: &str) -> Result<Ends> {
    let length = file.len().map_err(|error| Error::io("measure", Path::new(place), error))?;
    if length < (HEADER_BYTES + FOOTER_BYTES) as u64
        || length > limits::FILE_BYTES_MAX + limits::FILE_ENDS_BYTES_MAX
    {
        return Err(Damage::of(Nature::Missing, "no block file has this length").at(place).into());
    }
    let (mut header_bytes, mut footer_bytes) = ([0; HEADER_BYTES], [0; FOOTER_BYTES]);
    read(file, place, &mut header_bytes, 0)?;
    // A later version may end in another way, so the header is asked first.
    let header = Header::decode(&header_bytes).map_err(|error| error.at(place))?;
    read(file, place, &mut footer_bytes, length - FOOTER_BYTES as u64)?;
    let footer = Footer::decode(&footer_bytes, length).map_err(|damage| damage.at(place))?;
    let mut directory = vec![0; footer.rows as usize * ROW_BYTES];
    read(file, place, &mut directory, footer.directory_offset)?;
    Ok(Ends { header, header_bytes, footer, footer_bytes, directory })
}

impl BlockFile {
    /// The id that the header of a file says it has: nothing of it is proved yet.
    ///
    /// # Errors
    /// `Damaged`, `Unsupported`, `Unavailable`.
    pub fn id(file: &dyn DiskFile, place: &str) -> Result<TableId> {
        let mut bytes = [0; HEADER_BYTES];
        read(file, place, &mut bytes, 0)?;
        Ok(Header::decode(&bytes).map_err(|error| error.at(place))?.file)
    }

    /// Opens the file `id` of `kind`: header, directory and footer must be whole and this file's, the footer authentic. Where
    /// the caller knows the digest of all three from elsewhere (`ends`, see [`super::FileSummary`]), so are the others.
    /// `place` names the file in errors.
    ///
    /// # Errors
    /// `Damaged`, `Unsupported`, `Key` (the cluster's mac key), `Unavailable` (the disk failed).
    pub fn open(
        sealer: Arc<Sealer>,
        file: &dyn DiskFile,
        place: String,
        kind: FileKind,
        id: TableId,
        ends: Option<&[u8; 32]>,
    ) -> Result<Self> {
        let Ends { header, header_bytes, footer, footer_bytes, directory } = read_ends(file, &place)?;
        check_directory(&directory, &footer_bytes).map_err(|damage| damage.at(&place))?;
        let damaged = |nature, detail| Err(Damage::of(nature, detail).at(&place).into());
        if header.file != id || header.cluster != sealer.cluster() || header.kind != kind as u8 {
            return damaged(Nature::WrongPlace, "the header names another file, cluster or kind");
        }
        let own_ends = derive::ends(&header_bytes, &directory, &footer_bytes);
        if ends.is_some_and(|ends| *ends != own_ends) {
            return damaged(Nature::Tampered, "digest over header, directory and footer");
        }
        let mac_key = sealer.keys().key(Owner::Cluster, Purpose::Mac, footer.mac_epoch)?;
        let mac = derive::footer_mac(&mac_key, &header.salt, &footer.authenticated());
        if !derive::is_equal(&mac, &footer.mac) && super::cipher::suite() != super::cipher::SUITE_NULL {
            return damaged(Nature::Tampered, "authenticator of the footer");
        }
        let rows = decode_directory(&directory, &footer).map_err(|damage| damage.at(&place))?;
        let keys = rows.iter().map(|_| RwLock::default()).collect();
        Ok(Self { sealer, place, kind, header, footer, rows, ends: own_ends, keys })
    }

    /// The stripes.
    #[must_use]
    pub fn rows(&self) -> &[DirectoryRow] {
        &self.rows
    }

    /// SHA-256 of its header, directory and footer.
    #[must_use]
    pub fn ends(&self) -> [u8; 32] {
        self.ends
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> Stamp {
        self.header.created
    }

    /// How errors name it.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Drops what is derived from keys of `owner`. Its stripes open again once the key source has their keys.
    pub fn forget_keys(&self, owner: Owner) {
        for (_, slot) in self.rows.iter().zip(&self.keys).filter(|(row, _)| row.owner == owner) {
            *slot.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn stripe_keys(&self, row: usize) -> Result<Arc<StripeKeys>> {
        let (Some(stripe), Some(slot)) = (self.rows.get(row), self.keys.get(row)) else {
            return Err(Error::Invalid("no such stripe"));
        };
        if let Some(keys) = &*slot.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(keys.clone());
        }
        let ready = self.sealer.ready(stripe.owner, stripe.purpose, stripe.epoch)?;
        if ready.key_id != stripe.key_id {
            let (have, need, place) = (ready.key_id, stripe.key_id, self.place.clone());
            let DirectoryRow { owner, purpose, epoch, .. } = *stripe;
            return Err(Error::WrongKey { place, have, need, owner, purpose, epoch });
        }
        let keys = StripeKeys::derive(&ready.key, ready.key_id, &ready.scope, &self.header, self.kind);
        if !derive::is_equal(keys.commitment(), &stripe.commitment) {
            return Err(Damage::of(Nature::Tampered, "commitment of the stripe").at(&self.place).into());
        }
        let keys = Arc::new(keys);
        *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(keys.clone());
        // Forgotten meanwhile: whoever forgot has perhaps been here before us.
        if let Err(error) = self.sealer.keys().key(stripe.owner, stripe.purpose, stripe.epoch) {
            *slot.write().unwrap_or_else(PoisonError::into_inner) = None;
            return Err(error);
        }
        Ok(keys)
    }

    /// The end (or solo) block of stripe `row`, found by the directory alone, with its type.
    ///
    /// # Errors
    /// As [`BlockFile::block`].
    pub fn end_block(&self, file: &dyn DiskFile, row: usize) -> Result<(BlockType, BlockPlace, SecretBytes)> {
        let stripe = self.rows.get(row).ok_or(Error::Invalid("no such stripe"))?;
        let number = stripe.first_block + stripe.blocks - 1;
        let head = self.head(file, stripe.end_offset, number)?;
        if stripe.end_offset + u64::from(head.frame_bytes()) != stripe.offset + stripe.length {
            // The directory is authentic, the frame's head is not yet: it is the head that must be wrong.
            let rot = Damage::of(Nature::Rot, "the last block of a stripe has another length");
            return Err(rot.at(&self.place).in_block(number).into());
        }
        let place = BlockPlace { number, offset: stripe.end_offset, bytes: head.frame_bytes() };
        let block_type = match head.block_type {
            6 => BlockType::Solo,
            _ => BlockType::StripeEnd,
        };
        Ok((block_type, place, self.block(file, row, place, block_type)?))
    }

    /// Where the block behind `place` stands, before the last one of stripe `row`. Nothing of it is proved yet.
    ///
    /// # Errors
    /// `Damaged`, `Unavailable`.
    pub fn block_after(&self, file: &dyn DiskFile, row: usize, place: BlockPlace) -> Result<BlockPlace> {
        let stripe = self.rows.get(row).ok_or(Error::Invalid("no such stripe"))?;
        let (number, offset) =
            (place.number.saturating_add(1), place.offset.saturating_add(u64::from(place.bytes)));
        let rot = || {
            let damage = Damage::of(Nature::Rot, "a block that reaches over the end of its stripe");
            Error::from(damage.at(&self.place).in_block(number))
        };
        if offset.saturating_add(FRAME_HEAD_BYTES as u64) > stripe.end_offset {
            return Err(rot());
        }
        let bytes = self.head(file, offset, number)?.frame_bytes();
        match offset + u64::from(bytes) <= stripe.end_offset {
            true => Ok(BlockPlace { number, offset, bytes }),
            false => Err(rot()),
        }
    }

    fn head(&self, file: &dyn DiskFile, offset: u64, number: u32) -> Result<FrameHead> {
        let mut head = [0; FRAME_HEAD_BYTES];
        read(file, &self.place, &mut head, offset)?;
        FrameHead::decode(&head)
            .map_err(|damage| Damage { block: None, ..damage }.at(&self.place).in_block(number).into())
    }

    /// Opens the block at `place` of stripe `row`, decompressed, if it is whole, authentic and of `block_type`.
    ///
    /// # Errors
    /// * `Damaged`: `Rot`, `Tampered`, `WrongPlace`, `Missing`, `Malformed`; names file and block.
    /// * `Key`: the stripe's key is missing, or another. `Unavailable`: the disk failed.
    pub fn block(
        &self,
        file: &dyn DiskFile,
        row: usize,
        place: BlockPlace,
        block_type: BlockType,
    ) -> Result<SecretBytes> {
        let here = |damage: Damage| Error::from(damage.at(&self.place).in_block(place.number));
        let length = place.bytes as usize;
        let is_possible = (FRAME_EXTRA_BYTES..=limits::RAW_BLOCK_BYTES_MAX + 4 + FRAME_EXTRA_BYTES)
            .contains(&length)
            && place
                .offset
                .checked_add(u64::from(place.bytes))
                .is_some_and(|end| end <= self.footer.directory_offset);
        if !is_possible {
            return Err(here(Damage::of(Nature::Malformed, "a block's place lies outside the file")));
        }
        let keys = self.stripe_keys(row)?;
        // From here on it is wiped, whatever comes.
        let mut frame = SecretBytes::from(vec![0; length]);
        read(file, &self.place, &mut frame, place.offset)?;
        let head = check_frame(&frame).map_err(here)?;
        let stripe = u32::try_from(row).unwrap_or(u32::MAX);
        if (head.number, head.stripe, head.block_type) != (place.number, stripe, block_type as u8) {
            return Err(here(Damage::of(Nature::WrongPlace, "another block stands here")));
        }
        let position = BlockPosition { number: place.number, stripe, block_type, codec: head.codec };
        let sealed = keys.open(&head, position, &mut frame).map_err(here)?;
        unpack(frame, sealed, head.codec).map_err(here)
    }

    /// SHA-256 over the seals of a stripe's blocks but the last, which holds the same digest if it is a stripe end.
    ///
    /// # Errors
    /// `Damaged`, `Unavailable`.
    pub fn stripe_digest(&self, file: &dyn DiskFile, row: usize) -> Result<[u8; 32]> {
        let stripe = self.rows.get(row).ok_or(Error::Invalid("no such stripe"))?;
        let mut tags = Sha256::new();
        let mut offset = stripe.offset;
        for number in stripe.first_block..stripe.first_block + stripe.blocks - 1 {
            let here = |damage: Damage| Error::from(damage.at(&self.place).in_block(number));
            let mut head = [0; FRAME_HEAD_BYTES];
            read(file, &self.place, &mut head, offset)?;
            let length = FrameHead::decode(&head).map_err(here)?.frame_bytes() as usize;
            let mut frame = vec![0; length];
            read(file, &self.place, &mut frame, offset)?;
            let head = check_frame(&frame).map_err(here)?;
            tags.update(&tag_of(&head, &frame));
            offset += length as u64;
        }
        Ok(tags.finish())
    }
}

/// Walks the file `id` without any key: header, checksum and order of every frame, directory, footer, and the digest over all
/// tags. `progress` is told of bytes read, and may wait. The damage found, by block; empty if the file is whole.
///
/// # Errors
/// `Unavailable` if the disk failed. Damage is a value, not an error.
pub fn scrub_clear(
    file: &dyn DiskFile,
    place: &str,
    id: TableId,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Damage>> {
    let ends = match read_ends(file, place) {
        Ok(ends) => ends,
        Err(Error::Damaged(damage)) => return Ok(vec![damage]),
        Err(other) => return Err(other),
    };
    let mut found = Vec::new();
    if ends.header.file != id {
        found.push(Damage::of(Nature::WrongPlace, "the header names another file").at(place));
    }
    let checked = check_directory(&ends.directory, &ends.footer_bytes);
    let rows = match checked.and_then(|()| decode_directory(&ends.directory, &ends.footer)) {
        Ok(rows) => rows,
        Err(damage) => {
            found.push(damage.at(place));
            return Ok(found);
        }
    };
    let mut tags = Sha256::new();
    tags.update(&ends.header_bytes);
    for (stripe, row) in (0..).zip(&rows) {
        scrub_stripe(file, place, stripe, row, &mut tags, &mut found, progress)?;
        if found.len() > limits::SCRUB_FINDINGS_MAX {
            return Ok(found);
        }
    }
    tags.update(&ends.directory);
    if found.is_empty() && tags.finish() != ends.footer.digest {
        found.push(Damage::of(Nature::Tampered, "digest over all seals").at(place));
    }
    Ok(found)
}

/// Walks the frames of one stripe, up to one after which the next cannot be found.
fn scrub_stripe(
    file: &dyn DiskFile,
    place: &str,
    stripe: u32,
    row: &DirectoryRow,
    tags: &mut Sha256,
    found: &mut Vec<Damage>,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    let (mut offset, end) = (row.offset, row.offset + row.length);
    for number in row.first_block..row.first_block + row.blocks {
        let named = |damage: Damage| damage.at(place).in_block(number);
        let mut head = [0; FRAME_HEAD_BYTES];
        read(file, place, &mut head, offset)?;
        let head = match FrameHead::decode(&head) {
            Ok(head) if offset + u64::from(head.frame_bytes()) <= end => head,
            _ => {
                found.push(named(Damage::of(Nature::Rot, "impossible frame head")));
                return Ok(());
            }
        };
        let mut frame = vec![0; head.frame_bytes() as usize];
        read(file, place, &mut frame, offset)?;
        progress(frame.len() as u64)?;
        match check_frame(&frame) {
            Ok(head) if head.number == number && head.stripe == stripe => tags.update(&tag_of(&head, &frame)),
            Ok(_) => found.push(named(Damage::of(Nature::WrongPlace, "another block stands here"))),
            Err(damage) => {
                found.push(Damage { block: None, ..damage }.at(place).in_block(number));
                // Perhaps the length is what is rotten: go on only if it leads to the next frame.
                if !leads_on(file, place, number, offset + u64::from(head.frame_bytes()), row)? {
                    return Ok(());
                }
            }
        }
        offset += u64::from(head.frame_bytes());
    }
    if offset != end {
        found.push(Damage::of(Nature::Tampered, "blocks do not fill their stripe").at(place));
    }
    Ok(())
}

/// Whether the frame after block `number` of stripe `row`, or the stripe's end, stands at `offset`.
fn leads_on(file: &dyn DiskFile, place: &str, number: u32, offset: u64, row: &DirectoryRow) -> Result<bool> {
    let end = row.offset + row.length;
    if number + 1 == row.first_block + row.blocks || offset + FRAME_HEAD_BYTES as u64 > end {
        return Ok(offset == end);
    }
    let mut head = [0; FRAME_HEAD_BYTES];
    read(file, place, &mut head, offset)?;
    Ok(FrameHead::decode(&head).is_ok_and(|head| head.number == number + 1))
}
