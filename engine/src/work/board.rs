//! The board: which tablets there are, which of them have work, and who is at it.

use crate::error::{Error, Result};
use crate::ids::TabletId;
use crate::limits;
use crate::memtable::budget;
use crate::stamp::Stamp;
use crate::tablet::ground::Ground;
use crate::tablet::health::Work;
use crate::tablet::{Tablet, lock};
use crate::work::scrub::ScrubJob;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// A unit of work that one worker has claimed.
pub(crate) enum Task {
    /// Commit an edit again whose commit failed.
    Retry(Arc<Tablet>),
    /// Remove a file nobody needs.
    Remove,
    /// Freeze the largest memtable: the budget is short.
    Freeze(Arc<Tablet>),
    /// Flush the oldest frozen memtable.
    Flush(Arc<Tablet>),
    /// Look for a compaction, and do it.
    Compact(Arc<Tablet>),
    /// Scrub the next file.
    Scrub,
}

/// Which tasks a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    /// Everything.
    All,
    /// Only what must not wait behind a compaction, and compactions that writers wait for.
    Urgent,
    /// Only what can wait: compaction, scrub, removal of files.
    Patient,
}

/// The board of a pool.
pub(crate) struct Board {
    pub(crate) ground: Arc<Ground>,
    rooms: Mutex<Rooms>,
    births: Mutex<()>,
    pub(crate) scrub: Mutex<ScrubJob>,
    /// Why a file could not be removed, and when it is tried again: milliseconds since 1970.
    removal: Mutex<Option<(String, u64)>>,
}

#[derive(Default)]
struct Rooms {
    tablets: BTreeMap<TabletId, Arc<Tablet>>,
    unreadable: BTreeMap<TabletId, String>,
    /// Claimed for retry, freeze or flush.
    flushing: BTreeSet<TabletId>,
    compacting: BTreeSet<TabletId>,
    /// Tablets that may have something to compact.
    compactable: BTreeSet<TabletId>,
    /// Tablets to look at again, for a key that was missing or for time that passes, and when: milliseconds since 1970.
    later: BTreeMap<TabletId, u64>,
    /// The tablet whose turn it was last, so that all get theirs.
    turn: Option<TabletId>,
}

impl Board {
    pub(crate) fn new(ground: Arc<Ground>) -> Self {
        Self {
            ground,
            rooms: Mutex::default(),
            births: Mutex::default(),
            scrub: Mutex::default(),
            removal: Mutex::default(),
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        lock(&self.rooms)
    }

    /// Held while tablets are created, split or dropped: one of these at a time.
    pub(crate) fn births(&self) -> MutexGuard<'_, ()> {
        lock(&self.births)
    }

    pub(crate) fn add(&self, tablet: Arc<Tablet>) {
        let mut rooms = self.rooms();
        rooms.compactable.insert(tablet.id());
        rooms.tablets.insert(tablet.id(), tablet);
    }

    pub(crate) fn remove(&self, id: TabletId) {
        let mut rooms = self.rooms();
        rooms.tablets.remove(&id);
        rooms.compactable.remove(&id);
    }

    pub(crate) fn add_unreadable(&self, id: TabletId, cause: String) {
        self.rooms().unreadable.insert(id, cause);
    }

    /// Forgets an unreadable tablet.
    pub(crate) fn remove_unreadable(&self, id: TabletId) {
        self.rooms().unreadable.remove(&id);
    }

    pub(crate) fn unreadable(&self) -> BTreeMap<TabletId, String> {
        self.rooms().unreadable.clone()
    }

    pub(crate) fn knows(&self, id: TabletId) -> bool {
        let rooms = self.rooms();
        rooms.tablets.contains_key(&id) || rooms.unreadable.contains_key(&id)
    }

    pub(crate) fn tablet(&self, id: TabletId) -> Result<Arc<Tablet>> {
        let rooms = self.rooms();
        if let Some(cause) = rooms.unreadable.get(&id) {
            return Err(Error::Fenced { tablet: id, cause: cause.clone() });
        }
        rooms.tablets.get(&id).cloned().ok_or(Error::NoSuchTablet(id))
    }

    pub(crate) fn tablets(&self) -> Vec<Arc<Tablet>> {
        self.rooms().tablets.values().cloned().collect()
    }

    /// Every tablet may have something to compact: a policy or a request changed.
    pub(crate) fn look_again(&self) {
        let mut rooms = self.rooms();
        rooms.compactable = rooms.tablets.keys().copied().collect();
        drop(rooms);
        self.ground.bell.ring();
    }

    /// A tablet may have something to compact.
    pub(crate) fn look_at(&self, id: TabletId) {
        let mut rooms = self.rooms();
        if rooms.tablets.contains_key(&id) {
            rooms.compactable.insert(id);
        }
    }

    /// A tablet that waits for a key or for its disk, or that time alone may give something to do, is looked at again when it is
    /// time to.
    pub(crate) fn look_later(&self, tablet: &Tablet) {
        let until_ms = lock(&tablet.requests).keyless_until();
        let has_tables = tablet.snapshot().levels.tables().next().is_some();
        let may_ripen = has_tables && self.ground.policy(Stamp::MAX, 0).has_windows();
        let may_change = may_ripen || tablet.has_shut_tables();
        let look_ms = self.ground.clock.now_ms().saturating_add(limits::TIDY_LOOK_MS);
        if let Some(at_ms) = until_ms.or(may_change.then_some(look_ms)) {
            self.rooms().later.insert(tablet.id(), at_ms);
        }
    }

    /// The most pressing work that nobody is at. Give it back with [`Board::release`].
    pub(crate) fn claim(&self, shift: Shift) -> Option<Task> {
        self.ground.passed.look(self.ground.clock.now_ms());
        let mut rooms = self.rooms();
        if shift != Shift::Patient
            && let Some(task) = rooms.claim_flush(&self.ground)
        {
            return Some(task);
        }
        // What a manifest names that cannot be read is not known, so nothing goes.
        if rooms.unreadable.is_empty() && self.ground.files.has_doomed() && self.may_remove() {
            return Some(Task::Remove);
        }
        if shift == Shift::Urgent {
            // Writers are held up, or soon will be, while those who should compact are at other tablets.
            return rooms.claim_compaction(&self.ground, is_pressing);
        }
        let compaction = rooms.claim_compaction(&self.ground, |_| true);
        compaction.or_else(|| lock(&self.scrub).has_more().then_some(Task::Scrub))
    }

    fn may_remove(&self) -> bool {
        let now_ms = self.ground.clock.now_ms();
        lock(&self.removal).as_ref().is_none_or(|(_, at)| is_due(*at, now_ms, limits::RETRY_MS))
    }

    /// Notes how a removal went; after a failure other work goes first for a while.
    pub(crate) fn note_removal(&self, failure: Option<String>) {
        let again_ms = self.ground.clock.now_ms().saturating_add(limits::RETRY_MS);
        *lock(&self.removal) = failure.map(|cause| (cause, again_ms));
    }

    /// Why files that nobody needs are still there, if removing one has failed.
    pub(crate) fn removal_failure(&self) -> Option<String> {
        lock(&self.removal).as_ref().map(|(cause, _)| cause.clone())
    }

    pub(crate) fn release(&self, task: &Task) {
        let mut rooms = self.rooms();
        match task {
            Task::Retry(tablet) | Task::Freeze(tablet) | Task::Flush(tablet) => {
                rooms.flushing.remove(&tablet.id());
            }
            Task::Compact(tablet) => {
                rooms.compacting.remove(&tablet.id());
            }
            Task::Remove | Task::Scrub => {}
        }
    }
}

impl Rooms {
    fn claim_flush(&mut self, ground: &Ground) -> Option<Task> {
        let now_ms = ground.clock.now_ms();
        let mut sizes = Vec::new();
        let mut best: Option<(usize, Arc<Tablet>)> = None;
        for (id, tablet) in &self.tablets {
            if tablet.is_closed() || self.flushing.contains(id) || !tablet.health().allows_work(now_ms) {
                continue;
            }
            if tablet.has_pending_edit() {
                self.flushing.insert(*id);
                return Some(Task::Retry(tablet.clone()));
            }
            let snapshot = tablet.snapshot();
            let waiting = tablet.flushable(&snapshot);
            if waiting == 0 && tablet.health().is_stopped_by(Work::Flush) {
                // What failed has been made good by other work, or is there no more.
                self.flushing.insert(*id);
                return Some(Task::Retry(tablet.clone()));
            }
            if waiting > best.as_ref().map_or(0, |(most, _)| *most) {
                best = Some((waiting, tablet.clone()));
            }
            let frozen: usize = snapshot.frozen.iter().map(|frozen| frozen.counted.memtable.bytes()).sum();
            sizes.push((*id, snapshot.active.memtable.bytes(), frozen));
        }
        if let Some((_, tablet)) = best {
            self.flushing.insert(tablet.id());
            return Some(Task::Flush(tablet));
        }
        let config = &ground.config;
        let largest = budget::choose(config.freeze_bytes(), config.memtable_bytes_per_tablet, &sizes)?;
        let tablet = self.tablets.get(&largest)?.clone();
        self.flushing.insert(largest);
        Some(Task::Freeze(tablet))
    }

    fn claim_compaction(&mut self, ground: &Ground, is_wanted: impl Fn(&Tablet) -> bool) -> Option<Task> {
        let now_ms = ground.clock.now_ms();
        let called = std::mem::take(&mut *lock(&ground.attention));
        let due = self.later.extract_if(.., |_, at| is_due(*at, now_ms, limits::KEYLESS_RETRY_MS));
        let called = called.into_iter().chain(due.map(|(id, _)| id));
        self.compactable.extend(called.filter(|id| self.tablets.contains_key(id)));
        let after = self.turn.map_or(TabletId(0), |turn| TabletId(turn.0.wrapping_add(1)));
        let in_turn = self.compactable.range(after..).chain(self.compactable.range(..after));
        let id = in_turn.copied().find(|id| {
            !self.compacting.contains(id)
                && self.tablets.get(id).is_some_and(|one| may_compact(one, now_ms) && is_wanted(one))
        })?;
        let tablet = self.tablets.get(&id)?.clone();
        self.compactable.remove(&id);
        self.compacting.insert(id);
        self.turn = Some(id);
        Some(Task::Compact(tablet))
    }
}

/// Whether it is time for what waits until `at_ms`, at most `pause_ms` from when it began: a clock that went back must not
/// keep it waiting for ever.
pub(super) fn is_due(at_ms: u64, now_ms: u64, pause_ms: u64) -> bool {
    now_ms >= at_ms || at_ms - now_ms > pause_ms
}

/// Whether level 0 is so full that writers are asked to slow down.
fn is_pressing(tablet: &Tablet) -> bool {
    tablet.snapshot().tables.first().is_some_and(|level0| level0.len() >= limits::LEVEL0_SLOW_TABLES)
}

fn may_compact(tablet: &Tablet, now_ms: u64) -> bool {
    !tablet.is_closed() && tablet.health().allows_work(now_ms) && !tablet.has_pending_edit()
}
