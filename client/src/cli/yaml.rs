//! Pure: values as YAML. Every text is quoted as JSON quotes it, which YAML reads alike: so no word of it becomes a number, a date or `no`.

use serde_json::Value;
use std::fmt::Write as _;

/// A document of its own, so that several may stand behind one another.
#[must_use]
pub fn text(value: &Value) -> String {
    let mut out = "---\n".to_owned();
    block(value, 0, &mut out);
    out
}

/// Whether it stands on one line.
fn is_flat(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => true,
    }
}

fn name(name: &str) -> String {
    let is_plain = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&&*name.to_lowercase());
    if is_plain { name.to_owned() } else { Value::from(name).to_string() }
}

fn block(value: &Value, depth: usize, out: &mut String) {
    let margin = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let _ = write!(out, "{margin}{}:", name(key));
                below(value, depth, out);
            }
        }
        Value::Array(all) if !all.is_empty() => {
            for one in all {
                if is_flat(one) {
                    let _ = writeln!(out, "{margin}- {one}");
                    continue;
                }
                let mut inner = String::new();
                block(one, depth + 1, &mut inner);
                // The mark takes the place of the first line's margin.
                let _ = write!(out, "{margin}- {}", &inner[margin.len() + 2..]);
            }
        }
        flat => {
            let _ = writeln!(out, "{margin}{flat}");
        }
    }
}

fn below(value: &Value, depth: usize, out: &mut String) {
    if is_flat(value) {
        let _ = writeln!(out, " {value}");
        return;
    }
    out.push('\n');
    // A list stands no deeper than its name.
    block(value, depth + usize::from(value.is_object()), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_they_are_read() {
        let of = |value: &Value| text(value);
        assert_eq!(of(&json!({})), "---\n{}\n");
        assert_eq!(of(&json!("no")), "---\n\"no\"\n");
        let value = json!({
            "a": { "b": [1, "0012", null, true], "empty": [], "none": {} },
            "list": [{ "x": 1, "y": { "z": 2 } }, [1, [2]], "l\n\u{7}"],
            "no": "yes", "with space": -1.5
        });
        let wanted = "---\na:\n  b:\n  - 1\n  - \"0012\"\n  - null\n  - true\n  empty: []\n  none: {}\n\
                      list:\n- x: 1\n  \"y\":\n    z: 2\n- - 1\n  - - 2\n- \"l\\n\\u0007\"\n\
                      \"no\": \"yes\"\n\"with space\": -1.5\n";
        assert_eq!(of(&value), wanted);
    }
}
