//! What the clients of a tenant do while things go wrong, each of them one thing after the other, through the client for applications.

mod bank;
mod foreign;
mod list;
pub mod record;
mod register;
mod scan;
mod watch;

pub use bank::opening;
pub use scan::look_at_all;

use super::value::{Form, Found};
use crate::history::told::Fact;
use crate::history::{ClientId, Key};
use crate::seed::{Dice, Seed};
use dewpond::{Client, Collection, Error, Raw, RequestId, Tenant};
use engine::clock::Clock as _;
use node::clock::SystemClock;
use record::Record;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// The collection of registers.
pub const REGISTERS: &str = "registers";
/// The collection of lists.
pub const LISTS: &str = "lists";
/// The collection of accounts.
pub const MONEY: &str = "accounts";
/// So long the same registers and lists are asked for, in milliseconds: a request of unknown outcome is remembered by the judge as
/// long as its key is in use.
const EPOCH_MS: u64 = 15_000;
/// Registers at a time.
const REGISTERS_COUNT: u64 = 6;
/// Lists at a time.
const LISTS_COUNT: u64 = 3;
/// A write may be sent again so long, in milliseconds.
const VALID_MS: u64 = 180_000;

/// A tenant and its clients.
#[derive(Clone)]
pub struct Customer {
    /// How it writes.
    pub form: Form,
    /// Its identity.
    pub client: Client,
    /// What its clients were told.
    pub record: Arc<Record>,
    /// Whether they are to stop.
    pub is_over: Arc<AtomicBool>,
    /// Whether watches are to stop.
    pub is_unwatched: Arc<AtomicBool>,
}

/// One client of a tenant.
struct One {
    customer: Customer,
    id: ClientId,
    dice: Dice,
    /// How long a request may take.
    patience: Duration,
    session: [u8; 16],
    next: u64,
}

impl Customer {
    /// The tenant as a client with that patience sees it.
    fn tenant(&self, patience: Duration) -> Tenant {
        self.client.tenant(self.form.tenant.clone()).deadline(patience)
    }

    fn now(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// What of a value is this tenant's; what is another's is noted.
    fn open(&self, bytes: &[u8]) -> Option<Value> {
        match self.form.read(bytes) {
            Found::Own(value) => Some(value),
            Found::Foreign(what) => {
                self.record.fact(Fact::Foreign { what });
                None
            }
        }
    }

    fn one(&self, seed: Seed, number: u64, patience_ms: u64) -> One {
        let mut dice = Dice::new(seed, &format!("{} {number}", self.form.tenant));
        let halves = [dice.number().to_be_bytes(), dice.number().to_be_bytes()];
        let session = halves.concat().try_into().unwrap_or_default();
        let patience = Duration::from_millis(patience_ms);
        One { customer: self.clone(), id: ClientId(number), dice, patience, session, next: 1 }
    }

    /// Lets all clients go to work. They end when they are told.
    pub fn work(&self, seed: Seed, other: &Self, into: &mut JoinSet<()>) {
        let one = |number: u64, patience_ms: u64| self.one(seed, number, patience_ms);
        for (number, patience_ms) in [(1, 400), (2, 1_500), (3, 5_000), (4, 5_000)] {
            into.spawn(register::work(one(number, patience_ms)));
        }
        for (number, patience_ms) in [(5, 1_000), (6, 5_000)] {
            into.spawn(list::work(one(number, patience_ms)));
            into.spawn(bank::work(one(number + 2, patience_ms)));
        }
        into.spawn(scan::work(one(9, 5_000)));
        into.spawn(foreign::work(one(10, 2_000), other.form.clone()));
    }

    /// Lets two clients watch. They end when they are told.
    pub fn watch(&self, seed: Seed, into: &mut JoinSet<()>) {
        for number in [11, 12] {
            into.spawn(watch::work(self.one(seed, number, 5_000)));
        }
    }

    /// Reads every list and the bank once more, when nobody writes.
    ///
    /// # Errors
    /// A read.
    pub async fn last_reads(&self) -> Result<(), Error> {
        let one = self.one(Seed(0), 13, 10_000);
        for key in self.record.lists() {
            list::ask(&one, key).await?;
        }
        bank::ask(&one).await
    }
}

impl One {
    fn collection(&self, name: &str) -> Collection<Raw> {
        self.customer.tenant(self.patience).raw(name)
    }

    fn epoch(&self) -> u64 {
        self.customer.record.since.ms() / EPOCH_MS
    }

    /// Which register, or which list.
    fn key(&mut self, count: u64) -> Key {
        Key(self.epoch() * 1_000 + self.dice.below(count))
    }

    fn request(&mut self) -> RequestId {
        self.next += 1;
        let valid_until_ms = SystemClock::default().now_ms() + VALID_MS;
        RequestId { session: self.session, number: self.next, valid_until_ms }
    }

    async fn think(&mut self, most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.dice.below(most_ms + 1))).await;
    }
}
