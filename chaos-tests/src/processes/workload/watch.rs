//! Watches of all registers, from a stamp on, through whatever happens.

use super::{One, REGISTERS};
use crate::history::Key;
use crate::history::told::Fact;
use dewpond::{Change, Start};
use engine::Stamp;
use futures_util::StreamExt as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(200);

/// Watches until it is told to stop. If a watch ends with an error, it goes on behind the last progress that it was told, as another
/// watch for the judge.
pub async fn work(mut one: One) {
    let record = one.customer.record.clone();
    while is_open(&one) && record.newest() == Stamp::ZERO {
        one.think(100).await;
    }
    let (mut watch, mut after) = (one.id.0 * 1_000, record.newest());
    while is_open(&one) {
        record.fact(Fact::Began { watch, after });
        let heard = one.collection(REGISTERS).watch(.., Start::After(dewpond::Stamp(after.0)));
        tokio::pin!(heard);
        while is_open(&one) {
            let Ok(next) = tokio::time::timeout(LOOK, heard.next()).await else { continue };
            let Some(Ok(change)) = next else { break };
            if let Change::Progress(stamp) = &change {
                after = after.max(Stamp(stamp.0));
            }
            note(&one, watch, change);
        }
        watch += 1;
        one.think(100).await;
    }
}

fn is_open(one: &One) -> bool {
    !one.customer.is_unwatched.load(Ordering::Relaxed)
}

fn note(one: &One, watch: u64, change: Change<bytes::Bytes, bytes::Bytes>) {
    let customer = &one.customer;
    let key = |bytes: &[u8]| customer.form.key_of(bytes).unwrap_or(Key(u64::MAX));
    let fact = match change {
        Change::Put { key: at, version } => {
            let stamp = Stamp(version.stamp.0);
            let value = customer.open(&version.value).and_then(|value| value.as_u64());
            Fact::Changed { watch, key: key(&at), stamp, value: Some(value.unwrap_or(u64::MAX)) }
        }
        Change::Delete { key: at, stamp } => {
            Fact::Changed { watch, key: key(&at), stamp: Stamp(stamp.0), value: None }
        }
        Change::Progress(stamp) => Fact::Progress { watch, stamp: Stamp(stamp.0) },
        Change::Reset { from, .. } => Fact::Reset { watch, from: Stamp(from.0) },
        other => Fact::Foreign { what: format!("a watch told what nobody did: {other:?}") },
    };
    customer.record.fact(fact);
}
