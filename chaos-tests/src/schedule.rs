//! Pure: a schedule as a file: what went wrong in a run, so that exactly that is run again. Lines of it are described in
//! `docs/protocols/history.md`.

use crate::seed::{FAULTS, Fault, Seed};
use crate::whole::nemesis::Planned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a file says that it is.
const SCHEMA: &str = "chaos-schedule/1";

/// A run that can be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From which all follows that is not said here.
    pub seed: Seed,
    /// Milliseconds with faults.
    pub ms: u64,
    /// What goes wrong.
    pub what: What,
}

/// What goes wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Of whole nodes: these faults, each at its time.
    Whole(Vec<Planned>),
    /// Of groups of consensus: these kinds, each as often as its weight says; and about how far apart, in milliseconds.
    Sim(BTreeMap<Fault, u32>, u64),
}

/// The fault of this name.
fn named(name: &str) -> Option<Fault> {
    FAULTS.into_iter().chain([Fault::Copied]).find(|fault| format!("{fault:?}") == name)
}

impl Schedule {
    /// The text of its file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (kind, faults, every_ms) = match &self.what {
            What::Whole(planned) => {
                let one = |one: &Planned| json!({ "at_ms": one.at_ms, "fault": format!("{:?}", one.fault), "dice": one.dice.to_string() });
                ("whole", planned.iter().map(one).collect::<Vec<_>>(), None)
            }
            What::Sim(mix, every_ms) => {
                let one = |(fault, weight): (&Fault, &u32)| json!({ "fault": format!("{fault:?}"), "weight": weight });
                ("sim", mix.iter().map(one).collect(), Some(*every_ms))
            }
        };
        let mut value =
            json!({ "schema": SCHEMA, "kind": kind, "seed": self.seed.0, "ms": self.ms, "faults": faults });
        if let Some(every_ms) = every_ms {
            value["every_ms"] = every_ms.into();
        }
        format!("{value:#}\n")
    }

    /// From the text of a file. Nothing, if it is none.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        if value["schema"] != SCHEMA {
            return None;
        }
        let (seed, ms) = (Seed(value["seed"].as_u64()?), value["ms"].as_u64()?);
        let faults = value["faults"].as_array()?;
        let what = match value["kind"].as_str()? {
            "whole" => What::Whole(faults.iter().map(planned).collect::<Option<_>>()?),
            "sim" => {
                What::Sim(faults.iter().map(weighted).collect::<Option<_>>()?, value["every_ms"].as_u64()?)
            }
            _ => return None,
        };
        Some(Self { seed, ms, what })
    }
}

fn planned(one: &Value) -> Option<Planned> {
    let fault = named(one["fault"].as_str()?)?;
    Some(Planned { at_ms: one["at_ms"].as_u64()?, fault, dice: one["dice"].as_str()?.parse().ok()? })
}

fn weighted(one: &Value) -> Option<(Fault, u32)> {
    Some((named(one["fault"].as_str()?)?, u32::try_from(one["weight"].as_u64()?).ok()?))
}

/// The least of a list that still fails, left by dropping one after the other, in so many tries at most.
pub fn least<T: Clone>(all: &[T], tries_max: usize, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let (mut kept, mut at) = (all.to_vec(), 0);
    for _ in 0..tries_max {
        if at >= kept.len() {
            break;
        }
        let mut fewer = kept.clone();
        fewer.remove(at);
        if fails(&fewer) {
            kept = fewer;
        } else {
            at += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dice = u64::MAX;
        let planned = vec![
            Planned { at_ms: 0, fault: Fault::Crash, dice },
            Planned { at_ms: 9_999, fault: Fault::Copied, dice: 7 },
        ];
        let mix = BTreeMap::from([(Fault::Crash, 4), (Fault::Panic, 1)]);
        for what in [What::Whole(planned), What::Whole(Vec::new()), What::Sim(mix, 500)] {
            let schedule = Schedule { seed: Seed(u64::MAX - 1), ms: 20_000, what };
            assert_eq!(Schedule::from_json(&schedule.to_json()), Some(schedule));
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let good = Schedule { seed: Seed(1), ms: 2, what: What::Sim(BTreeMap::from([(Fault::Cut, 1)]), 5) }
            .to_json();
        for (old, new) in [
            ("chaos-schedule/1", "chaos-schedule/2"),
            ("\"Cut\"", "\"Cat\""),
            ("\"seed\": 1", "\"seed\": -1"),
            ("\"sim\"", "\"dim\""),
            ("\"sim\"", "\"whole\""),
            ("\"weight\": 1", "\"weight\": 4294967296"),
        ] {
            let bad = good.replace(old, new);
            assert!(bad != good && Schedule::from_json(&bad).is_none(), "{bad}");
        }
        assert_eq!(Schedule::from_json("{"), None);
    }

    #[test]
    fn what_is_not_needed_is_left_out() {
        let all: Vec<u32> = (0..12).collect();
        let fails = |kept: &[u32]| kept.contains(&3) && kept.contains(&7);
        assert_eq!(least(&all, 40, fails), [3, 7]);
        assert_eq!(least(&all, 2, fails), (2..12).collect::<Vec<_>>(), "it ends when its tries are over");
        assert_eq!(least(&all, 40, |_| false), all);
    }
}
