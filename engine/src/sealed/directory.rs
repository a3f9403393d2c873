//! Pure: the clear end of a block file: one row a stripe, then the footer that seals the whole.
//! Format: block_file, `docs/formats/block_file.md`.

use crate::error::{Damage, Nature};
use crate::ids::{KeyEpoch, KeyId, Owner, Purpose};
use crate::limits;
use crate::magic;
use crate::stamp::Stamp;
use crate::wire::Reader;

/// Bytes of a directory row.
pub const ROW_BYTES: usize = 112;
/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 104;

/// One stripe, as anybody may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRow {
    /// Whose bytes.
    pub owner: Owner,
    /// What their key is for.
    pub purpose: Purpose,
    /// Which epoch of it.
    pub epoch: KeyEpoch,
    /// Names the key.
    pub key_id: KeyId,
    /// Proves the key.
    pub commitment: [u8; 32],
    /// First byte of the stripe.
    pub offset: u64,
    /// Bytes of the stripe.
    pub length: u64,
    /// Number of its first block.
    pub first_block: u32,
    /// How many blocks it has.
    pub blocks: u32,
    /// First byte of its stripe-end or solo block.
    pub end_offset: u64,
    /// Entries.
    pub entries: u64,
    /// Least stamp in it.
    pub least: Stamp,
    /// Greatest stamp in it.
    pub greatest: Stamp,
}

impl DirectoryRow {
    /// Appends the row as it stands in the file.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.owner.id().to_be_bytes());
        out.extend_from_slice(&[self.owner.kind(), self.purpose as u8, 0, 0]);
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.key_id.0);
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.first_block.to_be_bytes());
        out.extend_from_slice(&self.blocks.to_be_bytes());
        for number in [self.end_offset, self.entries, self.least.0, self.greatest.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let malformed = |detail| Damage::of(Nature::Malformed, detail);
        let id = reader.u64()?;
        let [kind, purpose, 0, 0] = reader.array()? else {
            return Err(malformed("reserved bytes of a directory row"));
        };
        Ok(Self {
            owner: Owner::from_parts(kind, id).ok_or_else(|| malformed("unknown owner kind"))?,
            purpose: Purpose::from_number(purpose).ok_or_else(|| malformed("unknown purpose"))?,
            epoch: KeyEpoch(reader.u32()?),
            key_id: KeyId(reader.array()?),
            commitment: reader.array()?,
            offset: reader.u64()?,
            length: reader.u64()?,
            first_block: reader.u32()?,
            blocks: reader.u32()?,
            end_offset: reader.u64()?,
            entries: reader.u64()?,
            least: Stamp(reader.u64()?),
            greatest: Stamp(reader.u64()?),
        })
    }
}

/// The last bytes of a block file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// First byte of the directory.
    pub directory_offset: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Directory rows.
    pub rows: u32,
    /// Blocks.
    pub blocks: u32,
    /// Epoch of the cluster's mac key.
    pub mac_epoch: KeyEpoch,
    /// SHA-256 of header, all tags in order, directory.
    pub digest: [u8; 32],
    /// HMAC of the fields before.
    pub mac: [u8; 32],
}

impl Footer {
    /// The fields under the mac.
    #[must_use]
    pub fn authenticated(&self) -> [u8; 64] {
        let mut out = [0; 64];
        out[..8].copy_from_slice(&self.directory_offset.to_be_bytes());
        out[8..16].copy_from_slice(&self.file_bytes.to_be_bytes());
        out[16..20].copy_from_slice(&self.rows.to_be_bytes());
        out[20..24].copy_from_slice(&self.blocks.to_be_bytes());
        out[24..28].copy_from_slice(&self.mac_epoch.0.to_be_bytes());
        out[32..].copy_from_slice(&self.digest);
        out
    }

    /// The footer as it stands in the file, after `directory`.
    #[must_use]
    pub fn encode(&self, directory: &[u8]) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        out[..64].copy_from_slice(&self.authenticated());
        out[64..96].copy_from_slice(&self.mac);
        let crc = checksum(directory, &out);
        out[96..100].copy_from_slice(&crc.to_be_bytes());
        out[100..].copy_from_slice(&magic::BLOCK_FILE_END);
        out
    }

    /// Reads the footer of a file of `file_bytes` bytes; the checksum is checked with the directory.
    ///
    /// # Errors
    /// `Damaged`: the file was cut, or a number is impossible.
    pub fn decode(bytes: &[u8; FOOTER_BYTES], file_bytes: u64) -> Result<Self, Damage> {
        if bytes[100..] != magic::BLOCK_FILE_END {
            return Err(Damage::of(Nature::Rot, "no footer: the file is cut or its end rotten"));
        }
        let mut reader = Reader::new(bytes);
        let footer = Self {
            directory_offset: reader.u64()?,
            file_bytes: reader.u64()?,
            rows: reader.u32()?,
            blocks: reader.u32()?,
            mac_epoch: KeyEpoch(reader.u32()?),
            digest: {
                if reader.u32()? != 0 {
                    return Err(Damage::of(Nature::Rot, "reserved bytes of the footer"));
                }
                reader.array()?
            },
            mac: reader.array()?,
        };
        let directory = u64::from(footer.rows) * ROW_BYTES as u64;
        let is_possible = footer.rows <= limits::FILE_STRIPES_MAX
            && footer.blocks <= limits::FILE_BLOCKS_MAX
            && footer.file_bytes == file_bytes
            && footer.directory_offset.checked_add(directory + FOOTER_BYTES as u64) == Some(file_bytes);
        if is_possible {
            Ok(footer)
        } else {
            Err(Damage::of(Nature::Rot, "impossible numbers in the footer"))
        }
    }
}

fn checksum(directory: &[u8], footer: &[u8; FOOTER_BYTES]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(directory);
    crc.update(&footer[..96]);
    crc.finalize()
}

/// Checks the checksum over `directory` and the footer after it.
///
/// # Errors
/// `Damaged`: rot.
pub fn check_directory(directory: &[u8], footer_bytes: &[u8; FOOTER_BYTES]) -> Result<(), Damage> {
    let is_right = checksum(directory, footer_bytes).to_be_bytes() == footer_bytes[96..100];
    if is_right { Ok(()) } else { Err(Damage::of(Nature::Rot, "checksum of directory and footer")) }
}

/// Reads the directory that `footer` ends: order, bounds. [`check_directory`] comes first.
///
/// # Errors
/// `Damaged`.
pub fn decode_directory(directory: &[u8], footer: &Footer) -> Result<Vec<DirectoryRow>, Damage> {
    let mut reader = Reader::new(directory);
    let mut rows: Vec<DirectoryRow> = Vec::with_capacity(footer.rows as usize);
    let (mut offset, mut block) = (super::block_file::HEADER_BYTES as u64, 0_u32);
    for _ in 0..footer.rows {
        let row = DirectoryRow::read(&mut reader)?;
        let end = row.offset.checked_add(row.length);
        let is_in_place = row.offset == offset
            && row.first_block == block
            && row.blocks > 0
            && end.is_some_and(|end| {
                end <= footer.directory_offset && row.offset <= row.end_offset && row.end_offset < end
            });
        let next_block = block.checked_add(row.blocks);
        let (true, Some(end), Some(next)) = (is_in_place, end, next_block) else {
            return Err(Damage::of(Nature::Malformed, "stripes overlap, leave gaps or lie outside the file"));
        };
        (offset, block) = (end, next);
        rows.push(row);
    }
    reader.end()?;
    if offset != footer.directory_offset || block != footer.blocks {
        return Err(Damage::of(Nature::Malformed, "stripes do not fill the file"));
    }
    Ok(rows)
}
