//! Pure: the pieces that bodies of messages are made of: votes, log ids, yes or no, and bytes that are not copied.
//! Format: peer_message, `docs/formats/peer_message.md`.

use crate::log::record::INDEX_MAX;
use crate::types::{LogId, ReplicaId, Vote};
use bytes::Bytes;
use engine::error::{Damage, Nature};
use engine::wire::Reader;

/// Takes pieces off the front of a body. What it hands out as `Bytes` shares the memory of the body.
pub struct Body<'a> {
    whole: &'a Bytes,
    pub(super) reader: Reader<'a>,
}

impl<'a> Body<'a> {
    /// A reader of `whole`.
    #[must_use]
    pub fn new(whole: &'a Bytes) -> Self {
        Self { whole, reader: Reader::new(whole) }
    }

    pub(super) fn u8(&mut self) -> Result<u8, Damage> {
        self.reader.u8()
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damage> {
        self.reader.u32()
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damage> {
        self.reader.u64()
    }

    pub(super) fn replica(&mut self) -> Result<ReplicaId, Damage> {
        self.u64().map(ReplicaId)
    }

    pub(super) fn is(&mut self) -> Result<bool, Damage> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed("neither yes nor no")),
        }
    }

    /// A count of at most `max`.
    pub(super) fn count(&mut self, max: usize) -> Result<usize, Damage> {
        let count = self.u32()? as usize;
        if count > max { Err(malformed("a count over its limit")) } else { Ok(count) }
    }

    /// A length of at most `max`, then that many bytes.
    pub(super) fn bytes(&mut self, max: usize) -> Result<Bytes, Damage> {
        self.reader.bytes32(max).map(|piece| self.whole.slice_ref(piece))
    }

    pub(super) fn log_id(&mut self) -> Result<LogId, Damage> {
        let id = LogId { term: self.u64()?, replica: self.replica()?, index: self.u64()? };
        if id.index > INDEX_MAX { Err(malformed("an impossible log index")) } else { Ok(id) }
    }

    pub(super) fn maybe_log_id(&mut self) -> Result<Option<LogId>, Damage> {
        let (is_there, id) = (self.is()?, self.log_id()?);
        match is_there {
            true => Ok(Some(id)),
            false if id == LogId::default() => Ok(None),
            false => Err(malformed("a log id that is none, and says something")),
        }
    }

    pub(super) fn maybe_replica(&mut self) -> Result<Option<ReplicaId>, Damage> {
        let (is_there, replica) = (self.is()?, self.replica()?);
        match is_there {
            true => Ok(Some(replica)),
            false if replica == ReplicaId(0) => Ok(None),
            false => Err(malformed("a replica that is none, and says something")),
        }
    }

    pub(super) fn vote(&mut self) -> Result<Vote, Damage> {
        let what = self.u8()?;
        self.vote_of(what)
    }

    fn vote_of(&mut self, what: u8) -> Result<Vote, Damage> {
        let (term, replica) = (self.u64()?, self.replica()?);
        match what {
            1 | 2 => Ok(Vote { term, replica, is_committed: what == 2 }),
            _ => Err(malformed("an impossible vote")),
        }
    }

    pub(super) fn maybe_vote(&mut self) -> Result<Option<Vote>, Damage> {
        match self.u8()? {
            0 if self.array::<16>()? == [0; 16] => Ok(None),
            0 => Err(malformed("a vote that is none, and says something")),
            what => self.vote_of(what).map(Some),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        self.reader.array()
    }
}

pub(super) fn malformed(detail: &'static str) -> Damage {
    Damage::of(Nature::Malformed, detail)
}

pub(super) fn append_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// A count. Peers refuse one over `max`, so none is sent.
pub(super) fn append_count(out: &mut Vec<u8>, count: usize, max: usize) {
    assert!(count <= max, "a count over its limit of {max}");
    let count = u32::try_from(count).expect("every limit in limits.rs fits u32");
    out.extend_from_slice(&count.to_be_bytes());
}

/// A length, then the bytes. Peers refuse more than `max`, so none are sent.
pub(super) fn append_bytes(out: &mut Vec<u8>, bytes: &[u8], max: usize) {
    append_count(out, bytes.len(), max);
    out.extend_from_slice(bytes);
}

pub(super) fn append_log_id(out: &mut Vec<u8>, id: LogId) {
    [id.term, id.replica.0, id.index].into_iter().for_each(|number| append_u64(out, number));
}

pub(super) fn append_maybe_log_id(out: &mut Vec<u8>, id: Option<LogId>) {
    out.push(u8::from(id.is_some()));
    append_log_id(out, id.unwrap_or_default());
}

pub(super) fn append_maybe_replica(out: &mut Vec<u8>, replica: Option<ReplicaId>) {
    out.push(u8::from(replica.is_some()));
    append_u64(out, replica.unwrap_or_default().0);
}

pub(super) fn append_vote(out: &mut Vec<u8>, vote: Vote) {
    out.push(1 + u8::from(vote.is_committed));
    append_u64(out, vote.term);
    append_u64(out, vote.replica.0);
}

pub(super) fn append_maybe_vote(out: &mut Vec<u8>, vote: Option<Vote>) {
    match vote {
        Some(vote) => append_vote(out, vote),
        None => out.extend_from_slice(&[0; 17]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::message::Message;

    #[test]
    fn what_is_none_says_nothing_and_behind_every_index_is_another() {
        let read = |bytes: &[u8]| Body::new(&Bytes::copy_from_slice(bytes)).maybe_log_id();
        let with = |is_there: u8, index: u64| [&[is_there][..], &[0; 16], &index.to_be_bytes()].concat();
        assert_eq!(read(&with(0, 0)), Ok(None));
        assert_eq!(read(&with(1, 0)), Ok(Some(LogId::default())));
        assert_eq!(read(&with(0, 1)), Err(malformed("a log id that is none, and says something")));
        assert_eq!(read(&with(2, 0)), Err(malformed("neither yes nor no")));
        assert_eq!(read(&with(1, INDEX_MAX)).unwrap().unwrap().index, INDEX_MAX);
        assert_eq!(read(&with(1, u64::MAX)), Err(malformed("an impossible log index")));
        let vote = |bytes: [u8; 17]| Body::new(&Bytes::from(bytes.to_vec())).maybe_vote();
        assert_eq!(vote([0; 17]), Ok(None));
        let said = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(vote(said), Err(malformed("a vote that is none, and says something")));
        let none = [[0; 9], [0, 0, 0, 0, 0, 0, 0, 0, 1]].map(|bytes: [u8; 9]| Bytes::from(bytes.to_vec()));
        assert_eq!(Body::new(&none[0]).maybe_replica(), Ok(None));
        assert!(Body::new(&none[1]).maybe_replica().is_err());
    }

    #[test]
    fn a_vote_is_given_or_committed() {
        for what in [0, 3, 255] {
            let bytes = Bytes::from([&[what][..], &[0; 16]].concat());
            assert_eq!(Message::decode(14, &bytes), Err(malformed("an impossible vote")));
        }
    }
}
