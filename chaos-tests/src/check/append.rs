//! Pure: is every list one list? Elements are only added at its end, each by one request, so the longest answer is the order, and
//! every request has a **slot** in it: element number n stands in slot 2n, a read that saw n elements right before it, in 2n - 1.
//! What was answered and never seen stands behind all that was. The history is good exactly if no request that was asked after
//! another one was answered stands in an earlier slot.

use super::Violation;
use crate::history::{Action, Answer, History, Key, Operation};
use std::collections::BTreeMap;

const JUDGE: &str = "append";

/// Where a request stands in its list; of two that are told apart the later one is greater.
type Slot = u64;
/// Behind all that was seen.
const UNSEEN: Slot = u64::MAX;

#[derive(Default)]
struct List<'a> {
    appends: BTreeMap<u64, &'a Operation>,
    reads: Vec<(&'a Operation, &'a [u64])>,
}

/// Whether all answers about lists can be true together.
///
/// # Errors
/// Broken: an element twice, from nowhere, from a request that failed, in two orders, missing after it was acknowledged, or seen
/// before it was asked for. Undecided: two requests append the same element to one list.
pub fn check(history: &History) -> Result<(), Violation> {
    let mut lists: BTreeMap<Key, List<'_>> = BTreeMap::new();
    for operation in history.operations() {
        match (&operation.action, operation.answer()) {
            (Action::Append { key, element }, _) => {
                let appends = &mut lists.entry(*key).or_default().appends;
                if let Some(other) = appends.insert(*element, operation) {
                    let what = format!("k{}: element {element} is appended by two requests", key.0);
                    return Err(Violation::undecided(JUDGE, what).with(shown(&[other, operation])));
                }
            }
            (Action::ReadList { key }, Some((_, Answer::List(seen)))) => {
                lists.entry(*key).or_default().reads.push((operation, seen));
            }
            _ => {}
        }
    }
    lists.iter().try_for_each(|(key, list)| list.judge(*key))
}

fn shown(operations: &[&Operation]) -> Vec<String> {
    operations.iter().map(|operation| operation.to_string()).collect()
}

impl List<'_> {
    fn judge(&self, key: Key) -> Result<(), Violation> {
        let Some((witness, order)) = self.reads.iter().max_by_key(|(_, seen)| seen.len()) else {
            return Ok(());
        };
        let broken = |what: String, lines: &[&Operation]| {
            Err(Violation::broken(JUDGE, format!("k{}: {what}", key.0)).with(shown(lines)))
        };
        let mut slots = BTreeMap::new();
        for (at, element) in order.iter().enumerate() {
            match self.appends.get(element) {
                None => return broken(format!("element {element} was never appended"), &[witness]),
                Some(append) if append.is_failed() => {
                    return broken(
                        format!("element {element} is there, and its request failed"),
                        &[append, witness],
                    );
                }
                Some(_) => {}
            }
            if slots.insert(*element, 2 * at as Slot + 2).is_some() {
                return broken(format!("element {element} is there twice"), &[witness]);
            }
        }
        for (read, seen) in &self.reads {
            if !order.starts_with(seen) {
                return broken("two reads saw two orders".to_owned(), &[read, witness]);
            }
        }
        let appends = self.appends.iter().filter(|(_, append)| !append.is_failed());
        let appends =
            appends.map(|(element, append)| (slots.get(element).copied().unwrap_or(UNSEEN), *append));
        let reads = self.reads.iter().map(|(read, seen)| (2 * seen.len() as Slot + 1, *read));
        in_time(key, appends.chain(reads))
    }
}

/// No request that was asked after another one was answered stands in an earlier slot.
fn in_time<'a>(key: Key, placed: impl Iterator<Item = (Slot, &'a Operation)>) -> Result<(), Violation> {
    let mut events = BTreeMap::new();
    for (slot, operation) in placed {
        events.insert(operation.invoked.order, (slot, operation, false));
        if let Some((moment, _)) = operation.answer() {
            events.insert(moment.order, (slot, operation, true));
        }
    }
    let mut furthest: Option<(Slot, &Operation)> = None;
    for (slot, operation, is_answer) in events.into_values() {
        match furthest {
            Some((before, other)) if !is_answer && before > slot => {
                let what = format!("k{}: what was answered first stands behind what was asked later", key.0);
                return Err(Violation::broken(JUDGE, what).with(shown(&[other, operation])));
            }
            Some((before, _)) if before >= slot => {}
            _ if is_answer => furthest = Some((slot, operation)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{ClientId, Outcome};

    const K: Key = Key(2);

    /// Requests one after the other: an element with the outcome of its append, or what a read saw.
    enum Ask {
        Append(u64, Outcome),
        Read(&'static [u64]),
    }
    use Ask::{Append, Read};

    const STORED: Outcome = Outcome::Ok(Answer::Stored);

    fn judged(asked: impl IntoIterator<Item = Ask>) -> Result<(), Violation> {
        let mut history = History::default();
        for (at, ask) in asked.into_iter().enumerate() {
            let (action, outcome) = match ask {
                Append(element, outcome) => (Action::Append { key: K, element }, outcome),
                Read(seen) => (Action::ReadList { key: K }, Outcome::Ok(Answer::List(seen.to_vec()))),
            };
            let id = history.invoke(ClientId(1), action, 10 * at as u64);
            history.complete(id, outcome, 10 * at as u64 + 5);
        }
        check(&history)
    }

    #[test]
    fn a_list_that_grows_is_good() {
        let asked = [
            Read(&[]),
            Append(1, STORED),
            Append(9, Outcome::Failed),
            Append(2, Outcome::Unknown),
            Read(&[1]),
            Append(3, STORED),
            Read(&[1, 3]),
            Read(&[1, 3, 2]),
            Append(4, STORED),
        ];
        assert_eq!(judged(asked), Ok(()));
    }

    #[test]
    fn each_way_to_break_a_list_is_told_by_name() {
        let table = [
            (vec![Append(1, STORED), Read(&[1, 1])], "element 1 is there twice"),
            (vec![Append(1, STORED), Read(&[1, 7])], "element 7 was never appended"),
            (vec![Append(1, Outcome::Failed), Read(&[1])], "its request failed"),
            (
                vec![
                    Append(1, STORED),
                    Append(2, STORED),
                    Append(3, STORED),
                    Read(&[1, 2, 3]),
                    Read(&[2, 1]),
                ],
                "two orders",
            ),
            (vec![Append(1, STORED), Append(2, STORED), Read(&[2, 1])], "answered first stands behind"),
            (vec![Append(1, STORED), Read(&[])], "answered first stands behind"),
            (
                vec![Append(1, STORED), Append(2, STORED), Read(&[1, 2]), Read(&[1])],
                "answered first stands behind",
            ),
            (vec![Append(1, STORED), Append(2, STORED), Read(&[2])], "answered first stands behind"),
            (vec![Read(&[1]), Append(1, Outcome::Unknown)], "answered first stands behind"),
        ];
        for (asked, what) in table {
            let violation = judged(asked).unwrap_err();
            assert!(violation.is_broken() && violation.what.contains(what), "{violation}");
        }
        let violation = judged([Append(1, STORED), Read(&[])]).unwrap_err();
        let wanted = "append: k2: what was answered first stands behind what was asked later\n         \
            0 - 5        ms  client 1   append k2 1: stored\n        10 - 15       ms  client 1   read list k2: []";
        assert_eq!(violation.to_string(), wanted);
        assert!(!judged([Append(1, STORED), Append(1, STORED)]).unwrap_err().is_broken());
    }
}
