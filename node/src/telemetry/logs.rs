//! The log: one line an event, on stderr, as JSON or as text, with the fields of the spans it is in. A span of the levels that are written
//! has a line of its own when it ends, which says how long it took. What a tenant wrote has no printable form, so it is in none of them.
//! No place in the code writes more lines than [`super::bound`] lets it.

use super::bound::{Bound, NowMs};
use super::limits::LEFT_OUT_MS;
use crate::clock::SystemClock;
use raft::time::BootClock;
use std::io;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;

/// Who says as a warning what is none: with each entry that was committed and whose caller does not wait for that.
const QUIETED: [&str; 1] = ["openraft::raft::responder"];

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Words, for people.
    Text,
}

/// What is logged from this level on: `error`, `warn`, `info`, `debug` or `trace`.
fn filter(level: &str) -> Targets {
    let level = LevelFilter::from(Level::from_str(level).unwrap_or(Level::INFO));
    let quiet = |target| (target, level.min(LevelFilter::ERROR));
    Targets::new().with_default(level).with_targets(QUIETED.map(quiet))
}

fn lines<S>(
    format: Format,
    writer: impl for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_span_events(FmtSpan::CLOSE);
    match format {
        Format::Json => lines.json().boxed(),
        Format::Text => lines.with_ansi(false).boxed(),
    }
}

/// What logs from this level on, to `writer`; and what bounds it, by this clock.
pub fn subscriber(
    (level, format): (&str, Format),
    now_ms: NowMs,
    writer: impl for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
) -> (impl Subscriber + Send + Sync, Bound) {
    let bound = Bound::new(now_ms);
    let lines = lines(format, writer).with_filter(filter(level).and(bound.clone()));
    (tracing_subscriber::registry().with(lines), bound)
}

type SetLevel = Box<dyn Fn(&str) + Send + Sync>;

/// What the log of this process is made of; nothing, if nobody logs.
struct Log {
    set_level: SetLevel,
    bound: Bound,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// From now on this level and all above are logged.
pub fn set_level(level: &str) {
    if let Some(log) = LOG.get() {
        (log.set_level)(level);
    }
}

/// Lines that were left out since the start.
#[must_use]
pub fn left_out() -> u64 {
    LOG.get().map_or(0, |log| log.bound.left_out())
}

/// Says from time to time how many lines were left out, for ever.
pub async fn tell_left_out() {
    loop {
        tokio::time::sleep(Duration::from_millis(LEFT_OUT_MS)).await;
        if let Some(log) = LOG.get() {
            log.bound.tell();
        }
    }
}

/// Begins to log from this level on. Once a process.
pub fn begin(level: &str, format: Format) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let bound = Bound::new(|| SystemClock::default().monotonic_ms());
    let lines = lines(format, io::stderr).with_filter(filter.and(bound.clone()));
    if tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines)).is_err() {
        tracing::debug!("somebody logs already");
        return;
    }
    let set = move |level: &str| {
        if let Err(error) = handle.reload(self::filter(level)) {
            tracing::warn!(%error, "the level of the log is not changed");
        }
    };
    let _ = LOG.set(Log { set_level: Box::new(set), bound });
}

#[cfg(test)]
mod tests {
    use super::super::limits::{LINES_A_SECOND, LINES_AT_ONCE};
    use super::*;
    use serde_json::Value;
    use std::cell::Cell;
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

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }

        fn json(&self) -> Vec<Value> {
            self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }

        fn messages(&self) -> Vec<String> {
            let said = self.json().into_iter();
            said.filter_map(|line| Some(line["fields"]["message"].as_str()?.to_owned())).collect()
        }
    }

    thread_local! {
        static NOW_MS: Cell<u64> = const { Cell::new(1_000) };
    }

    /// What is logged meanwhile.
    fn logged(level: &str, format: Format, work: impl FnOnce(&Lines, &Bound)) {
        let lines = Lines::default();
        let writes = lines.clone();
        let (subscriber, bound) = subscriber((level, format), || NOW_MS.get(), move || writes.clone());
        tracing::subscriber::with_default(subscriber, || work(&lines, &bound));
    }

    #[test]
    fn what_is_no_warning_is_left_out_and_the_rest_is_one_line_each() {
        logged("info", Format::Json, |lines, _| {
            tracing::warn!(target: "openraft::raft::responder::impls::progress_responder", "noise");
            tracing::error!(target: "openraft::raft::responder", "one");
            tracing::warn!(target: "openraft::core", "two");
            tracing::info!("three");
            tracing::debug!("never");
            assert_eq!(lines.messages(), ["one", "two", "three"]);
        });
    }

    #[test]
    fn a_line_has_the_fields_of_its_spans_and_a_span_says_how_long_it_took() {
        logged("debug", Format::Json, |lines, _| {
            tracing::debug_span!("request", trace = "abc").in_scope(|| {
                tracing::debug_span!("read", group = 7).in_scope(|| tracing::info!("inside"));
            });
            let said = lines.json();
            let spans = |line: &Value| {
                let all = line["spans"].as_array().unwrap().iter();
                all.map(|span| (span["name"].clone(), span["trace"].clone(), span["group"].clone()))
                    .collect::<Vec<_>>()
            };
            let request = ("request".into(), "abc".into(), Value::Null);
            assert_eq!(spans(&said[0]), [request.clone(), ("read".into(), Value::Null, 7.into())]);
            let [_, read, whole] = &said[..] else { panic!("{said:?}") };
            for (ended, name) in [(read, "read"), (whole, "request")] {
                assert_eq!(
                    (&ended["fields"]["message"], &ended["span"]["name"]),
                    (&"close".into(), &name.into())
                );
                assert!(ended["fields"]["time.busy"].is_string(), "{ended}");
            }
            assert_eq!((spans(read), &whole["span"]["trace"]), (vec![request], &"abc".into()));
        });
        logged("debug", Format::Text, |lines, _| {
            tracing::debug_span!("request", trace = "abc").in_scope(|| tracing::info!("inside"));
            let text = lines.text();
            assert!(text.lines().next().unwrap().contains("request{trace=\"abc\"}"), "{text}");
            assert!(text.lines().nth(1).unwrap().contains("time.busy="), "{text}");
        });
        logged("info", Format::Json, |lines, _| {
            tracing::debug_span!("request").in_scope(|| tracing::info!("inside"));
            assert_eq!(lines.json().len(), 1, "nobody asked for spans");
        });
    }

    #[test]
    fn one_line_over_and_over_is_left_out_counted_and_said() {
        let flood = |count: u64| (0..count).for_each(|number| tracing::warn!(number, "over and over"));
        let at_once = usize::try_from(LINES_AT_ONCE).unwrap();
        logged("info", Format::Json, |lines, bound| {
            flood(10_000);
            assert_eq!(lines.messages(), vec!["over and over"; at_once]);
            tracing::error!("another place");
            assert_eq!(lines.messages(), ["another place"]);
            bound.tell();
            let said = lines.json();
            let [told] = &said[..] else { panic!("{said:?}") };
            assert_eq!(told["fields"]["lines"], 10_000 - LINES_AT_ONCE);
            assert!(told["fields"]["place"].as_str().unwrap().ends_with("logs.rs"), "{told}");
            assert_eq!(bound.left_out(), 10_000 - LINES_AT_ONCE);
            bound.tell();
            assert_eq!(lines.messages(), [""; 0], "it is said once");
            NOW_MS.set(NOW_MS.get() + 2_000);
            flood(10_000);
            assert_eq!(lines.messages().len() as u64, 2 * LINES_A_SECOND, "a little more with time");
            NOW_MS.set(NOW_MS.get() + 3_600_000);
            flood(10_000);
            assert_eq!(lines.messages().len(), at_once, "and never more at once");
        });
    }

    #[test]
    fn whoever_asks_for_more_than_usual_gets_all_of_it() {
        logged("debug", Format::Json, |lines, bound| {
            (0..1_000).for_each(|_| tracing::debug!("detail"));
            assert_eq!((lines.messages().len(), bound.left_out()), (1_000, 0));
        });
    }
}
