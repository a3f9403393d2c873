//! The log: one JSON line an event, on stderr. What a tenant wrote has no printable form, so it is in none of them.

use std::io;
use std::str::FromStr;
use std::sync::OnceLock;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;

/// Who says as a warning what is none: with each entry that was committed and whose caller does not wait for that.
const QUIETED: [&str; 1] = ["openraft::raft::responder"];

/// What is logged from this level on: `error`, `warn`, `info`, `debug` or `trace`.
fn filter(level: &str) -> Targets {
    let level = LevelFilter::from(Level::from_str(level).unwrap_or(Level::INFO));
    let quiet = |target| (target, level.min(LevelFilter::ERROR));
    Targets::new().with_default(level).with_targets(QUIETED.map(quiet))
}

/// What logs from this level on, to `writer`.
pub fn subscriber(
    level: &str,
    writer: impl for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let lines = tracing_subscriber::fmt::layer().json().with_writer(writer);
    tracing_subscriber::registry().with(lines.with_filter(filter(level)))
}

type SetLevel = Box<dyn Fn(&str) + Send + Sync>;

/// Changes from which level on is logged; nothing, if nobody logs.
static LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// From now on this level and all above are logged.
pub fn set_level(level: &str) {
    if let Some(set) = LEVEL.get() {
        set(level);
    }
}

/// Begins to log from this level on. Once a process.
pub fn begin(level: &str) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer().json().with_writer(io::stderr);
    let logs = tracing_subscriber::registry().with(lines.with_filter(filter));
    if tracing::subscriber::set_global_default(logs).is_err() {
        tracing::debug!("somebody logs already");
        return;
    }
    let set = move |level: &str| {
        if let Err(error) = handle.reload(self::filter(level)) {
            tracing::warn!(%error, "the level of the log is not changed");
        }
    };
    let _ = LEVEL.set(Box::new(set));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_no_warning_is_left_out_and_the_rest_is_one_line_each() {
        let lines = Lines::default();
        let writes = lines.clone();
        tracing::subscriber::with_default(subscriber("info", move || writes.clone()), || {
            tracing::warn!(target: "openraft::raft::responder::impls::progress_responder", "noise");
            tracing::error!(target: "openraft::raft::responder", "one");
            tracing::warn!(target: "openraft::core", "two");
            tracing::info!("three");
            tracing::debug!("never");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let said: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said: Vec<_> = said.iter().filter_map(|line| line["fields"]["message"].as_str()).collect();
        assert_eq!(said, ["one", "two", "three"]);
    }
}
