//! Pure: what clients asked and what they were told, in the order in which it happened.

pub mod lines;
pub mod told;

use std::collections::BTreeMap;
use std::fmt;

/// Somebody who asks one thing after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// One request and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// A register, a list or an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u64);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// What is in a register?
    Read {
        /// Which.
        key: Key,
    },
    /// Put a value into a register, or take out what is there.
    Write {
        /// Which.
        key: Key,
        /// What; `None` deletes.
        value: Option<u64>,
    },
    /// Put a value into a register if another one is there.
    Cas {
        /// Which.
        key: Key,
        /// What must be there.
        expected: Option<u64>,
        /// What is there then.
        new: Option<u64>,
    },
    /// Add an element at the end of a list. No element is added to a list by two requests.
    Append {
        /// Which.
        key: Key,
        /// What.
        element: u64,
    },
    /// What is in a list?
    ReadList {
        /// Which.
        key: Key,
    },
    /// Move money from one account to another.
    Transfer {
        /// From where.
        from: Key,
        /// Where to.
        to: Key,
        /// How much.
        amount: u64,
    },
    /// What is in all accounts, at one stamp?
    ReadAll,
}

/// What was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is durable: to a write or an append.
    Stored,
    /// What was in the register: to a read.
    Value(Option<u64>),
    /// Whether the condition held, and so whether it was carried out: to a compare-and-set or a transfer.
    Took(bool),
    /// What was in the list.
    List(Vec<u64>),
    /// What was in the accounts.
    Balances(BTreeMap<Key, i64>),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out, and this is the answer.
    Ok(Answer),
    /// It was certainly not carried out, and never will be.
    Failed,
    /// Nobody knows: it may be carried out at any time after it was asked, or never.
    Unknown,
}

/// When something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Its place among all events of the history: of two, the later one is greater, though both be in one millisecond.
    pub order: u64,
    /// Milliseconds, simulated or real. To be read, not to be judged by.
    pub at_ms: u64,
}

/// A request with its beginning and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its name.
    pub id: OpId,
    /// Who asked.
    pub client: ClientId,
    /// What for.
    pub action: Action,
    /// When it was asked.
    pub invoked: Moment,
    /// When it was told, and what; `None` if it is still open, which is as unknown.
    pub completed: Option<(Moment, Outcome)>,
}

/// All requests of a run, in the order in which they were asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
    places: BTreeMap<OpId, usize>,
    events: u64,
}

impl Operation {
    /// What became of it; one that is still open is unknown.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        self.completed.as_ref().map_or(&Outcome::Unknown, |(_, outcome)| outcome)
    }

    /// When the answer came, and which, if one came.
    #[must_use]
    pub fn answer(&self) -> Option<(Moment, &Answer)> {
        match &self.completed {
            Some((moment, Outcome::Ok(answer))) => Some((*moment, answer)),
            _ => None,
        }
    }

    /// Whether it certainly was not carried out.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        *self.outcome() == Outcome::Failed
    }
}

impl Answer {
    /// Whether it is an answer to such a request.
    #[must_use]
    pub fn suits(&self, action: &Action) -> bool {
        matches!(
            (self, action),
            (Self::Stored, Action::Write { .. } | Action::Append { .. })
                | (Self::Value(_), Action::Read { .. })
                | (Self::Took(_), Action::Cas { .. } | Action::Transfer { .. })
                | (Self::List(_), Action::ReadList { .. })
                | (Self::Balances(_), Action::ReadAll)
        )
    }
}

impl History {
    /// A client asks. Gives the request its name.
    pub fn invoke(&mut self, client: ClientId, action: Action, now_ms: u64) -> OpId {
        let id = OpId(self.places.last_key_value().map_or(0, |(id, _)| id.0 + 1));
        self.begin(id, client, action, now_ms).expect("the name is new");
        id
    }

    /// A client is told, or gives up.
    ///
    /// # Panics
    /// It was told before, or never asked, or the answer is to something else.
    pub fn complete(&mut self, id: OpId, outcome: Outcome, now_ms: u64) {
        self.end(id, outcome, now_ms).expect("each request is told once, and what it asked for");
    }

    /// All requests, in the order in which they were asked.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// A request by its name.
    #[must_use]
    pub fn operation(&self, id: OpId) -> Option<&Operation> {
        self.places.get(&id).map(|place| &self.operations[*place])
    }

    fn begin(&mut self, id: OpId, client: ClientId, action: Action, at_ms: u64) -> Result<(), &'static str> {
        if self.places.contains_key(&id) {
            return Err("this operation was invoked before");
        }
        self.places.insert(id, self.operations.len());
        let invoked = self.moment(at_ms);
        self.operations.push(Operation { id, client, action, invoked, completed: None });
        Ok(())
    }

    fn end(&mut self, id: OpId, outcome: Outcome, at_ms: u64) -> Result<(), &'static str> {
        let place = *self.places.get(&id).ok_or("this operation was never invoked")?;
        let operation = &self.operations[place];
        if operation.completed.is_some() {
            return Err("this operation was completed before");
        }
        if let Outcome::Ok(answer) = &outcome
            && !answer.suits(&operation.action)
        {
            return Err("this is no answer to what was asked");
        }
        let moment = self.moment(at_ms);
        self.operations[place].completed = Some((moment, outcome));
        Ok(())
    }

    fn moment(&mut self, at_ms: u64) -> Moment {
        self.events += 1;
        Moment { order: self.events, at_ms }
    }
}

/// As a person says it: `write k3 = 7`, `-` for nothing.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { key } => write!(f, "read k{}", key.0),
            Self::Write { key, value } => write!(f, "write k{} = {}", key.0, or_nothing(*value)),
            Self::Cas { key, expected, new } => {
                write!(f, "cas k{} {} -> {}", key.0, or_nothing(*expected), or_nothing(*new))
            }
            Self::Append { key, element } => write!(f, "append k{} {element}", key.0),
            Self::ReadList { key } => write!(f, "read list k{}", key.0),
            Self::Transfer { from, to, amount } => write!(f, "transfer {amount} k{} -> k{}", from.0, to.0),
            Self::ReadAll => write!(f, "read all"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed => write!(f, "failed"),
            Self::Unknown => write!(f, "unknown"),
            Self::Ok(Answer::Stored) => write!(f, "stored"),
            Self::Ok(Answer::Value(value)) => write!(f, "{}", or_nothing(*value)),
            Self::Ok(Answer::Took(took)) => write!(f, "{}", if *took { "took" } else { "did not take" }),
            Self::Ok(Answer::List(list)) => write!(f, "{list:?}"),
            Self::Ok(Answer::Balances(balances)) => {
                let each: Vec<String> =
                    balances.iter().map(|(key, sum)| format!("k{} {sum}", key.0)).collect();
                write!(f, "{}", each.join(", "))
            }
        }
    }
}

/// The value, or `-`.
pub(crate) fn or_nothing(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// One line: when, who, what, and what became of it.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until =
            self.completed.as_ref().map_or_else(|| "...".to_owned(), |(moment, _)| moment.at_ms.to_string());
        let (begin, client, outcome) = (self.invoked.at_ms, self.client.0, self.outcome());
        write!(f, "{begin:>8} - {until:<8} ms  client {client:<3} {}: {outcome}", self.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "each request is told once")]
    fn nobody_is_told_twice() {
        let mut history = History::default();
        let id = history.invoke(ClientId(1), Action::ReadAll, 1);
        history.complete(id, Outcome::Failed, 2);
        history.complete(id, Outcome::Failed, 3);
    }
}
