//! Registers: read, written, compared and set. A write of unknown outcome may be asked again under its number until it is known; one
//! that was answered may be sent again, and must be answered as it was.

use super::record::Told;
use super::{One, REGISTERS, REGISTERS_COUNT};
use crate::history::told::Fact;
use crate::history::{Action, Answer, Key, Outcome};
use dewpond::{Error, Kind, RequestId, Stamp};
use engine::Stamp as Written;
use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds between two requests at most.
const THINK_MS: u64 = 25;
/// Of a thousand answered writes so many are sent again.
const AGAIN_PERMILLE: u32 = 60;
/// Of a thousand writes of unknown outcome so many are asked until they are known.
const ASK_PERMILLE: u32 = 700;
/// How long one is asked for.
const ASK: Duration = Duration::from_secs(20);

/// What a client knows of a register: its value and stamp; `None` if nothing was there.
type Seen = Option<(u64, Stamp)>;

/// A write as it is sent, and may be sent again.
#[derive(Clone)]
struct Write {
    key: Key,
    value: Option<u64>,
    /// What must be there, if anything must.
    must: Option<Seen>,
    bytes: Vec<u8>,
    id: RequestId,
}

/// Asks for registers until it is told to stop.
pub async fn work(mut one: One) {
    let mut seen: BTreeMap<Key, Seen> = BTreeMap::new();
    while one.customer.now() {
        let key = one.key(REGISTERS_COUNT);
        match one.dice.below(10) {
            0..4 => {
                if let Some(found) = read(&one, key).await {
                    seen.insert(key, found);
                }
            }
            4..7 => {
                let value = (!one.dice.is_lucky(100)).then(|| one.customer.record.number());
                let action = Action::Write { key, value };
                write(&mut one, (key, value), None, action, &mut seen).await;
            }
            _ => {
                let Some(expected) = seen.get(&key).copied() else { continue };
                let value = Some(one.customer.record.number());
                let action = Action::Cas { key, expected: expected.map(|(value, _)| value), new: value };
                write(&mut one, (key, value), Some(expected), action, &mut seen).await;
            }
        }
        let oldest = one.epoch() * 1_000;
        seen.retain(|key, _| key.0 >= oldest);
        one.think(THINK_MS).await;
    }
}

async fn read(one: &One, key: Key) -> Option<Seen> {
    let customer = &one.customer;
    let asked = customer.record.ask(one.id, Action::Read { key });
    match one.collection(REGISTERS).get(customer.form.key(key)).await {
        Ok(found) => {
            let value =
                found.as_ref().map(|found| customer.open(&found.value).and_then(|value| value.as_u64()));
            // Something else than a number is noted already; what the register holds is not known then.
            let outcome = match value {
                Some(None) => Outcome::Unknown,
                value => Outcome::Ok(Answer::Value(value.flatten())),
            };
            customer.record.tell(asked, outcome);
            Some(value.flatten().zip(found.map(|found| found.stamp)))
        }
        Err(_) => {
            customer.record.tell(asked, Outcome::Failed);
            None
        }
    }
}

async fn write(
    one: &mut One,
    (key, value): (Key, Option<u64>),
    must: Option<Seen>,
    action: Action,
    seen: &mut BTreeMap<Key, Seen>,
) {
    let bytes_min = one.dice.below(600) as usize;
    let bytes = value.map(|value| one.customer.form.value(&value.into(), bytes_min)).unwrap_or_default();
    let write = Write { key, value, must, bytes, id: one.request() };
    let record = one.customer.record.clone();
    let asked = record.ask(one.id, action);
    let mut told = send(one, &write, one.patience).await;
    if is_unknown(&told) && one.dice.is_lucky(ASK_PERMILLE) {
        told = send(one, &write, ASK).await;
    }
    record.tell_written(asked, (key, value), &told);
    match told {
        Ok(stamp) => {
            seen.insert(key, value.map(|value| (value, stamp)));
            if one.dice.is_lucky(AGAIN_PERMILLE) {
                send_again(one, &write, stamp).await;
            }
        }
        Err(_) => drop(seen.remove(&key)),
    }
}

fn is_unknown(told: &Told) -> bool {
    told.as_ref().is_err_and(|error| error.kind() == Kind::Unknown)
}

async fn send(one: &One, write: &Write, patience: Duration) -> Told {
    let registers = one.customer.tenant(patience).raw(REGISTERS);
    let Write { key, value, must, bytes, id } = write.clone();
    let key = one.customer.form.key(key);
    match (value, must) {
        (None, _) => registers.delete(key).request_id(id).await,
        (Some(_), None) => registers.put(key, bytes).request_id(id).await,
        (Some(_), Some(None)) => registers.put(key, bytes).if_absent().request_id(id).await,
        (Some(_), Some(Some((_, stamp)))) => registers.put(key, bytes).if_stamp(stamp).request_id(id).await,
    }
}

async fn send_again(one: &mut One, write: &Write, first: Stamp) {
    one.think(200).await;
    let told: Result<Stamp, Error> = send(one, write, ASK).await;
    if let Ok(second) = told {
        let (first, second) = (Written(first.0), Written(second.0));
        one.customer.record.fact(Fact::Again { key: write.key, first, second });
    }
}
