//! Pure: how a block is compressed before it is sealed, and what comes out once it is opened.
//!
//! What was compressed is inside the seal, with its raw length in front. Bytes that do not compress cost much to try, so a stripe
//! whose data blocks did not, tries ever fewer of them.

use super::BlockType;
use super::secret::SecretBytes;
use crate::error::{Damage, Nature};
use crate::limits;
use std::ops::Range;

/// Codec number: as it is.
const CODEC_NONE: u8 = 0;
/// Codec number: LZ4 block format.
const CODEC_LZ4: u8 = 1;
/// Bytes of the raw length.
const LENGTH_BYTES: usize = 4;

/// Compresses the blocks of one stripe after another.
#[derive(Default)]
pub(super) struct Compressor {
    packed: SecretBytes,
    /// Data blocks in a row that did not compress, of those tried.
    misses: u32,
    /// Data blocks that will not be tried.
    untried: u32,
}

impl Compressor {
    /// Forgets how the blocks before did: those of a new stripe are another tenant's.
    pub(super) fn begin_stripe(&mut self) {
        (self.misses, self.untried) = (0, 0);
    }

    /// What will be sealed, with its codec: the raw length, then the bytes, compressed if that saves an eighth.
    pub(super) fn pack(&mut self, block_type: BlockType, raw: &[u8]) -> (u8, &[u8]) {
        let length = u32::try_from(raw.len()).expect("RAW_BLOCK_BYTES_MAX fits u32");
        let packed_max = lz4_flex::block::get_maximum_output_size(raw.len());
        let room = LENGTH_BYTES + packed_max;
        if self.packed.capacity() < room {
            // A vector that grows leaves its old bytes behind; one that is dropped wipes them.
            self.packed = SecretBytes::from(Vec::with_capacity(room));
        }
        self.packed.clear();
        self.packed.extend_from_slice(&length.to_be_bytes());
        if self.is_to_try(block_type) {
            self.packed.resize(room, 0);
            let packed = lz4_flex::block::compress_into(raw, &mut self.packed[LENGTH_BYTES..]);
            let saving = packed.ok().filter(|packed| *packed <= raw.len() / 8 * 7);
            self.note(block_type, saving.is_some());
            if let Some(packed) = saving {
                self.packed.truncate(LENGTH_BYTES + packed);
                return (CODEC_LZ4, &self.packed);
            }
            self.packed.truncate(LENGTH_BYTES);
        }
        self.packed.extend_from_slice(raw);
        (CODEC_NONE, &self.packed)
    }

    fn is_to_try(&mut self, block_type: BlockType) -> bool {
        let is_left_out = block_type == BlockType::Data && self.untried > 0;
        self.untried -= u32::from(is_left_out);
        !is_left_out
    }

    fn note(&mut self, block_type: BlockType, saves: bool) {
        if block_type == BlockType::Data {
            self.misses = if saves { 0 } else { self.misses + 1 };
            self.untried = self.misses.saturating_sub(1).min(limits::UNTRIED_BLOCKS_MAX);
        }
    }
}

/// Raw bytes of what was sealed, which stands at `sealed` in `frame`: length checked, decompressed.
///
/// # Errors
/// `Damaged`: `Malformed`. A sealed block of our own making is never so.
pub(super) fn unpack(mut frame: SecretBytes, sealed: Range<usize>, codec: u8) -> Result<SecretBytes, Damage> {
    let malformed = |detail| Damage::of(Nature::Malformed, detail);
    let (length, packed) = frame[sealed.clone()]
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(|| malformed("a block without its length"))?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > limits::RAW_BLOCK_BYTES_MAX {
        return Err(malformed("raw length over the limit"));
    }
    match codec {
        CODEC_NONE if packed.len() == length => {
            frame.copy_within(sealed.start + LENGTH_BYTES..sealed.end, 0);
            frame.truncate(length);
            Ok(frame)
        }
        CODEC_NONE => Err(malformed("raw length disagrees")),
        CODEC_LZ4 => {
            let mut raw = SecretBytes::from(vec![0; length]);
            let n = lz4_flex::block::decompress_into(packed, &mut raw)
                .map_err(|_| malformed("lz4 refuses the block"))?;
            if n == length { Ok(raw) } else { Err(malformed("raw length disagrees")) }
        }
        _ => Err(malformed("a codec this build does not know")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that nothing compresses: xorshift64, Marsaglia 2003.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut x = seed;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn codecs(compressor: &mut Compressor, block_type: BlockType, blocks: &[Vec<u8>]) -> Vec<u8> {
        blocks
            .iter()
            .map(|raw| {
                let (codec, packed) = compressor.pack(block_type, raw);
                let frame = SecretBytes::from([b"head", packed, b"tag"].concat());
                let end = frame.len() - 3;
                assert_eq!(&unpack(frame, 4..end, codec).unwrap()[..], &raw[..]);
                codec
            })
            .collect()
    }

    #[test]
    fn comes_back_whole_and_only_what_saves_is_compressed() {
        let blocks = [vec![], vec![7], vec![7; 4_000], noise(1, 4_000), vec![8; 70_000]];
        assert_eq!(codecs(&mut Compressor::default(), BlockType::Index, &blocks), [0, 0, 1, 0, 1]);
    }

    #[test]
    fn what_does_not_compress_is_tried_ever_less_and_then_again() {
        let mut compressor = Compressor::default();
        let noisy: Vec<_> = (1..400).map(|seed| noise(seed, 1_000)).collect();
        assert_eq!(codecs(&mut compressor, BlockType::Data, &noisy), vec![0; 399]);
        let plain = vec![vec![7; 1_000]; 40];
        let tried = codecs(&mut compressor, BlockType::Data, &plain);
        let first = tried.iter().position(|codec| *codec == 1).unwrap();
        assert!((1..=limits::UNTRIED_BLOCKS_MAX as usize).contains(&first), "{first} blocks were not tried");
        assert!(tried[first..].iter().all(|codec| *codec == 1));
    }

    #[test]
    fn other_blocks_and_the_next_stripe_do_not_pay_for_it() {
        let mut compressor = Compressor::default();
        // The seventh was tried, and three after it will not be.
        let noisy: Vec<_> = (1..8).map(|seed| noise(seed, 1_000)).collect();
        let plain = [vec![7; 1_000]];
        codecs(&mut compressor, BlockType::Data, &noisy);
        assert_eq!(codecs(&mut compressor, BlockType::Index, &plain), [1]);
        assert_eq!(codecs(&mut compressor, BlockType::Data, &plain), [0]);
        compressor.begin_stripe();
        assert_eq!(codecs(&mut compressor, BlockType::Data, &plain), [1]);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let open = |sealed: &[u8], codec| {
            unpack(SecretBytes::from(sealed.to_vec()), 0..sealed.len(), codec).map(|raw| raw.len())
        };
        assert_eq!(open(&[0, 0, 0, 2, 1, 2], CODEC_NONE), Ok(2));
        for (sealed, codec) in [
            (&[0, 0, 0][..], CODEC_NONE),
            (&[0, 0, 0, 3, 1, 2], CODEC_NONE),
            (&[0xff, 0, 0, 2, 1, 2], CODEC_NONE),
            (&[0, 0, 0, 2, 1, 2], 2),
            (&[0, 0, 0, 2, 0x10, 9], CODEC_LZ4),
            (&[0, 0, 0, 2, 0xff], CODEC_LZ4),
            (&[0xff, 0, 0, 2, 0x10, 9], CODEC_LZ4),
        ] {
            assert_eq!(open(sealed, codec).unwrap_err().nature, Nature::Malformed, "{sealed:?} {codec}");
        }
    }
}
