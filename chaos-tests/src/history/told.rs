//! Pure: what clients were told with stamps, beside the history of their requests: writes with when they count, reads of the past, what
//! watches heard. One fact a line of JSON: `docs/protocols/history.md`.

use super::lines::{Malformed, number, optional, word};
use super::{Key, or_nothing};
use engine::Stamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// One thing that a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A write to a register counts from this stamp on; `None` deletes.
    Acknowledged {
        /// Which.
        key: Key,
        /// When.
        stamp: Stamp,
        /// What.
        value: Option<u64>,
    },
    /// A write to a register perhaps happened.
    Unknown {
        /// Which.
        key: Key,
        /// What.
        value: Option<u64>,
    },
    /// A write that was answered was sent again, as it was.
    Again {
        /// Which register.
        key: Key,
        /// The stamp that was told first.
        first: Stamp,
        /// The one that was told then.
        second: Stamp,
    },
    /// These registers, and no others of the range, were there at a stamp.
    Look {
        /// When.
        at: Stamp,
        /// All keys of the range that anybody may have written.
        keys: Vec<Key>,
        /// What was there, since when.
        found: BTreeMap<Key, (Stamp, u64)>,
    },
    /// A watch of all registers began behind a stamp.
    Began {
        /// Which watch.
        watch: u64,
        /// Where.
        after: Stamp,
    },
    /// It heard of a write.
    Changed {
        /// Which watch.
        watch: u64,
        /// Which register.
        key: Key,
        /// When it was written.
        stamp: Stamp,
        /// What it is now; `None`: deleted.
        value: Option<u64>,
    },
    /// It was told that it has heard everything up to here.
    Progress {
        /// Which watch.
        watch: u64,
        /// Up to where.
        stamp: Stamp,
    },
    /// It was told that something cannot be told.
    Reset {
        /// Which watch.
        watch: u64,
        /// Where it goes on.
        from: Stamp,
    },
    /// Something of another tenant was shown, or done to it.
    Foreign {
        /// What.
        what: String,
    },
}

/// The facts as lines of JSON.
#[must_use]
pub fn to_json_lines(facts: &[Fact]) -> String {
    facts.iter().map(|fact| format!("{}\n", line(fact))).collect()
}

/// The facts that lines of JSON tell. Empty lines are passed over.
///
/// # Errors
/// The first line that is none.
pub fn from_json_lines(text: &str) -> Result<Vec<Fact>, Malformed> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| read(line).map_err(|why| Malformed { line: at + 1, why })).collect()
}

fn line(fact: &Fact) -> Value {
    match fact {
        Fact::Acknowledged { key, stamp, value } => {
            json!({ "told": "acknowledged", "key": key.0, "stamp": stamp.0, "value": value })
        }
        Fact::Unknown { key, value } => json!({ "told": "unknown", "key": key.0, "value": value }),
        Fact::Again { key, first, second } => {
            json!({ "told": "again", "key": key.0, "first": first.0, "second": second.0 })
        }
        Fact::Look { at, keys, found } => {
            let keys: Vec<u64> = keys.iter().map(|key| key.0).collect();
            let found: Vec<(u64, u64, u64)> =
                found.iter().map(|(key, (stamp, value))| (key.0, stamp.0, *value)).collect();
            json!({ "told": "look", "at": at.0, "keys": keys, "found": found })
        }
        Fact::Began { watch, after } => json!({ "told": "began", "watch": watch, "after": after.0 }),
        Fact::Changed { watch, key, stamp, value } => {
            json!({ "told": "changed", "watch": watch, "key": key.0, "stamp": stamp.0, "value": value })
        }
        Fact::Progress { watch, stamp } => json!({ "told": "progress", "watch": watch, "stamp": stamp.0 }),
        Fact::Reset { watch, from } => json!({ "told": "reset", "watch": watch, "from": from.0 }),
        Fact::Foreign { what } => json!({ "told": "foreign", "what": what }),
    }
}

fn read(line: &str) -> Result<Fact, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let key = || number(&value, "key").map(Key);
    let stamp = |field| number(&value, field).map(Stamp);
    let watch = || number(&value, "watch");
    let new = || optional(&value, "value");
    Ok(match word(&value, "told")? {
        "acknowledged" => Fact::Acknowledged { key: key()?, stamp: stamp("stamp")?, value: new()? },
        "unknown" => Fact::Unknown { key: key()?, value: new()? },
        "again" => Fact::Again { key: key()?, first: stamp("first")?, second: stamp("second")? },
        "look" => read_look(&value)?,
        "began" => Fact::Began { watch: watch()?, after: stamp("after")? },
        "changed" => Fact::Changed { watch: watch()?, key: key()?, stamp: stamp("stamp")?, value: new()? },
        "progress" => Fact::Progress { watch: watch()?, stamp: stamp("stamp")? },
        "reset" => Fact::Reset { watch: watch()?, from: stamp("from")? },
        "foreign" => Fact::Foreign { what: word(&value, "what")?.to_owned() },
        other => return Err(format!("`{other}` is no fact")),
    })
}

fn read_look(value: &Value) -> Result<Fact, String> {
    let list = |field: &str| value[field].as_array().ok_or_else(|| format!("`{field}` is no list"));
    let keys: Option<Vec<Key>> = list("keys")?.iter().map(|key| key.as_u64().map(Key)).collect();
    let row = |row: &Value| Some((Key(row[0].as_u64()?), (Stamp(row[1].as_u64()?), row[2].as_u64()?)));
    let found: Option<BTreeMap<Key, (Stamp, u64)>> = list("found")?.iter().map(row).collect();
    Ok(Fact::Look {
        at: Stamp(number(value, "at")?),
        keys: keys.ok_or("`keys` holds something else than numbers")?,
        found: found.ok_or("`found` holds something else than key, stamp and value")?,
    })
}

/// As a person says it.
impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledged { key, stamp, value } => {
                write!(f, "{stamp}: k{} = {} was acknowledged", key.0, or_nothing(*value))
            }
            Self::Unknown { key, value } => {
                write!(f, "k{} = {} has an unknown outcome", key.0, or_nothing(*value))
            }
            Self::Again { key, first, second } => {
                write!(f, "k{}: told {first}, and {second} when it was sent again", key.0)
            }
            Self::Look { at, found, .. } => write!(f, "{at}: a look found {} registers", found.len()),
            Self::Began { watch, after } => write!(f, "watch {watch} began behind {after}"),
            Self::Changed { watch, key, stamp, value } => {
                write!(f, "{stamp}: watch {watch} heard k{} = {}", key.0, or_nothing(*value))
            }
            Self::Progress { watch, stamp } => write!(f, "{stamp}: watch {watch} has heard all"),
            Self::Reset { watch, from } => write!(f, "{from}: watch {watch} was reset"),
            Self::Foreign { what } => write!(f, "of another tenant: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Fact> {
        let (key, stamp) = (Key(7), Stamp::new(1_000, 3));
        vec![
            Fact::Acknowledged { key, stamp, value: Some(u64::MAX) },
            Fact::Acknowledged { key, stamp, value: None },
            Fact::Unknown { key, value: Some(4) },
            Fact::Again { key, first: stamp, second: stamp },
            Fact::Look { at: stamp, keys: vec![key, Key(8)], found: BTreeMap::from([(key, (stamp, 4))]) },
            Fact::Began { watch: 1, after: stamp },
            Fact::Changed { watch: 1, key, stamp, value: None },
            Fact::Progress { watch: 1, stamp },
            Fact::Reset { watch: 1, from: stamp },
            Fact::Foreign { what: "a \"row\"".to_owned() },
        ]
    }

    #[test]
    fn lines_say_all_that_was_told() {
        let lines = to_json_lines(&one_of_each());
        assert_eq!(from_json_lines(&format!("\n{lines}\n")).unwrap(), one_of_each());
        let first = r#"{"key":7,"stamp":65536003,"told":"acknowledged","value":18446744073709551615}"#;
        assert_eq!(lines.lines().next().unwrap(), first);
    }

    #[test]
    fn a_line_that_is_no_fact_is_named() {
        for (line, why) in [
            ("{", "EOF"),
            ("{}", "`told` is not a word"),
            (r#"{"told":"sung"}"#, "`sung` is no fact"),
            (r#"{"told":"unknown","key":1}"#, "`value`"),
            (r#"{"told":"look","at":1,"keys":[-1],"found":[]}"#, "`keys`"),
            (r#"{"told":"look","at":1,"keys":[],"found":[[1,2]]}"#, "`found`"),
        ] {
            let error = from_json_lines(&format!("\n{line}\n")).unwrap_err();
            assert!(error.line == 2 && error.why.contains(why), "{line}: {error}");
        }
    }
}
