//! Pure: what clients of real processes write: keys and values that say whose they are, and that carry a word no file may hold in the open.

use crate::history::Key;
use serde_json::{Value, json};

/// What a client reads back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// What this tenant wrote: a number, or a list.
    Own(Value),
    /// What another one did, or nobody: what it is.
    Foreign(String),
}

/// How a tenant writes.
#[derive(Clone, Debug)]
pub struct Form {
    /// Its name, which is in every value.
    pub tenant: String,
    /// In every key and value, and nowhere else.
    pub canary: String,
}

impl Form {
    /// The bytes of a key.
    #[must_use]
    pub fn key(&self, key: Key) -> String {
        format!("{}{:012}", self.prefix(), key.0)
    }

    /// What all keys begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}/", self.canary)
    }

    /// The key that bytes are.
    #[must_use]
    pub fn key_of(&self, bytes: &[u8]) -> Option<Key> {
        std::str::from_utf8(bytes).ok()?.strip_prefix(&self.prefix())?.parse().ok().map(Key)
    }

    /// The bytes of a value, so many at least.
    #[must_use]
    pub fn value(&self, value: &Value, bytes_min: usize) -> Vec<u8> {
        let pad = self.canary.repeat(bytes_min / self.canary.len().max(1) + 1);
        json!({ "tenant": self.tenant, "value": value, "pad": pad }).to_string().into_bytes()
    }

    /// What bytes say.
    #[must_use]
    pub fn read(&self, bytes: &[u8]) -> Found {
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            return Found::Foreign(format!(
                "{} was shown {} bytes that nobody wrote",
                self.tenant,
                bytes.len()
            ));
        };
        if value["tenant"].as_str() != Some(&self.tenant) || value["value"].is_null() {
            return Found::Foreign(format!("{} was shown a value of {}", self.tenant, value["tenant"]));
        }
        Found::Own(value["value"].clone())
    }
}

/// A list of numbers, if it is one.
#[must_use]
pub fn numbers(value: &Value) -> Option<Vec<u64>> {
    value.as_array()?.iter().map(Value::as_u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_ours_is_told() {
        let form = Form { tenant: "birch".to_owned(), canary: "canary-1".to_owned() };
        let bytes = form.value(&json!([1, 2]), 100);
        assert!(bytes.len() >= 100);
        let Found::Own(value) = form.read(&bytes) else { panic!("it is ours") };
        assert_eq!((numbers(&value), numbers(&json!([1, "x"]))), (Some(vec![1, 2]), None));
        assert_eq!(form.key_of(form.key(Key(42)).as_bytes()), Some(Key(42)));
        assert_eq!((form.key_of(b"canary-2/000000000042"), form.key_of(&[0xff])), (None, None));
        let other = Form { tenant: "cedar".to_owned(), ..form.clone() };
        let Found::Foreign(what) = form.read(&other.value(&json!(1), 0)) else { panic!("it is not ours") };
        assert_eq!(what, "birch was shown a value of \"cedar\"");
        assert!(matches!(form.read(b"\x00\x01"), Found::Foreign(_)));
    }
}
