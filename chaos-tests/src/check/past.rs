//! Pure: reads of replicas that answer from what is applied there. It holds every version of every register that anybody applied, with
//! its stamp and when it was first applied, and asks of each answer:
//!
//! * is it what was there at the stamp it was read at, by all that the run has shown in the end? What is given out later at or below a
//!   stamp that was read breaks a promise too;
//! * if it may be so old and no older: was nothing newer applied anywhere earlier than that?

use super::Violation;
use crate::history::{Key, or_nothing};
use engine::Stamp;
use engine::ids::NodeId;
use std::collections::BTreeMap;

const JUDGE: &str = "past";

/// A value with its stamp, and when it was first applied by anybody, in true milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    value: Option<u64>,
    at_ms: u64,
}

/// All versions of all registers.
#[derive(Clone, Debug, Default)]
pub struct Versions(BTreeMap<Key, BTreeMap<Stamp, Version>>);

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// So many milliseconds.
    pub age_ms: u64,
    /// When it was answered, in true milliseconds.
    pub answered_ms: u64,
}

/// An answer of one replica about one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Where.
    pub node: NodeId,
    /// Which register.
    pub key: Key,
    /// At which stamp it was read.
    pub at: Stamp,
    /// What was there.
    pub found: Option<(Stamp, u64)>,
    /// How old it may be, if that was asked.
    pub bound: Option<Bound>,
}

impl Versions {
    /// A version was applied; `None` is a deletion. Who applies it again changes nothing.
    pub fn applied(&mut self, key: Key, stamp: Stamp, value: Option<u64>, at_ms: u64) {
        self.0.entry(key).or_default().entry(stamp).or_insert(Version { value, at_ms });
    }

    fn newest(&self, key: Key, at: Stamp) -> Option<(Stamp, Version)> {
        let row = self.0.get(&key)?;
        row.range(..=at).next_back().map(|(stamp, version)| (*stamp, *version))
    }

    /// Judges an answer, once all is known. Clocks of nodes were wrong by at most `clocks_ms`.
    ///
    /// # Errors
    /// Broken.
    pub fn judge(&self, look: &Look, clocks_ms: u64) -> Result<(), Violation> {
        let Look { node, key, at, found, bound } = *look;
        let there = self.newest(key, at);
        let visible = there.and_then(|(stamp, version)| Some((stamp, version.value?)));
        if visible != found {
            let said = |what: Option<(Stamp, u64)>| match what {
                Some((stamp, value)) => format!("{value} of {stamp}"),
                None => "nothing".to_owned(),
            };
            let what =
                format!("{node}: k{} at {at} is {}, and {} was found", key.0, said(visible), said(found));
            return Err(Violation::broken(JUDGE, what));
        }
        let Some(Bound { age_ms, answered_ms }) = bound else { return Ok(()) };
        // Whoever gave out the stamp may have been ahead, whoever answered behind; a millisecond each is lost where times are cut.
        let limit_ms = answered_ms.saturating_sub(age_ms + 2 * clocks_ms + 2);
        let newer = self.0.get(&key).into_iter().flat_map(|row| row.range(at.next()..));
        match newer.into_iter().find(|(_, version)| version.at_ms < limit_ms) {
            None => Ok(()),
            Some((stamp, version)) => {
                let (k, value) = (key.0, or_nothing(version.value));
                let what = format!(
                    "{node}: k{k}, read {answered_ms} ms into the run at {at}, may be {age_ms} ms old, and misses {value} of {stamp}, applied at {} ms",
                    version.at_ms
                );
                Err(Violation::broken(JUDGE, what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: Key = Key(1);

    fn at(ms: u64) -> Stamp {
        Stamp::new(ms, 0)
    }

    fn versions() -> Versions {
        let mut versions = Versions::default();
        versions.applied(K, at(10), Some(1), 1_000);
        versions.applied(K, at(20), None, 2_000);
        versions.applied(K, at(30), Some(3), 3_000);
        versions.applied(K, at(30), Some(3), 9_000);
        versions
    }

    fn look(ms: u64, found: Option<(u64, u64)>) -> Look {
        let found = found.map(|(ms, value)| (at(ms), value));
        Look { node: NodeId(2), key: K, at: at(ms), found, bound: None }
    }

    #[test]
    fn an_answer_is_what_was_there() {
        for (ms, found) in
            [(9, None), (10, Some((10, 1))), (19, Some((10, 1))), (20, None), (99, Some((30, 3)))]
        {
            assert_eq!(versions().judge(&look(ms, found), 0), Ok(()));
        }
        for (ms, found) in [
            (19, None),
            (20, Some((10, 1))),
            (40, None),
            (40, Some((10, 1))),
            (40, Some((31, 3))),
            (40, Some((30, 4))),
            (5, Some((5, 1))),
        ] {
            assert!(versions().judge(&look(ms, found), 0).is_err(), "{ms} {found:?}");
        }
        let told = versions().judge(&look(20, Some((10, 1))), 0).unwrap_err().to_string();
        assert_eq!(told, "past: n-2: k1 at 20.0 is nothing, and 1 of 10.0 was found");
        assert_eq!(versions().judge(&Look { key: Key(7), ..look(9, None) }, 0), Ok(()));
    }

    #[test]
    fn what_comes_later_below_a_stamp_that_was_read_is_found() {
        let mut versions = versions();
        assert_eq!(versions.judge(&look(25, None), 0), Ok(()));
        versions.applied(K, at(24), Some(5), 4_000);
        assert!(versions.judge(&look(25, None), 0).is_err());
    }

    #[test]
    fn an_answer_is_no_older_than_it_may_be() {
        let old = |age_ms, answered_ms| Look {
            bound: Some(Bound { age_ms, answered_ms }),
            ..look(15, Some((10, 1)))
        };
        // The version of 20 was there from 2,000 ms on.
        for (age_ms, answered_ms, clocks_ms, is_sound) in [
            (500, 2_502, 0, true),
            (500, 2_503, 0, false),
            (0, 2_002, 0, true),
            (0, 2_003, 0, false),
            (500, 2_902, 200, true),
            (500, 2_903, 200, false),
            (u64::MAX / 2, u64::MAX / 4, 0, true),
        ] {
            let verdict = versions().judge(&old(age_ms, answered_ms), clocks_ms);
            assert_eq!(verdict.is_ok(), is_sound, "{age_ms} {answered_ms}: {verdict:?}");
        }
    }
}
