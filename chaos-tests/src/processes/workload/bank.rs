//! A bank: transactions move money between accounts, a scan reads all of them at one stamp.

use super::record::of;
use super::{Customer, MONEY, One};
use crate::check::bank::Bank;
use crate::history::{Action, Answer, Key, Outcome};
use dewpond::Error;
use futures_util::TryStreamExt as _;
use std::collections::BTreeMap;
use std::time::Duration;

/// Accounts of a bank.
const ACCOUNTS: u64 = 5;
/// What each has at first.
const FIRST_MONEY: i64 = 100;
/// Milliseconds between two requests at most.
const THINK_MS: u64 = 60;
/// How long the first balances may take.
const OPENING: Duration = Duration::from_secs(30);

/// How a bank begins.
#[must_use]
pub fn opening() -> Bank {
    Bank { opening: (0..ACCOUNTS).map(|account| (Key(account), FIRST_MONEY)).collect(), allows_debt: false }
}

impl Customer {
    /// Opens the accounts.
    ///
    /// # Errors
    /// The write.
    pub async fn open_accounts(&self) -> Result<(), Error> {
        let open = |batch: dewpond::Batch, account| {
            batch.put(MONEY, self.form.key(Key(account)), self.form.value(&FIRST_MONEY.into(), 0))
        };
        (0..ACCOUNTS).fold(self.tenant(OPENING).batch(), open).await.map(drop)
    }
}

/// Moves money and counts it until it is told to stop.
pub async fn work(mut one: One) {
    while one.customer.now() {
        let record = one.customer.record.clone();
        if one.dice.is_lucky(400) {
            // What fails is in the history.
            let _ = ask(&one).await;
        } else {
            let (from, to) = (Key(one.dice.below(ACCOUNTS)), Key(one.dice.below(ACCOUNTS)));
            let amount = 1 + one.dice.below(30);
            if from != to {
                let asked = record.ask(one.id, Action::Transfer { from, to, amount });
                let outcome = match transfer(&one, from, to, amount).await {
                    Ok(took) => Outcome::Ok(Answer::Took(took)),
                    Err(error) => of(&error),
                };
                record.tell(asked, outcome);
            }
        }
        one.think(THINK_MS).await;
    }
}

/// Reads all accounts.
pub async fn ask(one: &One) -> Result<(), Error> {
    let record = &one.customer.record;
    let asked = record.ask(one.id, Action::ReadAll);
    let found = read_all(one).await;
    record.tell(
        asked,
        match &found {
            Ok(Some(balances)) => Outcome::Ok(Answer::Balances(balances.clone())),
            Ok(None) => Outcome::Unknown,
            Err(_) => Outcome::Failed,
        },
    );
    found.map(drop)
}

/// What every account holds; nothing if one holds no money.
async fn read_all(one: &One) -> Result<Option<BTreeMap<Key, i64>>, Error> {
    let (customer, mut balances) = (&one.customer, BTreeMap::new());
    let mut rows = one.collection(MONEY).scan(..);
    while let Some(row) = rows.try_next().await? {
        let balance = customer.open(&row.version.value).and_then(|value| value.as_i64());
        let Some((key, balance)) = customer.form.key_of(&row.key).zip(balance) else { return Ok(None) };
        balances.insert(key, balance);
    }
    Ok(Some(balances))
}

async fn transfer(one: &One, from: Key, to: Key, amount: u64) -> Result<bool, Error> {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    let customer = one.customer.clone();
    let tenant = customer.tenant(one.patience);
    let moved = tenant.txn(async move |txn| {
        let balance = async |account| {
            let found = txn.get_raw(MONEY, customer.form.key(account)).await?;
            let money = found.and_then(|found| customer.open(&found.value)).and_then(|value| value.as_i64());
            money.ok_or_else(|| Error::local(dewpond::code::INPUT, "an account is gone"))
        };
        let (here, there) = (balance(from).await?, balance(to).await?);
        if here < amount {
            return Ok(false);
        }
        for (account, money) in [(from, here - amount), (to, there + amount)] {
            txn.put_raw(MONEY, customer.form.key(account), customer.form.value(&money.into(), 0));
        }
        Ok(true)
    });
    moved.await
}
