//! Looks into the past: all registers of an epoch as of a stamp that a write was told.

use super::{Customer, EPOCH_MS, One, REGISTERS, REGISTERS_COUNT};
use crate::history::Key;
use crate::history::told::Fact;
use crate::processes::finals::AGE;
use dewpond::{Error, Raw, Scan, Stamp};
use engine::Stamp as At;
use futures_util::TryStreamExt as _;
use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds between two looks at most.
const THINK_MS: u64 = 200;

/// Looks until it is told to stop.
pub async fn work(mut one: One) {
    while one.customer.now() {
        one.think(THINK_MS).await;
        let at = one.customer.record.newest();
        // Sometimes what has just been written, sometimes what was there some seconds before.
        let back_ms = if one.dice.is_lucky(500) { 0 } else { one.dice.below(EPOCH_MS) };
        let at = if back_ms == 0 { at } else { at.minus_ms(back_ms) };
        if one.customer.record.since.ms() < 2 * EPOCH_MS && back_ms > 0 || at == At::ZERO {
            continue;
        }
        let keys: Vec<Key> = (0..REGISTERS_COUNT).map(|key| Key(one.epoch() * 1_000 + key)).collect();
        // A look that fails has told nothing.
        let _ = look(&one.customer, one.patience, (at, keys)).await;
    }
}

/// Reads registers as of a stamp.
async fn look(customer: &Customer, patience: Duration, (at, keys): (At, Vec<Key>)) -> Result<(), Error> {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(()) };
    let range = customer.form.key(*first)..=customer.form.key(*last);
    let rows = customer.tenant(patience).as_of(Stamp(at.0)).raw(REGISTERS).scan(range);
    note(customer, rows, at, keys).await
}

/// Reads all registers there ever were, at whichever replica answers, when nobody writes any more.
///
/// # Errors
/// The read.
pub async fn look_at_all(customer: &Customer, at: At, patience: Duration) -> Result<(), Error> {
    let rows = customer.tenant(patience).raw(REGISTERS).scan(..).bounded(AGE);
    note(customer, rows, at, customer.record.keys()).await
}

async fn note(customer: &Customer, mut rows: Scan<Raw>, at: At, keys: Vec<Key>) -> Result<(), Error> {
    let mut found = BTreeMap::new();
    while let Some(row) = rows.try_next().await? {
        let value = customer.open(&row.version.value).and_then(|value| value.as_u64());
        if let Some((key, value)) = customer.form.key_of(&row.key).zip(value) {
            found.insert(key, (At(row.version.stamp.0), value));
        }
    }
    customer.record.fact(Fact::Look { at, keys, found });
    Ok(())
}
