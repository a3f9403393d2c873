//! Pure: what was committed last, so that a catalog that is opened again can be asked whether it has gone back.
//!
//! A store that recovers from a log it believes to be torn loses the newest of it first. So whoever remembers the last commit that
//! was acknowledged, and those after it whose outcome is unknown, can tell a store that has lost anything from one that has not.

use super::Change;
use crate::error::Result;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_128;

/// What keys hold: a digest of the value, `None` if there is no such row.
type Held = BTreeMap<Vec<u8>, Option<u128>>;

/// What a catalog must hold, and what it may.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// After the last acknowledged commit.
    known: Held,
    /// After each commit since of which it is not known whether it happened.
    unsure: Vec<Held>,
}

fn held_after(changes: &[Change]) -> Held {
    let held = changes.iter().map(|change| match change {
        Change::Put { key, value } => (key.clone(), Some(xxh3_128(value))),
        Change::Remove { key } => (key.clone(), None),
    });
    held.collect()
}

impl Recent {
    /// A commit was acknowledged.
    pub(super) fn acknowledged(&mut self, changes: &[Change]) {
        // An empty commit says nothing, and the one before it goes on to count.
        if !changes.is_empty() {
            *self = Self { known: held_after(changes), unsure: Vec::new() };
        }
    }

    /// A commit failed: it may have happened all the same.
    pub(super) fn failed(&mut self, changes: &[Change]) {
        self.unsure.push(held_after(changes));
    }

    /// Whether the store that `get` reads holds what it must. If it does, that is what counts from now on.
    ///
    /// # Errors
    /// What `get` returns.
    pub(super) fn is_kept(&mut self, get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>>) -> Result<bool> {
        let mut found = Held::new();
        for key in self.known.keys() {
            found.insert(key.clone(), get(key)?.map(|value| xxh3_128(&value)));
        }
        let may_hold = |key: &Vec<u8>, value: &Option<u128>| {
            let mut all = std::iter::once(&self.known).chain(&self.unsure);
            all.any(|held| held.get(key) == Some(value))
        };
        let is_kept = found.iter().all(|(key, value)| may_hold(key, value));
        if is_kept {
            *self = Self { known: found, unsure: Vec::new() };
        }
        Ok(is_kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change::Put { key: key.into(), value: value.into() }
    }

    fn remove(key: &str) -> Change {
        Change::Remove { key: key.into() }
    }

    fn is_kept(recent: &mut Recent, rows: &[(&str, &str)]) -> bool {
        let rows: BTreeMap<Vec<u8>, Vec<u8>> = rows.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        recent.is_kept(|key| Ok(rows.get(key).cloned())).unwrap()
    }

    #[test]
    fn the_last_acknowledged_commit_must_be_there() {
        let mut recent = Recent::default();
        assert!(is_kept(&mut recent, &[]), "nothing was ever committed");
        recent.acknowledged(&[put("a", "1"), put("b", "1")]);
        recent.acknowledged(&[put("a", "2"), remove("b"), put("c", "0"), put("c", "1")]);
        recent.acknowledged(&[]);
        assert!(is_kept(&mut recent, &[("a", "2"), ("c", "1"), ("other", "x")]));
        assert!(!is_kept(&mut recent, &[("a", "1"), ("b", "1")]), "as before the last");
        assert!(!is_kept(&mut recent, &[("a", "2"), ("c", "1"), ("b", "1")]), "a row that had been removed");
        assert!(!is_kept(&mut recent, &[("a", "2")]), "a row is gone");
        assert!(is_kept(&mut recent, &[("a", "2"), ("c", "1")]), "asked again after a refusal");
    }

    #[test]
    fn a_commit_of_unknown_outcome_may_be_there_or_not_and_what_is_found_then_counts() {
        let mut recent = Recent::default();
        recent.acknowledged(&[put("a", "1"), put("b", "1")]);
        recent.failed(&[put("a", "2"), remove("b")]);
        recent.failed(&[put("a", "3")]);
        assert!(!is_kept(&mut recent, &[("a", "0"), ("b", "1")]));
        assert!(!is_kept(&mut recent, &[("b", "1")]));
        assert!(is_kept(&mut recent, &[("a", "3")]), "both happened");
        assert!(!is_kept(&mut recent, &[("a", "1"), ("b", "1")]), "and cannot unhappen");
        recent.acknowledged(&[put("a", "4")]);
        recent.failed(&[put("a", "5")]);
        assert!(is_kept(&mut recent, &[("a", "4")]), "neither need they have happened");
        assert!(!is_kept(&mut recent, &[("a", "5")]));
    }

    #[test]
    fn what_cannot_be_read_decides_nothing() {
        let mut recent = Recent::default();
        recent.acknowledged(&[put("a", "1")]);
        assert!(recent.is_kept(|_| Err(crate::Error::Closed)).is_err());
        assert!(is_kept(&mut recent, &[("a", "1")]));
    }
}
