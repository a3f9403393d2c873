//! Pure: a history as lines of JSON, one event each, so that an outside checker can judge the same history:
//! `docs/protocols/history.md`.

use super::{Action, Answer, ClientId, History, Key, Moment, OpId, Operation, Outcome};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A line that is no event of a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Malformed {
    /// Its number; the first is 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl History {
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

pub(super) fn number(value: &Value, field: &str) -> Result<u64, String> {
    value[field].as_u64().ok_or_else(|| format!("`{field}` is not a number"))
}

pub(super) fn word<'a>(value: &'a Value, field: &str) -> Result<&'a str, String> {
    value[field].as_str().ok_or_else(|| format!("`{field}` is not a word"))
}

/// A number or null; the field must be there.
pub(super) fn optional(value: &Value, field: &str) -> Result<Option<u64>, String> {
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
}
