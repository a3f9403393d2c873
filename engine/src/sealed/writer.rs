//! Writes a block file front to back through a bounded buffer, keeping the digests that end it.

use super::block_file::{self, BlockPlace, BlockType, FileKind, HEADER_BYTES, Header, StripeKeys};
use super::cipher;
use super::compression::Compressor;
use super::context::BlockPosition;
use super::derive::{self, Sha256};
use super::directory::{DirectoryRow, FOOTER_BYTES, Footer};
use super::usage::{Spend, spend};
use super::{ReadyKey, Sealer};
use crate::disk::DiskFile;
use crate::error::{Error, Result};
use crate::ids::{Owner, Purpose, TableId};
use crate::limits;
use crate::stamp::Stamp;
use std::path::PathBuf;
use std::sync::Arc;

const BUFFER_BYTES: usize = 256 << 10;
/// Bytes after which the system is asked to begin writing them out: what is left for the sync is then a few milliseconds.
const WRITE_OUT_BYTES: u64 = 1 << 20;
/// The system writes whole pages.
const PAGE_BYTES: u64 = 4 << 10;

/// What a finished block file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// Its random name.
    pub id: TableId,
    /// Length in bytes.
    pub bytes: u64,
    /// Content id: SHA-256 of all its bytes.
    pub content: [u8; 32],
    /// CRC32 of all its bytes.
    pub crc32: u32,
    /// SHA-256 of header, directory and footer: what a reader holds against the ends it finds.
    pub ends: [u8; 32],
    /// Blocks.
    pub blocks: u32,
    /// Its stripes.
    pub rows: Vec<DirectoryRow>,
}

struct Stripe {
    key: ReadyKey,
    keys: StripeKeys,
    offset: u64,
    first_block: u32,
    tags: Sha256,
    sealed_bytes: u64,
}

/// Writes a block file front to back. Nothing of it counts until [`BlockFileWriter::finish`] has returned.
pub struct BlockFileWriter {
    sealer: Arc<Sealer>,
    file: Arc<dyn DiskFile>,
    header: Header,
    kind: FileKind,
    buffer: Vec<u8>,
    /// Bytes already handed to the disk.
    written: u64,
    /// Bytes the disk was asked to begin writing out.
    written_out: u64,
    blocks: u32,
    rows: Vec<DirectoryRow>,
    stripe: Option<Stripe>,
    /// Header and all tags in order.
    tags: Sha256,
    content: Sha256,
    crc32: crc32fast::Hasher,
    compressor: Compressor,
}

impl BlockFileWriter {
    /// Begins the file `id` in the empty `file`.
    ///
    /// # Errors
    /// None yet; the first bytes are buffered.
    pub fn create(
        sealer: Arc<Sealer>,
        kind: FileKind,
        id: TableId,
        created: Stamp,
        file: Arc<dyn DiskFile>,
    ) -> Result<Self> {
        let (cluster, salt) = (sealer.cluster(), sealer.random());
        let header = Header { suite: cipher::suite(), kind: kind as u8, created, cluster, file: id, salt };
        let buffer = header.encode().to_vec();
        let mut tags = Sha256::new();
        tags.update(&buffer);
        Ok(Self {
            sealer,
            file,
            header,
            kind,
            buffer,
            written: 0,
            written_out: 0,
            blocks: 0,
            rows: Vec::new(),
            stripe: None,
            tags,
            content: Sha256::new(),
            crc32: crc32fast::Hasher::new(),
            compressor: Compressor::default(),
        })
    }

    /// Begins the stripe of `owner`, under its active epoch of `purpose`. The stripe before must have ended.
    ///
    /// # Errors
    /// `Key`: no active key. `TooLarge`: over `FILE_STRIPES_MAX`.
    pub fn begin_stripe(&mut self, owner: Owner, purpose: Purpose) -> Result<()> {
        assert!(self.stripe.is_none(), "a stripe begins while another is open");
        if self.rows.len() >= limits::FILE_STRIPES_MAX as usize {
            let max = u64::from(limits::FILE_STRIPES_MAX);
            return Err(Error::TooLarge { what: "stripes of a file", got: max + 1, max });
        }
        let epoch = self.sealer.keys().active(owner, purpose)?;
        let key = self.sealer.ready(owner, purpose, epoch)?;
        let keys = StripeKeys::derive(&key.key, key.key_id, &key.scope, &self.header, self.kind);
        let (offset, first_block) = (self.bytes(), self.blocks);
        self.compressor.begin_stripe();
        self.stripe = Some(Stripe { key, keys, offset, first_block, tags: Sha256::new(), sealed_bytes: 0 });
        Ok(())
    }

    /// Compresses `raw` if that saves an eighth, seals it as the next block, appends it.
    ///
    /// # Errors
    /// `TooLarge`: block or file over its limit. `Unavailable`: the disk failed.
    pub fn block(&mut self, block_type: BlockType, raw: &[u8]) -> Result<BlockPlace> {
        let too_large = |what, got: u64, max: u64| Err(Error::TooLarge { what, got, max });
        if raw.len() > limits::RAW_BLOCK_BYTES_MAX {
            return too_large("block bytes", raw.len() as u64, limits::RAW_BLOCK_BYTES_MAX as u64);
        }
        if spend(self.blocks) == Spend::Refuse {
            return too_large(
                "blocks of a file",
                u64::from(self.blocks) + 1,
                u64::from(limits::FILE_BLOCKS_MAX),
            );
        }
        let after = self.bytes() + raw.len() as u64 + 4 + block_file::FRAME_EXTRA_BYTES as u64;
        if after > limits::FILE_BYTES_MAX {
            return too_large("file bytes", after, limits::FILE_BYTES_MAX);
        }
        let (offset, number) = (self.bytes(), self.blocks);
        let stripe_number = u32::try_from(self.rows.len()).expect("FILE_STRIPES_MAX fits u32");
        let (codec, packed) = self.compressor.pack(block_type, raw);
        let stripe = self.stripe.as_mut().expect("blocks are written inside a stripe");
        let position = BlockPosition { number, stripe: stripe_number, block_type, codec };
        let start = self.buffer.len();
        let tag = stripe.keys.seal(&self.sealer.random(), position, packed, &mut self.buffer);
        stripe.tags.update(&tag);
        stripe.sealed_bytes += packed.len() as u64;
        self.tags.update(&tag);
        self.blocks += 1;
        let bytes = u32::try_from(self.buffer.len() - start).expect("RAW_BLOCK_BYTES_MAX fits u32");
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_buffer()?;
        }
        Ok(BlockPlace { number, offset, bytes })
    }

    /// SHA-256 over the tags of this stripe's blocks so far.
    #[must_use]
    pub fn stripe_digest(&self) -> [u8; 32] {
        self.stripe.as_ref().map(|stripe| stripe.tags.clone().finish()).unwrap_or_default()
    }

    /// Ends the stripe whose end (or solo) block stands at `end`.
    ///
    /// # Errors
    /// `KeyUsedUp` never stops a file half written; it is told by [`Sealer::usage`] instead.
    pub fn end_stripe(&mut self, end: BlockPlace, entries: u64, least: Stamp, greatest: Stamp) -> Result<()> {
        let stripe = self.stripe.take().expect("a stripe that ends has begun");
        self.sealer.charge(&stripe.key.scope, 0, stripe.sealed_bytes)?;
        self.rows.push(DirectoryRow {
            owner: stripe.key.scope.owner,
            purpose: stripe.key.scope.purpose,
            epoch: stripe.key.scope.epoch,
            key_id: stripe.keys.key_id(),
            commitment: *stripe.keys.commitment(),
            offset: stripe.offset,
            length: self.bytes() - stripe.offset,
            first_block: stripe.first_block,
            blocks: self.blocks - stripe.first_block,
            end_offset: end.offset,
            entries,
            least,
            greatest,
        });
        Ok(())
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Blocks appended so far.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Stripes ended so far.
    #[must_use]
    pub fn stripes(&self) -> usize {
        self.rows.len()
    }

    /// Writes directory and footer and makes the file durable. Its name is the caller's to make durable.
    ///
    /// # Errors
    /// `Key`: the cluster's mac key is missing. `Unavailable`: the disk failed; the file is of no use.
    pub fn finish(mut self) -> Result<FileSummary> {
        assert!(self.stripe.is_none(), "a file ends while a stripe is open");
        let directory_offset = self.bytes();
        let mut directory = Vec::with_capacity(self.rows.len() * super::directory::ROW_BYTES);
        self.rows.iter().for_each(|row| row.append(&mut directory));
        self.tags.update(&directory);
        let mac_epoch = self.sealer.keys().active(Owner::Cluster, Purpose::Mac)?;
        let mac_key = self.sealer.keys().key(Owner::Cluster, Purpose::Mac, mac_epoch)?;
        let mut footer = Footer {
            directory_offset,
            file_bytes: directory_offset + (directory.len() + FOOTER_BYTES) as u64,
            rows: u32::try_from(self.rows.len()).expect("FILE_STRIPES_MAX fits u32"),
            blocks: self.blocks,
            mac_epoch,
            digest: self.tags.clone().finish(),
            mac: [0; 32],
        };
        footer.mac = derive::footer_mac(&mac_key, &self.header.salt, &footer.authenticated());
        let footer = footer.encode(&directory);
        let ends = derive::ends(&self.header.encode(), &directory, &footer);
        self.buffer.extend_from_slice(&directory);
        self.buffer.extend_from_slice(&footer);
        self.write_buffer()?;
        self.file.sync().map_err(|error| self.io("sync", error))?;
        let Self { header, content, crc32, blocks, rows, written, .. } = self;
        let (content, crc32) = (content.finish(), crc32.finalize());
        Ok(FileSummary { id: header.file, bytes: written, content, crc32, ends, blocks, rows })
    }

    fn io(&self, verb: &'static str, error: std::io::Error) -> Error {
        Error::io(verb, &PathBuf::from(format!("block file {}", self.header.file)), error)
    }

    fn write_buffer(&mut self) -> Result<()> {
        self.file.write_all_at(&self.buffer, self.written).map_err(|error| self.io("write", error))?;
        self.content.update(&self.buffer);
        self.crc32.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        // Whole pages, and each of them once.
        let until = self.written / PAGE_BYTES * PAGE_BYTES;
        if until - self.written_out >= WRITE_OUT_BYTES {
            self.file.write_out(self.written_out, until - self.written_out);
            self.written_out = until;
        }
        Ok(())
    }
}

const _: () = assert!(HEADER_BYTES < BUFFER_BYTES);
