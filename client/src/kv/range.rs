//! Pure: ranges of keys, as bytes.

use bytes::Bytes;
use proto::v1::Range as Sent;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// Keys from `start` up to `end`, which is not in it; an empty end is that of the collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first.
    pub start: Bytes,
    /// The first behind; empty: the end of the collection.
    pub end: Bytes,
}

impl KeyRange {
    /// All keys that begin so.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        let mut end = prefix.to_vec();
        // The least that is greater than all of them: the last byte that can grow grows.
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                break;
            }
        }
        Self { start: Bytes::copy_from_slice(prefix), end: end.into() }
    }

    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        key >= self.start.as_ref() && (self.end.is_empty() || key < self.end.as_ref())
    }

    pub(crate) fn sent(&self) -> Sent {
        Sent { start: self.start.clone(), end: self.end.clone() }
    }
}

fn at(key: &impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(key.as_ref())
}

fn behind(key: &impl AsRef<[u8]>) -> Bytes {
    [key.as_ref(), &[0]].concat().into()
}

impl From<RangeFull> for KeyRange {
    fn from(_: RangeFull) -> Self {
        Self::default()
    }
}

impl<K: AsRef<[u8]>> From<Range<K>> for KeyRange {
    fn from(range: Range<K>) -> Self {
        Self { start: at(&range.start), end: at(&range.end) }
    }
}

impl<K: AsRef<[u8]>> From<RangeFrom<K>> for KeyRange {
    fn from(range: RangeFrom<K>) -> Self {
        Self { start: at(&range.start), end: Bytes::new() }
    }
}

impl<K: AsRef<[u8]>> From<RangeTo<K>> for KeyRange {
    fn from(range: RangeTo<K>) -> Self {
        Self { start: Bytes::new(), end: at(&range.end) }
    }
}

impl<K: AsRef<[u8]>> From<RangeInclusive<K>> for KeyRange {
    fn from(range: RangeInclusive<K>) -> Self {
        Self { start: at(range.start()), end: behind(range.end()) }
    }
}

impl<K: AsRef<[u8]>> From<RangeToInclusive<K>> for KeyRange {
    fn from(range: RangeToInclusive<K>) -> Self {
        Self { start: Bytes::new(), end: behind(&range.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_bytes() {
        let of = |range: KeyRange| (range.start.to_vec(), range.end.to_vec());
        let wanted = |start: &[u8], end: &[u8]| (start.to_vec(), end.to_vec());
        assert_eq!(of((..).into()), wanted(b"", b""));
        assert_eq!(of(("a".."b").into()), wanted(b"a", b"b"));
        assert_eq!(of(("a"..).into()), wanted(b"a", b""));
        assert_eq!(of((..="b").into()), wanted(b"", b"b\0"));
        assert_eq!(of(("a"..="b").into()), wanted(b"a", b"b\0"));
        assert_eq!(of(KeyRange::prefix("ab")), wanted(b"ab", b"ac"));
        assert_eq!(of(KeyRange::prefix([1, 0xff])), wanted(&[1, 0xff], &[2]));
        assert_eq!(of(KeyRange::prefix([0xff])), wanted(&[0xff], b""));
        let held = |range: KeyRange| [&b"a"[..], b"b", b"c"].map(|key| range.holds(key));
        assert_eq!(held(("b".."c").into()), [false, true, false]);
        assert_eq!((held((..).into()), held(("b"..).into())), ([true; 3], [false, true, true]));
    }
}
