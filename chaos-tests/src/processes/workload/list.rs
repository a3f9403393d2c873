//! Lists: an element is added at the end by writing the whole list over the one that was read, if nobody was faster.

use super::record::of;
use super::{LISTS, LISTS_COUNT, One};
use crate::history::{Action, Answer, Key, Outcome};
use crate::processes::value::numbers;
use dewpond::{Error, Stamp};
use serde_json::Value;

/// Milliseconds between two requests at most.
const THINK_MS: u64 = 60;
/// How often somebody else may be faster before a client gives up.
const TRIES_MAX: u32 = 6;

/// Asks for lists until it is told to stop.
pub async fn work(mut one: One) {
    while one.customer.now() {
        let key = one.key(LISTS_COUNT);
        let record = one.customer.record.clone();
        if one.dice.is_lucky(400) {
            // What fails is in the history.
            let _ = ask(&one, key).await;
        } else {
            let element = record.number();
            let asked = record.ask(one.id, Action::Append { key, element });
            let outcome = append(&mut one, key, element).await;
            record.tell(asked, outcome);
        }
        one.think(THINK_MS).await;
    }
}

/// Reads a list.
pub async fn ask(one: &One, key: Key) -> Result<(), Error> {
    let record = &one.customer.record;
    let asked = record.ask(one.id, Action::ReadList { key });
    let found = read(one, key).await;
    record.tell(
        asked,
        match &found {
            Ok(Some((list, _))) => Outcome::Ok(Answer::List(list.clone())),
            Ok(None) => Outcome::Unknown,
            Err(_) => Outcome::Failed,
        },
    );
    found.map(drop)
}

/// What is in it, and since when; nothing if it is no list.
async fn read(one: &One, key: Key) -> Result<Option<(Vec<u64>, Option<Stamp>)>, Error> {
    let customer = &one.customer;
    let Some(found) = one.collection(LISTS).get(customer.form.key(key)).await? else {
        return Ok(Some((vec![], None)));
    };
    let list = customer.open(&found.value).as_ref().and_then(numbers);
    Ok(list.map(|list| (list, Some(found.stamp))))
}

async fn append(one: &mut One, key: Key, element: u64) -> Outcome {
    for _ in 0..TRIES_MAX {
        let Ok(Some((mut list, stamp))) = read(one, key).await else { return Outcome::Failed };
        list.push(element);
        let bytes = one.customer.form.value(&Value::from(list), 0);
        let request = one.request();
        let put = one.collection(LISTS).put(one.customer.form.key(key), bytes).request_id(request);
        let told = match stamp {
            Some(stamp) => put.if_stamp(stamp).await,
            None => put.if_absent().await,
        };
        match told {
            Ok(_) => return Outcome::Ok(Answer::Stored),
            Err(error) if error.condition().is_some() => {}
            Err(error) => return of(&error),
        }
    }
    Outcome::Failed
}
