//! Pure: where does the log end after a crash?
//!
//! Writes are made one after the other, each whole in one segment, and each says up to where the log was durable when it was
//! made. So what a crash leaves is a run of whole writes, and behind it perhaps pieces of the last one. A bad place is the torn
//! end of the log unless something later proves that it had been durable: then it is damage, and nothing may be cut off.

use super::record::{self, BATCH_RECORD_BYTES, Batch, Record};
use super::segment::{HEADER_BYTES, Header};
use crate::error::{Error, Result};
use bytes::Bytes;
use engine::error::{Damage, Nature};
use engine::sealed::{ChainKeys, Link};

/// What a walk over a segment has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Log position behind the last whole write.
    pub end: u64,
    /// Its link; that of the segment's header if there is none.
    pub link: Link,
    /// Whether whole records of a write that a crash cut short stand behind it. Pieces of records are not looked for: in a file
    /// that was used before they cannot be told from what stood there then.
    pub is_torn: bool,
}

/// A record and where it stands: log position, bytes.
pub struct Placed {
    /// The record.
    pub record: Record,
    /// Log position of its first byte.
    pub position: u64,
    /// Its bytes.
    pub bytes: u32,
}

/// A segment to walk over.
pub struct Segment<'a> {
    /// Its header.
    pub header: &'a Header,
    /// The whole file.
    pub bytes: &'a Bytes,
    /// The keys of its chain.
    pub chain: &'a ChainKeys,
    /// Where the next segment begins, if there is one.
    pub next: Option<u64>,
}

impl Segment<'_> {
    /// Walks over every whole write of the segment and tells of its records in order.
    ///
    /// # Errors
    /// `DamagedInside`: what is bad here had been durable. What `tell` returns.
    pub fn walk(&self, mut tell: impl FnMut(Placed) -> Result<()>) -> Result<Walked> {
        let (mut position, mut link) = (self.header.first_position, self.header.link);
        loop {
            if self.next == Some(position) {
                return Ok(Walked { end: position, link, is_torn: false });
            }
            match self.write_at(position, &link) {
                Ok((batch, records)) if self.next.is_none_or(|next| position + batch.bytes <= next) => {
                    records.into_iter().try_for_each(&mut tell)?;
                    position += batch.bytes;
                    link = batch.link;
                }
                Ok(_) => {
                    let damage = Damage::of(Nature::WrongPlace, "a write that reaches into the next segment");
                    return Err(self.inside(position, damage));
                }
                Err(damage) => return self.end_at(position, link, damage),
            }
        }
    }

    /// The write at `position`: whole, in its place, and the one that follows the link `before`.
    fn write_at(&self, position: u64, before: &Link) -> Result<(Batch, Vec<Placed>), Damage> {
        let rot = |detail| Damage::of(Nature::Rot, detail);
        let salt = &self.header.salt;
        let here = self.slice(position);
        let (first, head_bytes) = Record::decode(&here, position, salt)?;
        // Whole, with its checksum, and impossible: no crash does that.
        let malformed = |detail| Damage::of(Nature::Malformed, detail);
        let Record::Batch(batch) = first else {
            return Err(malformed("a write begins with another record"));
        };
        let bytes = usize::try_from(batch.bytes).unwrap_or(usize::MAX);
        if bytes < head_bytes || bytes > here.len() {
            return Err(malformed("a write longer than its segment"));
        }
        let mut records = Vec::new();
        let mut at = head_bytes;
        while at < bytes {
            let (record, length) = Record::decode(&here.slice(at..bytes), position + at as u64, salt)?;
            let length_u32 = u32::try_from(length).map_err(|_| rot("a record longer than its segment"))?;
            records.push(Placed { record, position: position + at as u64, bytes: length_u32 });
            at += length;
        }
        let pieces = [&batch.bytes.to_be_bytes()[..], &batch.durable.to_be_bytes(), &here[head_bytes..bytes]];
        if !self.chain.is_link(&batch.link, before, position, &pieces) {
            return Err(Damage::of(Nature::Tampered, "the chain over the writes of the log"));
        }
        Ok((batch, records))
    }

    fn slice(&self, position: u64) -> Bytes {
        let offset = usize::try_from(self.header.offset(position)).unwrap_or(usize::MAX);
        let end = self.bytes.len().min(usize::try_from(self.header.bytes).unwrap_or(usize::MAX));
        self.bytes.slice(offset.min(end)..end)
    }

    fn inside(&self, position: u64, damage: Damage) -> Error {
        Error::DamagedInside { segment: self.header.number, offset: self.header.offset(position), damage }
    }

    /// Judges a bad place.
    fn end_at(&self, position: u64, link: Link, damage: Damage) -> Result<Walked> {
        // Only what is whole and wrong has been made so: no crash does that.
        let is_made = !matches!(damage.nature, Nature::Rot | Nature::Missing);
        if self.next.is_some() || is_made || self.is_proved_durable(position) {
            return Err(self.inside(position, damage));
        }
        let is_torn = self.has_behind(position, |_| true);
        Ok(Walked { end: position, link, is_torn })
    }

    /// Whether a later write knew that `position` was durable.
    fn is_proved_durable(&self, position: u64) -> bool {
        self.has_behind(position, |record| matches!(record, Record::Batch(batch) if batch.durable > position))
    }

    /// Whether a whole record of this segment that is `wanted` stands at `position` or behind it.
    fn has_behind(&self, position: u64, wanted: impl Fn(&Record) -> bool) -> bool {
        let rest = self.slice(position);
        let mut at = 0;
        while at + record::HEAD_BYTES <= rest.len() {
            // Most of what is searched is zeros, or the inside of records.
            if rest[at..at + 2] == record::MAGIC {
                let found = Record::decode(&rest.slice(at..), position + at as u64, &self.header.salt);
                if found.is_ok_and(|(record, _)| wanted(&record)) {
                    return true;
                }
            }
            at += record::ALIGN_BYTES;
        }
        false
    }
}

/// A write as bytes: a batch record, then `records`, at `position` of a segment.
pub fn write(
    header: &Header,
    chain: &ChainKeys,
    position: u64,
    before: &Link,
    records: &[Record],
    mut placed: impl FnMut(&Record, u64),
) -> (Vec<u8>, Link) {
    let mut out = vec![0; BATCH_RECORD_BYTES];
    for record in records {
        let at = position + out.len() as u64;
        record.append(&mut out, at, &header.salt);
        placed(record, at);
    }
    // One write is under way at a time: what stands before it is durable.
    let (bytes, durable) = (out.len() as u64, position);
    let pieces = [&bytes.to_be_bytes()[..], &durable.to_be_bytes(), &out[BATCH_RECORD_BYTES..]];
    let link = chain.link(before, position, &pieces);
    let mut head = Vec::with_capacity(BATCH_RECORD_BYTES);
    Record::Batch(Batch { bytes, durable, link }).append(&mut head, position, &header.salt);
    out[..BATCH_RECORD_BYTES].copy_from_slice(&head);
    (out, link)
}

const _: () = assert!((HEADER_BYTES as usize).is_multiple_of(record::ALIGN_BYTES));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::Entry;
    use crate::log::segment::LogName;
    use crate::types::{GroupId, LogId, ReplicaId};
    use engine::entropy::Seeded;
    use engine::ids::{ClusterId, KeyEpoch, NodeId, Owner, Purpose};
    use engine::sealed::{Keyring, Sealer, SecretKey};
    use std::sync::Arc;

    const FILE_BYTES: u64 = 16 << 10;

    fn header() -> Header {
        let (cluster, node, log) = (ClusterId([1; 16]), NodeId(3), LogName([4; 16]));
        let (epoch, link, salt) = (KeyEpoch(1), [9; 16], [7; 16]);
        Header {
            cluster,
            generation: 1,
            node,
            log,
            number: 2,
            first_position: 800,
            bytes: FILE_BYTES,
            salt,
            epoch,
            link,
        }
    }

    fn chain(header: &Header) -> ChainKeys {
        let (keys, owner) = (Keyring::new(), Owner::Node(header.node));
        keys.insert(owner, Purpose::Mac, header.epoch, SecretKey::new([5; 32])).unwrap();
        let sealer = Sealer::new(header.cluster, Arc::new(keys), Arc::new(Seeded::new(1))).unwrap();
        sealer.chain(header.node, header.epoch, &header.name()).unwrap()
    }

    fn record(index: u64) -> Record {
        let log_id = LogId { term: 1, replica: ReplicaId(1), index };
        Record::Entry(GroupId(1), Entry { log_id, kind: 1, stamp: 0, payload: vec![index as u8; 50].into() })
    }

    /// A segment with three writes of two records each, and where each write begins and the last ends.
    fn three_writes() -> (Vec<u8>, [u64; 4]) {
        let header = header();
        let chain = chain(&header);
        let mut file = header.encode();
        let (mut position, mut link, mut starts) = (header.first_position, header.link, Vec::new());
        for n in 0..3 {
            starts.push(position);
            let records = [record(2 * n), record(2 * n + 1)];
            let (bytes, next) = write(&header, &chain, position, &link, &records, |_, _| {});
            file.extend_from_slice(&bytes);
            (position, link) = (position + bytes.len() as u64, next);
        }
        starts.push(position);
        file.resize(FILE_BYTES as usize, 0);
        (file, starts.try_into().unwrap())
    }

    fn walk(file: &[u8], next: Option<u64>) -> Result<(Walked, usize)> {
        let header = Header::decode(file)?;
        let (bytes, chain) = (Bytes::copy_from_slice(file), chain(&header));
        let segment = Segment { header: &header, bytes: &bytes, chain: &chain, next };
        let mut records = 0;
        let walked = segment.walk(|_| {
            records += 1;
            Ok(())
        })?;
        Ok((walked, records))
    }

    #[test]
    fn whole_writes_are_told_to_their_end() {
        let (file, [.., end]) = three_writes();
        let (walked, records) = walk(&file, None).unwrap();
        assert_eq!((walked.end, walked.is_torn, records), (end, false, 6));
        assert_eq!(walk(&file, Some(end)).unwrap().0.end, end);
        // What stands behind the beginning of the next segment does not count.
        let (_, [_, _, third, _]) = three_writes();
        assert_eq!(walk(&file, Some(third)).unwrap().1, 4);
        assert!(matches!(walk(&file, Some(third + 8)), Err(Error::DamagedInside { .. })));
        assert!(matches!(walk(&file, Some(end + 8)), Err(Error::DamagedInside { .. })));
    }

    #[test]
    fn a_flipped_bit_is_torn_in_the_last_write_and_damage_before() {
        let (file, [first, _, third, end]) = three_writes();
        let offset = |position| header().offset(position) as usize;
        for bit in offset(first) * 8..offset(end) * 8 {
            let mut file = file.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            match walk(&file, None) {
                Ok((walked, records)) => {
                    assert!(bit / 8 >= offset(third), "bit {bit} was durable");
                    assert_eq!((walked.end, walked.is_torn, records), (third, true, 4), "bit {bit}");
                }
                Err(Error::DamagedInside { segment: 2, offset: at, .. }) => {
                    assert!(bit / 8 < offset(third) && at as usize <= bit / 8, "bit {bit}");
                }
                Err(other) => panic!("bit {bit}: {other}"),
            }
            assert!(matches!(walk(&file, Some(end)), Err(Error::DamagedInside { .. })), "bit {bit}, closed");
        }
    }

    #[test]
    fn a_write_cut_anywhere_is_torn() {
        let (file, [_, _, third, end]) = three_writes();
        for cut in header().offset(third)..header().offset(end) {
            let mut file = file.clone();
            file[cut as usize..].fill(0);
            let (walked, records) = walk(&file, None).unwrap();
            // Padding is zero anyway, so the last few cuts change nothing.
            let is_whole = records == 6;
            assert!(!is_whole || cut > header().offset(end) - 8, "cut {cut}");
            assert_eq!(walked.end, if is_whole { end } else { third }, "cut {cut}");
        }
    }

    #[test]
    fn a_write_that_was_changed_with_its_checksum_or_moved_is_no_torn_tail() {
        let (file, [_, second, third, end]) = three_writes();
        let offset = |position| header().offset(position) as usize;
        // The third write again, at its place, behind another link.
        let forged = write(&header(), &chain(&header()), third, &[0; 16], &[record(9)], |_, _| {}).0;
        let mut changed = file.clone();
        changed[offset(third)..offset(third) + forged.len()].copy_from_slice(&forged);
        let Err(Error::DamagedInside { damage, .. }) = walk(&changed, None) else { panic!("it passed") };
        assert_eq!(damage.nature, Nature::Tampered);
        // The third write in place of the second: it knows its position.
        let mut moved = file.clone();
        moved.copy_within(offset(third)..offset(end), offset(second));
        assert!(matches!(walk(&moved, None), Err(Error::DamagedInside { .. })));
    }
}
