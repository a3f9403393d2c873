//! The judges of real processes, held against a recorded run: as it was it passes, and with one thing broken in it the judge that is for
//! it objects by name. `tests/fixtures/processes` was written by a run of a real cluster.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use chaos_tests::history::told::{Fact, from_json_lines, to_json_lines};
use chaos_tests::history::{Action, Answer, History, Outcome};
use chaos_tests::processes::judge::{Verdicts, judge};
use chaos_tests::processes::workload::opening;
use engine::Stamp;

const HISTORY: &str = include_str!("fixtures/processes/history-birch.jsonl");
const TOLD: &str = include_str!("fixtures/processes/told-birch.jsonl");

fn recorded() -> (History, Vec<Fact>) {
    (History::from_json_lines(HISTORY).unwrap(), from_json_lines(TOLD).unwrap())
}

/// The judges that object.
fn objecting(history: &History, facts: &[Fact]) -> Vec<&'static str> {
    let Verdicts { violations, .. } = judge(history, facts, &opening());
    assert!(violations.iter().all(|violation| violation.is_broken()), "{violations:?}");
    violations.iter().map(|violation| violation.judge).collect()
}

/// The recorded history, in which answers are changed by `change`, until one was.
fn changed(history: &History, mut change: impl FnMut(&Action, &mut Answer) -> bool) -> History {
    let (mut lines, mut is_changed) = (String::new(), false);
    for line in history.to_json_lines().lines() {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = chaos_tests::history::OpId(value["op"].as_u64().unwrap());
        let operation = history.operation(id).unwrap();
        if let (false, "complete", Outcome::Ok(answer)) =
            (is_changed, value["event"].as_str().unwrap(), operation.outcome())
        {
            let mut answer = answer.clone();
            if change(&operation.action, &mut answer) {
                is_changed = true;
                match answer {
                    Answer::Value(found) => value["value"] = found.into(),
                    Answer::List(list) => value["list"] = list.into(),
                    Answer::Balances(balances) => {
                        let pairs: Vec<(u64, i64)> =
                            balances.iter().map(|(key, sum)| (key.0, *sum)).collect();
                        value["balances"] = serde_json::json!(pairs);
                    }
                    Answer::Took(took) => value["took"] = took.into(),
                    Answer::Stored => {}
                }
            }
        }
        lines += &format!("{value}\n");
    }
    assert!(is_changed, "nothing was there to change");
    History::from_json_lines(&lines).unwrap()
}

#[test]
fn a_recorded_run_passes_and_is_no_empty_one() {
    let (history, facts) = recorded();
    assert_eq!(objecting(&history, &facts), Vec::<&str>::new());
    let Verdicts { versions, looks, again, covered, .. } = judge(&history, &facts, &opening());
    assert!(versions > 50 && looks > 3 && again > 0, "{versions} {looks} {again}");
    assert!(covered.watches > 0 && covered.writes > 50, "{covered:?}");
    assert_eq!(from_json_lines(&to_json_lines(&facts)).unwrap(), facts);
}

#[test]
fn an_answer_that_is_another_is_found_by_the_judge_that_is_for_it() {
    let (history, facts) = recorded();
    let old = changed(&history, |action, answer| match (action, answer) {
        (Action::Read { .. }, Answer::Value(found @ Some(_))) => found.take().is_some(),
        _ => false,
    });
    assert_eq!(objecting(&old, &facts), ["linearizable"]);
    let lost = changed(&history, |_, answer| match answer {
        Answer::List(list) if list.len() > 1 => {
            list.remove(0);
            true
        }
        _ => false,
    });
    assert_eq!(objecting(&lost, &facts), ["append"]);
    let money = changed(&history, |_, answer| match answer {
        Answer::Balances(balances) => balances.values_mut().next().map(|sum| *sum += 1).is_some(),
        _ => false,
    });
    assert_eq!(objecting(&money, &facts), ["bank"]);
}

#[test]
fn a_fact_that_is_another_is_found_by_the_judge_that_is_for_it() {
    let (history, facts) = recorded();
    let mut twice = facts.clone();
    let again = twice.iter_mut().find_map(|fact| match fact {
        Fact::Again { second, .. } => Some(second),
        _ => None,
    });
    *again.unwrap() = Stamp::MAX;
    assert_eq!(objecting(&history, &twice), ["again"]);

    let mut shown = facts.clone();
    shown.push(Fact::Foreign { what: "birch was shown a value of cedar".to_owned() });
    assert_eq!(objecting(&history, &shown), ["apart"]);

    let mut unheard = facts.clone();
    let heard = unheard.iter().position(|fact| matches!(fact, Fact::Changed { .. })).unwrap();
    unheard.remove(heard);
    assert_eq!(objecting(&history, &unheard), ["watch"]);

    // The last look is of one replica, in the end: what it lacks was acknowledged and lost.
    let mut gone = facts;
    let last = gone.iter_mut().rev().find_map(|fact| match fact {
        Fact::Look { found, .. } => Some(found),
        _ => None,
    });
    let found = last.unwrap();
    let key = *found.keys().next().unwrap();
    found.remove(&key);
    assert_eq!(objecting(&history, &gone), ["durable"]);
}
