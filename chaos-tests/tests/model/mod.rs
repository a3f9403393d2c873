//! A sequential model asked by many clients at once: every request takes effect at one moment between its question and its answer,
//! so that what comes out is linearizable by construction.
#![allow(dead_code, reason = "each test binary uses its part")]

use chaos_tests::history::{Action, Answer, ClientId, History, Key, OpId, Outcome};
use chaos_tests::seed::{Dice, Seed};
use std::collections::BTreeMap;

/// What the clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Registers,
    Lists,
    Bank,
}

/// The shape of a history.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub kind: Kind,
    pub operations: u64,
    pub clients: u64,
    pub keys: u64,
    /// Of a thousand requests, how many are never answered.
    pub unknown_permille: u32,
    /// Values are below this: few, so that they come again; or 0, so that every value is another one.
    pub values: u64,
}

pub const BALANCE: i64 = 100;

#[derive(Clone, Debug)]
enum State {
    Asked,
    Carried(Answer),
}

struct Open {
    id: OpId,
    action: Action,
    state: State,
    is_unknown: bool,
}

struct Model {
    dice: Dice,
    shape: Shape,
    registers: BTreeMap<Key, u64>,
    lists: BTreeMap<Key, Vec<u64>>,
    balances: BTreeMap<Key, i64>,
    fresh: u64,
}

/// A history of this shape.
pub fn history(seed: u64, shape: Shape) -> History {
    let keys = (0..shape.keys).map(Key);
    let mut model = Model {
        dice: Dice::new(Seed(seed), "model"),
        shape,
        registers: BTreeMap::new(),
        lists: keys.clone().map(|key| (key, vec![])).collect(),
        balances: keys.map(|key| (key, BALANCE)).collect(),
        fresh: 0,
    };
    let (mut history, mut now_ms) = (History::default(), 0);
    let (mut open, mut lost): (BTreeMap<u64, Open>, Vec<Open>) = (BTreeMap::new(), vec![]);
    let mut left = shape.operations;
    while left > 0 || !open.is_empty() {
        now_ms += model.dice.below(3);
        if model.dice.is_lucky(20) && !lost.is_empty() {
            // Long after the client has given up.
            let at = model.dice.below(lost.len() as u64) as usize;
            let late = lost.swap_remove(at);
            model.carry_out(&late.action);
        }
        let client = model.dice.below(shape.clients);
        match open.remove(&client) {
            None if left > 0 => {
                left -= 1;
                let action = model.action();
                let id = history.invoke(ClientId(client), action.clone(), now_ms);
                let is_unknown = model.dice.is_lucky(shape.unknown_permille);
                open.insert(client, Open { id, action, state: State::Asked, is_unknown });
            }
            None => {}
            Some(request) if request.is_unknown && model.dice.is_lucky(500) => {
                history.complete(request.id, Outcome::Unknown, now_ms);
                if matches!(request.state, State::Asked) {
                    lost.push(request);
                }
            }
            Some(Open { id, action, state: State::Asked, is_unknown })
                if !is_unknown || model.dice.is_lucky(300) =>
            {
                if model.dice.is_lucky(10) {
                    history.complete(id, Outcome::Failed, now_ms);
                } else {
                    let state = State::Carried(model.carry_out(&action));
                    open.insert(client, Open { id, action, state, is_unknown });
                }
            }
            Some(Open { id, state: State::Carried(answer), is_unknown: false, .. }) => {
                history.complete(id, Outcome::Ok(answer), now_ms);
            }
            Some(request) => {
                open.insert(client, request);
            }
        }
    }
    history
}

impl Model {
    fn key(&mut self) -> Key {
        Key(self.dice.below(self.shape.keys))
    }

    fn value(&mut self) -> Option<u64> {
        self.fresh += 1;
        if self.shape.values == 0 {
            return Some(self.fresh);
        }
        let value = self.dice.below(self.shape.values);
        (value > 0).then_some(value)
    }

    fn action(&mut self) -> Action {
        let (key, what) = (self.key(), self.dice.below(10));
        match self.shape.kind {
            Kind::Registers => match what {
                0..5 => Action::Read { key },
                5..8 => Action::Write { key, value: self.value() },
                _ => {
                    let right = self.registers.get(&key).copied();
                    let expected = if self.dice.is_lucky(700) { right } else { self.value() };
                    Action::Cas { key, expected, new: self.value() }
                }
            },
            Kind::Lists if what < 5 => Action::ReadList { key },
            Kind::Lists => {
                self.fresh += 1;
                Action::Append { key, element: self.fresh }
            }
            Kind::Bank if what < 3 => Action::ReadAll,
            Kind::Bank => Action::Transfer { from: key, to: self.key(), amount: self.dice.below(40) },
        }
    }

    fn carry_out(&mut self, action: &Action) -> Answer {
        match action {
            Action::Read { key } => Answer::Value(self.registers.get(key).copied()),
            Action::Write { key, value } => {
                self.put(*key, *value);
                Answer::Stored
            }
            Action::Cas { key, expected, new } => {
                let takes = self.registers.get(key).copied() == *expected;
                if takes {
                    self.put(*key, *new);
                }
                Answer::Took(takes)
            }
            Action::Append { key, element } => {
                self.lists.entry(*key).or_default().push(*element);
                Answer::Stored
            }
            Action::ReadList { key } => Answer::List(self.lists[key].clone()),
            Action::Transfer { from, to, amount } => {
                let takes = self.balances[from] >= *amount as i64;
                if takes {
                    *self.balances.entry(*from).or_default() -= *amount as i64;
                    *self.balances.entry(*to).or_default() += *amount as i64;
                }
                Answer::Took(takes)
            }
            Action::ReadAll => Answer::Balances(self.balances.clone()),
        }
    }

    fn put(&mut self, key: Key, value: Option<u64>) {
        match value {
            Some(value) => self.registers.insert(key, value),
            None => self.registers.remove(&key),
        };
    }
}

/// The same history with other outcomes where `change` gives one.
pub fn changed(history: &History, mut change: impl FnMut(usize, &Outcome) -> Option<Outcome>) -> History {
    let mut moments = BTreeMap::new();
    for (at, operation) in history.operations().iter().enumerate() {
        moments.insert(operation.invoked.order, (at, None));
        if let Some((moment, outcome)) = &operation.completed {
            moments.insert(moment.order, (at, Some((moment.at_ms, outcome))));
        }
    }
    let (mut new, mut ids) = (History::default(), BTreeMap::new());
    for (at, told) in moments.into_values() {
        let operation = &history.operations()[at];
        match told {
            None => {
                let id = new.invoke(operation.client, operation.action.clone(), operation.invoked.at_ms);
                ids.insert(at, id);
            }
            Some((at_ms, outcome)) => {
                let outcome = change(at, outcome).unwrap_or_else(|| outcome.clone());
                new.complete(ids[&at], outcome, at_ms);
            }
        }
    }
    new
}
