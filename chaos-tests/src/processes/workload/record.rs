//! What the clients of one tenant have asked and were told, while it happens.

use crate::history::told::Fact;
use crate::history::{Action, Answer, ClientId, History, Key, OpId, Operation, Outcome};
use crate::processes::events::Since;
use dewpond::{Error, Kind};
use engine::Stamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The record of one tenant.
pub struct Record {
    /// Since when.
    pub since: Since,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    history: History,
    facts: Vec<Fact>,
    newest: Stamp,
    numbers: u64,
}

/// What a write was told.
pub type Told = Result<dewpond::Stamp, Error>;

impl Record {
    /// Nothing yet.
    #[must_use]
    pub fn new(since: Since) -> Self {
        Self { since, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that nobody has written yet.
    pub fn number(&self) -> u64 {
        let mut inner = self.inner();
        inner.numbers += 1;
        inner.numbers
    }

    /// A client asks.
    pub fn ask(&self, client: ClientId, action: Action) -> OpId {
        let now_ms = self.since.ms();
        self.inner().history.invoke(client, action, now_ms)
    }

    /// It was told.
    pub fn tell(&self, id: OpId, outcome: Outcome) {
        let now_ms = self.since.ms();
        self.inner().history.complete(id, outcome, now_ms);
    }

    /// What a write to a register came to, with its stamp.
    pub fn tell_written(&self, id: OpId, (key, value): (Key, Option<u64>), told: &Told) {
        let now_ms = self.since.ms();
        let mut inner = self.inner();
        let action = inner.history.operation(id).map(|operation| operation.action.clone());
        let is_cas = matches!(action, Some(Action::Cas { .. }));
        let outcome = match told {
            Ok(_) => Outcome::Ok(if is_cas { Answer::Took(true) } else { Answer::Stored }),
            Err(error) if is_cas && error.condition().is_some() => Outcome::Ok(Answer::Took(false)),
            Err(error) => of(error),
        };
        match (told, &outcome) {
            (Ok(stamp), _) => {
                let stamp = Stamp(stamp.0);
                inner.newest = inner.newest.max(stamp);
                inner.facts.push(Fact::Acknowledged { key, stamp, value });
            }
            (Err(_), Outcome::Unknown) => inner.facts.push(Fact::Unknown { key, value }),
            _ => {}
        }
        inner.history.complete(id, outcome, now_ms);
    }

    /// As [`Record::tell_written`], of a client that has judged a refusal by itself.
    pub fn tell_stamped(&self, id: OpId, (key, value): (Key, Option<u64>), told: &Result<Stamp, Outcome>) {
        let now_ms = self.since.ms();
        let mut inner = self.inner();
        let action = inner.history.operation(id).map(|operation| operation.action.clone());
        let is_cas = matches!(action, Some(Action::Cas { .. }));
        let outcome = match told {
            Ok(stamp) => {
                inner.newest = inner.newest.max(*stamp);
                inner.facts.push(Fact::Acknowledged { key, stamp: *stamp, value });
                Outcome::Ok(if is_cas { Answer::Took(true) } else { Answer::Stored })
            }
            Err(outcome) => outcome.clone(),
        };
        if outcome == Outcome::Unknown {
            inner.facts.push(Fact::Unknown { key, value });
        }
        inner.history.complete(id, outcome, now_ms);
    }

    /// A client was told something beside.
    pub fn fact(&self, fact: Fact) {
        self.inner().facts.push(fact);
    }

    /// The newest stamp that any write to a register was told.
    pub fn newest(&self) -> Stamp {
        self.inner().newest
    }

    /// Every register that anybody wrote, perhaps.
    pub fn keys(&self) -> Vec<Key> {
        let key = |fact: &Fact| match fact {
            Fact::Acknowledged { key, .. } | Fact::Unknown { key, .. } => Some(*key),
            _ => None,
        };
        let keys: BTreeSet<Key> = self.inner().facts.iter().filter_map(key).collect();
        keys.into_iter().collect()
    }

    /// Every list that anybody asked for.
    pub fn lists(&self) -> Vec<Key> {
        let inner = self.inner();
        let key = |operation: &Operation| match operation.action {
            Action::Append { key, .. } => Some(key),
            _ => None,
        };
        let keys: BTreeSet<Key> = inner.history.operations().iter().filter_map(key).collect();
        keys.into_iter().collect()
    }

    /// Up to where every watch that is still open has told all: the least of them.
    pub fn watched(&self) -> Stamp {
        let mut upto = BTreeMap::new();
        for fact in &self.inner().facts {
            if let Fact::Progress { watch, stamp } = fact {
                // One client has one watch after the other.
                upto.insert(watch / 1_000, *stamp);
            }
        }
        upto.into_values().min().unwrap_or_default()
    }

    /// What was shown of others, or nothing.
    pub fn foreign(&self) -> Vec<Fact> {
        let is_foreign = |fact: &&Fact| matches!(fact, Fact::Foreign { .. });
        self.inner().facts.iter().filter(is_foreign).take(1).cloned().collect()
    }

    /// All of it.
    pub fn taken(&self) -> (History, Vec<Fact>) {
        let inner = self.inner();
        (inner.history.clone(), inner.facts.clone())
    }
}

/// What a failed request came to. What the client does not call unknown has not happened, and never will: that is held against it. A bug
/// of the server says nothing.
#[must_use]
pub fn of(error: &Error) -> Outcome {
    match error.kind() {
        Kind::Unknown | Kind::Internal | Kind::Damaged => Outcome::Unknown,
        _ => Outcome::Failed,
    }
}
