//! The judge of registers against histories that are linearizable by construction, and against a judge that tries every order.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod model;

use chaos_tests::check::Violation;
use chaos_tests::check::linearizable::check;
use chaos_tests::history::{Action, Answer, ClientId, History, Key, Operation, Outcome};
use chaos_tests::seed::{Dice, Seed};
use model::{Kind, Shape, changed};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SHAPE: Shape =
    Shape { kind: Kind::Registers, operations: 300, clients: 5, keys: 3, unknown_permille: 50, values: 4 };

/// Tries every order: slow, and too simple to be wrong.
fn is_linearizable(operations: &[Operation]) -> bool {
    fn go(value: Option<u64>, left: &[&Operation]) -> bool {
        if left.iter().all(|operation| *operation.outcome() == Outcome::Unknown) {
            return true;
        }
        let answers = left.iter().filter_map(|operation| operation.answer().map(|(moment, _)| moment.order));
        let first = answers.min().unwrap_or(u64::MAX);
        left.iter().enumerate().filter(|(_, next)| next.invoked.order < first).any(|(at, next)| {
            let after = match (&next.action, next.answer().map(|(_, answer)| answer)) {
                (Action::Read { .. }, Some(Answer::Value(seen))) if *seen != value => return false,
                (Action::Write { value, .. }, _) => *value,
                (Action::Cas { expected, new, .. }, told) => {
                    let takes = *expected == value;
                    if told.is_some_and(|told| *told != Answer::Took(takes)) {
                        return false;
                    }
                    if takes { *new } else { value }
                }
                _ => value,
            };
            let rest: Vec<&Operation> = left
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .map(|(_, operation)| *operation)
                .collect();
            go(after, &rest)
        })
    }
    let left: Vec<&Operation> = operations.iter().filter(|operation| !operation.is_failed()).collect();
    go(None, &left)
}

/// A few requests for one register, with answers made up or nearly so.
fn invented(seed: u64) -> History {
    let shape = Shape { operations: 9, clients: 4, keys: 1, unknown_permille: 250, values: 3, ..SHAPE };
    let history = model::history(seed, shape);
    let mut dice = Dice::new(Seed(seed), "lies");
    let lies = dice.below(4) as u32 * 150;
    changed(&history, |_, outcome| match outcome {
        Outcome::Ok(_) if !dice.is_lucky(lies) => None,
        Outcome::Ok(Answer::Value(_)) => {
            Some(Outcome::Ok(Answer::Value([None, Some(1), Some(2)][dice.below(3) as usize])))
        }
        Outcome::Ok(Answer::Took(took)) => Some(Outcome::Ok(Answer::Took(!took))),
        _ => None,
    })
}

#[test]
fn agrees_with_a_judge_that_tries_every_order() {
    let mut counts = [0, 0];
    for seed in 0..3000 {
        let history = invented(seed);
        let is_good = is_linearizable(history.operations());
        let judged = check(&history);
        assert_eq!(judged.is_ok(), is_good, "seed {seed}: {judged:?}\n{}", history.to_json_lines());
        counts[usize::from(is_good)] += 1;
    }
    assert!(counts[0] > 500 && counts[1] > 500, "both must be tried: {counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn passes_what_is_linearizable_and_refuses_a_value_nobody_wrote(
        seed: u64,
        clients in 1u64..12,
        keys in 1u64..6,
        values in prop_oneof![Just(0), 2u64..6],
        unknown_permille in 0u32..80,
        victim: prop::sample::Index,
    ) {
        let history = model::history(seed, Shape { clients, keys, values, unknown_permille, ..SHAPE });
        prop_assert_eq!(check(&history), Ok(()));
        let is_read = |operation: &Operation| matches!(operation.answer(), Some((_, Answer::Value(_))));
        let reads: Vec<usize> = history.operations().iter().enumerate().filter(|(_, one)| is_read(one)).map(|(at, _)| at).collect();
        prop_assume!(!reads.is_empty());
        let victim = *victim.get(&reads);
        let lie = |at: usize, _: &Outcome| (at == victim).then_some(Outcome::Ok(Answer::Value(Some(u64::MAX))));
        let violation = check(&changed(&history, lie)).unwrap_err();
        prop_assert!(violation.is_broken(), "{}", violation);
        prop_assert!(violation.what.contains("18446744073709551615"), "{}", violation);
    }
}

#[test]
fn a_hundred_thousand_requests_are_judged_and_one_stale_answer_among_them_is_found() {
    let shape =
        Shape { operations: 100_000, clients: 30, keys: 300, unknown_permille: 10, values: 0, ..SHAPE };
    let history = model::history(1, shape);
    assert_eq!(check(&history), Ok(()));
    // The last read of a key tells what the first write to it wrote.
    let key = Key(17);
    let of_key = |operation: &&Operation| match operation.action {
        Action::Read { key: of } | Action::Write { key: of, .. } => of == key && operation.answer().is_some(),
        _ => false,
    };
    let operations: Vec<&Operation> = history.operations().iter().filter(of_key).collect();
    let first = operations.iter().find_map(|one| match one.action {
        Action::Write { value, .. } => value,
        _ => None,
    });
    let last = operations.iter().rfind(|one| matches!(one.action, Action::Read { .. })).map(|one| one.id);
    let lie = |at: usize, _: &Outcome| {
        (Some(history.operations()[at].id) == last).then_some(Outcome::Ok(Answer::Value(first)))
    };
    let violation = check(&changed(&history, lie)).expect_err("the value was overwritten long before");
    assert!(violation.is_broken() && violation.lines.len() < 60, "{violation}");
}

#[test]
fn one_key_asked_by_many_at_once_is_judged() {
    for seed in 0..5 {
        let shape =
            Shape { operations: 2_000, clients: 10, keys: 1, unknown_permille: 30, values: 0, ..SHAPE };
        assert_eq!(check(&model::history(seed, shape)), Ok(()));
    }
}

#[test]
fn what_is_asked_too_much_at_once_is_undecided_and_not_good() {
    let mut history = History::default();
    let ask = |history: &mut History, value| {
        history.invoke(ClientId(value), Action::Write { key: Key(0), value: Some(value) }, 0)
    };
    let ids: Vec<_> = (0..129).map(|value| ask(&mut history, value)).collect();
    ids.into_iter().for_each(|id| history.complete(id, Outcome::Ok(Answer::Stored), 1));
    let violation = check(&history).expect_err("there are not enough bits");
    assert!(!violation.is_broken(), "{violation}");
}

const K: Key = Key(4);

/// Events in their order: `(name, Some(action))` asks, `(name, None)` is answered with what the table of outcomes says.
fn judged(events: &[(&str, Option<Action>)], outcomes: &[(&str, Outcome)]) -> Result<(), Violation> {
    let (mut history, mut ids) = (History::default(), BTreeMap::new());
    for (at, (name, action)) in events.iter().enumerate() {
        match action {
            Some(action) => {
                ids.insert(*name, history.invoke(ClientId(ids.len() as u64), action.clone(), at as u64));
            }
            None => {
                let (_, outcome) = outcomes.iter().find(|(of, _)| of == name).unwrap();
                history.complete(ids[name], outcome.clone(), at as u64);
            }
        }
    }
    check(&history)
}

fn read() -> Option<Action> {
    Some(Action::Read { key: K })
}

fn write(value: u64) -> Option<Action> {
    Some(Action::Write { key: K, value: Some(value) })
}

fn cas(expected: u64, new: u64) -> Option<Action> {
    Some(Action::Cas { key: K, expected: Some(expected), new: Some(new) })
}

fn saw(value: u64) -> Outcome {
    Outcome::Ok(Answer::Value(Some(value)))
}

const STORED: Outcome = Outcome::Ok(Answer::Stored);
const TOOK: Outcome = Outcome::Ok(Answer::Took(true));
const DID_NOT: Outcome = Outcome::Ok(Answer::Took(false));

#[test]
fn an_old_value_after_an_acknowledged_write_is_refused_and_told_in_full() {
    let events = [
        ("w1", write(1)),
        ("w1", None),
        ("r0", read()),
        ("r0", None),
        ("w2", write(2)),
        ("r1", read()),
        ("r1", None),
        ("w2", None),
        ("r2", read()),
        ("r2", None),
    ];
    let outcomes = |last| [("w1", STORED), ("w2", STORED), ("r0", saw(1)), ("r1", saw(1)), ("r2", saw(last))];
    assert_eq!(judged(&events, &outcomes(2)), Ok(()));
    let violation = judged(&events, &outcomes(1)).unwrap_err();
    let wanted = "linearizable: k4: no order of the requests explains the answer to `read k4: 1`\n  \
        at the last quiet point k4 is 2; then\n         8 - 9        ms  client 4   read k4: 1";
    assert_eq!(violation.to_string(), wanted);
}

#[test]
fn readers_at_once_may_not_see_a_write_and_then_not() {
    let events = [("w", write(1)), ("r1", read()), ("r1", None), ("r2", read()), ("r2", None), ("w", None)];
    let outcomes = |second| [("w", STORED), ("r1", saw(1)), ("r2", second)];
    assert_eq!(judged(&events, &outcomes(saw(1))), Ok(()));
    let violation = judged(&events, &outcomes(Outcome::Ok(Answer::Value(None)))).unwrap_err();
    assert!(violation.to_string().contains("at the last quiet point k4 is -; then"), "{violation}");
    assert_eq!(violation.lines.len(), 4, "all three requests matter: {violation}");
}

#[test]
fn an_unknown_write_happens_late_or_never_and_once() {
    let events = [
        ("u", write(1)),
        ("u", None),
        ("w", write(2)),
        ("w", None),
        ("r1", read()),
        ("r1", None),
        ("r2", read()),
        ("r2", None),
        ("v", write(3)),
        ("v", None),
        ("r3", read()),
        ("r3", None),
    ];
    let table = [
        ([2, 2, 3], true),
        ([2, 1, 3], true),
        ([1, 1, 3], true),
        ([2, 2, 1], true),
        ([1, 2, 3], false),
        ([1, 1, 1], false),
    ];
    for ([r1, r2, r3], is_good) in table {
        let outcomes = [
            ("u", Outcome::Unknown),
            ("w", STORED),
            ("v", STORED),
            ("r1", saw(r1)),
            ("r2", saw(r2)),
            ("r3", saw(r3)),
        ];
        assert_eq!(judged(&events, &outcomes).is_ok(), is_good, "{r1} {r2} {r3}");
    }
    let outcomes = [
        ("u", Outcome::Failed),
        ("w", STORED),
        ("v", STORED),
        ("r1", saw(1)),
        ("r2", saw(1)),
        ("r3", saw(3)),
    ];
    assert!(judged(&events, &outcomes).is_err(), "what failed is never seen");
}

#[test]
fn unknown_swaps_may_stand_in_a_chain() {
    let events = [
        ("w", write(1)),
        ("w", None),
        ("a", cas(2, 3)),
        ("b", cas(1, 2)),
        ("r", read()),
        ("r", None),
        ("c", cas(3, 4)),
        ("c", None),
    ];
    for (seen, told, is_good) in
        [(3, TOOK, true), (2, TOOK, true), (1, TOOK, true), (1, DID_NOT, true), (4, DID_NOT, false)]
    {
        assert_eq!(
            judged(&events, &[("w", STORED), ("r", saw(seen)), ("c", told)]).is_ok(),
            is_good,
            "{seen}"
        );
    }
}

#[test]
fn two_swaps_of_one_value_do_not_both_take() {
    let events = [("w", write(1)), ("w", None), ("a", cas(1, 2)), ("b", cas(1, 3)), ("a", None), ("b", None)];
    assert_eq!(judged(&events, &[("w", STORED), ("a", TOOK), ("b", DID_NOT)]), Ok(()));
    assert!(judged(&events, &[("w", STORED), ("a", TOOK), ("b", TOOK)]).is_err());
    assert!(judged(&events, &[("w", STORED), ("a", DID_NOT), ("b", DID_NOT)]).is_err());
}
