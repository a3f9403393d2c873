//! Pure: the first bytes of a block's whole keys, side by side. A search looks at these, and not all over the block: of a large
//! index that spares it most of its waits for memory.

use crate::sealed::SecretBytes;
use std::ops::Range;

const HEAD_BYTES: usize = 8;

/// The first bytes of sorted keys, behind what all of them share.
#[derive(Default)]
pub(super) struct Heads {
    /// What all keys begin with.
    shared: SecretBytes,
    /// The next eight bytes of each key, zeros behind its end.
    heads: SecretBytes,
}

fn head_of(key: &[u8]) -> u64 {
    let mut head = [0; HEAD_BYTES];
    let n = key.len().min(HEAD_BYTES);
    head[..n].copy_from_slice(&key[..n]);
    u64::from_be_bytes(head)
}

impl Heads {
    /// The heads of `keys`, which lie between `first` and `last`.
    pub(super) fn new<'a>(
        first: &[u8],
        last: &[u8],
        count: usize,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Self {
        let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let mut heads = SecretBytes::from(Vec::with_capacity(count * HEAD_BYTES));
        for key in keys.take(count) {
            let behind = key.get(shared..).unwrap_or_default();
            heads.extend_from_slice(&head_of(behind).to_be_bytes());
        }
        Self { shared: SecretBytes::from(first[..shared].to_vec()), heads }
    }

    /// Bytes it keeps in memory.
    pub(super) fn bytes(&self) -> usize {
        self.shared.len() + self.heads.len()
    }

    fn head(&self, n: usize) -> u64 {
        self.heads.get(n * HEAD_BYTES..).map_or(0, head_of)
    }

    fn partition_point(&self, is_before: impl Fn(u64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.heads.len() / HEAD_BYTES);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(self.head(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Keys that may be equal to `target` or next to it: those before are below it, those behind above.
    pub(super) fn near(&self, target: &[u8]) -> Range<usize> {
        let count = self.heads.len() / HEAD_BYTES;
        let begins = &target[..target.len().min(self.shared.len())];
        if begins < &self.shared[..] {
            // A target that ends inside what all share is below them too.
            return 0..0;
        }
        if begins > &self.shared[..] {
            return count..count;
        }
        let head = head_of(&target[self.shared.len()..]);
        self.partition_point(|one| one < head)..self.partition_point(|one| one <= head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn keys_before_are_below_and_keys_behind_above(
            prefix in proptest::collection::vec(0u8..3, 0..4),
            ends in proptest::collection::btree_set(proptest::collection::vec(0u8..3, 0..12), 1..60),
            targets in proptest::collection::vec(proptest::collection::vec(0u8..3, 0..16), 20),
        ) {
            let keys: BTreeSet<Vec<u8>> = ends.iter().map(|end| [&prefix[..], end].concat()).collect();
            let keys: Vec<Vec<u8>> = keys.into_iter().collect();
            let all = keys.iter().map(|key| &key[..]);
            let heads = Heads::new(&keys[0], &keys[keys.len() - 1], keys.len(), all);
            for target in targets.iter().chain(&keys) {
                let near = heads.near(target);
                prop_assert!(keys[..near.start].iter().all(|key| key < target));
                prop_assert!(keys[near.end..].iter().all(|key| key > target));
            }
        }
    }
}
