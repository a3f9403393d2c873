//! Asks for what belongs to another tenant, in every way there is. All of it must be refused.

use super::{LISTS, MONEY, One, REGISTERS};
use crate::history::Key;
use crate::history::told::Fact;
use crate::processes::value::Form;
use dewpond::{Error, Kind};
use futures_util::TryStreamExt as _;

/// Milliseconds between two questions at most.
const THINK_MS: u64 = 1_000;

/// Asks until it is told to stop.
pub async fn work(mut one: One, other: Form) {
    while one.customer.now() {
        let there = one.customer.client.tenant(other.tenant.clone()).deadline(one.patience);
        let key = other.key(Key(one.epoch() * 1_000));
        let (what, told): (&str, Result<(), Error>) = match one.dice.below(5) {
            0 => ("read", there.raw(REGISTERS).get(key).await.map(drop)),
            1 => ("wrote", there.raw(LISTS).put(key, "[]").await.map(drop)),
            2 => ("removed", there.raw(MONEY).delete(key).await.map(drop)),
            3 => ("scanned", there.raw(MONEY).scan(..).try_next().await.map(drop)),
            _ => {
                let own = there.batch().put(REGISTERS, key, "mine");
                ("wrote a batch of", own.await.map(drop))
            }
        };
        // A node that is down refuses nothing; whatever else is told must be a refusal.
        let is_refused = match &told {
            Ok(()) => false,
            Err(error) => matches!(error.kind(), Kind::Denied | Kind::Unavailable | Kind::Unknown),
        };
        if !is_refused {
            let (own, other) = (&one.customer.form.tenant, &other.tenant);
            let told = told.err().map_or_else(|| "and was answered".to_owned(), |error| error.to_string());
            one.customer.record.fact(Fact::Foreign { what: format!("{own} {what} {other}: {told}") });
        }
        one.think(THINK_MS).await;
    }
}
