//! Values that go by themselves: a client writes the same few keys again and again, for a time or for ever, and looks at them as of stamps
//! around the moment at which they go. It alone writes them, so it knows what is there.

use super::client::{Why, told, within};
use super::stage::Stage;
use super::workload::One;
use crate::check::expiry::{self, Found, Written};
use crate::history::Key;
use crate::world::clock::EPOCH_MS;
use bytes::Bytes;
use engine::Stamp;
use proto::v1::{self, consistency::How};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Where they stand.
const FADING: &str = "fading";
/// The first of its keys: nobody else uses these.
const FIRST: u64 = 3_000_000_000;
/// Keys at a time.
const KEYS: u64 = 4;
/// A value is there so long at most, in milliseconds.
const TTL_MS: u64 = 2_500;
/// Looks go back so far at most, in milliseconds.
const BACK_MS: u64 = 4_000;

/// What one client knows.
struct Fading {
    one: One,
    stage: Rc<Stage>,
    /// The keys, and all that was acknowledged of each. One of which a write is in doubt is given up for a new one.
    written: BTreeMap<Key, Vec<Written>>,
    next: u64,
    newest: Stamp,
}

/// Writes and looks until the run is over.
pub async fn work(one: One, stage: Rc<Stage>) {
    let is_over = one.customer.is_over.clone();
    let mut fading = Fading { one, stage, written: BTreeMap::new(), next: FIRST, newest: Stamp::ZERO };
    while !is_over.get() && fading.stage.accused().is_none() {
        fading.one.client.think(120).await;
        while (fading.written.len() as u64) < KEYS {
            fading.written.insert(Key(fading.next), Vec::new());
            fading.next += 1;
        }
        let keys: Vec<Key> = fading.written.keys().copied().collect();
        let Some(key) = fading.one.client.dice.pick(&keys).copied() else { return };
        match fading.one.client.dice.below(5) {
            0 | 1 => fading.write(key).await,
            2 => fading.look_now(key).await,
            _ => fading.look_back(key).await,
        }
    }
}

impl Fading {
    fn key(&self, key: Key) -> Bytes {
        self.one.customer.form.key(key).into_bytes().into()
    }

    async fn write(&mut self, key: Key) {
        let dice = &mut self.one.client.dice;
        let ttl_ms = if dice.is_lucky(700) { 1 + dice.below(TTL_MS) } else { 0 };
        let value = Bytes::from(self.one.customer.form.value(&self.next.into(), 0));
        let (place, name) = (self.one.client.place(FADING), self.key(key));
        let id = self.one.client.write_id(EPOCH_MS + self.stage.ground.time.ms());
        let sent = self.one.client.ask((self.one.patience_ms, true), |mut kv, left| {
            let (place, key, value, id) = (place.clone(), name.clone(), value.clone(), id.clone());
            let put = v1::PutRequest { place, key, value, ttl_ms, condition: None, id };
            async move { kv.put(within(put, left)).await }
        });
        match sent.await {
            Ok(answer) => {
                let stamp = Stamp(answer.into_inner().stamp);
                self.newest = self.newest.max(stamp);
                self.written.entry(key).or_default().push(Written { stamp, ttl_ms });
            }
            Err(Why::Unknown) => drop(self.written.remove(&key)),
            Err(Why::NotDone | Why::Refused(_)) => {}
        }
    }

    async fn get(&mut self, key: Key, at: Option<Stamp>) -> Result<Found, Why> {
        let (place, name) = (self.one.client.place(FADING), self.key(key));
        let consistency = at.map(|at| v1::Consistency { how: Some(How::AsOf(at.0)) });
        let found = self.one.client.ask((self.one.patience_ms, false), |mut kv, left| {
            let asked = v1::GetRequest { place: place.clone(), key: name.clone(), consistency };
            async move { kv.get(within(asked, left)).await }
        });
        let version = found.await?.into_inner().version;
        let expires_ms = version.as_ref().map_or(0, |version| version.expires_ms);
        Ok(told(version).map(|(stamp, _)| (stamp, expires_ms)))
    }

    async fn look_now(&mut self, key: Key) {
        let from_ms = EPOCH_MS + self.stage.ground.time.ms();
        let Ok(found) = self.get(key, None).await else { return };
        let until_ms = EPOCH_MS + self.stage.ground.time.ms();
        // Any node may have answered, be its clock right or wrong.
        let nodes = self.stage.nodes.borrow();
        let wrong_ms = 1 + nodes.iter().map(|node| node.machine.clock.worst_ms()).max().unwrap_or(0);
        let versions = &self.written[&key];
        match expiry::now(versions, (from_ms, until_ms), wrong_ms, found) {
            Ok(()) => self.stage.sees("values that go, looked at now"),
            Err(violation) => self.stage.accuse(violation),
        }
    }

    async fn look_back(&mut self, key: Key) {
        if self.newest == Stamp::ZERO {
            return;
        }
        let at = match self.one.client.dice.below(3) {
            0 => self.newest,
            _ => self.newest.minus_ms(self.one.client.dice.below(BACK_MS)),
        };
        let Ok(found) = self.get(key, Some(at)).await else { return };
        match expiry::as_of(&self.written[&key], at, found) {
            Ok(true) => self.stage.sees("values that had gone"),
            Ok(false) => self.stage.sees("values that go, looked at as of a stamp"),
            Err(violation) => self.stage.accuse(violation),
        }
    }
}
