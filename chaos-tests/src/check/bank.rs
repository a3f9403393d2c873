//! Pure: is all the money there? Transfers move it and make none, so at every stamp the sum is what it was at first; and what an
//! account holds is what the transfers that were answered, with those that perhaps were carried out, can explain.

use super::Violation;
use crate::history::{Action, Answer, History, Key, Operation, Outcome};
use std::collections::BTreeMap;

const JUDGE: &str = "bank";

/// How the bank began, and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bank {
    /// What each account held at first.
    pub opening: BTreeMap<Key, i64>,
    /// Whether an account may hold less than nothing.
    pub allows_debt: bool,
}

/// Transfers that are certainly in a read, and the most that others can add to an account or take from it.
#[derive(Clone, Copy, Debug, Default)]
struct Balance {
    certain: i128,
    more: i128,
    less: i128,
}

/// Whether every read of all accounts can be true.
///
/// # Errors
/// Broken: an account is missing or new, the sum is another one, an account is in debt and may not be, or holds what no choice of the
/// transfers explains.
pub fn check(history: &History, bank: &Bank) -> Result<(), Violation> {
    let total = |balances: &BTreeMap<Key, i64>| balances.values().map(|sum| i128::from(*sum)).sum::<i128>();
    let opened = total(&bank.opening);
    for read in history.operations() {
        let Some((_, Answer::Balances(balances))) = read.answer() else { continue };
        let broken = |what: String| Err(Violation::broken(JUDGE, what).with([read.to_string()]));
        if !balances.keys().eq(bank.opening.keys()) {
            return broken(format!(
                "{} accounts were opened, and {} are there",
                bank.opening.len(),
                balances.len()
            ));
        }
        let sum = total(balances);
        if sum != opened {
            return broken(format!("the sum was {opened} and is {sum}"));
        }
        if let Some((key, debt)) = balances.iter().find(|(_, sum)| **sum < 0 && !bank.allows_debt) {
            return broken(format!("k{} holds {debt}, and no account may be in debt", key.0));
        }
    }
    explained(history, bank)
}

/// Walks the history once: what is answered before a read began is in it, what is asked after it ended is not.
fn explained(history: &History, bank: &Bank) -> Result<(), Violation> {
    let mut events = BTreeMap::new();
    for operation in history.operations() {
        events.insert(operation.invoked.order, (operation, false));
        if let Some((moment, _)) = operation.answer() {
            events.insert(moment.order, (operation, true));
        }
    }
    let start =
        |(key, sum): (&Key, &i64)| (*key, Balance { certain: i128::from(*sum), ..Balance::default() });
    let mut accounts: BTreeMap<Key, Balance> = bank.opening.iter().map(start).collect();
    // What was certain when each read that is open began; of the rest, what may be in it grows until it ends.
    let mut reads = BTreeMap::new();
    for (operation, is_end) in events.into_values() {
        match (&operation.action, is_end) {
            (Action::ReadAll, false) => {
                reads.insert(operation.id, accounts.clone());
            }
            (Action::ReadAll, true) => {
                let Some(range) = reads.remove(&operation.id) else { continue };
                fits(operation, &range)?;
            }
            (Action::Transfer { from, to, amount }, _) if from != to && may_take(operation) => {
                let amount = i128::from(*amount);
                if is_end {
                    settle(&mut accounts, *from, *to, amount);
                } else {
                    let open = reads.values_mut().chain([&mut accounts]);
                    open.for_each(|range| lend(range, *from, *to, amount));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn may_take(operation: &Operation) -> bool {
    !matches!(operation.outcome(), Outcome::Failed | Outcome::Ok(Answer::Took(false)))
}

/// A transfer may be carried out from now on.
fn lend(accounts: &mut BTreeMap<Key, Balance>, from: Key, to: Key, amount: i128) {
    accounts.entry(from).or_default().less += amount;
    accounts.entry(to).or_default().more += amount;
}

/// A transfer is carried out for certain.
fn settle(accounts: &mut BTreeMap<Key, Balance>, from: Key, to: Key, amount: i128) {
    let account = accounts.entry(from).or_default();
    account.less -= amount;
    account.certain -= amount;
    let account = accounts.entry(to).or_default();
    account.more -= amount;
    account.certain += amount;
}

fn fits(read: &Operation, range: &BTreeMap<Key, Balance>) -> Result<(), Violation> {
    let Some((_, Answer::Balances(balances))) = read.answer() else { return Ok(()) };
    for (key, sum) in balances {
        let Balance { certain, more, less } = range.get(key).copied().unwrap_or_default();
        let (least, most) = (certain - less, certain + more);
        if !(least..=most).contains(&i128::from(*sum)) {
            let what = format!("k{} holds {sum}, and the transfers leave between {least} and {most}", key.0);
            return Err(Violation::broken(JUDGE, what).with([read.to_string()]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::ClientId;

    fn balances(sums: &[i64]) -> BTreeMap<Key, i64> {
        sums.iter().enumerate().map(|(at, sum)| (Key(at as u64), *sum)).collect()
    }

    /// Transfers of `amount` from account 0 to 1, one after the other, then a read.
    fn judged(transfers: &[(u64, Outcome)], seen: &[i64], allows_debt: bool) -> Result<(), Violation> {
        let mut history = History::default();
        for (amount, outcome) in transfers {
            let action = Action::Transfer { from: Key(0), to: Key(1), amount: *amount };
            let id = history.invoke(ClientId(1), action, 0);
            history.complete(id, outcome.clone(), 1);
        }
        let read = history.invoke(ClientId(2), Action::ReadAll, 2);
        // Asked after the read began: perhaps in it.
        history.invoke(ClientId(3), Action::Transfer { from: Key(1), to: Key(2), amount: 1 }, 3);
        history.complete(read, Outcome::Ok(Answer::Balances(balances(seen))), 4);
        check(&history, &Bank { opening: balances(&[100, 100, 100]), allows_debt })
    }

    const TOOK: Outcome = Outcome::Ok(Answer::Took(true));

    #[test]
    fn what_transfers_can_leave_is_good() {
        let transfers = [
            (10, TOOK),
            (50, Outcome::Ok(Answer::Took(false))),
            (20, Outcome::Unknown),
            (30, Outcome::Failed),
        ];
        for seen in [[90, 110, 100], [70, 130, 100], [90, 109, 101], [70, 129, 101]] {
            assert_eq!(judged(&transfers, &seen, false), Ok(()));
        }
    }

    #[test]
    fn money_lost_made_or_owed_is_told() {
        let table: [(&[i64], &str); 8] = [
            (&[90, 110], "3 accounts were opened, and 2 are there"),
            (&[90, 100, 100], "the sum was 300 and is 290"),
            (&[90, 120, 100], "the sum was 300 and is 310"),
            (&[-10, 210, 100], "k0 holds -10, and no account may be in debt"),
            (&[100, 100, 100], "k0 holds 100, and the transfers leave between 70 and 90"),
            (&[80, 110, 110], "k2 holds 110, and the transfers leave between 100 and 101"),
            (&[60, 140, 100], "k0 holds 60"),
            (&[90, 111, 99], "k2 holds 99"),
        ];
        for (seen, what) in table {
            let violation = judged(&[(10, TOOK), (20, Outcome::Unknown)], seen, false).unwrap_err();
            assert!(violation.to_string().contains(what), "{violation}");
        }
        assert_eq!(judged(&[(150, TOOK)], &[-50, 250, 100], true), Ok(()));
    }

    #[test]
    fn a_transfer_after_a_read_is_not_in_it() {
        let mut history = History::default();
        let read = history.invoke(ClientId(2), Action::ReadAll, 2);
        history.complete(read, Outcome::Ok(Answer::Balances(balances(&[99, 101]))), 4);
        history.invoke(ClientId(3), Action::Transfer { from: Key(0), to: Key(1), amount: 1 }, 5);
        let violation =
            check(&history, &Bank { opening: balances(&[100, 100]), allows_debt: true }).unwrap_err();
        assert!(violation.what.contains("between 100 and 100"), "{violation}");
    }
}
