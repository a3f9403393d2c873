//! Pure: the header and the sealed frames of a block file.
//! Format: block_file, `docs/formats/block_file.md`.
//!
//! * A file's key is derived from its stripe owner's data key and the file's random salt: it dies with the file.
//! * A nonce is the block's number and 64 bits that depend on fresh randomness *and* on what is sealed, so a cloned
//!   machine that repeats its randomness still does not repeat a nonce for other bytes.
//! * The checksum covers ciphertext: bit rot is found without a key, and told apart from tampering.

use super::cipher::{self, Cipher, TAG_BYTES};
use super::context::{BlockPosition, CONTEXT_BYTES, Scope};
use super::derive;
use super::secret::SecretKey;
use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{ClusterId, KeyId, TableId};
use crate::limits;
use crate::magic;
use crate::stamp::Stamp;
use std::ops::Range;

/// Bytes of a file's header.
pub const HEADER_BYTES: usize = 96;
/// Bytes of a frame before its ciphertext.
pub const FRAME_HEAD_BYTES: usize = 24;
/// Bytes of a frame beside its ciphertext.
pub const FRAME_EXTRA_BYTES: usize = FRAME_HEAD_BYTES + TAG_BYTES + 4;

/// What a block file is for. The numbers are stored and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileKind {
    /// A table of a tablet.
    Table = 1,
    /// A tick of an archive.
    Tick = 2,
    /// A compacted piece of a log.
    CompactedLog = 3,
    /// Spilled working memory.
    Spill = 4,
    /// An export.
    Export = 5,
}

/// What a block holds. The numbers are stored and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockType {
    /// Entries.
    Data = 1,
    /// Where the data blocks are.
    Index = 2,
    /// Which rows are surely not there.
    Filter = 3,
    /// Range tombstones.
    Tombstones = 4,
    /// Counts and positions of a stripe.
    StripeEnd = 5,
    /// A small stripe whole.
    Solo = 6,
}

impl BlockType {
    /// The type that `number` stands for, if any does.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        use BlockType::{Data, Filter, Index, Solo, StripeEnd, Tombstones};
        [Data, Index, Filter, Tombstones, StripeEnd, Solo].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Where a sealed block stands in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockPlace {
    /// Its number through the file.
    pub number: u32,
    /// First byte of its frame.
    pub offset: u64,
    /// Bytes of its frame.
    pub bytes: u32,
}

/// The clear first bytes of a block file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Cipher suite of every block.
    pub suite: u8,
    /// What the file is for; a number this build may not know.
    pub kind: u8,
    /// When it was created.
    pub created: Stamp,
    /// The cluster it was made in.
    pub cluster: ClusterId,
    /// Its random name.
    pub file: TableId,
    /// Random; the file's keys depend on it.
    pub salt: [u8; 32],
}

impl Header {
    /// The header as it stands in the file.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&magic::BLOCK_FILE);
        out[4..6].copy_from_slice(&magic::BLOCK_FILE_VERSION.to_be_bytes());
        out[6] = self.suite;
        out[7] = self.kind;
        out[8..16].copy_from_slice(&self.created.0.to_be_bytes());
        out[16..32].copy_from_slice(&self.cluster.0);
        out[32..48].copy_from_slice(&self.file.0);
        out[48..80].copy_from_slice(&self.salt);
        let crc = crc32fast::hash(&out[..92]);
        out[92..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads a header. What it names is checked by the caller, who knows which file it wants.
    ///
    /// # Errors
    /// `Damaged`: rot, or no block file. `Unsupported`: version or suite.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>().expect("a header is longer than its checksum");
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(Damage::of(Nature::Rot, "checksum of the file header").into());
        }
        if body[..4] != magic::BLOCK_FILE {
            return Err(Damage::of(Nature::WrongPlace, "no block file").into());
        }
        let unsupported = |what: &str, found: u32| {
            let what = what.to_owned();
            Error::Unsupported { what, found, supported: "1" }
        };
        let version = u16::from_be_bytes([body[4], body[5]]);
        if version != magic::BLOCK_FILE_VERSION {
            return Err(unsupported("block file", u32::from(version)));
        }
        let suite = body[6];
        if suite != cipher::suite() {
            return Err(unsupported("cipher suite of a block file", u32::from(suite)));
        }
        if body[80..92] != [0; 12] {
            return Err(Damage::of(Nature::Malformed, "reserved bytes of the file header").into());
        }
        let array16 = |at: usize| <[u8; 16]>::try_from(&body[at..at + 16]).expect("16 bytes of 92");
        Ok(Self {
            suite,
            kind: body[7],
            created: Stamp(u64::from_be_bytes(body[8..16].try_into().expect("8 bytes of 92"))),
            cluster: ClusterId(array16(16)),
            file: TableId(array16(32)),
            salt: body[48..80].try_into().expect("32 bytes of 92"),
        })
    }
}

/// The clear first bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Number of the block through the file.
    pub number: u32,
    /// Bytes of ciphertext.
    pub sealed_bytes: u32,
    /// Number of the stripe.
    pub stripe: u32,
    /// What the block holds; a number this build may not know.
    pub block_type: u8,
    /// How it is compressed.
    pub codec: u8,
    r: [u8; 8],
}

impl FrameHead {
    /// Reads the first bytes of a frame; nothing of it is proved yet.
    ///
    /// # Errors
    /// `Damaged` if the length is over the limit or reserved bytes are not zero: the head is rotten or no head. Names no block:
    /// the number that stands here is as doubtful as the rest.
    pub fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Result<Self, Damage> {
        let u32_at = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let head = Self {
            number: u32_at(0),
            sealed_bytes: u32_at(4),
            stripe: u32_at(8),
            block_type: bytes[12],
            codec: bytes[13],
            r: bytes[16..24].try_into().expect("8 bytes of 24"),
        };
        if head.sealed_bytes as usize > limits::RAW_BLOCK_BYTES_MAX + 4 || bytes[14..16] != [0, 0] {
            return Err(Damage::of(Nature::Rot, "impossible frame head"));
        }
        Ok(head)
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn frame_bytes(&self) -> u32 {
        self.sealed_bytes + FRAME_EXTRA_BYTES as u32
    }
}

/// Checks the checksum and length of a whole frame. Needs no key.
///
/// # Errors
/// `Damaged`: rot.
pub fn check_frame(frame: &[u8]) -> Result<FrameHead, Damage> {
    let rot = |detail| Damage::of(Nature::Rot, detail);
    let (body, crc) = frame.split_last_chunk::<4>().ok_or_else(|| rot("frame shorter than its checksum"))?;
    let head = body.first_chunk::<FRAME_HEAD_BYTES>().ok_or_else(|| rot("frame shorter than its head"))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Err(rot("checksum of the block"));
    }
    let head = FrameHead::decode(head)?;
    if head.frame_bytes() as usize != frame.len() {
        return Err(rot("another length than the block's place says"));
    }
    Ok(head)
}

/// What the blocks of one stripe are sealed with: derived once, kept while the file is written or read.
pub(crate) struct StripeKeys {
    cipher: Cipher,
    fingerprint: Cipher,
    nonce: SecretKey,
    commitment: [u8; 32],
    key_id: KeyId,
    context: [u8; CONTEXT_BYTES],
}

impl StripeKeys {
    pub(crate) fn derive(
        key: &SecretKey,
        key_id: KeyId,
        scope: &Scope,
        header: &Header,
        kind: FileKind,
    ) -> Self {
        let context = scope.file(header.file, kind, header.suite);
        let secrets = derive::file(key, &header.salt, &context);
        Self {
            cipher: cipher::ready(&secrets.key),
            fingerprint: cipher::ready(&secrets.fingerprint),
            nonce: secrets.nonce,
            commitment: secrets.commitment,
            key_id,
            context,
        }
    }

    pub(crate) fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The public proof of which key the file was sealed with.
    pub(crate) fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Seals `plain` as the block at `position`: appends its frame to `out`, returns the tag.
    pub(crate) fn seal(
        &self,
        random: &[u8; 32],
        position: BlockPosition,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> [u8; TAG_BYTES] {
        let context = position.context(&self.context);
        let fingerprint = cipher::fingerprint(&*self.fingerprint, plain);
        let mac = derive::hmac(self.nonce.expose(), &[random, &context, &fingerprint]);
        let start = out.len();
        let length = u32::try_from(plain.len()).expect("RAW_BLOCK_BYTES_MAX fits u32");
        out.reserve(plain.len() + FRAME_EXTRA_BYTES);
        out.extend_from_slice(&position.number.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&position.stripe.to_be_bytes());
        out.extend_from_slice(&[position.block_type as u8, position.codec, 0, 0]);
        out.extend_from_slice(&mac[..8]);
        let body = out.len();
        out.extend_from_slice(plain);
        let tag = self.cipher.seal(nonce(position.number, &mac[..8]), &context, &mut out[body..]);
        out.extend_from_slice(&tag);
        let crc = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&crc.to_be_bytes());
        tag
    }

    /// Opens a frame that [`check_frame`] has passed, in place, if it was sealed for this file and `position`: where in the frame
    /// the opened bytes stand. The caller wipes the frame, opened or not.
    pub(crate) fn open(
        &self,
        head: &FrameHead,
        position: BlockPosition,
        frame: &mut [u8],
    ) -> Result<Range<usize>, Damage> {
        let context = position.context(&self.context);
        let end = FRAME_HEAD_BYTES + head.sealed_bytes as usize;
        let tag: [u8; TAG_BYTES] =
            frame[end..end + TAG_BYTES].try_into().expect("a tag after the ciphertext");
        let (nonce, body) = (nonce(head.number, &head.r), FRAME_HEAD_BYTES..end);
        match self.cipher.open(nonce, &context, &mut frame[body.clone()], &tag) {
            true => Ok(body),
            false => Err(Damage::of(Nature::Tampered, "seal of the block")),
        }
    }
}

fn nonce(number: u32, r: &[u8]) -> [u8; cipher::NONCE_BYTES] {
    let mut out = [0; cipher::NONCE_BYTES];
    out[..4].copy_from_slice(&number.to_be_bytes());
    out[4..].copy_from_slice(r);
    out
}

/// The tag of a frame that [`check_frame`] has passed.
#[must_use]
pub fn tag_of(head: &FrameHead, frame: &[u8]) -> [u8; TAG_BYTES] {
    let at = FRAME_HEAD_BYTES + head.sealed_bytes as usize;
    frame.get(at..at + TAG_BYTES).and_then(|tag| tag.try_into().ok()).unwrap_or_default()
}
