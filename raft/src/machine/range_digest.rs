//! Pure: a digest of what stands in a range of rows, by which two replicas that differ find the row in which they do.
//!
//! The running digest ([`super::digest`]) says that replicas differ, of which tenants, and from when on; this one says where. One of them
//! cuts a range into a few of about as many rows each, at keys that are there; the other tells the digests of the same ranges; what
//! differs is cut again ([`differing`]). So a row among a billion is found in a few exchanges of a few KiB.
//!
//! What counts is the state at one stamp, as a reader sees it: of each row its newest version at or before that stamp, opened, with its
//! own stamp and expiry. A row that is deleted, covered by a deleted range, or expired by the milliseconds of that stamp is not there, as
//! one that never was; older versions do not count. All else depends on what has been flushed and compacted, and under which nonces.

use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use std::fmt;
use xxhash_rust::xxh3::Xxh3;

/// A range of rows of one collection of one tenant, by user key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowRange {
    /// Whose.
    pub tenant: TenantId,
    /// Which collection. The one in which replies are kept is state as well.
    pub collection: CollectionId,
    /// First user key inside; `None` is the collection's first.
    pub start: Option<Vec<u8>>,
    /// First user key outside; `None` is after the collection's last.
    pub end: Option<Vec<u8>>,
}

impl RowRange {
    /// A whole collection.
    #[must_use]
    pub fn all(tenant: TenantId, collection: CollectionId) -> Self {
        Self { tenant, collection, start: None, end: None }
    }
}

impl fmt::Debug for RowRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |key: &Option<Vec<u8>>| key.as_ref().map(Vec::len);
        let (start, end) = (bytes(&self.start), bytes(&self.end));
        write!(f, "RowRange({}, {:?}, {start:?} to {end:?} bytes)", self.tenant, self.collection)
    }
}

/// One row, as a reader sees it.
#[derive(Clone, Copy)]
pub struct SeenRow<'a> {
    /// Its user key.
    pub user_key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// When it was written.
    pub stamp: Stamp,
    /// When it expires: milliseconds since 1970, 0 never.
    pub expires_ms: u64,
}

/// The sum of the hashes of some rows: in whatever pieces they come, it is the same.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSum {
    /// Rows.
    pub rows: u64,
    /// The sum, modulo 2^128.
    pub sum: u128,
}

impl fmt::Debug for RowSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowSum({} rows, {:032x})", self.rows, self.sum)
    }
}

impl RowSum {
    /// That of one row of a collection.
    #[must_use]
    pub fn of(range: &RowRange, row: &SeenRow<'_>) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&range.tenant.0.to_be_bytes());
        hash.update(&range.collection.0.to_be_bytes());
        hash.update(&row.stamp.0.to_be_bytes());
        hash.update(&row.expires_ms.to_be_bytes());
        for piece in [row.user_key, row.value] {
            hash.update(&(piece.len() as u64).to_be_bytes());
            hash.update(piece);
        }
        Self { rows: 1, sum: hash.digest128() }
    }

    /// That of these rows and those.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, sum: self.sum.wrapping_add(other.sum) }
    }
}

/// A range, and what stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeDigest {
    /// The range.
    pub range: RowRange,
    /// What stands in it.
    pub sum: RowSum,
}

/// The ranges of `ours` in which `theirs` says another thing, or nothing.
#[must_use]
pub fn differing(ours: &[RangeDigest], theirs: &[RangeDigest]) -> Vec<RowRange> {
    ours.iter().filter(|one| !theirs.contains(one)).map(|one| one.range.clone()).collect()
}

/// Cuts rows that come in order, of which nobody knows how many there are, into at most so many ranges of about the same number of
/// rows; at least half as many, if there are so many rows. Holds twice as many first keys, and no row.
#[derive(Debug)]
pub struct Cutter {
    range: RowRange,
    ranges_max: usize,
    /// Rows of a part that is whole.
    rows_each: u64,
    /// First key and sum.
    parts: Vec<(Vec<u8>, RowSum)>,
}

impl Cutter {
    /// Cuts `range` into at most `ranges_max`; one at least.
    #[must_use]
    pub fn new(range: RowRange, ranges_max: usize) -> Self {
        Self { range, ranges_max: ranges_max.max(1), rows_each: 1, parts: Vec::new() }
    }

    /// The next row.
    pub fn push(&mut self, row: &SeenRow<'_>) {
        let sum = RowSum::of(&self.range, row);
        if let Some((_, last)) = self.parts.last_mut().filter(|(_, last)| last.rows < self.rows_each) {
            *last = last.and(sum);
            return;
        }
        if self.parts.len() == self.ranges_max * 2 {
            self.halve();
        }
        self.parts.push((row.user_key.to_vec(), sum));
    }

    /// Makes one part of two, and of an odd last one a part that is not whole yet.
    fn halve(&mut self) {
        self.rows_each *= 2;
        let parts = std::mem::take(&mut self.parts);
        let pair = |two: &[(Vec<u8>, RowSum)]| {
            let sum = two.iter().fold(RowSum::default(), |sum, (_, next)| sum.and(*next));
            (two[0].0.clone(), sum)
        };
        self.parts = parts.chunks(2).map(pair).collect();
    }

    /// The ranges: one begins where the one before ends, and all of them are what was to be cut.
    #[must_use]
    pub fn finish(mut self) -> Vec<RangeDigest> {
        while self.parts.len() > self.ranges_max {
            self.halve();
        }
        if self.parts.is_empty() {
            return vec![RangeDigest { range: self.range, sum: RowSum::default() }];
        }
        let firsts = self.parts.iter().map(|(first, _)| Some(first.clone()));
        let starts = std::iter::once(self.range.start.clone()).chain(firsts.clone().skip(1));
        let ends = firsts.skip(1).chain(std::iter::once(self.range.end.clone()));
        let ranges = starts.zip(ends).zip(&self.parts).map(|((start, end), (_, sum))| RangeDigest {
            range: RowRange { start, end, ..self.range.clone() },
            sum: *sum,
        });
        ranges.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range() -> RowRange {
        RowRange { start: Some(vec![0]), ..RowRange::all(TenantId(7), CollectionId(3)) }
    }

    fn key(n: u32) -> Vec<u8> {
        [&[0][..], &n.to_be_bytes()].concat()
    }

    fn cut(keys: &[u32], ranges_max: usize) -> Vec<RangeDigest> {
        let mut cutter = Cutter::new(range(), ranges_max);
        for n in keys {
            let (user_key, value) = (key(*n), n.to_be_bytes());
            cutter.push(&SeenRow { user_key: &user_key, value: &value, stamp: Stamp(9), expires_ms: 0 });
            assert!(cutter.parts.len() <= ranges_max * 2, "what is held is bounded");
        }
        cutter.finish()
    }

    fn sum(ranges: &[RangeDigest]) -> RowSum {
        ranges.iter().fold(RowSum::default(), |sum, one| sum.and(one.sum))
    }

    proptest! {
        #[test]
        fn ranges_are_all_of_it_about_equal_and_few(count in 0..600_u32, ranges_max in 1..20_usize) {
            let keys: Vec<u32> = (0..count).collect();
            let ranges = cut(&keys, ranges_max);
            prop_assert!(ranges.len() <= ranges_max);
            prop_assert!(ranges.len() * 2 >= ranges_max.min(keys.len()), "{} of {}", ranges.len(), ranges_max);
            prop_assert_eq!((ranges[0].range.start.clone(), ranges.last().unwrap().range.end.clone()), (Some(vec![0]), None));
            prop_assert!(ranges.windows(2).all(|two| two[0].range.end == two[1].range.start));
            prop_assert!(ranges.windows(2).all(|two| two[0].sum.rows == ranges[0].sum.rows && two[1].sum.rows <= two[0].sum.rows));
            prop_assert_eq!(sum(&ranges), sum(&cut(&keys, 1)), "however it is cut");
            // A key that a range begins with is there, and in that range.
            for one in &ranges[1..] {
                prop_assert!(keys.iter().any(|n| Some(key(*n)) == one.range.start));
            }
        }
    }

    #[test]
    fn everything_of_a_row_counts() {
        let row = SeenRow { user_key: b"k", value: b"v", stamp: Stamp(5), expires_ms: 6 };
        let base = RowSum::of(&range(), &row);
        let others = [
            RowSum::of(&range(), &SeenRow { user_key: b"l", ..row }),
            RowSum::of(&range(), &SeenRow { user_key: b"", value: b"kv", ..row }),
            RowSum::of(&range(), &SeenRow { value: b"w", ..row }),
            RowSum::of(&range(), &SeenRow { stamp: Stamp(6), ..row }),
            RowSum::of(&range(), &SeenRow { expires_ms: 0, ..row }),
            RowSum::of(&RowRange { tenant: TenantId(8), ..range() }, &row),
            RowSum::of(&RowRange { collection: CollectionId(4), ..range() }, &row),
            base.and(base),
            RowSum::default(),
        ];
        assert!(others.iter().all(|other| *other != base));
        let bounds = RowRange { start: None, end: Some(vec![9]), ..range() };
        assert_eq!(RowSum::of(&bounds, &row), base, "where the range ends is nothing of the row");
    }

    #[test]
    fn what_differs_is_named_and_a_range_that_was_not_told_differs() {
        let keys: Vec<u32> = (0..64).collect();
        let ours = cut(&keys, 8);
        assert_eq!(differing(&ours, &ours), []);
        let mut theirs = ours.clone();
        theirs[3].sum.sum ^= 1;
        theirs.remove(6);
        assert_eq!(differing(&ours, &theirs), [ours[3].range.clone(), ours[6].range.clone()]);
    }

    #[test]
    fn no_key_is_printed() {
        let secret = RowRange { start: Some(b"secret".to_vec()), end: Some(b"secret".to_vec()), ..range() };
        let digest = RangeDigest { range: secret, sum: RowSum { rows: 1, sum: 2 } };
        let told = format!("{digest:?}");
        assert!(!told.contains("secret") && !told.contains("115"), "{told}");
    }
}
