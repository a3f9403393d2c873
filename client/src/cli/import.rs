//! Writes the lines of a file, several batches under way at once. Batches are cut from the file in one way only and numbered in a session of
//! their own, so a batch that is sent again after a crash is applied once; the file of progress says where to go on. Batches under way have no
//! key in common: so it does not matter which of them is applied first, and of a key that comes twice the later line wins.

use super::Session;
use super::args::Import;
use super::context::write_private;
use super::output::{Document, fields, progress, progress_end};
use crate::clock::{ms, now, now_ms};
use crate::entropy;
use crate::limits::{IMPORT_RENEW_MS, IMPORT_VALID_MS};
use crate::{Batch, Error, RequestId, Result, Stamp, Tenant, code};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use tokio::task::JoinSet;

/// Bytes after which a batch is full, well below what a server takes.
const BATCH_BYTES_MAX: usize = 2 << 20;

/// How far an import is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Lines of the batches that are acknowledged, up to the first that is not.
    lines: u64,
    /// The session, and the number of the first batch that is not acknowledged.
    session: String,
    number: u64,
    /// Until when the ids of the batches under way hold; 0 if none was sent.
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

/// A key of a collection.
type Name = (String, Vec<u8>);

/// A batch that was cut from the file.
struct Cut {
    batch: Batch,
    /// Lines of the file.
    lines: u64,
    /// What it writes.
    names: BTreeSet<Name>,
}

/// A batch that was sent, or has nothing to send.
struct Sent {
    lines: u64,
    /// Nothing once it is acknowledged.
    names: Option<BTreeSet<Name>>,
}

/// What is cut from a file.
struct Source {
    what: Import,
    lines: Lines<BufReader<File>>,
    /// Lines that were read.
    read: u64,
}

/// An import that goes on.
struct Running {
    tenant: Tenant,
    path: Option<String>,
    state: Progress,
    /// By their numbers: from the first that is not acknowledged.
    sent: BTreeMap<u64, Sent>,
    calls: JoinSet<(u64, Result<Stamp>)>,
    written: u64,
}

/// Runs the command.
pub async fn run(session: &Session, what: Import) -> Result<()> {
    let state = Progress::load(what.resume.as_deref(), what.batch)?;
    let (path, in_flight) = (what.resume.clone(), usize::try_from(what.in_flight).unwrap_or(1));
    let mut source = Source::open(what, state.lines)?;
    let tenant = session.tenant()?;
    let mut running =
        Running { tenant, path, state, sent: BTreeMap::new(), calls: JoinSet::new(), written: 0 };
    let begun = now();
    let ended = running.all(&mut source, in_flight).await;
    // Whatever was sent is waited for: so as few as may be are sent again.
    let rest = running.drain().await;
    progress_end();
    ended.and(rest)?;
    let row = fields([
        ("lines", running.state.lines.to_string().into()),
        ("written", running.written.to_string().into()),
        ("ms", ms(begun.elapsed()).to_string().into()),
    ]);
    Document::one("dew.data.import/1", &["lines", "written", "ms"], row).print(session.format)
}

impl Source {
    fn open(what: Import, done: u64) -> Result<Self> {
        let file = File::open(&what.file)
            .map_err(|cause| Error::new(code::INPUT, format!("open {}", what.file)).because(cause))?;
        let mut source = Self { what, lines: BufReader::new(file).lines(), read: 0 };
        while source.read < done && source.line()?.is_some() {}
        Ok(source)
    }

    fn line(&mut self) -> Result<Option<String>> {
        let unread = |cause: std::io::Error| Error::new(code::INPUT, "read the file").because(cause);
        let line = self.lines.next().transpose().map_err(unread)?;
        self.read += u64::from(line.is_some());
        Ok(line)
    }

    /// The next batch; nothing at the end of the file.
    fn cut(&mut self, tenant: &Tenant, most: u64) -> Result<Option<Cut>> {
        let mut cut = Cut { batch: tenant.batch(), lines: 0, names: BTreeSet::new() };
        let mut bytes = 0;
        while cut.lines < most && bytes < BATCH_BYTES_MAX {
            let Some(text) = self.line()? else { break };
            cut.lines += 1;
            if text.trim().is_empty() {
                continue;
            }
            let Line { collection, key, value } = parse(&text, &self.what, self.read)?;
            bytes += text.len();
            cut.batch = cut.batch.put(&collection, &key, value);
            cut.names.insert((collection, key));
        }
        Ok((cut.lines > 0).then_some(cut))
    }
}

impl Running {
    /// Sends all that the file has.
    async fn all(&mut self, source: &mut Source, in_flight: usize) -> Result<()> {
        while let Some(cut) = source.cut(&self.tenant, self.state.batch)? {
            while self.calls.len() >= in_flight || self.is_in_the_way(&cut) {
                self.hear().await?;
            }
            self.send(cut).await?;
        }
        Ok(())
    }

    /// Whether a batch under way writes one of the same keys.
    fn is_in_the_way(&self, cut: &Cut) -> bool {
        let under_way = self.sent.values().filter_map(|sent| sent.names.as_ref());
        under_way.into_iter().any(|names| !names.is_disjoint(&cut.names))
    }

    async fn send(&mut self, cut: Cut) -> Result<()> {
        if self.state.is_nearly_over(now_ms()) {
            // All that are under way share one end of their time.
            self.drain().await?;
            self.state.renew(self.path.as_deref())?;
        }
        let number = self.state.number + self.sent.len() as u64;
        let Cut { batch, lines, names } = cut;
        if names.is_empty() {
            self.sent.insert(number, Sent { lines, names: None });
            return self.advance();
        }
        let (id, count) = (self.state.id(number)?, batch.len() as u64);
        self.sent.insert(number, Sent { lines, names: Some(names) });
        self.written += count;
        self.calls.spawn(async move { (number, batch.request_id(id).await) });
        Ok(())
    }

    /// Waits until one batch more is acknowledged.
    async fn hear(&mut self) -> Result<()> {
        let Some(heard) = self.calls.join_next().await else { return Ok(()) };
        let (number, answered) = heard
            .map_err(|cause| Error::new(code::INTERNAL, "a batch was not sent to its end").because(cause))?;
        answered?;
        if let Some(sent) = self.sent.get_mut(&number) {
            sent.names = None;
        }
        self.advance()
    }

    /// Waits until all are.
    async fn drain(&mut self) -> Result<()> {
        let mut ended = Ok(());
        while !self.calls.is_empty() {
            ended = ended.and(self.hear().await);
        }
        ended
    }

    /// Keeps how far all is acknowledged.
    fn advance(&mut self) -> Result<()> {
        let before = self.state.number;
        while let Some(first) = self.sent.first_entry().filter(|first| first.get().names.is_none()) {
            self.state.lines += first.remove().lines;
            self.state.number += 1;
        }
        if self.state.number > before {
            self.state.save(self.path.as_deref())?;
            progress(&format!("{} lines", self.state.lines));
        }
        Ok(())
    }
}

impl Progress {
    fn load(path: Option<&str>, batch: u64) -> Result<Self> {
        let fresh = || -> Result<Self> {
            Ok(Self { session: super::output::hex(&entropy::bytes()?), batch, ..Self::default() })
        };
        let Some(path) = path.filter(|path| Path::new(path).exists()) else { return fresh() };
        let text = std::fs::read(path)
            .map_err(|cause| Error::new(code::INPUT, format!("read {path}")).because(cause))?;
        let mut state: Self = serde_json::from_slice(&text).map_err(|cause| {
            Error::new(code::INPUT, format!("{path} is no progress of an import")).because(cause)
        })?;
        if state.batch == 0 {
            return Err(Error::new(code::INPUT, format!("{path} is no progress of an import")));
        }
        if state.valid_until_ms != 0 && state.is_nearly_over(now_ms()) {
            // Ids whose time is nearly over are given up: what was under way is written once more, which changes no value.
            state.session = super::output::hex(&entropy::bytes()?);
        }
        Ok(state)
    }

    /// Whether no batch is sent any more under ids that end then.
    fn is_nearly_over(&self, now_ms: u64) -> bool {
        self.valid_until_ms < now_ms.saturating_add(IMPORT_RENEW_MS)
    }

    /// Gives ids more time, and keeps that before anything is sent under them. Nothing is under way.
    fn renew(&mut self, path: Option<&str>) -> Result<()> {
        self.valid_until_ms = now_ms().saturating_add(IMPORT_VALID_MS);
        self.save(path)
    }

    fn id(&self, number: u64) -> Result<RequestId> {
        let text = format!("{}-{}-{}", self.session, number, self.valid_until_ms);
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
            in_flight: 4,
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
    fn progress_keeps_the_ids_of_batches_that_were_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p").display().to_string();
        let mut first = Progress::load(Some(&path), 2).unwrap();
        assert!(first.is_nearly_over(now_ms()), "nothing was sent");
        first.renew(Some(&path)).unwrap();
        let mut again = Progress::load(Some(&path), 9).unwrap();
        assert!(!again.is_nearly_over(now_ms()));
        assert_eq!((first.id(3).unwrap(), first.batch), (again.id(3).unwrap(), again.batch));
        again.valid_until_ms = 1;
        again.save(Some(&path)).unwrap();
        let late = Progress::load(Some(&path), 9).unwrap();
        assert_ne!(first.id(3).unwrap().session, late.id(3).unwrap().session, "its time was over");
        std::fs::write(&path, "{}").unwrap();
        assert!(Progress::load(Some(&path), 9).is_err());
    }
}
