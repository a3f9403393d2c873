//! Writes the lines of a file. Batches are cut from the file in one way only and numbered in a session of their own, so a batch that is
//! sent again after a crash is applied once; the file of progress says where to go on.

use super::Session;
use super::args::Import;
use super::context::write_private;
use super::output::{Document, fields, progress, progress_end};
use crate::clock::{ms, now, now_ms};
use crate::entropy;
use crate::limits::WRITE_VALID_MS;
use crate::{Error, RequestId, Result, code};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Bytes after which a batch is full, well below what a server takes.
const BATCH_BYTES_MAX: usize = 2 << 20;

/// How far an import is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Lines of whole batches that are acknowledged.
    lines: u64,
    /// The session and number of the next batch.
    session: String,
    number: u64,
    /// Until when the id of the next batch holds, if it was sent.
    valid_until_ms: u64,
    /// Lines in a batch: the same cuts are needed to send the same batch.
    batch: u64,
}

/// One line, ready to be written.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    collection: String,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Runs the command.
pub async fn run(session: &Session, what: Import) -> Result<()> {
    let tenant = session.tenant()?;
    let mut state = Progress::load(what.resume.as_deref(), what.batch)?;
    let file = File::open(&what.file)
        .map_err(|cause| Error::new(code::INPUT, format!("open {}", what.file)).because(cause))?;
    let mut lines = BufReader::new(file).lines();
    let unread = |cause: std::io::Error| Error::new(code::INPUT, "read the file").because(cause);
    for _ in 0..state.lines {
        lines.next().transpose().map_err(unread)?;
    }
    let (begun, mut written) = (now(), 0_u64);
    loop {
        let (mut batch, mut taken, mut bytes) = (tenant.batch(), 0_u64, 0);
        while taken < state.batch && bytes < BATCH_BYTES_MAX {
            let Some(text) = lines.next().transpose().map_err(unread)? else { break };
            taken += 1;
            if text.trim().is_empty() {
                continue;
            }
            let line = parse(&text, &what, state.lines + taken)?;
            bytes += text.len();
            batch = batch.put(&line.collection, line.key, line.value);
        }
        if taken == 0 {
            break;
        }
        if !batch.is_empty() {
            let count = batch.len() as u64;
            state.prepare(what.resume.as_deref())?;
            batch.request_id(state.id()?).await?;
            written += count;
        }
        state.lines += taken;
        state.number += 1;
        state.valid_until_ms = 0;
        state.save(what.resume.as_deref())?;
        progress(&format!("{} lines", state.lines));
    }
    progress_end();
    let row = fields([
        ("lines", state.lines.to_string().into()),
        ("written", written.to_string().into()),
        ("ms", ms(begun.elapsed()).to_string().into()),
    ]);
    Document::one("dew.data.import/1", &["lines", "written", "ms"], row).print(session.format)
}

impl Progress {
    fn load(path: Option<&str>, batch: u64) -> Result<Self> {
        let fresh = || -> Result<Self> {
            Ok(Self { session: super::output::hex(&entropy::bytes()?), batch, ..Self::default() })
        };
        let Some(path) = path.filter(|path| Path::new(path).exists()) else { return fresh() };
        let text = std::fs::read(path)
            .map_err(|cause| Error::new(code::INPUT, format!("read {path}")).because(cause))?;
        serde_json::from_slice(&text).map_err(|cause| {
            Error::new(code::INPUT, format!("{path} is no progress of an import")).because(cause)
        })
    }

    /// Gives the next batch an id and keeps it before it is sent. An id whose time is nearly over is given up: the same values are
    /// written once more, which changes no value.
    fn prepare(&mut self, path: Option<&str>) -> Result<()> {
        let now_ms = now_ms();
        if self.valid_until_ms < now_ms.saturating_add(10_000) {
            if self.valid_until_ms != 0 {
                self.session = super::output::hex(&entropy::bytes()?);
            }
            self.valid_until_ms = now_ms.saturating_add(WRITE_VALID_MS);
            self.save(path)?;
        }
        Ok(())
    }

    fn id(&self) -> Result<RequestId> {
        let text = format!("{}-{}-{}", self.session, self.number, self.valid_until_ms);
        text.parse().map_err(|cause| Error::new(code::INPUT, "the progress names no session").because(cause))
    }

    fn save(&self, path: Option<&str>) -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        let unwritten =
            |cause: std::io::Error| Error::new(code::INPUT, format!("write {path}")).because(cause);
        let text = serde_json::to_vec(self)
            .map_err(|cause| Error::new(code::INTERNAL, "the progress is no JSON").because(cause))?;
        let new = format!("{path}.new");
        write_private(Path::new(&new), &text).map_err(unwritten)?;
        std::fs::rename(&new, path).map_err(unwritten)
    }
}

fn parse(text: &str, what: &Import, number: u64) -> Result<Line> {
    let bad = |why: &str| Error::new(code::INPUT, format!("line {number}: {why}"));
    let value: Value = serde_json::from_str(text).map_err(|_| bad("it is no JSON"))?;
    let word = |name: &str| value.get(name).and_then(Value::as_str);
    if let (Some(collection), Some(field)) = (&what.collection, &what.key_field) {
        let key = match value.get(field) {
            Some(Value::String(key)) => key.clone(),
            Some(Value::Number(key)) => key.to_string(),
            _ => return Err(bad("the field of the key is missing, or no text and no number")),
        };
        return Ok(Line { collection: collection.clone(), key: key.into(), value: text.trim().into() });
    }
    let collection = word("collection").ok_or_else(|| bad("`collection` is missing"))?.to_owned();
    let hex =
        |name: &str| word(name).map(|hex| unhex(hex).ok_or_else(|| bad("the hexadecimal digits are none")));
    let key = match (word("key"), hex("key_hex")) {
        (Some(key), _) => key.as_bytes().to_vec(),
        (None, Some(key)) => key?,
        (None, None) => return Err(bad("`key` is missing, or no text")),
    };
    let value = match (value.get("value"), hex("value_hex")) {
        (Some(value), _) => value.to_string().into_bytes(),
        (None, Some(value)) => value?,
        (None, None) => return Err(bad("`value` is missing")),
    };
    Ok(Line { collection, key, value })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(collection: Option<&str>) -> Import {
        let key_field = collection.map(|_| "id".to_owned());
        Import {
            file: String::new(),
            collection: collection.map(str::to_owned),
            key_field,
            resume: None,
            batch: 2,
        }
    }

    #[test]
    fn lines_are_read_in_both_forms() {
        let line = |collection: &str, key: &[u8], value: &[u8]| Line {
            collection: collection.into(),
            key: key.into(),
            value: value.into(),
        };
        let parsed = |text| parse(text, &what(None), 1).ok();
        assert_eq!(
            parsed(r#"{"collection":"c","key":"k","value":{"a":1}}"#),
            Some(line("c", b"k", b"{\"a\":1}"))
        );
        assert_eq!(
            parsed(r#"{"collection":"c","key_hex":"ff00","value_hex":"01"}"#),
            Some(line("c", &[255, 0], &[1]))
        );
        for bad in
            ["", "{}", r#"{"collection":"c","value":1}"#, r#"{"collection":"c","key_hex":"f","value":1}"#]
        {
            assert_eq!(parsed(bad), None, "{bad}");
        }
        let by_field = parse(r#"{"id":7,"x":1}"#, &what(Some("c")), 1).unwrap();
        assert_eq!(by_field, line("c", b"7", br#"{"id":7,"x":1}"#));
        assert!(parse(r#"{"x":1}"#, &what(Some("c")), 9).unwrap_err().to_string().contains("line 9"));
    }

    #[test]
    fn progress_keeps_the_id_of_a_batch_that_was_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p").display().to_string();
        let mut first = Progress::load(Some(&path), 2).unwrap();
        first.prepare(Some(&path)).unwrap();
        let mut again = Progress::load(Some(&path), 9).unwrap();
        again.prepare(Some(&path)).unwrap();
        assert_eq!((first.id().unwrap(), first.batch), (again.id().unwrap(), again.batch));
        again.valid_until_ms = 1;
        again.prepare(Some(&path)).unwrap();
        assert_ne!(first.id().unwrap().session, again.id().unwrap().session, "its time was over");
    }
}
