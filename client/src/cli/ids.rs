//! Pure: ids as they are printed everywhere, in findings and logs of servers too: a letter, and the number in hexadecimal.

use crate::error::{Error, Result, code};
use serde_json::Value;

/// The id of a node; nothing, if it is none.
#[must_use]
pub fn node(id: u64) -> Value {
    if id == 0 { Value::Null } else { format!("n-{id:x}").into() }
}

/// The id of a group.
#[must_use]
pub fn group(id: u64) -> Value {
    format!("g-{id:x}").into()
}

/// The id of a tenant.
#[must_use]
pub fn tenant(id: u64) -> Value {
    format!("t-{id:016x}").into()
}

/// The id of a node that is named by its id.
#[must_use]
pub fn read_node(text: &str) -> Option<u64> {
    read(text, "n-")
}

/// The id of a group, as it is printed.
///
/// # Errors
/// Invalid, if it is none.
pub fn read_group(text: &str) -> Result<u64> {
    let bad =
        || Error::new(code::INPUT, format!("`{text}` is no group: write it as `dew group list` does, g-1"));
    read(text, "g-").ok_or_else(bad)
}

fn read(text: &str, letter: &str) -> Option<u64> {
    let digits = text.strip_prefix(letter)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_printed() {
        for id in [1, 10, u64::MAX] {
            assert_eq!(read_node(node(id).as_str().unwrap()), Some(id));
            assert_eq!(read_group(group(id).as_str().unwrap()).ok(), Some(id));
        }
        assert_eq!(
            (node(0), node(0xa1), tenant(1)),
            (Value::Null, "n-a1".into(), "t-0000000000000001".into())
        );
        for bad in ["", "1", "n-", "n-+1", "n-x", "g-1", "n-10000000000000000"] {
            assert_eq!(read_node(bad), None, "{bad}");
        }
        assert!(read_group("1").is_err() && read_group("n-1").is_err());
    }
}
