//! Pure: what all judges say of one tenant of a run: its history, and what its clients were told beside.

use crate::check::bank::Bank;
use crate::check::durable::Oracle;
use crate::check::watch::Covered;
use crate::check::{Violation, again, apart, append, bank, durable, linearizable, watch};
use crate::history::History;
use crate::history::told::Fact;

/// What the judges have found, and how much they were given.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// What is broken, or could not be decided.
    pub violations: Vec<Violation>,
    /// Versions that the oracle knows.
    pub versions: usize,
    /// Looks that were held against it.
    pub looks: u64,
    /// Writes that were sent again.
    pub again: u64,
    /// What watches were held to.
    pub covered: Covered,
}

/// Asks all of them.
#[must_use]
pub fn judge(history: &History, facts: &[Fact], bank: &Bank) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let judged = [
        linearizable::check(history),
        append::check(history),
        bank::check(history, bank),
        again::check(facts),
        apart::check(facts),
        watch::check(facts).map(|covered| verdicts.covered = covered),
        durably(facts, &mut verdicts),
    ];
    verdicts.violations.extend(judged.into_iter().filter_map(Result::err));
    verdicts.again = facts.iter().filter(|fact| matches!(fact, Fact::Again { .. })).count() as u64;
    verdicts
}

/// Holds every look at registers against all that was acknowledged.
fn durably(facts: &[Fact], verdicts: &mut Verdicts) -> Result<(), Violation> {
    let mut oracle = Oracle::default();
    for fact in facts {
        match fact {
            Fact::Acknowledged { key, stamp, value } => oracle.acknowledged(*key, *stamp, *value)?,
            Fact::Unknown { key, value } => oracle.unknown(*key, *value),
            _ => {}
        }
    }
    verdicts.versions = oracle.versions();
    for fact in facts {
        if let Fact::Look { at, keys, found } = fact {
            durable::judge(&mut oracle, *at, keys, found)?;
            verdicts.looks += 1;
        }
    }
    Ok(())
}
