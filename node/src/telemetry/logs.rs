//! The log: one JSON line an event, on stderr. What a tenant wrote has no printable form, so it is in none of them.

use std::str::FromStr;
use tracing::Level;

/// Begins to log from this level on: `error`, `warn`, `info`, `debug` or `trace`. Once a process.
pub fn begin(level: &str) {
    let level = Level::from_str(level).unwrap_or(Level::INFO);
    let begun =
        tracing_subscriber::fmt().json().with_max_level(level).with_writer(std::io::stderr).try_init();
    if begun.is_err() {
        tracing::debug!("somebody logs already");
    }
}
