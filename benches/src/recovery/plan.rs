//! Pure: what is measured, and on how much data.

use crate::Outcome;
use std::path::PathBuf;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 1 << 10;
/// One in so many rows is changed before the second snapshot.
pub const CHANGED: u64 = 50;
/// One in so many rows belongs to the tenant that is restored alone.
pub const ALONE: u64 = 10;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Little data and short windows.
    pub is_quick: bool,
    /// Beside PostgreSQL and pgBackRest.
    pub has_peer: bool,
    /// Rows that are loaded.
    pub rows: u64,
    /// Where everything lies while it is measured.
    pub dir: PathBuf,
}

impl Options {
    /// Reads options.
    ///
    /// # Errors
    /// One that is unknown, or lacks its value.
    pub fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self { is_quick: false, has_peer: false, rows: 0, dir: std::env::temp_dir() };
        let mut mib = None;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => options.is_quick = true,
                "--dir" => options.dir = value()?.into(),
                "--mib" => mib = Some(value()?.parse::<u64>()?),
                "--peer" => match value()?.as_str() {
                    "pgbackrest" => options.has_peer = true,
                    other => return Err(format!("{other} is no peer: there is pgbackrest").into()),
                },
                _ => return Err(format!("unknown option {argument}").into()),
            }
        }
        let mib = mib.unwrap_or(if options.is_quick { 48 } else { 1_024 });
        if !(8..=65_536).contains(&mib) {
            return Err("from 8 to 65536 MiB".into());
        }
        options.rows = (mib << 20) / VALUE_BYTES as u64;
        Ok(options)
    }

    /// Milliseconds of one window under load.
    #[must_use]
    pub fn window_ms(&self) -> u64 {
        if self.is_quick { 2_500 } else { 10_000 }
    }

    /// Windows of each cluster.
    #[must_use]
    pub fn rounds(&self) -> usize {
        if self.is_quick { 3 } else { 6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Outcome<Options> {
        Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_say_how_much() {
        assert_eq!(parse("").unwrap().rows, 1 << 20);
        let quick = parse("--quick --peer pgbackrest --dir /x").unwrap();
        assert!(quick.is_quick && quick.has_peer && quick.rows < 1 << 17);
        assert_eq!(parse("--mib 100").unwrap().rows, 100 << 10);
        for text in ["--mib", "--mib 1", "--peer etcd", "--fast", "--dir"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
