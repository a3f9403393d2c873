//! One step of the log: a write, its sync, and the word to whoever waits.

use super::queue::{Done, Write};
use super::writer::Written;
use super::{Log, lock};
use crate::error::Result;
use engine::error::with_sources;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// Nothing waited.
    Nothing,
    /// So many records are durable.
    Wrote(usize),
    /// It failed: the log is fenced.
    Fenced,
}

impl Log {
    /// Writes and syncs what waits, once. One caller at a time does the work: a thread in production, a schedule in simulation.
    pub fn step(&self) -> Stepped {
        let mut writer = lock(&self.writer);
        let Some(Write { records, tickets, done }) = self.next_write() else { return Stepped::Nothing };
        let count = records.len();
        let written = writer.write(records);
        drop(writer);
        match written.map(|written| self.note(written, &tickets)) {
            Ok(has_begun) => match self.tell(done, &Ok(())).and_then(|()| self.tidy(has_begun)) {
                Ok(()) => Stepped::Wrote(count),
                Err(error) => self.fence(&with_sources(&error), Vec::new()),
            },
            Err(error) => self.fence(&with_sources(&error), done),
        }
    }

    fn next_write(&self) -> Option<Write> {
        let mut state = lock(&self.state);
        if state.fenced.is_some() { None } else { state.queue.next_write(self.config.write_bytes) }
    }

    /// Notes what is durable now, and where. Tells whether a segment was begun.
    fn note(&self, written: Written, tickets: &[u64]) -> bool {
        let mut state = lock(&self.state);
        state.durable = written.end;
        let has_begun = written.begun.is_some();
        if let Some(begun) = written.begun {
            state.segments.insert(begun.header.first_position, begun);
            state.has_begun = true;
            self.begun.notify_all();
        }
        for ((group, log_id, position), ticket) in written.places.into_iter().zip(tickets) {
            if let Some(log) = state.groups.get_mut(&group) {
                log.written(log_id, *ticket, position);
            }
            state.cache.written(group, log_id.index, *ticket);
        }
        has_begun
    }

    /// Tells everybody, also if one of them panics.
    fn tell(&self, waiting: Vec<Done>, outcome: &Result<(), String>) -> Result<()> {
        let mut has_panicked = false;
        for done in waiting {
            let outcome = outcome.clone();
            has_panicked |= catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err();
        }
        let cause = "somebody who was told of a write panicked".to_owned();
        if has_panicked { Err(crate::Error::Fenced { cause }) } else { Ok(()) }
    }

    /// Frees segments in which nothing lives, and empties the oldest if little does.
    fn tidy(&self, has_begun: bool) -> Result<()> {
        let emptied = self.ended_evacuation();
        let mut writer = lock(&self.writer);
        if let Some(number) = emptied {
            writer.empty(number);
            self.stats.log.evacuated_segments.add(1);
        }
        let freed = writer.free()?;
        writer.measure_spares();
        drop(writer);
        let mut state = lock(&self.state);
        state.segments.retain(|_, one| !freed.contains(&one.header.number));
        state.measure(&self.stats.log);
        drop(state);
        // To look for what lives means to look at every entry: once a segment is often enough.
        if has_begun || emptied.is_some() { self.begin_evacuation() } else { Ok(()) }
    }

    /// Refuses all that comes from now on, as after an error of the disk: nothing more is acknowledged by whoever goes on it.
    pub fn give_up(&self, cause: &str) {
        if self.fenced().is_none() {
            tracing::error!(cause, "the log is given up");
            self.fence(cause, Vec::new());
        }
    }

    /// Nothing is believed any more: everybody who waits is told so.
    pub(super) fn fence(&self, cause: &str, mut waiting: Vec<Done>) -> Stepped {
        {
            let mut state = lock(&self.state);
            state.fenced.get_or_insert_with(|| cause.to_owned());
            self.stats.log.fenced_flag.set(1);
            waiting.append(&mut state.queue.take_waiters());
        }
        self.bell.notify_all();
        self.begun.notify_all();
        // Whoever panics on being told that all is over changes nothing.
        let _ = self.tell(waiting, &Err(cause.to_owned()));
        Stepped::Fenced
    }
}
