//! Pure: what clients asked and what they were told, in the order in which it happened. One event a line of JSON, so that an outside
//! checker can judge the same history: `docs/protocols/history.md`.

use serde_json::{Map, Value, json};
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

/// A line that is no event of a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Malformed {
    /// Its number; the first is 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
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

    /// The history as lines of JSON, one event each, in their order.
    #[must_use]
    pub fn to_json_lines(&self) -> String {
        let mut lines = BTreeMap::new();
        for operation in &self.operations {
            lines.insert(operation.invoked.order, invoke_line(operation));
            if let Some((moment, outcome)) = &operation.completed {
                lines.insert(moment.order, complete_line(operation, *moment, outcome));
            }
        }
        lines.into_values().map(|line| format!("{line}\n")).collect()
    }

    /// The history that lines of JSON tell. Empty lines are passed over.
    ///
    /// # Errors
    /// The first line that is no event, or none that can come here.
    pub fn from_json_lines(text: &str) -> Result<Self, Malformed> {
        let mut history = Self::default();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            history.read(line).map_err(|why| Malformed { line: at + 1, why })?;
        }
        Ok(history)
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let (id, at_ms) = (OpId(number(&value, "op")?), number(&value, "ms")?);
        let told = match word(&value, "event")? {
            "invoke" => self.begin(id, ClientId(number(&value, "client")?), read_action(&value)?, at_ms),
            "complete" => self.end(id, read_outcome(&value)?, at_ms),
            other => return Err(format!("`{other}` is no event")),
        };
        told.map_err(str::to_owned)
    }
}

fn invoke_line(operation: &Operation) -> Value {
    let fields = match &operation.action {
        Action::Read { key } => json!({ "action": "read", "key": key.0 }),
        Action::Write { key, value } => json!({ "action": "write", "key": key.0, "value": value }),
        Action::Cas { key, expected, new } => {
            json!({ "action": "cas", "key": key.0, "expected": expected, "new": new })
        }
        Action::Append { key, element } => json!({ "action": "append", "key": key.0, "element": element }),
        Action::ReadList { key } => json!({ "action": "read_list", "key": key.0 }),
        Action::Transfer { from, to, amount } => {
            json!({ "action": "transfer", "from": from.0, "to": to.0, "amount": amount })
        }
        Action::ReadAll => json!({ "action": "read_all" }),
    };
    let head = json!({
        "event": "invoke",
        "op": operation.id.0,
        "client": operation.client.0,
        "ms": operation.invoked.at_ms,
    });
    joined(head, fields)
}

fn complete_line(operation: &Operation, moment: Moment, outcome: &Outcome) -> Value {
    let fields = match outcome {
        Outcome::Failed => json!({ "outcome": "failed" }),
        Outcome::Unknown => json!({ "outcome": "unknown" }),
        Outcome::Ok(Answer::Stored) => json!({ "outcome": "ok" }),
        Outcome::Ok(Answer::Value(value)) => json!({ "outcome": "ok", "value": value }),
        Outcome::Ok(Answer::Took(took)) => json!({ "outcome": "ok", "took": took }),
        Outcome::Ok(Answer::List(list)) => json!({ "outcome": "ok", "list": list }),
        Outcome::Ok(Answer::Balances(balances)) => {
            let pairs: Vec<(u64, i64)> = balances.iter().map(|(key, balance)| (key.0, *balance)).collect();
            json!({ "outcome": "ok", "balances": pairs })
        }
    };
    let head = json!({
        "event": "complete",
        "op": operation.id.0,
        "client": operation.client.0,
        "ms": moment.at_ms,
    });
    joined(head, fields)
}

fn joined(head: Value, fields: Value) -> Value {
    let map = |value| if let Value::Object(map) = value { map } else { Map::new() };
    let mut all = map(head);
    all.extend(map(fields));
    Value::Object(all)
}

fn number(value: &Value, field: &str) -> Result<u64, String> {
    value[field].as_u64().ok_or_else(|| format!("`{field}` is not a number"))
}

fn word<'a>(value: &'a Value, field: &str) -> Result<&'a str, String> {
    value[field].as_str().ok_or_else(|| format!("`{field}` is not a word"))
}

/// A number or null; the field must be there.
fn optional(value: &Value, field: &str) -> Result<Option<u64>, String> {
    match value.get(field) {
        Some(Value::Null) => Ok(None),
        _ => number(value, field).map(Some),
    }
}

fn read_action(value: &Value) -> Result<Action, String> {
    let key = |field| number(value, field).map(Key);
    Ok(match word(value, "action")? {
        "read" => Action::Read { key: key("key")? },
        "write" => Action::Write { key: key("key")?, value: optional(value, "value")? },
        "cas" => Action::Cas {
            key: key("key")?,
            expected: optional(value, "expected")?,
            new: optional(value, "new")?,
        },
        "append" => Action::Append { key: key("key")?, element: number(value, "element")? },
        "read_list" => Action::ReadList { key: key("key")? },
        "transfer" => {
            Action::Transfer { from: key("from")?, to: key("to")?, amount: number(value, "amount")? }
        }
        "read_all" => Action::ReadAll,
        other => return Err(format!("`{other}` is no action")),
    })
}

fn read_outcome(value: &Value) -> Result<Outcome, String> {
    match word(value, "outcome")? {
        "failed" => return Ok(Outcome::Failed),
        "unknown" => return Ok(Outcome::Unknown),
        "ok" => {}
        other => return Err(format!("`{other}` is no outcome")),
    }
    let has = |field| value.get(field).is_some();
    let answer = if has("value") {
        Answer::Value(optional(value, "value")?)
    } else if has("took") {
        Answer::Took(value["took"].as_bool().ok_or("`took` is neither true nor false")?)
    } else if has("list") {
        let list = value["list"].as_array().ok_or("`list` is no list")?;
        let elements: Option<Vec<u64>> = list.iter().map(Value::as_u64).collect();
        Answer::List(elements.ok_or("`list` holds something else than numbers")?)
    } else if has("balances") {
        let pairs = value["balances"].as_array().ok_or("`balances` is no list")?;
        let mut balances = BTreeMap::new();
        for pair in pairs {
            let (key, balance) = (pair[0].as_u64(), pair[1].as_i64());
            let (key, balance) = key.zip(balance).ok_or("`balances` holds something else than pairs")?;
            if balances.insert(Key(key), balance).is_some() {
                return Err(format!("`balances` names account {key} twice"));
            }
        }
        Answer::Balances(balances)
    } else {
        Answer::Stored
    };
    Ok(Outcome::Ok(answer))
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

    fn one_of_each() -> History {
        let mut history = History::default();
        let balances = BTreeMap::from([(Key(1), -5), (Key(2), 105)]);
        let told = [
            (Action::Read { key: Key(1) }, Outcome::Ok(Answer::Value(Some(u64::MAX)))),
            (Action::Read { key: Key(1) }, Outcome::Ok(Answer::Value(None))),
            (Action::Write { key: Key(1), value: Some(4) }, Outcome::Ok(Answer::Stored)),
            (Action::Write { key: Key(1), value: None }, Outcome::Unknown),
            (Action::Cas { key: Key(1), expected: None, new: Some(1) }, Outcome::Ok(Answer::Took(false))),
            (Action::Append { key: Key(2), element: 8 }, Outcome::Failed),
            (Action::ReadList { key: Key(2) }, Outcome::Ok(Answer::List(vec![8, 9]))),
            (Action::Transfer { from: Key(1), to: Key(2), amount: 5 }, Outcome::Ok(Answer::Took(true))),
            (Action::ReadAll, Outcome::Ok(Answer::Balances(balances))),
        ];
        let ids: Vec<OpId> =
            told.iter().map(|(action, _)| history.invoke(ClientId(3), action.clone(), 10)).collect();
        for (id, (_, outcome)) in ids.into_iter().zip(told).rev() {
            history.complete(id, outcome, 20);
        }
        history.invoke(ClientId(3), Action::ReadAll, 30);
        history
    }

    #[test]
    fn lines_say_all_that_a_history_holds() {
        let history = one_of_each();
        let lines = history.to_json_lines();
        assert_eq!(lines.lines().count(), 19);
        assert_eq!(History::from_json_lines(&lines).unwrap(), history);
        let first = r#"{"action":"read","client":3,"event":"invoke","key":1,"ms":10,"op":0}"#;
        assert_eq!(lines.lines().next().unwrap(), first);
        let last =
            r#"{"client":3,"event":"complete","ms":20,"op":0,"outcome":"ok","value":18446744073709551615}"#;
        assert_eq!(lines.lines().nth(17).unwrap(), last);
    }

    #[test]
    fn a_line_that_cannot_be_is_named() {
        let good = r#"{"event":"invoke","op":1,"client":1,"ms":1,"action":"read","key":1}"#;
        let refused = |line: &str| {
            let error = History::from_json_lines(&format!("{good}\n\n{line}\n")).unwrap_err();
            assert_eq!(error.line, 3, "{error}");
            error.why
        };
        let bad = [
            ("{", "EOF"),
            ("7", "`op` is not a number"),
            (good, "invoked before"),
            (r#"{"event":"complete","op":2,"ms":1,"outcome":"failed"}"#, "never invoked"),
            (r#"{"event":"complete","op":1,"ms":1,"outcome":"ok"}"#, "no answer to what was asked"),
            (r#"{"event":"complete","op":1,"ms":1,"outcome":"ok","value":-1}"#, "`value` is not a number"),
            (r#"{"event":"complete","op":1,"ms":1,"outcome":"fine"}"#, "no outcome"),
            (r#"{"event":"complete","op":1,"ms":1,"outcome":"ok","balances":[[1,2],[1,3]]}"#, "twice"),
            (r#"{"event":"pause","op":1,"ms":1}"#, "no event"),
            (r#"{"event":"invoke","op":2,"client":1,"ms":1,"action":"write","key":1}"#, "`value`"),
            (r#"{"event":"invoke","op":2,"client":1,"ms":1,"action":"fly"}"#, "no action"),
        ];
        for (line, why) in bad {
            assert!(refused(line).contains(why), "{line}: {}", refused(line));
        }
    }

    #[test]
    #[should_panic(expected = "each request is told once")]
    fn nobody_is_told_twice() {
        let mut history = one_of_each();
        history.complete(OpId(0), Outcome::Failed, 40);
    }
}
