//! What happened in a run beside requests: to nodes, to links, to the run itself. Shown as text and as a page.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Milliseconds since the run began, by a clock that only goes forward.
#[derive(Clone, Copy, Debug)]
pub struct Since(Instant);

impl Since {
    /// It begins now.
    #[must_use]
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// How long ago that was.
    #[must_use]
    pub fn ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until so many milliseconds have passed.
    pub async fn until(self, ms: u64) {
        tokio::time::sleep_until(self.0 + Duration::from_millis(ms)).await;
    }
}

/// Where something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// To the whole.
    Run,
    /// To a node.
    Node(usize),
    /// To links.
    Links,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it began, in milliseconds since the run did.
    pub at_ms: u64,
    /// When it ended; a moment has none.
    pub until_ms: Option<u64>,
    /// Where.
    pub lane: Lane,
    /// What.
    pub what: String,
}

/// Everything that happened, in its order.
#[derive(Clone, Debug)]
pub struct Events {
    /// Since when.
    pub since: Since,
    all: Arc<Mutex<Vec<Event>>>,
}

impl Events {
    /// Nothing yet.
    #[must_use]
    pub fn new(since: Since) -> Self {
        Self { since, all: Arc::default() }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Event>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happens, at once.
    pub fn note(&self, lane: Lane, what: impl Into<String>) {
        self.begin(lane, what);
    }

    /// Something begins; [`Events::end`] takes what is returned.
    pub fn begin(&self, lane: Lane, what: impl Into<String>) -> usize {
        let event = Event { at_ms: self.since.ms(), until_ms: None, lane, what: what.into() };
        eprintln!("{event}");
        let mut all = self.locked();
        all.push(event);
        all.len() - 1
    }

    /// What began has ended.
    pub fn end(&self, begun: usize) {
        let now_ms = self.since.ms();
        if let Some(event) = self.locked().get_mut(begun) {
            event.until_ms = Some(now_ms);
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.locked().clone()
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => write!(f, "run"),
            Self::Node(place) => write!(f, "n{}", place + 1),
            Self::Links => write!(f, "links"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_ms, until_ms, lane, what } = self;
        write!(f, "{:>9.3} s  {:<5}  {what}", *at_ms as f64 / 1_000.0, lane.to_string())?;
        until_ms.map_or(Ok(()), |until| write!(f, "  (until {:.3} s)", until as f64 / 1_000.0))
    }
}
