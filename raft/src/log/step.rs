//! One step of the log: a write, its sync, and the word to whoever waits.

use super::queue::{Done, Write};
use super::{Log, lock};
use crate::error::Error;

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
        let Some(write) = self.next_write() else { return Stepped::Nothing };
        let records = write.records.len();
        let written = match writer.write(write.records) {
            Ok(written) => written,
            Err(error) => {
                self.fence(&error, write.done);
                return Stepped::Fenced;
            }
        };
        let has_begun = written.begun.is_some();
        {
            let mut state = lock(&self.state);
            state.durable = written.end;
            if let Some(begun) = written.begun {
                state.segments.insert(begun.header.first_position, begun);
            }
            for (group, log_id, position) in written.places {
                if let Some(log) = state.groups.get_mut(&group) {
                    log.written(log_id, position);
                }
                state.cache.written(group, log_id);
            }
        }
        write.done.into_iter().for_each(|done| done(Ok(())));
        if let Some(number) = self.ended_evacuation() {
            writer.empty(number);
        }
        let freed = writer.free().and_then(|freed| {
            lock(&self.state).segments.retain(|_, one| !freed.contains(&one.header.number));
            // To look for what lives means to look at every entry: once a segment is often enough.
            if has_begun { self.begin_evacuation() } else { Ok(()) }
        });
        match freed {
            Ok(()) => Stepped::Wrote(records),
            Err(error) => {
                self.fence(&error, Vec::new());
                Stepped::Fenced
            }
        }
    }

    fn next_write(&self) -> Option<Write> {
        let mut state = lock(&self.state);
        if state.fenced.is_some() { None } else { state.queue.next_write(self.config.write_bytes) }
    }

    /// Nothing is believed any more: everybody who waits is told so.
    fn fence(&self, error: &Error, mut waiting: Vec<Done>) {
        let cause = with_sources(error);
        {
            let mut state = lock(&self.state);
            state.fenced.get_or_insert_with(|| cause.clone());
            waiting.append(&mut state.queue.take_waiters());
        }
        self.bell.notify_all();
        waiting.into_iter().for_each(|done| done(Err(cause.clone())));
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
