//! What happened in a run, with its time, shared by everything in it.

use super::clock::Time;
use crate::trace::Trace;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The trace of a run. Clones are the same.
#[derive(Clone)]
pub struct Diary {
    trace: Arc<Mutex<Trace>>,
    time: Time,
}

impl Diary {
    /// An empty one.
    #[must_use]
    pub fn new(time: Time) -> Self {
        Self { trace: Arc::default(), time }
    }

    fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened to somebody.
    pub fn note(&self, whom: impl Display, what: impl Display) {
        self.trace().event(self.time.ms(), whom, what);
    }

    /// What time it is, in milliseconds since the run began.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.time.ms()
    }

    /// The hash of all of it.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.trace().hash()
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.trace().events()
    }

    /// The last events, to be read.
    #[must_use]
    pub fn timeline(&self) -> String {
        self.trace().to_string()
    }
}
