//! Prints a collection, each row a line that `import` reads.

use super::Session;
use super::args::Range;
use super::data::range;
use super::output::{hex, print, progress, progress_end};
use crate::Result;
use futures_util::TryStreamExt;
use serde_json::{Map, Value};

/// Runs the command.
pub async fn run(session: &Session, what: Range) -> Result<()> {
    let mut rows = session.tenant()?.raw(&what.collection).scan(range(&what));
    let mut count = 0_u64;
    while let Some(row) = rows.try_next().await? {
        let mut line = Map::new();
        line.insert("collection".to_owned(), what.collection.as_str().into());
        let (key, key_name) = match std::str::from_utf8(&row.key) {
            Ok(text) => (text.to_owned(), "key"),
            Err(_) => (hex(&row.key), "key_hex"),
        };
        line.insert(key_name.to_owned(), key.into());
        let (name, value) = match serde_json::from_slice::<Value>(&row.version.value) {
            // Only what comes back byte by byte goes as JSON.
            Ok(value) if value.to_string().as_bytes() == row.version.value.as_ref() => ("value", value),
            _ => ("value_hex", hex(&row.version.value).into()),
        };
        line.insert(name.to_owned(), value);
        print(&format!("{}\n", Value::Object(line)))?;
        count += 1;
        if count.is_multiple_of(1000) {
            progress(&format!("{count} rows"));
        }
    }
    progress(&format!("{count} rows"));
    progress_end();
    Ok(())
}
