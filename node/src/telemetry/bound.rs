//! Bounds how many lines one place in the code writes to the log: a peer that is broken, or means harm, fills no disk with one line over
//! and over. What was left out is counted, and said a little later. Lines of the levels below `info` are written as asked for: whoever
//! wants them wants all.

use super::limits::{LINES_A_SECOND, LINES_AT_ONCE};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Thousandths of a line.
const LINE: u64 = 1_000;
/// Of the lines that say what was left out.
const LEFT_OUT: &str = "node::left_out";

/// A monotonic clock, in milliseconds.
pub type NowMs = fn() -> u64;

/// Lets only so many lines of each place pass. Clones count together.
#[derive(Clone)]
pub struct Bound(Arc<Places>);

struct Places {
    now_ms: NowMs,
    /// By place in the code, which its metadata are: there are as many as lines that were ever written.
    said: Mutex<BTreeMap<usize, Said>>,
    left_out: AtomicU64,
}

/// What one place has said.
#[derive(Clone, Copy)]
struct Said {
    of: &'static Metadata<'static>,
    /// Lines it has said and not waited for, in thousandths.
    used: u64,
    at_ms: u64,
    left_out: u64,
}

impl Said {
    /// Whether one more line may be written at `now_ms`.
    fn say(&mut self, now_ms: u64) -> bool {
        // Thousandths of a line in a millisecond are as many as lines in a second.
        let back = now_ms.saturating_sub(self.at_ms).saturating_mul(LINES_A_SECOND);
        self.used = self.used.saturating_sub(back);
        self.at_ms = now_ms.max(self.at_ms);
        if self.used + LINE > LINES_AT_ONCE * LINE {
            self.left_out += 1;
            return false;
        }
        self.used += LINE;
        true
    }
}

impl Bound {
    /// Nothing was said yet.
    #[must_use]
    pub fn new(now_ms: NowMs) -> Self {
        Self(Arc::new(Places { now_ms, said: Mutex::default(), left_out: AtomicU64::new(0) }))
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<usize, Said>> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lets(&self, of: &'static Metadata<'static>) -> bool {
        if *of.level() > Level::INFO || of.target() == LEFT_OUT {
            return true;
        }
        let now_ms = (self.0.now_ms)();
        let fresh = Said { of, used: 0, at_ms: now_ms, left_out: 0 };
        let may = self.said().entry(std::ptr::from_ref(of).addr()).or_insert(fresh).say(now_ms);
        if !may {
            self.0.left_out.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// Lines that were left out, of all places.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.0.left_out.load(Ordering::Relaxed)
    }

    /// Writes for each place how many of its lines were left out since this was last called.
    pub fn tell(&self) {
        let left_out: Vec<Said> = {
            let mut said = self.said();
            let some = said.values_mut().filter(|one| one.left_out > 0);
            some.map(|one| std::mem::replace(one, Said { left_out: 0, ..*one })).collect()
        };
        for Said { of, left_out: lines, .. } in left_out {
            let (place, line) = (of.file().unwrap_or_else(|| of.target()), of.line().unwrap_or_default());
            tracing::warn!(target: LEFT_OUT, lines, place, line, "lines of one place were left out");
        }
    }
}

impl<S: Subscriber> Filter<S> for Bound {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    /// Not always: what a filter says of one event would stand for all that follow on the thread, were it not asked before each.
    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.lets(event.metadata())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}
