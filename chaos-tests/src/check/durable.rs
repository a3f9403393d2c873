//! Pure: the oracle. It holds every version of every key with its stamp, and what is not known to be there. A read at any stamp, of
//! now or of the past, of a restored cluster or of a delayed cut, must find what the oracle has: what is missing and what is too
//! much are both wrong. A write of unknown outcome may be there or not; once it was seen it stays. And what a read did not find at
//! its stamp cannot appear there later.

use super::Violation;
use crate::history::{Key, or_nothing};
use engine::Stamp;
use std::collections::{BTreeMap, BTreeSet};

const JUDGE: &str = "durable";

/// A value, or that it was deleted.
pub type Value = Option<u64>;

#[derive(Clone, Debug, Default)]
struct Row {
    /// What is there, acknowledged or seen.
    versions: BTreeMap<Stamp, Value>,
    /// What perhaps is there, at a stamp nobody knows.
    unknown: BTreeSet<Value>,
    /// Begin and end of stretches in which a read found nothing newer than the begin.
    bare: BTreeMap<Stamp, Stamp>,
}

/// All that was ever written.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    rows: BTreeMap<Key, Row>,
}

/// Holds what a replica has of `keys` at a stamp against the oracle; and it has no others.
///
/// # Errors
/// As [`Oracle::read`], of the first key that is wrong.
pub fn judge(
    oracle: &mut Oracle,
    at: Stamp,
    keys: &[Key],
    found: &BTreeMap<Key, (Stamp, u64)>,
) -> Result<(), Violation> {
    let keys: BTreeSet<Key> = keys.iter().chain(found.keys()).copied().collect();
    keys.into_iter().try_for_each(|key| oracle.read(key, at, found.get(&key).copied()))
}

fn broken(what: String) -> Result<(), Violation> {
    Err(Violation::broken(JUDGE, what))
}

impl Row {
    /// A version is there from now on.
    fn add(&mut self, key: Key, stamp: Stamp, value: Value, how: &str) -> Result<(), Violation> {
        let (k, written) = (key.0, or_nothing(value));
        if let Some(other) = self.versions.insert(stamp, value)
            && other != value
        {
            return broken(format!(
                "k{k} is {} at {stamp}, and {written} was {how} there",
                or_nothing(other)
            ));
        }
        match self.bare.range(..stamp).next_back() {
            Some((_, until)) if *until >= stamp => broken(format!(
                "k{k}: {written} was {how} at {stamp}, where a read at {until} had not found it"
            )),
            _ => Ok(()),
        }
    }
}

impl Oracle {
    /// A write was acknowledged at a stamp; `None` is a deletion.
    ///
    /// # Errors
    /// Broken: another write has this stamp, or a read at or after the stamp did not find it.
    pub fn acknowledged(&mut self, key: Key, stamp: Stamp, value: Value) -> Result<(), Violation> {
        let row = self.rows.entry(key).or_default();
        // All deletions look the same: one that is known says nothing of another that is not.
        if value.is_some() {
            row.unknown.remove(&value);
        }
        row.add(key, stamp, value, "acknowledged")
    }

    /// A write perhaps happened. Values that may be unknown are written once in a run, or what is seen cannot be told apart.
    pub fn unknown(&mut self, key: Key, value: Value) {
        self.rows.entry(key).or_default().unknown.insert(value);
    }

    /// A read at a stamp, at or below which nothing can be written any more, found this version, or nothing visible.
    ///
    /// # Errors
    /// Broken: a newer version is missing, or this one was never written, or at another stamp.
    pub fn read(&mut self, key: Key, at: Stamp, found: Option<(Stamp, u64)>) -> Result<(), Violation> {
        let (k, row) = (key.0, self.rows.entry(key).or_default());
        let newest = row.versions.range(..=at).next_back().map(|(stamp, value)| (*stamp, *value));
        let told = newest.map_or_else(
            || "nothing was written".to_owned(),
            |(stamp, value)| format!("{} was written at {stamp}", or_nothing(value)),
        );
        let Some((stamp, value)) = found else {
            let is_gone = newest.is_none_or(|(_, value)| value.is_none());
            if is_gone {
                row.bare_until(newest.map_or(Stamp::ZERO, |(stamp, _)| stamp), at);
            } else if !row.unknown.contains(&None) {
                return broken(format!("k{k} at {at}: missing: {told}, and nothing is there"));
            }
            return Ok(());
        };
        if stamp > at {
            return broken(format!("k{k} at {at}: found {value} of {stamp}, which is later"));
        }
        if newest != Some((stamp, Some(value))) {
            if newest.is_some_and(|(newest, _)| newest > stamp) {
                return broken(format!("k{k} at {at}: missing: {told}, and {value} of {stamp} is there"));
            }
            if !row.unknown.remove(&Some(value)) {
                return broken(format!("k{k} at {at}: too much: {told}, and {value} of {stamp} is there"));
            }
            row.add(key, stamp, Some(value), "found")?;
        }
        row.bare_until(stamp, at);
        Ok(())
    }

    /// Every key that somebody wrote, perhaps.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.rows.keys().copied()
    }

    /// How many versions are known to be there: a judge that was told nothing holds nothing.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.rows.values().map(|row| row.versions.len()).sum()
    }
}

impl Row {
    fn bare_until(&mut self, from: Stamp, until: Stamp) {
        let end = self.bare.entry(from).or_default();
        *end = until.max(*end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: Key = Key(1);

    fn at(ms: u64) -> Stamp {
        Stamp::new(ms, 0)
    }

    fn oracle() -> Oracle {
        let mut oracle = Oracle::default();
        oracle.acknowledged(K, at(10), Some(1)).unwrap();
        oracle.acknowledged(K, at(20), None).unwrap();
        oracle.acknowledged(K, at(30), Some(3)).unwrap();
        oracle.unknown(K, Some(9));
        oracle
    }

    #[test]
    fn every_stamp_of_the_past_is_answered() {
        let mut oracle = oracle();
        for (ms, found) in
            [(9, None), (10, Some((at(10), 1))), (19, Some((at(10), 1))), (25, None), (30, Some((at(30), 3)))]
        {
            assert_eq!(oracle.read(K, at(ms), found), Ok(()));
        }
        let all = BTreeMap::from([(K, (at(30), 3))]);
        assert_eq!(judge(&mut oracle, at(40), &[K], &all), Ok(()));
        assert_eq!(oracle.versions(), 3);
    }

    #[test]
    fn a_deletion_that_is_known_says_nothing_of_one_that_is_not() {
        let mut oracle = oracle();
        oracle.unknown(K, None);
        oracle.acknowledged(K, at(50), Some(5)).unwrap();
        oracle.acknowledged(K, at(60), None).unwrap();
        assert_eq!(oracle.read(K, at(40), None), Ok(()), "it may have been deleted by then");
    }

    #[test]
    fn missing_and_too_much_are_both_wrong() {
        let table = [
            (35, None, "missing: 3 was written"),
            (35, Some((at(10), 1)), "missing: 3 was written"),
            (25, Some((at(10), 1)), "missing: - was written"),
            (35, Some((at(33), 7)), "too much"),
            (35, Some((at(30), 7)), "too much"),
            (35, Some((at(31), 3)), "too much"),
            (5, Some((at(5), 1)), "too much"),
            (5, Some((at(10), 1)), "which is later"),
        ];
        for (ms, found, what) in table {
            let violation = oracle().read(K, at(ms), found).unwrap_err();
            assert!(violation.what.contains(what), "{violation}");
        }
        let extra = BTreeMap::from([(K, (at(30), 3)), (Key(2), (at(1), 1))]);
        assert!(
            judge(&mut oracle(), at(40), &[K], &extra).unwrap_err().what.starts_with("k2 at 40.0: too much")
        );
        assert!(
            judge(&mut oracle(), at(40), &[K], &BTreeMap::new())
                .unwrap_err()
                .what
                .starts_with("k1 at 40.0: missing")
        );
    }

    #[test]
    fn an_unknown_write_once_seen_stays_where_it_was_seen() {
        let mut oracle = oracle();
        assert_eq!(oracle.read(K, at(33), Some((at(30), 3))), Ok(()));
        assert_eq!(oracle.read(K, at(40), Some((at(35), 9))), Ok(()));
        assert!(oracle.clone().read(K, at(45), Some((at(30), 3))).unwrap_err().what.contains("missing: 9"));
        assert!(oracle.read(K, at(45), Some((at(41), 9))).unwrap_err().what.contains("too much"));
    }

    #[test]
    fn what_a_read_did_not_find_does_not_appear_below_it() {
        let mut seen = oracle();
        seen.read(K, at(33), Some((at(30), 3))).unwrap();
        let told = seen.clone().acknowledged(K, at(32), Some(4)).unwrap_err().to_string();
        assert_eq!(told, "durable: k1: 4 was acknowledged at 32.0, where a read at 33.0 had not found it");
        assert!(
            seen.clone().read(K, at(40), Some((at(31), 9))).unwrap_err().what.contains("9 was found at 31.0")
        );
        assert!(seen.clone().acknowledged(K, at(33), Some(4)).is_err());
        assert_eq!(seen.acknowledged(K, at(34), Some(4)), Ok(()));
        assert!(seen.acknowledged(K, at(34), Some(5)).unwrap_err().what.contains("k1 is 4 at 34.0"));
    }

    #[test]
    fn a_deletion_of_unknown_outcome_explains_an_absence() {
        let mut oracle = oracle();
        oracle.unknown(K, None);
        assert_eq!(oracle.read(K, at(35), None), Ok(()));
    }
}
