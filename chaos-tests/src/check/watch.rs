//! Pure: does a watch tell everything, once and in order? It began behind a stamp, and its last progress says up to where it has told
//! all. Every write that was acknowledged between the two must have been told, at its stamp; what else was told must be a write of
//! unknown outcome.

use super::Violation;
use crate::history::told::Fact;
use crate::history::{Key, or_nothing};
use engine::Stamp;
use std::collections::{BTreeMap, BTreeSet};

const JUDGE: &str = "watch";

/// A write: its key, its stamp, and what was written.
type Write = (Key, Stamp, Option<u64>);

#[derive(Default)]
struct Heard {
    after: Stamp,
    upto: Stamp,
    newest: BTreeMap<Key, Stamp>,
    changes: BTreeSet<Write>,
}

/// How much a watch was held to: a judge that was told nothing holds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Watches.
    pub watches: u64,
    /// Acknowledged writes that one of them had to tell, and did.
    pub writes: u64,
}

/// Whether every watch has told what it must.
///
/// # Errors
/// Broken: a write is missing, told twice or out of order, told although progress was behind it, told and never written; or a watch was
/// reset although nothing has left the history.
pub fn check(facts: &[Fact]) -> Result<Covered, Violation> {
    let mut written: BTreeSet<Write> = BTreeSet::new();
    let mut unknown: BTreeMap<(Key, Option<u64>), u64> = BTreeMap::new();
    for fact in facts {
        match fact {
            Fact::Acknowledged { key, stamp, value } => drop(written.insert((*key, *stamp, *value))),
            Fact::Unknown { key, value } => *unknown.entry((*key, *value)).or_default() += 1,
            _ => {}
        }
    }
    let mut covered = Covered::default();
    for (watch, heard) in heard(facts)? {
        let broken = |what: String| Err(Violation::broken(JUDGE, format!("watch {watch}: {what}")));
        covered.watches += 1;
        for write in written.iter().filter(|(_, stamp, _)| *stamp > heard.after && *stamp <= heard.upto) {
            if !heard.changes.contains(write) {
                let what = format!("{}, and it was never told, up to {}", said(write), heard.upto);
                return broken(what);
            }
            covered.writes += 1;
        }
        let mut unknown = unknown.clone();
        for write in heard.changes.iter().filter(|write| !written.contains(write)) {
            match unknown.get_mut(&(write.0, write.2)) {
                Some(left) if *left > 0 => *left -= 1,
                _ => return broken(format!("it told that {}, and nobody did", said(write))),
            }
        }
    }
    Ok(covered)
}

fn said((key, stamp, value): &Write) -> String {
    format!("k{} was written {} at {stamp}", key.0, or_nothing(*value))
}

/// What each watch has heard, if it came in order.
fn heard(facts: &[Fact]) -> Result<BTreeMap<u64, Heard>, Violation> {
    let mut all: BTreeMap<u64, Heard> = BTreeMap::new();
    for fact in facts {
        let broken = |what: &str| Err(Violation::broken(JUDGE, what).with([fact.to_string()]));
        match fact {
            Fact::Began { watch, after } => {
                all.insert(*watch, Heard { after: *after, upto: *after, ..Heard::default() });
            }
            Fact::Changed { watch, key, stamp, value } => {
                let Some(one) = all.get_mut(watch) else { return broken("a watch speaks that never began") };
                if *stamp <= one.upto {
                    return broken("a write was told although progress was behind it");
                }
                if !one.changes.insert((*key, *stamp, *value)) {
                    return broken("a write was told twice");
                }
                if one.newest.insert(*key, *stamp).is_some_and(|newest| newest >= *stamp) {
                    return broken("writes of a key were told out of order");
                }
            }
            Fact::Progress { watch, stamp } => {
                let Some(one) = all.get_mut(watch) else { return broken("a watch speaks that never began") };
                one.upto = one.upto.max(*stamp);
            }
            Fact::Reset { .. } => return broken("a watch was reset, and all history was there"),
            _ => {}
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: Key = Key(4);

    fn at(ms: u64) -> Stamp {
        Stamp::new(ms, 0)
    }

    fn told(ms: u64, value: Option<u64>) -> Fact {
        Fact::Changed { watch: 1, key: K, stamp: at(ms), value }
    }

    fn progress(ms: u64) -> Fact {
        Fact::Progress { watch: 1, stamp: at(ms) }
    }

    fn judged(heard: &[Fact]) -> Result<Covered, Violation> {
        let written = [(10, Some(1)), (20, Some(2)), (30, None), (90, Some(9))];
        let written = written.map(|(ms, value)| Fact::Acknowledged { key: K, stamp: at(ms), value });
        let began = [Fact::Began { watch: 1, after: at(10) }, Fact::Unknown { key: K, value: Some(7) }];
        check(&[&written[..], &began, heard].concat())
    }

    #[test]
    fn a_watch_that_tells_all_is_good() {
        let heard = [told(20, Some(2)), progress(25), told(26, Some(7)), told(30, None), progress(40)];
        assert_eq!(judged(&heard), Ok(Covered { watches: 1, writes: 2 }));
        assert_eq!(judged(&[]), Ok(Covered { watches: 1, writes: 0 }), "nothing was promised yet");
    }

    #[test]
    fn each_way_to_fail_is_told_by_name() {
        let two = told(20, Some(2));
        let table = [
            (vec![progress(40)], "k4 was written 2 at 20.0, and it was never told"),
            (vec![told(20, Some(3)), progress(25)], "never told"),
            (vec![told(21, Some(2)), progress(25)], "never told"),
            (vec![two.clone(), two.clone()], "told twice"),
            (vec![told(30, None), two.clone()], "out of order"),
            (vec![progress(25), two.clone()], "although progress was behind it"),
            (vec![two.clone(), told(22, Some(8))], "and nobody did"),
            (vec![two.clone(), told(22, Some(7)), told(23, Some(7))], "and nobody did"),
            (vec![Fact::Reset { watch: 1, from: at(9) }], "was reset"),
            (vec![Fact::Progress { watch: 2, stamp: at(9) }], "never began"),
        ];
        for (heard, what) in table {
            let violation = judged(&heard).unwrap_err();
            assert!(violation.is_broken() && violation.to_string().contains(what), "{violation}");
        }
    }
}
