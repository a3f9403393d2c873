//! The judges of lists and of the bank against histories that are good by construction, and against the same with one lie.

mod model;

use chaos_tests::check::{append, bank};
use chaos_tests::history::{Action, Answer, History, Key, Operation, Outcome};
use model::{BALANCE, Kind, Shape, changed};
use proptest::prelude::*;

const SHAPE: Shape =
    Shape { kind: Kind::Lists, operations: 250, clients: 6, keys: 4, unknown_permille: 60, values: 0 };

/// The places of the answers that `is_it` holds for.
fn places(history: &History, is_it: impl Fn(&Answer) -> bool) -> Vec<usize> {
    let told = history.operations().iter().enumerate();
    told.filter(|(_, one)| one.answer().is_some_and(|(_, answer)| is_it(answer))).map(|(at, _)| at).collect()
}

/// The history with another list, or other balances, in one answer.
fn lied(history: &History, victim: usize, lie: impl Fn(Answer) -> Answer) -> History {
    changed(history, |at, outcome| match outcome {
        Outcome::Ok(answer) if at == victim => Some(Outcome::Ok(lie(answer.clone()))),
        _ => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_list_with_one_element_lost_doubled_or_moved_is_refused(
        seed: u64,
        clients in 1u64..10,
        keys in 1u64..4,
        victim: prop::sample::Index,
        element: prop::sample::Index,
    ) {
        let history = model::history(seed, Shape { clients, keys, ..SHAPE });
        prop_assert_eq!(append::check(&history), Ok(()));
        let victims = places(&history, |answer| matches!(answer, Answer::List(list) if list.len() > 1));
        prop_assume!(!victims.is_empty());
        let victim = *victim.get(&victims);
        let with = |change: &dyn Fn(&mut Vec<u64>, usize)| {
            let history = lied(&history, victim, |answer| {
                let Answer::List(mut list) = answer else { return answer };
                let at = element.index(list.len() - 1);
                change(&mut list, at);
                Answer::List(list)
            });
            append::check(&history)
        };
        let lost = with(&|list, at| { list.remove(at); });
        let doubled = with(&|list, at| list.push(list[at]));
        let moved = with(&|list, at| list.swap(at, at + 1));
        let invented = with(&|list, at| list[at] = u64::MAX);
        for judged in [doubled, invented] {
            prop_assert!(judged.is_err_and(|violation| violation.is_broken()));
        }
        // What overlaps may be seen in another order, or not yet; what was answered before may not.
        let read = &history.operations()[victim];
        let Some((_, Answer::List(list))) = read.answer() else { return Ok(()) };
        let at = element.index(list.len() - 1);
        let append = |element: u64| {
            let is_it = |one: &&Operation| matches!(one.action, Action::Append { element: of, .. } if of == element);
            history.operations().iter().find(is_it)
        };
        let (one, next) = (append(list[at]), append(list[at + 1]));
        let is_before = |other: Option<&Operation>| {
            let answered = one.and_then(|one| one.answer()).map(|(moment, _)| moment.order);
            answered.zip(other).is_some_and(|(order, other)| order < other.invoked.order)
        };
        prop_assert!(!is_before(Some(read)) || lost.is_err());
        prop_assert!(!is_before(next) || moved.is_err());
    }

    #[test]
    fn a_balance_that_is_off_by_one_is_refused(
        seed: u64,
        clients in 1u64..10,
        keys in 2u64..6,
        victim: prop::sample::Index,
        far in 1_000_000i64..2_000_000,
    ) {
        let history = model::history(seed, Shape { kind: Kind::Bank, clients, keys, ..SHAPE });
        let rules = bank::Bank { opening: (0..keys).map(|key| (Key(key), BALANCE)).collect(), allows_debt: false };
        prop_assert_eq!(bank::check(&history, &rules), Ok(()));
        let victims = places(&history, |answer| matches!(answer, Answer::Balances(_)));
        prop_assume!(!victims.is_empty());
        let victim = *victim.get(&victims);
        let with = |first: i64, second: i64| {
            let history = lied(&history, victim, |answer| {
                let Answer::Balances(mut balances) = answer else { return answer };
                *balances.entry(Key(0)).or_default() += first;
                *balances.entry(Key(1)).or_default() += second;
                Answer::Balances(balances)
            });
            bank::check(&history, &bank::Bank { allows_debt: true, ..rules.clone() })
        };
        prop_assert!(with(1, 0).is_err_and(|violation| violation.what.contains("the sum was")));
        let is_unexplained = with(far, -far).is_err_and(|violation| violation.what.contains("the transfers leave"));
        prop_assert!(is_unexplained);
        prop_assert_eq!(with(0, 0), Ok(()));
    }
}
