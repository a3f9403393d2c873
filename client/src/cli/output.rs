//! What is printed: data on the standard output as a table or as JSON with a schema, progress on the other one, and only on a terminal.

use super::yaml;
use crate::error::{Error, Result, code};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// The same with all there is to tell.
    Wide,
    /// One document.
    Json,
    /// A document a line.
    Jsonl,
    /// As JSON, for people to read.
    Yaml,
}

impl Format {
    /// Whether a person reads it.
    #[must_use]
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// The fields of a row.
pub type Fields = Map<String, Value>;

/// A row from its fields.
pub fn fields<const N: usize>(of: [(&str, Value); N]) -> Fields {
    of.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a command has found.
pub struct Document {
    schema: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Fields>,
    is_list: bool,
}

impl Document {
    /// Of several rows.
    pub fn list(schema: &'static str, columns: &[&'static str], rows: Vec<Fields>) -> Self {
        Self { schema, columns: columns.to_vec(), rows, is_list: true }
    }

    /// Of one.
    pub fn one(schema: &'static str, columns: &[&'static str], row: Fields) -> Self {
        Self { schema, columns: columns.to_vec(), rows: vec![row], is_list: false }
    }

    /// As text.
    pub fn text(&self, format: Format) -> String {
        let marked = |row: &Fields| {
            let mut row = row.clone();
            row.insert("schema".to_owned(), self.schema.into());
            Value::Object(row)
        };
        match format {
            Format::Jsonl => self.rows.iter().map(|row| format!("{}\n", marked(row))).collect(),
            Format::Json => format!("{}\n", self.whole(marked)),
            Format::Yaml => yaml::text(&self.whole(marked)),
            Format::Table => self.table(&self.columns),
            Format::Wide => self.table(&self.all_columns()),
        }
    }

    /// All of it as one value.
    fn whole(&self, marked: impl Fn(&Fields) -> Value) -> Value {
        match self.rows.first() {
            Some(row) if !self.is_list => marked(row),
            _ => json!({ "schema": self.schema, "rows": self.rows }),
        }
    }

    /// The usual columns, and whatever else there is to tell.
    fn all_columns(&self) -> Vec<&str> {
        let mut all = self.columns.clone();
        for name in self.rows.iter().flat_map(|row| row.keys()) {
            if !all.contains(&name.as_str()) {
                all.push(name);
            }
        }
        all
    }

    fn table(&self, columns: &[&str]) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let cell = |row: &Fields, column: &str| match row.get(column) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) => printable(text),
            Some(other) => other.to_string(),
        };
        if self.is_list {
            table.set_header(columns);
            for row in &self.rows {
                table.add_row(columns.iter().map(|column| cell(row, column)));
            }
        } else if let Some(row) = self.rows.first() {
            for column in columns {
                table.add_row([(*column).to_owned(), cell(row, column)]);
            }
        }
        table.lines().map(|line| format!("{}\n", line.trim())).collect()
    }

    /// Prints it.
    pub fn print(&self, format: Format) -> Result<()> {
        print(&self.text(format))
    }
}

/// Prints on the standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|cause| Error::new(code::INPUT, "the standard output takes no more").because(cause))
}

/// Tells how far something is, if a person looks.
pub fn progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[2K{text}");
        let _ = err.flush();
    }
}

/// Ends the line of progress.
pub fn progress_end() {
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
}

/// No control character of a value reaches a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter })
        .collect()
}

/// Bytes as a field: text if they are, else hexadecimal under another name.
pub fn put_bytes(row: &mut Fields, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => row.insert(name.to_owned(), text.into()),
        Err(_) => row.insert(format!("{name}_hex"), hex(bytes).into()),
    };
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Document {
        let rows = vec![
            fields([("name", "acme".into()), ("id", "7".into())]),
            fields([("name", "a\x1b[2J".into()), ("id", Value::Null)]),
        ];
        Document::list("dew.tenant.list/1", &["name", "id"], rows)
    }

    #[test]
    fn every_form_is_as_it_was() {
        assert_eq!(sample().text(Format::Table), "name   id\nacme   7\na\u{fffd}[2J  -\n");
        let json = r#"{"rows":[{"id":"7","name":"acme"},{"id":null,"name":"a\u001b[2J"}],"schema":"dew.tenant.list/1"}"#;
        assert_eq!(sample().text(Format::Json), format!("{json}\n"));
        let one = Document::one("dew.tenant.show/1", &["name"], fields([("name", "acme".into())]));
        assert_eq!(one.text(Format::Jsonl), "{\"name\":\"acme\",\"schema\":\"dew.tenant.show/1\"}\n");
        assert_eq!(one.text(Format::Table), "name  acme\n");
        let row = fields([("name", "acme".into()), ("id", "7".into()), ("group", 2.into())]);
        let wide = Document::list("dew.tenant.list/1", &["name"], vec![row]);
        assert_eq!(wide.text(Format::Table), "name\nacme\n");
        assert_eq!(wide.text(Format::Wide), "name  group  id\nacme  2      7\n");
        let yaml = "---\nrows:\n- group: 2\n  id: \"7\"\n  name: \"acme\"\nschema: \"dew.tenant.list/1\"\n";
        assert_eq!(wide.text(Format::Yaml), yaml);
        assert_eq!(one.text(Format::Yaml), "---\nname: \"acme\"\nschema: \"dew.tenant.show/1\"\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_told_as_such() {
        let mut row = Fields::new();
        put_bytes(&mut row, "key", b"a");
        put_bytes(&mut row, "value", &[0xff, 0]);
        assert_eq!(Value::Object(row), json!({ "key": "a", "value_hex": "ff00" }));
    }
}
