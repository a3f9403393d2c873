//! Reading and writing a tenant's data.

use super::Session;
use super::args::{CollectionVerb, Command, Key, Range};
use super::output::{Document, Fields, Format, fields, put_bytes};
use super::words::{moment, time};
use crate::clock::now_ms;
use crate::{Change, Commit, Error, KeyRange, Outcome, Past, Result, Stamp, Start, View, code};
use bytes::Bytes;
use futures_util::TryStreamExt;
use serde_json::Value;

const VERSION: [&str; 4] = ["key", "stamp", "expires_ms", "value"];

/// Runs one of the commands.
pub async fn run(session: &Session, command: Command) -> Result<()> {
    match command {
        Command::Get { key, as_of, archive } => get(session, key, (as_of, archive)).await,
        Command::Put { key, value, if_absent, if_stamp, ttl } => {
            let mut put = session.tenant()?.raw(&key.collection).put(&key.key, read_value(value)?);
            if if_absent {
                put = put.if_absent();
            }
            if let Some(stamp) = if_stamp {
                put = put.if_stamp(stamp_of(&stamp)?);
            }
            if let Some(ttl) = ttl {
                put = put.ttl(time(&ttl)?);
            }
            written(session, "dew.data.put/1", &key.key, put.await?).await
        }
        Command::Delete { key, if_stamp } => {
            let mut delete = session.tenant()?.raw(&key.collection).delete(&key.key);
            if let Some(stamp) = if_stamp {
                delete = delete.if_stamp(stamp_of(&stamp)?);
            }
            written(session, "dew.data.delete/1", &key.key, delete.await?).await
        }
        Command::Cas { key, expected, value } => cas(session, key, &expected, value).await,
        Command::Scan { range, limit, reverse, as_of, archive } => {
            scan(session, &range, (limit, reverse), (as_of, archive)).await
        }
        Command::History { key, limit, archive, since } => {
            let since = since.map(|text| moment(&text, now_ms())).transpose()?;
            history(session, key, limit, archive.then(|| since.unwrap_or_default())).await
        }
        Command::Watch { range, after, count } => watch(session, &range, after, count).await,
        Command::Outcome { id } => {
            let (outcome, stamp) = match session.tenant()?.outcome(id).await? {
                Outcome::Applied(stamp) => ("applied", stamp.to_string().into()),
                Outcome::NotApplied => ("not_applied", Value::Null),
                Outcome::Forgotten => ("forgotten", Value::Null),
            };
            let row = fields([("outcome", outcome.into()), ("stamp", stamp)]);
            Document::one("dew.data.outcome/1", &["outcome", "stamp"], row).print(session.format)
        }
        Command::Collection(CollectionVerb::List) => {
            let names = session.tenant()?.collections().await?;
            let rows = names.into_iter().map(|name| fields([("name", name.into())])).collect();
            Document::list("dew.collection.list/1", &["name"], rows).print(session.format)
        }
        _ => Err(Error::new(code::INTERNAL, "a command has no room")),
    }
}

/// The range that the line means.
pub fn range(range: &Range) -> KeyRange {
    if let Some(prefix) = &range.prefix {
        return KeyRange::prefix(prefix);
    }
    let bytes = |text: &Option<String>| Bytes::from(text.clone().unwrap_or_default());
    KeyRange { start: bytes(&range.from), end: bytes(&range.to) }
}

fn stamp_of(text: &str) -> Result<Stamp> {
    text.parse().map_err(|cause| Error::new(code::INPUT, format!("`{text}`: {cause}")))
}

fn read_value(value: String) -> Result<Bytes> {
    if value != "-" {
        return Ok(value.into());
    }
    let mut bytes = vec![];
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
        .map_err(|cause| Error::new(code::INPUT, "read the standard input").because(cause))?;
    Ok(bytes.into())
}

async fn written(session: &Session, schema: &'static str, key: &str, stamp: Stamp) -> Result<()> {
    let commit = session.tenant()?.commit(stamp).await?;
    let row = fields([
        ("key", key.into()),
        ("stamp", stamp.to_string().into()),
        ("commit", commit.to_string().into()),
    ]);
    Document::one(schema, &["key", "stamp", "commit"], row).print(session.format)
}

fn row(key: &[u8], stamp: Stamp, expires_ms: Option<u64>, value: &[u8]) -> Fields {
    let expires = expires_ms.map_or(Value::Null, |ms| ms.to_string().into());
    let mut row = fields([("stamp", stamp.to_string().into()), ("expires_ms", expires)]);
    put_bytes(&mut row, "key", key);
    put_bytes(&mut row, "value", value);
    row
}

/// The tenant as it was, in the cluster or in its archive.
fn then(session: &Session, text: &str, is_archived: bool) -> Result<View> {
    let view = session.tenant()?.as_of(moment(text, now_ms())?);
    Ok(if is_archived { view.archived() } else { view })
}

async fn get(session: &Session, key: Key, (as_of, is_archived): (Option<String>, bool)) -> Result<()> {
    let tenant = session.tenant()?;
    let found = match as_of {
        None => tenant.raw(&key.collection).get(&key.key).await?,
        Some(text) => then(session, &text, is_archived)?.raw(&key.collection).get(&key.key).await?,
    };
    let Some(found) = found else {
        return Err(Error::new(code::CONDITION_FAILED, format!("`{}` has no value", key.key)));
    };
    let row = row(key.key.as_bytes(), found.stamp, found.expires_ms, &found.value);
    Document::one("dew.data.get/1", &VERSION, row).print(session.format)
}

async fn cas(session: &Session, key: Key, expected: &str, value: String) -> Result<()> {
    let collection = session.tenant()?.raw(&key.collection);
    let stamp = match collection.get(&key.key).await? {
        Some(found) if found.value.as_ref() == expected.as_bytes() => found.stamp,
        _ => return Err(Error::new(code::CONDITION_FAILED, "the value is not the expected one")),
    };
    let stamp = collection.put(&key.key, read_value(value)?).if_stamp(stamp).await?;
    written(session, "dew.data.cas/1", &key.key, stamp).await
}

async fn scan(
    session: &Session,
    what: &Range,
    (limit, is_reverse): (u64, bool),
    (as_of, is_archived): (Option<String>, bool),
) -> Result<()> {
    let tenant = session.tenant()?;
    let mut scan = match as_of {
        None => tenant.raw(&what.collection).scan(range(what)),
        Some(text) => then(session, &text, is_archived)?.raw(&what.collection).scan(range(what)),
    };
    scan = scan.limit(limit);
    if is_reverse {
        scan = scan.reverse();
    }
    let mut rows = vec![];
    while let Some(found) = scan.try_next().await? {
        let row = row(&found.key, found.version.stamp, found.version.expires_ms, &found.version.value);
        if session.format == Format::Jsonl {
            // A line a row, so that a long scan needs no memory.
            Document::one("dew.data.scan/1", &VERSION, row).print(Format::Jsonl)?;
        } else {
            rows.push(row);
        }
    }
    if session.format == Format::Jsonl {
        return Ok(());
    }
    Document::list("dew.data.scan/1", &VERSION, rows).print(session.format)
}

async fn history(session: &Session, key: Key, limit: u64, archived: Option<Stamp>) -> Result<()> {
    let tenant = session.tenant()?;
    let group = tenant.commit(Stamp::default()).await?.group;
    let mut versions = tenant.raw(&key.collection).history(&key.key).limit(limit);
    if let Some(since) = archived {
        versions = versions.archived(since);
    }
    let mut rows = vec![];
    while let Some(past) = versions.try_next().await? {
        let (mut row, stamp, is_removed) = match past {
            Past::Value(found) => {
                let stamp = found.stamp;
                (row(key.key.as_bytes(), stamp, found.expires_ms, &found.value), stamp, false)
            }
            Past::Removed(stamp) => (fields([("stamp", stamp.to_string().into())]), stamp, true),
        };
        row.insert("removed".to_owned(), is_removed.into());
        row.insert("commit".to_owned(), Commit { stamp, group }.to_string().into());
        rows.push(row);
    }
    Document::list("dew.data.history/1", &["stamp", "commit", "removed", "value"], rows).print(session.format)
}

async fn watch(session: &Session, what: &Range, after: Option<String>, count: u64) -> Result<()> {
    let start = match after {
        None => Start::Now,
        Some(text) => Start::After(moment(&text, now_ms())?),
    };
    let mut changes = session.tenant()?.raw(&what.collection).watch(range(what), start);
    let mut heard = 0;
    while let Some(change) = changes.try_next().await? {
        let row = match change {
            Change::Put { key, version } => {
                let mut row = row(&key, version.stamp, version.expires_ms, &version.value);
                row.insert("change".to_owned(), "put".into());
                row
            }
            Change::Delete { key, stamp } => {
                let mut row = fields([("change", "delete".into()), ("stamp", stamp.to_string().into())]);
                put_bytes(&mut row, "key", &key);
                row
            }
            Change::DeleteRange { start, end, stamp } => {
                let what = [("change", "delete_range".into()), ("stamp", stamp.to_string().into())];
                let mut row = fields(what);
                put_bytes(&mut row, "start", &start);
                if let Some(end) = end {
                    put_bytes(&mut row, "end", &end);
                }
                row
            }
            Change::Reset { from, why } => fields([
                ("change", "reset".into()),
                ("stamp", from.to_string().into()),
                ("why", format!("{why:?}").to_lowercase().into()),
            ]),
            Change::Progress(_) => continue,
        };
        let format = if session.format.is_for_people() { Format::Jsonl } else { session.format };
        Document::one("dew.data.watch/1", &["change"], row).print(format)?;
        heard += 1;
        if heard == count {
            break;
        }
    }
    Ok(())
}
