//! Pure: the frame around a message: for which replica of which group of which cluster it is, and how far its sender's log is durable.
//! Format: peer_frame, `docs/formats/peer_frame.md`.

use super::message::Message;
use crate::limits;
use crate::types::{GroupId, ReplicaId};
use bytes::Bytes;
use engine::error::{Damage, Nature};
use engine::ids::ClusterId;
use engine::magic;
use engine::wire::Reader;

/// Bytes before a message's body.
pub const HEAD_BYTES: usize = 64;
const CRC32_AT: usize = 12;

/// A message with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// [`cluster_tag`] of the sender.
    pub tag: u64,
    /// The group; 0 if the message is of many groups, or of none.
    pub group: GroupId,
    /// The replica that sends; 0 likewise.
    pub from: ReplicaId,
    /// The replica that is meant; 0 likewise.
    pub to: ReplicaId,
    /// Which message of its stream it is; an answer has that of what it answers.
    pub sequence: u64,
    /// Up to which position the log of the sender's node is durable.
    pub durable: u64,
    /// What it says.
    pub message: Message,
}

/// Names a cluster and its generation in every frame. No secret: it finds what is lost, not what is forged.
#[must_use]
pub fn cluster_tag(cluster: ClusterId, generation: u64) -> u64 {
    let mut bytes = b"dewpond/1/peer".to_vec();
    bytes.extend_from_slice(&cluster.0);
    bytes.extend_from_slice(&generation.to_be_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

impl Frame {
    /// Its bytes.
    ///
    /// # Panics
    /// If the message is over a limit, or all of it over [`limits::FRAME_BYTES_MAX`]; see [`Message::append_body`].
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.about_bytes());
        out.extend_from_slice(&magic::PEER_FRAME);
        out.extend_from_slice(&magic::PEER_FRAME_VERSION.to_be_bytes());
        out.extend_from_slice(&[self.message.kind(), 0]);
        out.extend_from_slice(&[0; 8]);
        for number in [self.tag, self.group.0, self.from.0, self.to.0, self.sequence, self.durable] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        self.message.append_body(&mut out);
        assert!(out.len() <= limits::FRAME_BYTES_MAX, "a frame over its limit");
        let length = u32::try_from(out.len() - HEAD_BYTES).expect("FRAME_BYTES_MAX fits u32");
        out[8..CRC32_AT].copy_from_slice(&length.to_be_bytes());
        // The checksum is made while its own field is zero.
        let crc32 = crc32fast::hash(&out);
        out[CRC32_AT..CRC32_AT + 4].copy_from_slice(&crc32.to_be_bytes());
        Bytes::from(out)
    }

    /// Room to make at once: what a message carries that may be large.
    fn about_bytes(&self) -> usize {
        let carried = match &self.message {
            Message::Append(append) => append.entries.iter().map(|entry| 64 + entry.payload.len()).sum(),
            Message::SnapshotOffer(offer) => offer.listing.len(),
            Message::SnapshotPiece(piece) => piece.bytes.len(),
            _ => 0,
        };
        HEAD_BYTES + 192 + carried
    }

    /// The frame that `bytes` are, all of them. What the message carries shares their memory.
    ///
    /// # Errors
    /// `Rot`: no whole frame. `Malformed`: whole, and not what the format allows, or of a version that this build does not know.
    pub fn decode(bytes: &Bytes) -> Result<Self, Damage> {
        if bytes.len() > limits::FRAME_BYTES_MAX {
            return Err(rot("a frame over its limit"));
        }
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk().ok_or_else(|| rot("no room for a frame"))?;
        let mut reader = Reader::new(head);
        if reader.array()? != magic::PEER_FRAME {
            return Err(rot("no frame begins here"));
        }
        let (version, kind, zero) = (reader.u16()?, reader.u8()?, reader.u8()?);
        let (length, crc32) = (reader.u32()? as usize, reader.u32()?);
        if length != bytes.len() - HEAD_BYTES {
            return Err(rot("a frame of another length than it says"));
        }
        if checksum(head, &bytes[HEAD_BYTES..]) != crc32 {
            return Err(rot("checksum of a frame"));
        }
        if version != magic::PEER_FRAME_VERSION {
            return Err(malformed("a frame of an unknown version"));
        }
        if zero != 0 {
            return Err(malformed("unknown marks in the head of a frame"));
        }
        Ok(Self {
            tag: reader.u64()?,
            group: GroupId(reader.u64()?),
            from: ReplicaId(reader.u64()?),
            to: ReplicaId(reader.u64()?),
            sequence: reader.u64()?,
            durable: reader.u64()?,
            message: Message::decode(kind, &bytes.slice(HEAD_BYTES..))?,
        })
    }
}

/// CRC32 of all bytes, its own field taken as zero.
fn checksum(head: &[u8; HEAD_BYTES], body: &[u8]) -> u32 {
    let mut head = *head;
    head[CRC32_AT..CRC32_AT + 4].fill(0);
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(&head);
    crc32.update(body);
    crc32.finalize()
}

fn rot(detail: &'static str) -> Damage {
    Damage::of(Nature::Rot, detail)
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Entry;
    use crate::net::message::tests::some_message;
    use crate::net::replica_message::{Append, ReadIndex};
    use proptest::prelude::*;

    fn some_frame() -> impl Strategy<Value = Frame> {
        (any::<[u64; 6]>(), some_message()).prop_map(
            |([tag, group, from, to, sequence, durable], message)| {
                let (group, from, to) = (GroupId(group), ReplicaId(from), ReplicaId(to));
                Frame { tag, group, from, to, sequence, durable, message }
            },
        )
    }

    fn frame() -> Frame {
        let (group, from, to) = (GroupId(2), ReplicaId(3), ReplicaId(4));
        Frame { tag: 1, group, from, to, sequence: 5, durable: 6, message: Message::ReadIndex(ReadIndex {}) }
    }

    /// What is said of a frame with `byte` at `at`, its checksum mended if `is_mended`.
    fn told(at: usize, byte: u8, is_mended: bool) -> (Nature, &'static str) {
        let mut bytes = frame().encode().to_vec();
        bytes[at] = byte;
        if is_mended {
            bytes[CRC32_AT..CRC32_AT + 4].fill(0);
            let crc32 = crc32fast::hash(&bytes);
            bytes[CRC32_AT..CRC32_AT + 4].copy_from_slice(&crc32.to_be_bytes());
        }
        let damage = Frame::decode(&Bytes::from(bytes)).unwrap_err();
        (damage.nature, damage.detail)
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_and_every_flipped_bit_is_found(frame in some_frame(), at in any::<proptest::sample::Index>()) {
            let bytes = frame.encode();
            prop_assert_eq!(Frame::decode(&bytes).unwrap(), frame);
            prop_assert!(Frame::decode(&bytes.slice(..at.index(bytes.len()))).is_err());
            prop_assert!(Frame::decode(&Bytes::from([&bytes[..], &[0]].concat())).is_err(), "trailing bytes");
            let mut bytes = bytes.to_vec();
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Frame::decode(&Bytes::from(bytes)).unwrap_err().nature, Nature::Rot);
        }
    }

    #[test]
    fn each_way_to_be_no_frame_is_told() {
        assert_eq!(told(0, b'X', true), (Nature::Rot, "no frame begins here"));
        assert_eq!(told(11, 1, true), (Nature::Rot, "a frame of another length than it says"));
        assert_eq!(told(8, 255, true), (Nature::Rot, "a frame of another length than it says"));
        assert_eq!(told(CRC32_AT, 0, false).0, Nature::Rot);
        assert_eq!(told(40, 9, false), (Nature::Rot, "checksum of a frame"));
        assert_eq!(told(5, 2, true), (Nature::Malformed, "a frame of an unknown version"));
        assert_eq!(told(6, 99, true), (Nature::Malformed, "a message of an unknown kind"));
        assert_eq!(told(7, 1, true), (Nature::Malformed, "unknown marks in the head of a frame"));
        let over = Bytes::from(vec![0; limits::FRAME_BYTES_MAX + 1]);
        assert_eq!(Frame::decode(&over), Err(rot("a frame over its limit")));
    }

    #[test]
    fn the_largest_entry_fits_and_what_is_over_the_limit_is_never_sent() {
        let entry = |index, bytes| Entry {
            log_id: crate::types::LogId { index, ..Default::default() },
            payload: Bytes::from(vec![7; bytes]),
            ..Entry::default()
        };
        let with =
            |entries| Frame { message: Message::Append(Append { entries, ..Append::default() }), ..frame() };
        let largest = with(vec![entry(0, limits::ENTRY_BYTES_MAX)]);
        assert_eq!(Frame::decode(&largest.encode()), Ok(largest));
        let over = with(vec![entry(0, limits::ENTRY_BYTES_MAX), entry(1, 2 << 20)]);
        assert!(std::panic::catch_unwind(|| over.encode()).is_err());
    }

    #[test]
    fn a_tag_names_cluster_and_generation_for_ever() {
        let tag = |cluster, generation| cluster_tag(ClusterId([cluster; 16]), generation);
        assert_ne!(tag(1, 1), tag(1, 2));
        assert_ne!(tag(1, 1), tag(2, 1));
        assert_eq!(tag(0xc1, 3), 2_765_384_111_925_394_783);
    }
}
