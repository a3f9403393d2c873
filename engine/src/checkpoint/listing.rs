//! Pure: a checkpoint as bytes: which immutable files make up a tablet, and at which position.
//! Format: checkpoint_listing, `docs/formats/checkpoint_listing.md`.
//!
//! The clear part serves whoever moves files and holds no key; the sealed part is the tablet's picture, with its key
//! bounds, and is bound to every byte of the clear part.

use crate::error::{Damage, Error, Nature, Result};
use crate::ids::{ClusterId, KeyEpoch, LogIndex, Owner, Purpose, TableId, TabletId};
use crate::limits;
use crate::magic;
use crate::manifest::edit::Edit;
use crate::manifest::levels::Levels;
use crate::sealed::{EnvelopeKind, Sealer};
use crate::stamp::Stamp;
use crate::table::{StripeMeta, TableMeta};
use crate::wire::Reader;
use std::collections::BTreeMap;

/// One file of a checkpoint, as its clear part tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// The table.
    pub id: TableId,
    /// Length in bytes.
    pub bytes: u64,
    /// Content id: SHA-256 of all its (sealed) bytes.
    pub content: [u8; 32],
    /// CRC32 of the same bytes.
    pub crc32: u32,
    /// Whose bytes it holds, under which epochs.
    pub stripes: Vec<StripeMeta>,
}

/// A listing whose clear part has been read; its seal has not been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedListing {
    /// The cluster it was made in.
    pub cluster: ClusterId,
    /// The tablet it was made of.
    pub tablet: TabletId,
    /// The log index it holds everything up to.
    pub index: LogIndex,
    /// The stamp it holds everything up to.
    pub stamp: Stamp,
    /// The files, by id.
    pub files: Vec<ListedFile>,
    clear: Vec<u8>,
    sealed: Vec<u8>,
}

/// A verified checkpoint: files and the picture that says where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The files, by id.
    pub files: Vec<ListedFile>,
    /// Range, position, levels.
    pub levels: Levels,
}

impl ListedFile {
    pub(super) fn of(meta: &TableMeta) -> Self {
        let (content, stripes) = (meta.content, meta.stripes.clone());
        Self { id: meta.id, bytes: meta.bytes, content, crc32: meta.crc32, stripes }
    }
}

/// Seals the picture `levels` of `tablet` into a listing's bytes.
///
/// # Errors
/// `Key` if the cluster's key is missing.
pub fn seal(sealer: &Sealer, tablet: TabletId, levels: &Levels) -> Result<Vec<u8>> {
    let files: BTreeMap<TableId, ListedFile> =
        levels.tables().map(|meta| (meta.id, ListedFile::of(meta))).collect();
    let mut out = magic::CHECKPOINT_LISTING.to_vec();
    out.extend_from_slice(&magic::CHECKPOINT_LISTING_VERSION.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&sealer.cluster().0);
    out.extend_from_slice(&tablet.0.to_be_bytes());
    out.extend_from_slice(&levels.applied.index.0.to_be_bytes());
    out.extend_from_slice(&levels.applied.stamp.0.to_be_bytes());
    out.extend_from_slice(&count(files.len()).to_be_bytes());
    files.values().for_each(|file| append_file(&mut out, file));
    let picture = levels.whole_edit(tablet, 1).encode();
    let sealed =
        sealer.seal_envelope(Owner::Cluster, Purpose::Meta, EnvelopeKind::CheckpointState, &out, &picture)?;
    out.extend_from_slice(&count(sealed.len()).to_be_bytes());
    out.extend_from_slice(&sealed);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    Ok(out)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("TABLES_MAX, FILE_STRIPES_MAX and ENVELOPE_BYTES_MAX fit u32")
}

fn append_file(out: &mut Vec<u8>, file: &ListedFile) {
    out.extend_from_slice(&file.id.0);
    out.extend_from_slice(&file.bytes.to_be_bytes());
    out.extend_from_slice(&file.content);
    out.extend_from_slice(&file.crc32.to_be_bytes());
    out.extend_from_slice(&count(file.stripes.len()).to_be_bytes());
    for stripe in &file.stripes {
        out.extend_from_slice(&[stripe.owner.kind(), 0, 0, 0]);
        out.extend_from_slice(&stripe.epoch.0.to_be_bytes());
        out.extend_from_slice(&stripe.owner.id().to_be_bytes());
        out.extend_from_slice(&stripe.bytes.to_be_bytes());
        out.extend_from_slice(&stripe.entries.to_be_bytes());
    }
}

fn read_file(reader: &mut Reader<'_>) -> Result<ListedFile, Damage> {
    let (id, bytes, content, crc32) =
        (TableId(reader.array()?), reader.u64()?, reader.array()?, reader.u32()?);
    let stripes = reader.u32()?;
    if stripes > limits::FILE_STRIPES_MAX {
        return Err(malformed("more stripes than a file may have"));
    }
    let mut file = ListedFile { id, bytes, content, crc32, stripes: Vec::new() };
    for _ in 0..stripes {
        let [kind, 0, 0, 0] = reader.array()? else { return Err(malformed("reserved bytes are not zero")) };
        let epoch = KeyEpoch(reader.u32()?);
        let owner = Owner::from_parts(kind, reader.u64()?).ok_or_else(|| malformed("unknown owner kind"))?;
        file.stripes.push(StripeMeta { owner, epoch, bytes: reader.u64()?, entries: reader.u64()? });
    }
    Ok(file)
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

impl UnverifiedListing {
    /// Reads the clear part of a listing.
    ///
    /// # Errors
    /// `Damaged` if the checksum or a length disagrees; `Unsupported` version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let short = || Damage::of(Nature::Missing, "a listing shorter than its ends");
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(short)?;
        let mut reader = Reader::new(body);
        if body.len() < 4 {
            return Err(short().into());
        }
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(Damage::of(Nature::Rot, "checksum of the listing").into());
        }
        if reader.array::<4>()? != magic::CHECKPOINT_LISTING {
            return Err(Damage::of(Nature::WrongPlace, "no checkpoint listing").into());
        }
        let version = u16::from_be_bytes(reader.array()?);
        if version != magic::CHECKPOINT_LISTING_VERSION {
            let what = "checkpoint listing".to_owned();
            return Err(Error::Unsupported { what, found: u32::from(version), supported: "1" });
        }
        if reader.array::<2>()? != [0, 0] {
            return Err(malformed("reserved bytes are not zero").into());
        }
        let cluster = ClusterId(reader.array()?);
        let tablet = TabletId(reader.u64()?);
        let (index, stamp) = (LogIndex(reader.u64()?), Stamp(reader.u64()?));
        let count = reader.u32()?;
        if count as usize > limits::TABLES_MAX {
            return Err(malformed("more files than a tablet may have").into());
        }
        let mut files: Vec<ListedFile> = Vec::new();
        for _ in 0..count {
            let file = read_file(&mut reader)?;
            if files.last().is_some_and(|last| last.id >= file.id) {
                return Err(malformed("files out of order").into());
            }
            files.push(file);
        }
        let clear = body[..body.len() - reader.left()].to_vec();
        let length = reader.u32()? as usize;
        let sealed = reader.take(length)?.to_vec();
        reader.end()?;
        Ok(Self { cluster, tablet, index, stamp, files, clear, sealed })
    }

    /// Opens the sealed part and checks that it speaks of the same files and position.
    ///
    /// # Errors
    /// `Damaged` (tampered, or another cluster's), `Key`.
    pub fn verify(self, sealer: &Sealer) -> Result<Listing> {
        if self.cluster != sealer.cluster() {
            return Err(Damage::of(Nature::WrongPlace, "the listing is another cluster's").into());
        }
        let kind = EnvelopeKind::CheckpointState;
        let picture = sealer.open_envelope(Owner::Cluster, Purpose::Meta, kind, &self.clear, &self.sealed)?;
        let edit = Edit::decode(&picture)?;
        if edit.tablet != self.tablet || !edit.is_reset {
            return Err(malformed("the picture is not of the tablet listed").into());
        }
        let levels = Levels::default().apply(&edit)?;
        let mut files: Vec<_> = levels.tables().map(|meta| ListedFile::of(meta)).collect();
        files.sort_by_key(|file| file.id);
        let is_same =
            files == self.files && levels.applied.index == self.index && levels.applied.stamp == self.stamp;
        if !is_same {
            return Err(malformed("clear and sealed part disagree").into());
        }
        Ok(Listing { files, levels })
    }
}
