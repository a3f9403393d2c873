//! Pure: the header of a segment: whose log it belongs to, and where in the log it begins.
//! Format: log_segment, `docs/formats/log_segment.md`.

use super::record::{ALIGN_BYTES, Salt};
use crate::error::{Error, Result};
use crate::limits;
use engine::error::{Damage, Nature};
use engine::ids::{ClusterId, KeyEpoch, NodeId};
use engine::magic;
use engine::sealed::{LINK_BYTES, Link, SegmentName};
use engine::wire::Reader;

/// Bytes before the first record: the header and zeros, so that a torn first record leaves the header whole.
pub const HEADER_BYTES: u64 = 4 << 10;
/// No log gets as far: sixteen exbibytes, less one that keeps sums from overflowing.
const POSITION_MAX: u64 = u64::MAX - (1 << 60);
/// Bytes of the header that mean something.
const USED_BYTES: usize = 128;

/// Names a log: random, another after a wipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName(pub [u8; 16]);

/// The header of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The cluster.
    pub cluster: ClusterId,
    /// Number of the cluster's life line; a takeover raises it.
    pub generation: u64,
    /// The node.
    pub node: NodeId,
    /// The log.
    pub log: LogName,
    /// Number of the segment, from 1 without gap.
    pub number: u64,
    /// Log position of its first record, and the end of the segment before.
    pub first_position: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Goes into the checksum of its records: those of an earlier use of the file do not verify.
    pub salt: Salt,
    /// Epoch of the node's mac key that its chain is made with.
    pub epoch: KeyEpoch,
    /// Link of the last write before it; zeros in a new log.
    pub link: Link,
}

impl Header {
    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = magic::LOG_SEGMENT.to_vec();
        out.extend_from_slice(&magic::LOG_SEGMENT_VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.node.0.to_be_bytes());
        out.extend_from_slice(&self.log.0);
        for n in [self.number, self.first_position, self.bytes] {
            out.extend_from_slice(&n.to_be_bytes());
        }
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.link);
        out.extend_from_slice(&[0; 4]);
        let crc32 = crc32fast::hash(&out);
        out.extend_from_slice(&crc32.to_be_bytes());
        debug_assert_eq!(out.len(), USED_BYTES);
        out.resize(HEADER_BYTES as usize, 0);
        out
    }

    /// Reads the header at the front of `bytes`.
    ///
    /// # Errors
    /// `Damaged`: `Missing` if they are too few or all zero, `Rot`, `Malformed`. `Unsupported` version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let missing = |detail| Damage::of(Nature::Missing, detail);
        let bytes =
            bytes.get(..HEADER_BYTES as usize).ok_or_else(|| missing("no room for a segment's header"))?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(missing("a segment without its header").into());
        }
        let (used, rest) = bytes.split_at(USED_BYTES);
        let mut reader = Reader::new(used);
        let (mark, version) = (reader.array::<4>()?, reader.u16()?);
        let is_whole = used.split_last_chunk::<4>().is_some_and(|(signed, crc32)| {
            crc32fast::hash(signed).to_be_bytes() == *crc32 && rest.iter().all(|byte| *byte == 0)
        });
        if !is_whole || mark != magic::LOG_SEGMENT {
            return Err(Damage::of(Nature::Rot, "a segment's header").into());
        }
        if version != magic::LOG_SEGMENT_VERSION {
            let what = "a segment of the log".to_owned();
            return Err(Error::Engine(engine::Error::Unsupported {
                what,
                found: version.into(),
                supported: "1",
            }));
        }
        let marks = [&used[6..8], &used[100..104], &used[120..124]];
        if marks.into_iter().flatten().any(|byte| *byte != 0) {
            return Err(Damage::of(Nature::Malformed, "unknown marks of a segment").into());
        }
        reader.u16()?;
        let header = Self {
            cluster: ClusterId(reader.array()?),
            generation: reader.u64()?,
            node: NodeId(reader.u64()?),
            log: LogName(reader.array()?),
            number: reader.u64()?,
            first_position: reader.u64()?,
            bytes: reader.u64()?,
            salt: reader.array()?,
            epoch: KeyEpoch(reader.u32()?),
            link: {
                reader.u32()?;
                reader.array::<LINK_BYTES>()?
            },
        };
        let is_possible = header.number > 0
            && header.bytes > HEADER_BYTES
            && header.bytes <= limits::SEGMENT_BYTES
            && header.first_position.is_multiple_of(ALIGN_BYTES as u64)
            && header.first_position <= POSITION_MAX;
        if !is_possible {
            return Err(Damage::of(Nature::Malformed, "an impossible segment").into());
        }
        Ok(header)
    }

    /// The segment as its chain names it.
    #[must_use]
    pub fn name(&self) -> SegmentName {
        SegmentName { log: self.log.0, number: self.number, salt: self.salt }
    }

    /// Log position right behind the last record that there is room for.
    #[must_use]
    pub fn room_end(&self) -> u64 {
        self.first_position + (self.bytes - HEADER_BYTES)
    }

    /// Where in the file a log position of this segment stands.
    #[must_use]
    pub fn offset(&self, position: u64) -> u64 {
        HEADER_BYTES + (position - self.first_position)
    }
}

/// Name of the file of segment `number`.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// Name of a file that waits to become a segment.
#[must_use]
pub fn spare_name(number: u64) -> String {
    format!("{number:016x}.spare")
}

/// What a file of the log's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// The segment of this number.
    Segment(u64),
    /// A file to write over: whatever is in it counts for nothing.
    Spare(u64),
}

impl FileName {
    /// What the file `name` is; `None` if it is nothing of the log's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (digits, what) = name.split_once('.')?;
        let number = (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())??;
        match what {
            "log" => Some(Self::Segment(number)).filter(|_| file_name(number) == name),
            "spare" => Some(Self::Spare(number)).filter(|_| spare_name(number) == name),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn header() -> Header {
        Header {
            cluster: ClusterId([1; 16]),
            generation: 2,
            node: NodeId(3),
            log: LogName([4; 16]),
            number: 5,
            first_position: 6_400,
            bytes: 64 << 10,
            salt: [7; 16],
            epoch: KeyEpoch(8),
            link: [9; 16],
        }
    }

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_found() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes).unwrap(), header());
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bytes).is_err(), "bit {bit}");
        }
        assert!(Header::decode(&bytes[..100]).is_err());
        let impossible = [
            Header { number: 0, ..header() },
            Header { bytes: HEADER_BYTES, ..header() },
            Header { bytes: limits::SEGMENT_BYTES + 1, ..header() },
            Header { first_position: 6_401, ..header() },
            Header { first_position: u64::MAX - 7, ..header() },
        ];
        for header in impossible {
            assert!(Header::decode(&header.encode()).is_err(), "{header:?}");
        }
        assert!(Header::decode(&[0; HEADER_BYTES as usize]).is_err());
    }

    #[test]
    fn names_are_read_as_they_are_written_and_no_others() {
        for number in [0, 1, 255, u64::MAX] {
            assert_eq!(FileName::parse(&file_name(number)), Some(FileName::Segment(number)));
            assert_eq!(FileName::parse(&spare_name(number)), Some(FileName::Spare(number)));
        }
        for name in
            ["", "1.log", "000000000000000G.log", "00000000000000AA.log", "0000000000000001.tmp", "lock"]
        {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
