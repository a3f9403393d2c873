//! Pure: a version key with its first bytes beside its handle, so that most comparisons look nowhere else.
//!
//! The walk down a skip list is a chain of comparisons with keys that lie all over memory; fetching those bytes is most of what
//! an insert costs.

use bytes::Bytes;
use std::cmp::Ordering;

/// Words of the head: tenant, collection with half a word of the user key, and one word more of that.
const HEAD_WORDS: usize = 3;
const WORD_BYTES: usize = size_of::<u64>();

/// A version key, ordered as its bytes are.
#[derive(Clone)]
pub(super) struct HeadedKey {
    /// The first bytes, zeros behind a shorter key. Where two heads differ the keys differ the same way.
    head: [u64; HEAD_WORDS],
    bytes: Bytes,
}

impl HeadedKey {
    pub(super) fn new(bytes: Bytes) -> Self {
        let mut padded = [0; HEAD_WORDS * WORD_BYTES];
        let n = bytes.len().min(padded.len());
        padded[..n].copy_from_slice(&bytes[..n]);
        let mut head = [0; HEAD_WORDS];
        for (word, bytes) in head.iter_mut().zip(padded.as_chunks::<WORD_BYTES>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        Self { head, bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Ord for HeadedKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head.cmp(&other.head).then_with(|| self.bytes.cmp(&other.bytes))
    }
}

impl PartialOrd for HeadedKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for HeadedKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for HeadedKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few different bytes, so that heads are often alike, and lengths around the head's.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff)], 0..30)
    }

    proptest! {
        #[test]
        fn is_ordered_as_its_bytes(a in key(), b in key(), shared in key()) {
            for (a, b) in [(a.clone(), b.clone()), ([&shared[..], &a].concat(), [&shared[..], &b].concat())] {
                let (x, y) = (HeadedKey::new(a.clone().into()), HeadedKey::new(b.clone().into()));
                prop_assert_eq!(x.cmp(&y), a.cmp(&b));
                prop_assert_eq!(x == y, a == b);
                prop_assert_eq!(x.bytes(), &a[..]);
            }
        }
    }
}
