//! What the clients of a tenant do: registers, written, compared and set, read now and in the past, and sent again; a bank; and questions
//! for what is another tenant's.

use super::client::{TenantClient, Why, told, within};
use crate::check::bank::Bank;
use crate::history::told::Fact;
use crate::history::{Action, Answer, ClientId, Key, Outcome};
use crate::processes::value::{Form, Found};
use crate::processes::workload::record::Record;
use crate::processes::workload::{MONEY, REGISTERS};
use crate::world::clock::EPOCH_MS;
use bytes::Bytes;
use engine::Stamp;
use proto::errors::code;
use proto::v1::{self, condition::Must, consistency::How, operation::What};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use tonic::Streaming;

/// So long the same registers are asked for, in milliseconds.
const EPOCH: u64 = 10_000;
/// Registers at a time.
const REGISTERS_COUNT: u64 = 6;
/// Accounts of a bank.
const ACCOUNTS: u64 = 5;
/// What each has at first.
const FIRST_MONEY: i64 = 100;
/// Keys in collections of their own begin here.
const FRESH: u64 = 1_000_000_000;
/// Of a thousand answered writes so many are sent again.
const AGAIN_PERMILLE: u32 = 80;
/// Some patience, in milliseconds.
const PATIENCE_MS: [u64; 3] = [600, 2_000, 6_000];

/// What the clients of one tenant share.
#[derive(Clone)]
pub struct Customer {
    /// How it writes.
    pub form: Form,
    /// What its clients were told.
    pub record: Arc<Record>,
    /// Whether they are to stop.
    pub is_over: Rc<Cell<bool>>,
    /// How often what seldom happens has happened.
    pub seen: Rc<Cell<Seen>>,
}

/// What seldom happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Writes that were sent again after an answer.
    pub again: u64,
    /// Reads as of a stamp of the past.
    pub past: u64,
    /// Questions for another tenant's rows that were refused.
    pub refused: u64,
    /// Transfers that took place.
    pub transfers: u64,
}

/// One client.
pub struct One {
    /// Whose.
    pub customer: Customer,
    /// How it calls.
    pub client: TenantClient,
    /// Who.
    pub id: ClientId,
    /// Its patience, in milliseconds.
    pub patience_ms: u64,
}

/// What a client knows of a register.
type Last = Option<(u64, Stamp)>;

/// How a bank begins.
#[must_use]
pub fn opening() -> Bank {
    Bank { opening: (0..ACCOUNTS).map(|account| (Key(account), FIRST_MONEY)).collect(), allows_debt: false }
}

fn condition(must: Must) -> v1::Condition {
    v1::Condition { must: Some(must), ..v1::Condition::default() }
}

impl Customer {
    fn bytes(&self, key: Key) -> Bytes {
        self.form.key(key).into_bytes().into()
    }

    /// What of a value is this tenant's; what is another's is noted.
    pub fn open(&self, bytes: &[u8]) -> Option<Value> {
        match self.form.read(bytes) {
            Found::Own(value) => Some(value),
            Found::Foreign(what) => {
                self.record.fact(Fact::Foreign { what });
                None
            }
        }
    }

    fn see(&self, sees: impl FnOnce(&mut Seen)) {
        let mut seen = self.seen.get();
        sees(&mut seen);
        self.seen.set(seen);
    }

    fn epoch(&self) -> u64 {
        self.record.since.ms() / EPOCH
    }
}

impl One {
    fn now_ms(&self) -> u64 {
        EPOCH_MS + self.customer.record.since.ms()
    }

    /// Works until the run is over.
    pub async fn work(mut self, other: Form) {
        let mut last: BTreeMap<Key, Last> = BTreeMap::new();
        while !self.customer.is_over.get() {
            self.client.think(60).await;
            let key = Key(self.customer.epoch() * 1_000 + self.client.dice.below(REGISTERS_COUNT));
            match self.client.dice.below(20) {
                0..6 => {
                    if let Some(found) = self.read(key).await {
                        last.insert(key, found);
                    }
                }
                6..12 => {
                    let value = (!self.client.dice.is_lucky(100)).then(|| self.customer.record.number());
                    self.write((key, value), None, Action::Write { key, value }, &mut last).await;
                }
                12..15 => {
                    let Some(expected) = last.get(&key).copied() else { continue };
                    let value = Some(self.customer.record.number());
                    let action = Action::Cas { key, expected: expected.map(|(value, _)| value), new: value };
                    self.write((key, value), Some(expected), action, &mut last).await;
                }
                15 => self.look_back().await,
                16 => self.ask_for_others(&other).await,
                17 if self.client.dice.is_lucky(400) => self.make_collection().await,
                17 => drop(self.read_all().await),
                _ => self.transfer().await,
            }
        }
    }

    async fn get(&mut self, key: Key) -> Result<Option<(Stamp, Bytes)>, Why> {
        let (place, key) = (self.client.place(REGISTERS), self.customer.bytes(key));
        let found = self.client.ask((self.patience_ms, false), |mut kv, left| {
            let asked = v1::GetRequest { place: place.clone(), key: key.clone(), consistency: None };
            async move { kv.get(within(asked, left)).await }
        });
        Ok(told(found.await?.into_inner().version))
    }

    /// Reads a register.
    pub async fn read(&mut self, key: Key) -> Option<Last> {
        let customer = self.customer.clone();
        let asked = customer.record.ask(self.id, Action::Read { key });
        let Ok(found) = self.get(key).await else {
            customer.record.tell(asked, Outcome::Failed);
            return None;
        };
        let value = found.as_ref().map(|(_, value)| customer.open(value).and_then(|value| value.as_u64()));
        let outcome = match value {
            Some(None) => Outcome::Unknown,
            value => Outcome::Ok(Answer::Value(value.flatten())),
        };
        customer.record.tell(asked, outcome);
        Some(value.flatten().zip(found.map(|(stamp, _)| stamp)))
    }

    async fn write(
        &mut self,
        (key, value): (Key, Option<u64>),
        must: Option<Last>,
        action: Action,
        last: &mut BTreeMap<Key, Last>,
    ) {
        let customer = self.customer.clone();
        let bytes_min = usize::try_from(self.client.dice.below(600)).unwrap_or(0);
        let bytes = value.map(|value| Bytes::from(customer.form.value(&value.into(), bytes_min)));
        let id = self.client.write_id(self.now_ms());
        let asked = customer.record.ask(self.id, action);
        let told = self.send((key, bytes.clone()), must, id.clone(), self.patience_ms).await;
        let outcome = told.clone().map_err(|why| match why {
            Why::Refused(code::CONDITION_FAILED) => Outcome::Ok(Answer::Took(false)),
            why => why.outcome(),
        });
        customer.record.tell_stamped(asked, (key, value), &outcome);
        match told {
            Ok(first) => {
                last.insert(key, value.map(|value| (value, first)));
                if self.client.dice.is_lucky(AGAIN_PERMILLE) {
                    self.client.think(200).await;
                    if let Ok(second) = self.send((key, bytes), must, id, 6_000).await {
                        customer.record.fact(Fact::Again { key, first, second });
                        customer.see(|seen| seen.again += 1);
                    }
                }
            }
            Err(_) => drop(last.remove(&key)),
        }
    }

    async fn send(
        &mut self,
        (key, value): (Key, Option<Bytes>),
        must: Option<Last>,
        id: Option<v1::WriteId>,
        patience_ms: u64,
    ) -> Result<Stamp, Why> {
        let (place, key) = (self.client.place(REGISTERS), self.customer.bytes(key));
        let condition = must.map(|last| match last {
            None => condition(Must::Absent(v1::Absent {})),
            Some((_, stamp)) => condition(Must::Stamp(stamp.0)),
        });
        let sent = self.client.ask((patience_ms, true), |mut kv, left| {
            let (place, key, value) = (place.clone(), key.clone(), value.clone());
            let (condition, id) = (condition.clone(), id.clone());
            async move {
                match value {
                    Some(value) => {
                        let put = v1::PutRequest { place, key, value, ttl_ms: 0, condition, id };
                        kv.put(within(put, left)).await
                    }
                    None => kv.delete(within(v1::DeleteRequest { place, key, condition, id }, left)).await,
                }
            }
        });
        Ok(Stamp(sent.await?.into_inner().stamp))
    }

    /// Reads all registers of now as of a stamp that a write was told, or some seconds before.
    async fn look_back(&mut self) {
        let newest = self.customer.record.newest();
        let back_ms = if self.client.dice.is_lucky(500) { 0 } else { self.client.dice.below(EPOCH) };
        if newest == Stamp::ZERO || self.customer.record.since.ms() < 3 * EPOCH && back_ms > 0 {
            return;
        }
        let at = if back_ms == 0 { newest } else { newest.minus_ms(back_ms) };
        let keys: Vec<Key> =
            (0..REGISTERS_COUNT).map(|key| Key(self.customer.epoch() * 1_000 + key)).collect();
        if self.look(Some(at), keys).await.is_ok() {
            self.customer.see(|seen| seen.past += 1);
        }
    }

    /// Reads registers, now or as of a stamp, and notes what was there.
    ///
    /// # Errors
    /// See [`Why`].
    pub async fn look(&mut self, at: Option<Stamp>, keys: Vec<Key>) -> Result<(), Why> {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(()) };
        let (start, mut end) = (self.customer.bytes(*first), self.customer.form.key(*last).into_bytes());
        end.push(0);
        let (place, end) = (self.client.place(REGISTERS), Bytes::from(end));
        let consistency = at.map(|at| v1::Consistency { how: Some(How::AsOf(at.0)) });
        let pages = self.client.ask((self.patience_ms, false), |mut kv, left| {
            let range = Some(v1::Range { start: start.clone(), end: end.clone() });
            let scan =
                v1::ScanRequest { place: place.clone(), range, consistency, ..v1::ScanRequest::default() };
            async move { all_pages(kv.scan(within(scan, left)).await?.into_inner()).await }
        });
        let (rows, read_at) = pages.await?;
        let mut found = BTreeMap::new();
        for row in rows {
            let Some((stamp, value)) = told(row.version) else { continue };
            let value = self.customer.open(&value).and_then(|value| value.as_u64());
            if let Some((key, value)) = self.customer.form.key_of(&row.key).zip(value) {
                found.insert(key, (stamp, value));
            }
        }
        self.customer.record.fact(Fact::Look { at: at.unwrap_or(read_at), keys, found });
        Ok(())
    }

    /// Writes to a collection that was not there before, and reads it at once, at a node that may not have heard of it.
    async fn make_collection(&mut self) {
        let (number, record) = (self.customer.record.number(), self.customer.record.clone());
        let (key, place) = (Key(FRESH + number), self.client.place(&format!("fresh-{number}")));
        let bytes = Bytes::from(self.customer.form.value(&number.into(), 0));
        let (name, id) = (self.customer.bytes(key), self.client.write_id(self.now_ms()));
        let asked = record.ask(self.id, Action::Write { key, value: Some(number) });
        let written = self.client.ask((self.patience_ms, true), |mut kv, left| {
            let (place, key, value) = (place.clone(), name.clone(), bytes.clone());
            let put = v1::PutRequest { place, key, value, ttl_ms: 0, condition: None, id: id.clone() };
            async move { kv.put(within(put, left)).await }
        });
        let outcome = written.await.map_or_else(|why| why.outcome(), |_| Outcome::Ok(Answer::Stored));
        record.tell(asked, outcome);
        self.client.goes_anywhere();
        let asked = record.ask(self.id, Action::Read { key });
        let found = self.client.ask((self.patience_ms, false), |mut kv, left| {
            let asked = v1::GetRequest { place: place.clone(), key: name.clone(), consistency: None };
            async move { kv.get(within(asked, left)).await }
        });
        let outcome = match found.await {
            Ok(found) => {
                let value = told(found.into_inner().version)
                    .and_then(|(_, value)| self.customer.open(&value)?.as_u64());
                Outcome::Ok(Answer::Value(value))
            }
            Err(_) => Outcome::Failed,
        };
        record.tell(asked, outcome);
    }

    /// Asks for what is another tenant's. It must be refused.
    async fn ask_for_others(&mut self, other: &Form) {
        let own = std::mem::replace(&mut self.client.tenant, other.tenant.clone());
        let place = self.client.place(REGISTERS);
        self.client.tenant = own;
        let key: Bytes = other.key(Key(self.customer.epoch() * 1_000)).into_bytes().into();
        let told = self.client.ask((self.patience_ms, false), |mut kv, left| {
            let asked = v1::GetRequest { place: place.clone(), key: key.clone(), consistency: None };
            async move { kv.get(within(asked, left)).await }
        });
        match told.await {
            Err(Why::Refused(code::NOT_ALLOWED)) => self.customer.see(|seen| seen.refused += 1),
            Err(Why::NotDone | Why::Unknown) => {}
            told => {
                let what = format!("{} asked for rows of {}: {told:?}", self.client.tenant, other.tenant);
                self.customer.record.fact(Fact::Foreign { what });
            }
        }
    }
}

async fn all_pages(mut pages: Streaming<v1::ScanPage>) -> Result<(Vec<v1::Row>, Stamp), tonic::Status> {
    let (mut rows, mut at, mut is_last) = (Vec::new(), Stamp::ZERO, false);
    while let Some(page) = pages.message().await? {
        (at, is_last) = (Stamp(page.at), page.resume.is_empty());
        rows.extend(page.rows);
    }
    // A stream that breaks in the middle has told a part.
    if is_last { Ok((rows, at)) } else { Err(tonic::Status::unavailable("pages are missing")) }
}

impl One {
    /// Opens the accounts.
    ///
    /// # Errors
    /// See [`Why`].
    pub async fn open_accounts(&mut self) -> Result<(), Why> {
        let accounts: Vec<(Key, i64)> = opening().opening.into_iter().collect();
        self.batch(Vec::new(), accounts, 30_000).await.map(drop)
    }

    async fn batch(
        &mut self,
        conditions: Vec<(Key, Stamp)>,
        puts: Vec<(Key, i64)>,
        patience_ms: u64,
    ) -> Result<Stamp, Why> {
        let customer = self.customer.clone();
        let put = |(account, money): &(Key, i64)| v1::Operation {
            what: Some(What::Put(v1::Put {
                key: customer.bytes(*account),
                value: customer.form.value(&(*money).into(), 0).into(),
                ttl_ms: 0,
            })),
            ..v1::Operation::default()
        };
        let must = |(account, stamp): &(Key, Stamp)| v1::Condition {
            key: customer.bytes(*account),
            ..condition(Must::Stamp(stamp.0))
        };
        let batch = v1::BatchRequest {
            place: self.client.place(MONEY),
            conditions: conditions.iter().map(must).collect(),
            operations: puts.iter().map(put).collect(),
            id: self.client.write_id(self.now_ms()),
        };
        let sent = self.client.ask((patience_ms, true), |mut kv, left| {
            let batch = batch.clone();
            async move { kv.batch(within(batch, left)).await }
        });
        Ok(Stamp(sent.await?.into_inner().stamp))
    }

    /// What accounts hold at one stamp; nothing if one holds no money.
    async fn money(&mut self, accounts: &[Key]) -> Result<Option<Vec<(i64, Stamp)>>, Why> {
        let place = self.client.place(MONEY);
        let keys: Vec<Bytes> = accounts.iter().map(|account| self.customer.bytes(*account)).collect();
        let found = self.client.ask((self.patience_ms, false), |mut kv, left| {
            let asked = v1::MultiGetRequest { place: place.clone(), keys: keys.clone(), consistency: None };
            async move { kv.multi_get(within(asked, left)).await }
        });
        let versions = found.await?.into_inner().versions;
        let money = |maybe: v1::MaybeVersion| {
            let (stamp, value) = told(maybe.version)?;
            Some((self.customer.open(&value)?.as_i64()?, stamp))
        };
        Ok(versions.into_iter().map(money).collect())
    }

    /// Reads all accounts.
    ///
    /// # Errors
    /// See [`Why`].
    pub async fn read_all(&mut self) -> Result<(), Why> {
        let accounts: Vec<Key> = (0..ACCOUNTS).map(Key).collect();
        let asked = self.customer.record.ask(self.id, Action::ReadAll);
        let found = self.money(&accounts).await;
        let outcome = match &found {
            Ok(Some(money)) => {
                let balances = accounts.into_iter().zip(money.iter().map(|(money, _)| *money));
                Outcome::Ok(Answer::Balances(balances.collect()))
            }
            Ok(None) => {
                self.customer.record.fact(Fact::Foreign { what: "an account is gone".to_owned() });
                Outcome::Unknown
            }
            Err(_) => Outcome::Failed,
        };
        self.customer.record.tell(asked, outcome);
        found.map(drop)
    }

    async fn transfer(&mut self) {
        let (from, to) = (Key(self.client.dice.below(ACCOUNTS)), Key(self.client.dice.below(ACCOUNTS)));
        let amount = 1 + self.client.dice.below(30);
        if from == to {
            return;
        }
        let asked = self.customer.record.ask(self.id, Action::Transfer { from, to, amount });
        let outcome = self.moves(from, to, i64::try_from(amount).unwrap_or(0)).await;
        if outcome == Outcome::Ok(Answer::Took(true)) {
            self.customer.see(|seen| seen.transfers += 1);
        }
        self.customer.record.tell(asked, outcome);
    }

    async fn moves(&mut self, from: Key, to: Key, amount: i64) -> Outcome {
        let Ok(Some(money)) = self.money(&[from, to]).await else { return Outcome::Failed };
        let [(here, here_at), (there, there_at)] = money[..] else { return Outcome::Failed };
        if here < amount {
            return Outcome::Ok(Answer::Took(false));
        }
        let conditions = vec![(from, here_at), (to, there_at)];
        match self
            .batch(conditions, vec![(from, here - amount), (to, there + amount)], self.patience_ms)
            .await
        {
            Ok(_) => Outcome::Ok(Answer::Took(true)),
            Err(Why::Refused(code::CONDITION_FAILED)) => Outcome::Ok(Answer::Took(false)),
            Err(why) => why.outcome(),
        }
    }
}

/// The patience of the `number`th client, in milliseconds.
#[must_use]
pub fn patience_ms(number: u64) -> u64 {
    PATIENCE_MS[usize::try_from(number).unwrap_or(0) % PATIENCE_MS.len()]
}
