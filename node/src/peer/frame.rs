//! Pure: what goes over a link between two nodes: a hello each way, then frames. The bytes: `docs/protocols/peer_link.md`.

use super::limits::{BODY_BYTES_MAX, COPIED_BYTES_MAX, READ_BYTES};
use bytes::{Buf, Bytes, BytesMut};
use engine::error::{Damage, Nature};
use engine::ids::{ClusterId, NodeId};
use engine::wire::Reader;
use raft::log::LogName;
use raft::net::heard::Voice;
use raft::net::link::{DATA_LANES, Lane};

/// What a hello begins with.
pub const HELLO: [u8; 4] = *b"DPPL";
/// Versions of the link that this build speaks, first and last.
pub const VERSIONS: (u16, u16) = (1, 1);
/// Bytes of a hello.
pub const HELLO_BYTES: usize = 64;
/// Bytes of the head of a frame.
pub const HEAD_BYTES: usize = 16;

/// Who speaks, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Versions it speaks, first and last. In an answer both are the one that was chosen.
    pub versions: (u16, u16),
    /// What the connection is for.
    pub lane: Lane,
    /// In an answer: why not.
    pub refusal: Option<Farewell>,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The log that speaks.
    pub by: Voice,
}

/// Why a link is refused, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Farewell {
    /// No version that both speak.
    #[error("no version of the link that both speak")]
    Version,
    /// Another cluster.
    #[error("another cluster")]
    OtherCluster,
    /// The certificate names another node than the hello.
    #[error("the certificate is another node's")]
    OtherNode,
    /// It has not read its log yet.
    #[error("it does not speak yet")]
    NotReady,
    /// It speaks with another voice from now on.
    #[error("it speaks with another voice now")]
    OtherVoice,
    /// A newer connection of the same lane.
    #[error("a newer connection took the lane")]
    Replaced,
    /// What came is no frame, or not one that may come now.
    #[error("it was sent what is no frame")]
    Malformed,
    /// Nothing came for too long.
    #[error("it heard nothing for too long")]
    Silent,
}

impl Farewell {
    const ALL: [Self; 8] = [
        Self::Version,
        Self::OtherCluster,
        Self::OtherNode,
        Self::NotReady,
        Self::OtherVoice,
        Self::Replaced,
        Self::Malformed,
        Self::Silent,
    ];

    /// Its number in a hello and in a frame.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::OtherCluster => 2,
            Self::OtherNode => 3,
            Self::NotReady => 4,
            Self::OtherVoice => 5,
            Self::Replaced => 6,
            Self::Malformed => 7,
            Self::Silent => 8,
        }
    }

    /// That of a number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|farewell| farewell.number() == number)
    }
}

/// The version two ends speak: the last that both know.
#[must_use]
pub fn chosen(ours: (u16, u16), theirs: (u16, u16)) -> Option<u16> {
    let last = ours.1.min(theirs.1);
    (last >= ours.0.max(theirs.0)).then_some(last)
}

fn lane_bytes(lane: Lane) -> [u8; 2] {
    match lane {
        Lane::Control => [0, 0],
        Lane::Data(number) => [1, number],
        Lane::Bulk => [2, 0],
    }
}

impl Hello {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut out = Vec::with_capacity(HELLO_BYTES);
        out.extend_from_slice(&HELLO);
        out.extend_from_slice(&self.versions.0.to_be_bytes());
        out.extend_from_slice(&self.versions.1.to_be_bytes());
        out.extend_from_slice(&lane_bytes(self.lane));
        out.extend_from_slice(&[self.refusal.map_or(0, Farewell::number), 0]);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.by.node.0.to_be_bytes());
        out.extend_from_slice(&self.by.log.0);
        out.extend_from_slice(&self.by.incarnation.to_be_bytes());
        out.extend_from_slice(&self.by.start.to_be_bytes());
        let mut bytes = [0; HELLO_BYTES];
        bytes[..out.len()].copy_from_slice(&out);
        bytes
    }

    /// The hello that `bytes` are.
    ///
    /// # Errors
    /// `Malformed`: they are none.
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != HELLO {
            return Err(malformed("no hello of a peer"));
        }
        let versions = (reader.u16()?, reader.u16()?);
        let lane = match (reader.u8()?, reader.u8()?) {
            (0, 0) => Lane::Control,
            (1, number) if number < DATA_LANES => Lane::Data(number),
            (2, 0) => Lane::Bulk,
            _ => return Err(malformed("a hello for an unknown lane")),
        };
        let refusal = match reader.u8()? {
            0 => None,
            number => Some(Farewell::of(number).ok_or_else(|| malformed("an unknown refusal"))?),
        };
        let zero = reader.u8()?;
        let cluster = ClusterId(reader.array()?);
        let (node, log) = (NodeId(reader.u64()?), LogName(reader.array()?));
        let (incarnation, start) = (reader.u64()?, reader.u32()?);
        let by = Voice { node, log, incarnation, start };
        if zero != 0 || versions.0 > versions.1 {
            return Err(malformed("a hello that nobody says"));
        }
        Ok(Self { versions, lane, refusal, cluster, by })
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks.
    Call,
    /// Answers the call of its number.
    Answer,
    /// Of number 0: the end of the link. Of any other: that call is not answered. Its body is the number of a [`Farewell`].
    Refused,
    /// Says that we live.
    Ping,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Numbers calls of a connection from 1.
    pub call: u64,
    /// What it carries.
    pub body: Bytes,
}

/// The head of a frame with a body of so many bytes.
///
/// # Panics
/// If there are more than [`BODY_BYTES_MAX`].
#[must_use]
pub fn head(kind: Kind, call: u64, body_bytes: usize) -> [u8; HEAD_BYTES] {
    assert!(body_bytes <= BODY_BYTES_MAX, "a frame over its limit: {body_bytes} bytes");
    let length = u32::try_from(body_bytes).expect("BODY_BYTES_MAX fits u32");
    let kind = match kind {
        Kind::Call => 1,
        Kind::Answer => 2,
        Kind::Refused => 3,
        Kind::Ping => 4,
    };
    let mut out = [0; HEAD_BYTES];
    out[..4].copy_from_slice(&length.to_be_bytes());
    out[4] = kind;
    out[8..].copy_from_slice(&call.to_be_bytes());
    out
}

/// Kind, number and length of the body, if they go together.
fn read_head(bytes: &[u8; HEAD_BYTES]) -> Result<(Kind, u64, usize), Damage> {
    let mut reader = Reader::new(bytes);
    let (length, kind, zeros) = (reader.u32()? as usize, reader.u8()?, reader.array::<3>()?);
    let call = reader.u64()?;
    let kind = match kind {
        1 => Kind::Call,
        2 => Kind::Answer,
        3 => Kind::Refused,
        4 => Kind::Ping,
        _ => return Err(malformed("a frame of an unknown kind")),
    };
    let is_right = match kind {
        Kind::Call | Kind::Answer => call != 0 && length <= BODY_BYTES_MAX,
        Kind::Refused => length == 1,
        Kind::Ping => call == 0 && length == 0,
    };
    if !is_right || zeros != [0; 3] {
        return Err(malformed("a frame that nobody sends"));
    }
    Ok((kind, call, length))
}

/// Makes frames of what comes, in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: BytesMut,
}

impl Decoder {
    /// Where to read the next bytes into. Room grows with what has come, not with what is announced.
    pub fn room(&mut self) -> &mut BytesMut {
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES / 2 {
            let whole = self.bytes.first_chunk().and_then(|bytes| read_head(bytes).ok());
            let missing =
                whole.map_or(0, |(.., length)| (HEAD_BYTES + length).saturating_sub(self.bytes.len()));
            self.bytes.reserve(missing.min(self.bytes.len()).max(READ_BYTES));
        }
        &mut self.bytes
    }

    /// Whether part of a frame has come.
    #[must_use]
    pub fn has_part(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The next frame, if it has come whole.
    ///
    /// # Errors
    /// `Malformed`: what comes is none. Nothing behind it can be read either.
    pub fn take(&mut self) -> Result<Option<Frame>, Damage> {
        let Some(bytes) = self.bytes.first_chunk() else { return Ok(None) };
        let (kind, call, length) = read_head(bytes)?;
        if self.bytes.len() - HEAD_BYTES < length {
            return Ok(None);
        }
        self.bytes.advance(HEAD_BYTES);
        let body = if length < COPIED_BYTES_MAX {
            let body = Bytes::copy_from_slice(&self.bytes[..length]);
            self.bytes.advance(length);
            body
        } else {
            // What is behind it moves: the room that a large body needed is not kept.
            let body = self.bytes.split_to(length);
            self.bytes = BytesMut::from(&self.bytes[..]);
            body.freeze()
        };
        Ok(Some(Frame { kind, call, body }))
    }
}

fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_lane() -> impl Strategy<Value = Lane> {
        prop_oneof![Just(Lane::Control), (0..DATA_LANES).prop_map(Lane::Data), Just(Lane::Bulk)]
    }

    fn some_hello() -> impl Strategy<Value = Hello> {
        let parts = (any::<(u16, u16)>(), some_lane(), 0..9_u8, any::<([u8; 16], u64, [u8; 16], u64, u32)>());
        parts.prop_map(|((a, b), lane, refusal, (cluster, node, log, incarnation, start))| Hello {
            versions: (a.min(b), a.max(b)),
            lane,
            refusal: Farewell::of(refusal),
            cluster: ClusterId(cluster),
            by: Voice { node: NodeId(node), log: LogName(log), incarnation, start },
        })
    }

    fn some_frame() -> impl Strategy<Value = Frame> {
        let body = || prop_oneof![prop::collection::vec(any::<u8>(), 0..200), Just(vec![7; 70_000])];
        prop_oneof![
            (1..u64::MAX, body()).prop_map(|(call, body)| (Kind::Call, call, body)),
            (1..u64::MAX, body()).prop_map(|(call, body)| (Kind::Answer, call, body)),
            (any::<u64>(), any::<u8>()).prop_map(|(call, why)| (Kind::Refused, call, vec![why])),
            Just((Kind::Ping, 0, vec![])),
        ]
        .prop_map(|(kind, call, body)| Frame { kind, call, body: body.into() })
    }

    fn bytes_of(frames: &[Frame]) -> Vec<u8> {
        let one = |frame: &Frame| [&head(frame.kind, frame.call, frame.body.len())[..], &frame.body].concat();
        frames.iter().flat_map(one).collect()
    }

    /// Feeds `bytes` in pieces of `piece` bytes; the frames that came of them.
    fn fed(decoder: &mut Decoder, bytes: &[u8], piece: usize) -> Result<Vec<Frame>, Damage> {
        let mut frames = vec![];
        for piece in bytes.chunks(piece) {
            decoder.room().extend_from_slice(piece);
            while let Some(frame) = decoder.take()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn a_hello_comes_back(hello in some_hello()) {
            prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        }

        #[test]
        fn any_bytes_are_a_hello_or_refused(mut bytes in any::<[u8; 32]>().prop_map(|half| [half, half].concat()), is_begun: bool) {
            if is_begun {
                bytes[..4].copy_from_slice(&HELLO);
            }
            let bytes: [u8; HELLO_BYTES] = bytes.try_into().unwrap();
            if let Ok(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(hello.encode(), bytes);
            }
        }

        #[test]
        fn frames_come_back_in_whatever_pieces(frames in prop::collection::vec(some_frame(), 0..12), piece in 1..5_000_usize) {
            let mut decoder = Decoder::default();
            prop_assert_eq!(fed(&mut decoder, &bytes_of(&frames), piece), Ok(frames));
            prop_assert!(!decoder.has_part());
        }

        #[test]
        fn a_frame_that_is_cut_off_never_comes(frame in some_frame(), cut in any::<prop::sample::Index>()) {
            let bytes = bytes_of(&[frame]);
            let cut = cut.index(bytes.len());
            prop_assert_eq!(fed(&mut Decoder::default(), &bytes[..cut], 1_000), Ok(vec![]));
        }

        #[test]
        fn any_bytes_are_frames_or_refused(bytes in prop::collection::vec(prop_oneof![Just(0_u8), 0..5_u8, any::<u8>()], 0..600), piece in 1..90_usize) {
            let mut decoder = Decoder::default();
            let _ = fed(&mut decoder, &bytes, piece);
            prop_assert!(decoder.held_bytes() <= 4 * READ_BYTES, "{}", decoder.held_bytes());
        }
    }

    #[test]
    fn a_hello_has_its_bytes_for_ever() {
        let by =
            Voice { node: NodeId(0x0102), log: LogName([9; 16]), incarnation: 0x0304, start: 0x0506_0708 };
        let hello = Hello {
            versions: (1, 3),
            lane: Lane::Data(1),
            refusal: Some(Farewell::NotReady),
            cluster: ClusterId([7; 16]),
            by,
        };
        let expected = [
            &b"DPPL\0\x01\0\x03\x01\x01\x04\0"[..],
            &[7; 16],
            &[0, 0, 0, 0, 0, 0, 1, 2],
            &[9; 16],
            &[0, 0, 0, 0, 0, 0, 3, 4],
            &[5, 6, 7, 8],
        ];
        assert_eq!(hello.encode()[..], expected.concat());
        for (at, byte, why) in [
            (0, b'X', "no hello of a peer"),
            (5, 4, "a hello that nobody says"),
            (8, 3, "a hello for an unknown lane"),
            (9, DATA_LANES, "a hello for an unknown lane"),
            (10, 9, "an unknown refusal"),
            (11, 1, "a hello that nobody says"),
        ] {
            let mut bytes = hello.encode();
            bytes[at] = byte;
            assert_eq!(Hello::decode(&bytes), Err(malformed(why)), "byte {at}");
        }
    }

    #[test]
    fn a_frame_has_its_bytes_for_ever_and_each_way_to_be_none_is_told() {
        let bytes = bytes_of(&[Frame { kind: Kind::Answer, call: 0x0102, body: Bytes::from_static(b"ab") }]);
        assert_eq!(bytes, b"\0\0\0\x02\x02\0\0\0\0\0\0\0\0\0\x01\x02ab");
        let over = u32::try_from(BODY_BYTES_MAX + 1).unwrap().to_be_bytes();
        let unknown = Err(malformed("a frame of an unknown kind"));
        let nobody = Err(malformed("a frame that nobody sends"));
        let told = |length: [u8; 4], kind, zero, call| {
            let bytes = [&length[..], &[kind, 0, zero, 0], &[0; 7], &[call]].concat();
            fed(&mut Decoder::default(), &bytes, 16)
        };
        for kind in [0, 5, 255] {
            assert_eq!(told([0; 4], kind, 0, 1), unknown);
        }
        assert_eq!(told([0; 4], 1, 0, 1).unwrap().len(), 1);
        assert_eq!(told([0; 4], 1, 0, 0), nobody);
        assert_eq!(told([0; 4], 1, 1, 1), nobody);
        assert_eq!(told(over, 1, 0, 1), nobody);
        assert_eq!(told(over, 2, 0, 1), nobody);
        assert_eq!(told([0, 0, 0, 2], 3, 0, 1), nobody);
        assert_eq!(told([0, 0, 0, 1], 4, 0, 0), nobody);
        assert_eq!(told([0; 4], 4, 0, 1), nobody);
    }

    #[test]
    fn what_is_announced_and_does_not_come_takes_no_room() {
        let mut decoder = Decoder::default();
        let announced = [&head(Kind::Call, 1, BODY_BYTES_MAX)[..], &vec![1; READ_BYTES]].concat();
        assert_eq!(fed(&mut decoder, &announced, 900), Ok(vec![]));
        decoder.room();
        assert!(decoder.held_bytes() <= 4 * READ_BYTES, "{}", decoder.held_bytes());
        assert!(decoder.has_part());
        assert_eq!(
            fed(&mut decoder, &vec![1; BODY_BYTES_MAX - READ_BYTES], 9_000).unwrap()[0].body.len(),
            BODY_BYTES_MAX
        );
    }

    #[test]
    fn a_small_body_holds_none_of_its_neighbours() {
        let mut decoder = Decoder::default();
        let frame = |bytes| Frame { kind: Kind::Call, call: 1, body: vec![1; bytes].into() };
        let kept = fed(&mut decoder, &bytes_of(&[frame(300), frame(300)]), 10_000).unwrap();
        let before = decoder.held_bytes();
        for _ in 0..1_000 {
            fed(&mut decoder, &bytes_of(&[frame(300)]), 400).unwrap();
        }
        // The same room is used again, though two of them are kept.
        assert!(decoder.held_bytes() <= before.max(READ_BYTES), "{} {before}", decoder.held_bytes());
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn the_last_version_that_both_speak_is_chosen() {
        assert_eq!(chosen((1, 1), (1, 1)), Some(1));
        assert_eq!(chosen((1, 3), (2, 5)), Some(3));
        assert_eq!(chosen((4, 5), (1, 3)), None);
        assert_eq!(chosen((1, 3), (4, 5)), None);
    }

    #[test]
    fn a_farewell_has_a_number_of_its_own() {
        for farewell in Farewell::ALL {
            assert_eq!(Farewell::of(farewell.number()), Some(farewell));
        }
        assert_eq!((Farewell::of(0), Farewell::of(9)), (None, None));
    }
}
