//! Pure: which rows are surely not in a stripe: a Bloom filter over XXH3 of the row key.
//! Format: filter, `docs/formats/filter.md`.
//!
//! Bloom 1970; the probes are made from one hash as in Kirsch and Mitzenmacher, "Less Hashing, Same Performance" (2006).

use crate::error::{Damage, Nature};
use crate::limits;
use crate::sealed::SecretBytes;
use xxhash_rust::xxh3::xxh3_64;

/// Probes a row: with ten bits a key, seven give the fewest false answers.
const PROBES: u8 = 7;
const HEAD_BYTES: usize = 8;

/// Collects the rows of a stripe.
#[derive(Default)]
pub struct FilterBuilder(Vec<u64>);

fn probe(hash: &mut u64, step: u64, bits: u64) -> u64 {
    let bit = (*hash >> 32).wrapping_mul(bits) >> 32;
    *hash = hash.wrapping_add(step);
    bit
}

fn step(hash: u64) -> u64 {
    hash.rotate_left(32) | 1
}

impl FilterBuilder {
    /// Adds a row; the same row again right away is free.
    pub fn add(&mut self, row: &[u8]) {
        let hash = xxh3_64(row);
        if self.0.last() != Some(&hash) {
            self.0.push(hash);
        }
    }

    /// Bytes of the filter if it ended now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        HEAD_BYTES + (self.0.len() * limits::FILTER_BITS_PER_KEY).div_ceil(8)
    }

    /// The filter, and an empty builder again.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = vec![0; self.bytes()];
        out[0] = PROBES;
        let bits = ((out.len() - HEAD_BYTES) * 8) as u64;
        for mut hash in std::mem::take(&mut self.0) {
            let step = step(hash);
            for _ in 0..PROBES {
                let bit = usize::try_from(probe(&mut hash, step, bits)).expect("below the filter's bits");
                out[HEAD_BYTES + bit / 8] |= 1 << (bit % 8);
            }
        }
        out
    }
}

/// An opened filter.
pub struct Filter(SecretBytes);

impl Filter {
    /// The filter in `bytes`.
    ///
    /// # Errors
    /// `Damaged` if the head is none.
    pub fn new(bytes: SecretBytes) -> Result<Self, Damage> {
        let is_known =
            bytes.len() >= HEAD_BYTES && (1..=30).contains(&bytes[0]) && bytes[1..HEAD_BYTES] == [0; 7];
        if is_known { Ok(Self(bytes)) } else { Err(Damage::of(Nature::Malformed, "no filter")) }
    }

    /// False if `row` is surely not in the stripe.
    #[must_use]
    pub fn may_hold(&self, row: &[u8]) -> bool {
        let Some((head, set)) = self.0.split_first_chunk::<HEAD_BYTES>() else { return true };
        let bits = (set.len() * 8) as u64;
        let mut hash = xxh3_64(row);
        let step = step(hash);
        bits == 0
            || (0..head[0]).all(|_| {
                let bit = usize::try_from(probe(&mut hash, step, bits)).unwrap_or(0);
                set.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
            })
    }

    /// Bytes it keeps in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.len() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_added_and_little_else() {
        let mut builder = FilterBuilder::default();
        (0..10_000_u32).for_each(|n| builder.add(&n.to_be_bytes()));
        let filter = Filter::new(SecretBytes::from(builder.finish())).unwrap();
        assert!((0..10_000_u32).all(|n| filter.may_hold(&n.to_be_bytes())));
        let wrong = (10_000..110_000_u32).filter(|n| filter.may_hold(&n.to_be_bytes())).count();
        assert!((100..2_000).contains(&wrong), "{wrong} false answers in 100,000");
    }

    #[test]
    fn no_filter_is_refused_and_an_empty_one_holds_anything() {
        for bad in [&[][..], &[7, 0, 0], &[0; 8], &[31, 0, 0, 0, 0, 0, 0, 0], &[7, 1, 0, 0, 0, 0, 0, 0]] {
            assert!(Filter::new(SecretBytes::from(bad.to_vec())).is_err());
        }
        let empty = FilterBuilder::default().finish();
        assert!(Filter::new(SecretBytes::from(empty)).unwrap().may_hold(b"x"));
    }
}
