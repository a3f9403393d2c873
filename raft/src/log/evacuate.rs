//! Segments that a group which lags keeps alive: what lives in the oldest is written again, so that it may go.

use super::index::GroupLog;
use super::record::{Entry, Record};
use super::{Log, State, lock};
use crate::error::{Error, Result};
use crate::types::GroupId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much of the oldest segment may live for it to be emptied, in quarters: more, the further the log is over what it should
/// keep. Beyond that moving gains nothing: it would only write the log again.
fn quarters_max(segments: usize, kept: usize) -> u64 {
    match segments / kept.max(1) {
        0 | 1 => 1,
        2 | 3 => 2,
        _ => 3,
    }
}

/// A segment that is being emptied.
pub(super) struct Evacuation {
    /// Its number.
    pub(super) number: u64,
    /// Set once everything that lived there is durable elsewhere, and so is what said that the rest does not live.
    is_durable: Arc<AtomicBool>,
}

/// The entries of all groups that stand at positions `from..to`, by group; and their bytes.
fn living(groups: &BTreeMap<GroupId, GroupLog>, from: u64, to: u64) -> (Vec<(GroupId, u64)>, u64) {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for (group, log) in groups {
        let here = log.places().filter(|place| place.position.is_some_and(|at| from <= at && at < to));
        for place in here {
            found.push((*group, place.log_id.index));
            bytes += u64::from(place.bytes);
        }
    }
    (found, bytes)
}

impl Log {
    /// Begins to empty the oldest segment if there are too many and little of it lives.
    pub(super) fn begin_evacuation(&self) -> Result<()> {
        let (number, found) = {
            let state = lock(&self.state);
            let mut segments = state.segments.values();
            let (Some(oldest), Some(next)) = (segments.next(), segments.next()) else { return Ok(()) };
            let is_enough = state.segments.len() <= self.config.segments_kept;
            if is_enough || state.evacuation.is_some() || state.unmovable == Some(oldest.header.number) {
                return Ok(());
            }
            let (from, to) = (oldest.header.first_position, next.header.first_position);
            let (found, bytes) = living(&state.groups, from, to);
            let quarters = quarters_max(state.segments.len(), self.config.segments_kept);
            if bytes > oldest.header.bytes / 4 * quarters {
                return Ok(());
            }
            (oldest.header.number, found)
        };
        let mut moved = Vec::new();
        for (group, index) in found {
            match self.entries(group, index, index + 1, 0) {
                Ok(one) => moved.extend(one.into_iter().map(|entry| (group, entry))),
                // Purged or truncated meanwhile: then there is nothing to move.
                Err(Error::NotHere { .. } | Error::NoSuchGroup(_)) => {}
                // What is damaged stays where it is, and its segment with it. Other failures pass.
                Err(error) => {
                    if error.kind() == engine::Kind::Damaged {
                        lock(&self.state).unmovable = Some(number);
                    }
                    return Ok(());
                }
            }
        }
        self.change(|state| {
            state.evacuate(number, moved);
            Ok(())
        })
    }

    /// The segment that is empty now, if one is.
    pub(super) fn ended_evacuation(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let ended = state.evacuation.take_if(|one| one.is_durable.load(Ordering::Acquire));
        ended.map(|one| one.number)
    }
}

impl State {
    fn evacuate(&mut self, number: u64, moved: Vec<(GroupId, Entry)>) {
        let is_durable = Arc::new(AtomicBool::new(false));
        for (group, entry) in moved {
            let place = self.groups.get(&group).and_then(|log| log.place(entry.log_id.index));
            if let Some(place) = place.filter(|place| place.log_id == entry.log_id) {
                self.queue.push_entry(Record::Moved(group, entry), place.ticket, None);
            }
        }
        // Behind everything that is moved, and behind every purge and truncation that was counted on.
        let told = is_durable.clone();
        let done = move |outcome: Result<(), String>| told.store(outcome.is_ok(), Ordering::Release);
        self.queue.push(Record::Marks(self.marks.clone()), Some(Box::new(done)));
        self.evacuation = Some(Evacuation { number, is_durable });
    }
}
