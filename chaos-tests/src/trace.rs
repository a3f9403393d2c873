//! Pure: everything that happened in a run, in order. Its hash is over every line, so that two runs of one seed can be told to be
//! the same; its last lines are kept, to be read by a person.

use crate::limits::TRACE_LINES_MAX;
use std::collections::VecDeque;
use std::fmt::{self, Display, Write};
use xxhash_rust::xxh3::Xxh3;

/// The record of a run. Only grows.
pub struct Trace {
    hash: Xxh3,
    events: u64,
    last: VecDeque<String>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: Xxh3::new(), events: 0, last: VecDeque::new() }
    }
}

impl Trace {
    /// Something happened at a simulated millisecond, to somebody.
    pub fn event(&mut self, now_ms: u64, whom: impl Display, what: impl Display) {
        let mut line = if self.last.len() < TRACE_LINES_MAX {
            String::new()
        } else {
            self.last.pop_front().unwrap_or_default()
        };
        line.clear();
        write!(line, "{now_ms:>9} ms  {whom:<8}  {what}").expect("a string takes every text");
        // Two lines must not read as one that has both.
        self.hash.update(&(line.len() as u64).to_le_bytes());
        self.hash.update(line.as_bytes());
        self.events += 1;
        self.last.push_back(line);
    }

    /// The hash of all events so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash.digest()
    }

    /// How many there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last events, oldest first.
    pub fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace of {} events, {:016x}", self.events, self.hash())
    }
}

/// The timeline: the last events, one a line, behind a word on those that are not shown.
impl Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.events - self.last.len() as u64;
        if hidden > 0 {
            writeln!(f, "... {hidden} events before")?;
        }
        self.last().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(events: &[(u64, &str, &str)]) -> Trace {
        let mut trace = Trace::default();
        events.iter().for_each(|(now_ms, whom, what)| trace.event(*now_ms, whom, what));
        trace
    }

    #[test]
    fn the_hash_is_of_every_event_in_its_order() {
        let (a, b) = ((1, "n-1", "sync"), (2, "n-2", "vote"));
        assert_eq!(trace(&[a, b]).hash(), trace(&[a, b]).hash());
        let others: [&[_]; 5] =
            [&[b, a], &[a], &[a, b, b], &[(2, "n-1", "sync"), b], &[(1, "n-2", "sync"), b]];
        assert!(others.into_iter().all(|other| trace(other).hash() != trace(&[a, b]).hash()));
    }

    #[test]
    fn lines_that_are_no_longer_kept_still_count() {
        let many = |first: &str| {
            let mut trace = Trace::default();
            trace.event(0, "n-1", first);
            (1..=TRACE_LINES_MAX as u64 + 9).for_each(|now_ms| trace.event(now_ms, "n-1", "tick"));
            trace
        };
        let trace = many("born");
        assert_eq!((trace.events(), trace.last().count()), (TRACE_LINES_MAX as u64 + 10, TRACE_LINES_MAX));
        assert_ne!(trace.hash(), many("dead").hash());
        let text = trace.to_string();
        assert!(text.starts_with("... 10 events before\n       10 ms  n-1       tick\n"), "{text}");
    }
}
