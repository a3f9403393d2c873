//! One log a node, for all its groups: open it, put records in, read entries back.
//!
//! A record goes: [`Log::append`] and the like -> the picture of its group, and the queue -> [`Log::step`], which writes what
//! waits as one write and syncs it -> whoever waits is told. Entries can be read from the moment they are put in.

mod ahead;
mod cache;
mod config;
mod evacuate;
pub mod index;
pub mod purge;
mod queue;
mod read;
pub mod record;
mod recovered;
mod replay;
pub mod segment;
mod states;
mod step;
pub mod store;
pub mod tail;
mod thread;
mod writer;

pub use config::LogConfig;
pub use queue::Done;
pub use record::{Entry, GroupState, Mark};
pub use recovered::{Found, RecoveredLog};
pub use segment::LogName;
pub use step::Stepped;
pub use thread::LogThread;

use crate::error::{Error, Last, Result};
use crate::planted::{self, Planted};
use crate::stats::{LogStats, Stats};
use crate::types::{GroupId, LogId, ReplicaId, Vote};
use cache::Cache;
use engine::disk::{DirLock, Disk};
use engine::entropy::Entropy;
use engine::ids::NodeId;
use engine::sealed::Sealer;
use evacuate::Evacuation;
use index::{GroupLog, Writing};
use queue::Queue;
use read::ColdReads;
use record::{INDEX_MAX, Record, entry_bytes};
use replay::Replayed;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use writer::io;
use writer::{SegmentFile, Tools, Writer};

/// What a log is given by its owner.
#[derive(Clone)]
pub struct LogParts {
    /// Where its files live.
    pub disk: Arc<dyn Disk>,
    /// Has the node's mac key.
    pub sealer: Arc<Sealer>,
    /// Names and salts.
    pub entropy: Arc<dyn Entropy>,
    /// The node.
    pub node: NodeId,
    /// Where it counts, and everything that works over it.
    pub stats: Arc<Stats>,
}

/// One log a node. Clone the `Arc` it comes in.
pub struct Log {
    config: LogConfig,
    state: Mutex<State>,
    /// Rings when something waits to be written, or the log is closed.
    bell: Condvar,
    /// Rings when a segment is begun, or the log is closed.
    begun: Condvar,
    writer: Mutex<Writer>,
    cold: ColdReads,
    found: Found,
    stats: Arc<Stats>,
    /// Whether the disk has so little room that nothing of peers is taken.
    is_short_of_space: AtomicBool,
    _lock: Box<dyn DirLock>,
}

struct State {
    groups: BTreeMap<GroupId, GroupLog>,
    queue: Queue,
    cache: Cache,
    /// By first position.
    segments: BTreeMap<u64, Arc<SegmentFile>>,
    durable: u64,
    /// As noted last.
    marks: Vec<Mark>,
    evacuation: Option<Evacuation>,
    /// A segment with an entry that could not be read: it is not emptied.
    unmovable: Option<u64>,
    /// Of the next append.
    next_ticket: u64,
    /// Why nothing is done any more.
    fenced: Option<String>,
    is_closing: bool,
    /// A segment was begun, and nobody has looked yet whether the next ones are ready.
    has_begun: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Locks the folder, reads the log, and goes on in a new segment that says so. Whoever may have to be refused reads it first:
    /// see [`RecoveredLog`].
    ///
    /// # Errors
    /// As [`RecoveredLog::read`] and [`RecoveredLog::begin`].
    pub fn open(config: LogConfig, parts: LogParts) -> Result<Arc<Self>> {
        RecoveredLog::read(config, parts)?.begin()
    }

    fn begin(
        config: LogConfig,
        tools: Tools,
        replayed: Replayed,
        (lock, found): (Box<dyn DirLock>, Found),
    ) -> Result<Arc<Self>> {
        let Replayed { groups, segments, resume, .. } = replayed;
        let stats = tools.stats.clone();
        let mut writer = Writer::begin(tools, resume)?;
        let mut segments: BTreeMap<u64, Arc<SegmentFile>> =
            segments.into_iter().map(|one| (one.header.first_position, one)).collect();
        segments.insert(writer.current().header.first_position, writer.current().clone());
        let written = writer.write(vec![Record::Incarnation(found.incarnation, found.boot_nonce)])?;
        let freed = writer.free()?;
        writer.measure_spares();
        segments.retain(|_, one| !freed.contains(&one.header.number));
        let state = State {
            groups,
            queue: Queue::default(),
            cache: Cache::new(config.cache_bytes),
            segments,
            durable: written.end,
            marks: found.marks.clone(),
            evacuation: None,
            unmovable: None,
            next_ticket: 1,
            fenced: None,
            is_closing: false,
            has_begun: true,
        };
        state.measure(&stats.log);
        Ok(Arc::new(Self {
            config,
            state: Mutex::new(state),
            bell: Condvar::new(),
            begun: Condvar::new(),
            writer: Mutex::new(writer),
            cold: ColdReads::default(),
            found,
            stats,
            is_short_of_space: AtomicBool::new(false),
            _lock: lock,
        }))
    }

    /// What its start found.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Where everything of the node counts.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Everything before this log position is durable. Never goes back.
    #[must_use]
    pub fn durable(&self) -> u64 {
        lock(&self.state).durable
    }

    /// Why it refuses all work, if it does.
    #[must_use]
    pub fn fenced(&self) -> Option<String> {
        lock(&self.state).fenced.clone()
    }

    /// Whether the disk has so little room that no entries and no snapshots of leaders elsewhere are taken: a write that finds none would
    /// fence the log. They come again, and heartbeats and votes go on.
    pub fn set_short_of_space(&self, is_short: bool) {
        self.is_short_of_space.store(is_short, Ordering::Relaxed);
    }

    pub(crate) fn is_short_of_space(&self) -> bool {
        self.is_short_of_space.load(Ordering::Relaxed)
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        lock(&self.state).queue.bytes()
    }

    /// Every group whose replica lives here, as it stands.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<GroupId, GroupState> {
        let state = lock(&self.state);
        let living = state.groups.iter().filter(|(_, log)| log.state().replica != ReplicaId(0));
        living.map(|(group, log)| (*group, *log.state())).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = lock(&self.state);
        if let Some(cause) = &state.fenced {
            return Err(Error::Fenced { cause: cause.clone() });
        }
        let was_idle = state.queue.is_empty();
        let done = change(&mut state)?;
        // The one who writes looks before it sleeps: it is woken by the first that waits alone, and finds the lock free.
        let rings = was_idle && !state.queue.is_empty();
        drop(state);
        if rings {
            self.bell.notify_all();
        }
        Ok(done)
    }

    /// A replica is born here. `done` is told when that is durable; before, it may give no vote and acknowledge nothing.
    ///
    /// # Errors
    /// `ReplicaLives`, `ReplicaUsed`, `Fenced`; `TooLarge` over `GROUPS_MAX`.
    pub fn open_replica(&self, group: GroupId, replica: ReplicaId, done: Done) -> Result<()> {
        self.change(|state| {
            let (got, max) = (state.groups.len() as u64 + 1, self.config.groups_max as u64);
            if got > max && !state.groups.contains_key(&group) {
                return Err(Error::TooLarge { what: "groups that live or have lived here", got, max });
            }
            let record = Record::Open(group, replica);
            match state.groups.get_mut(&group) {
                Some(log) => log.apply(group, &record)?,
                None => {
                    let mut log = GroupLog::default();
                    log.apply(group, &record)?;
                    state.groups.insert(group, log);
                }
            }
            state.queue.push(record, Some(done));
            Ok(())
        })
    }

    /// The replica is gone for ever: its entries may go, and its id is never used again.
    ///
    /// # Errors
    /// `NoSuchGroup`, `Fenced`.
    pub fn close_replica(&self, group: GroupId, done: Done) -> Result<()> {
        self.change(|state| {
            let log = state.living(group)?;
            let record = Record::Close(group, log.state().replica);
            log.apply(group, &record)?;
            state.cache.forget(group, 0, u64::MAX);
            state.queue.forget(group);
            state.queue.push(record, Some(done));
            Ok(())
        })
    }

    /// Puts `entries` behind the last of the group. They can be read at once; `done` is told when they are durable, or not at
    /// all if a later append of the group is in the same write: that one's is told then.
    ///
    /// # Errors
    /// `Gap`, `TooLarge`: nothing was put in. `NoSuchGroup`, `Fenced`.
    pub fn append(&self, group: GroupId, entries: Vec<Entry>, done: Done) -> Result<()> {
        let done: Done = if planted::is(Planted::AcknowledgeBeforeSync) {
            done(Ok(()));
            Box::new(|_| ())
        } else {
            done
        };
        self.change(|state| {
            let last = state.living(group)?.state().last;
            check_run(group, last, &entries, self.config.entry_bytes_max)?;
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let mut done = Some(done);
            let mut left = entries.len();
            if left == 0 {
                // Nothing of its own to make durable, but all that was put in before: said once more, it changes nothing.
                let committed = state.living(group)?.state().committed;
                state.queue.push(Record::Committed(group, committed), done.take());
            }
            for entry in entries {
                left -= 1;
                let bytes = u32::try_from(entry_bytes(&entry)).expect("ENTRY_BYTES_MAX fits u32");
                state.living(group)?.push(group, &entry, Writing { bytes, ticket, position: None })?;
                state.cache.insert(group, entry.clone(), ticket);
                let done = if left == 0 { done.take() } else { None };
                state.queue.push_entry(Record::Entry(group, entry), ticket, done);
            }
            Ok(())
        })
    }

    /// Stores the vote; `done` is told when it is durable. Before that it must not be given.
    ///
    /// # Errors
    /// `NoSuchGroup`, `Fenced`.
    pub fn save_vote(&self, group: GroupId, vote: Vote, done: Done) -> Result<()> {
        if planted::is(Planted::ForgetVote) {
            done(Ok(()));
            return self.change(|state| state.living(group)?.apply(group, &Record::Vote(group, vote)));
        }
        self.put(group, Record::Vote(group, vote), Some(done))
    }

    /// Notes what is committed: written behind the entries it names, with the next write there is.
    ///
    /// # Errors
    /// `NoSuchGroup`, `Fenced`.
    pub fn save_committed(&self, group: GroupId, upto: Option<LogId>) -> Result<()> {
        self.change(|state| {
            state.living(group)?.apply(group, &Record::Committed(group, upto))?;
            state.queue.commit(group, upto);
            Ok(())
        })
    }

    /// Drops the entries behind `after`, all if it is `None`. Ordered with what comes later; not awaited.
    ///
    /// # Errors
    /// `Gap`: no such entry is here. `NoSuchGroup`, `Fenced`.
    pub fn truncate_after(&self, group: GroupId, after: Option<LogId>) -> Result<()> {
        self.change(|state| {
            let log = state.living(group)?;
            let is_here = |id: LogId| log.place(id.index).is_some_and(|place| place.log_id == id);
            if let Some(id) = after.filter(|id| log.state().purged != Some(*id) && !is_here(*id)) {
                return Err(Error::Gap { group, entry: id, last: Last(log.state().last) });
            }
            let record = Record::Truncate(group, after);
            log.apply(group, &record)?;
            state.cache.forget(group, after.map_or(0, |id| id.index + 1), u64::MAX);
            if !planted::is(Planted::ForgetTruncation) {
                state.queue.push(record, None);
            }
            Ok(())
        })
    }

    /// Drops the entries up to `upto`, whether they are here or not. Segments in which nothing lives any more are used again
    /// once that is durable.
    ///
    /// # Errors
    /// `NoSuchGroup`, `Fenced`; `Invalid` for an index that nothing can follow.
    pub fn purge(&self, group: GroupId, upto: LogId) -> Result<()> {
        if upto.index > INDEX_MAX {
            return Err(Error::Invalid("nothing can follow the greatest index there is"));
        }
        self.change(|state| {
            let record = Record::Purge(group, upto);
            state.living(group)?.apply(group, &record)?;
            state.cache.forget(group, 0, upto.index + 1);
            state.queue.push(record, None);
            Ok(())
        })
    }

    /// Notes that edit `sequence` of the group's manifest is durable, with `applied` in it.
    ///
    /// # Errors
    /// `NoSuchGroup`, `Fenced`.
    pub fn note_manifest(&self, group: GroupId, sequence: u64, applied: Option<LogId>) -> Result<()> {
        self.put(group, Record::Manifest(group, sequence, applied), None)
    }

    /// Notes what peers were heard to have made durable.
    ///
    /// # Errors
    /// `TooLarge` over `MARKS_MAX`; `Fenced`.
    pub fn note_marks(&self, marks: Vec<Mark>) -> Result<()> {
        let (got, max) = (marks.len() as u64, self.config.peers_max as u64);
        if got > max {
            return Err(Error::TooLarge { what: "marks", got, max });
        }
        self.change(|state| {
            state.marks.clone_from(&marks);
            state.queue.push(Record::Marks(marks), None);
            Ok(())
        })
    }

    fn put(&self, group: GroupId, record: Record, done: Option<Done>) -> Result<()> {
        self.change(|state| {
            state.living(group)?.apply(group, &record)?;
            state.queue.push(record, done);
            Ok(())
        })
    }

    /// Ends the thread that writes, and refuses what comes later.
    pub fn close(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            state.is_closing = true;
            state.fenced.get_or_insert_with(|| "the log is closed".to_owned());
            state.queue.take_waiters()
        };
        self.bell.notify_all();
        self.begun.notify_all();
        waiting.into_iter().for_each(|done| done(Err("the log is closed".to_owned())));
    }

    /// Waits until something is there to be written. False once the log is closed or fenced.
    fn wait(&self) -> bool {
        let is_idle =
            |state: &mut State| state.queue.is_empty() && state.fenced.is_none() && !state.is_closing;
        let state = self.bell.wait_while(lock(&self.state), is_idle).unwrap_or_else(PoisonError::into_inner);
        !state.is_closing && state.fenced.is_none()
    }
}

impl State {
    fn living(&mut self, group: GroupId) -> Result<&mut GroupLog> {
        let living = self.groups.get_mut(&group).filter(|log| log.state().replica != ReplicaId(0));
        living.ok_or(Error::NoSuchGroup(group))
    }

    /// Tells how much there is of segments.
    fn measure(&self, stats: &LogStats) {
        let first = self.segments.keys().next().copied().unwrap_or(self.durable);
        stats.kept_segments.set(self.segments.len() as u64);
        stats.kept_bytes.set(self.durable.saturating_sub(first));
    }
}

/// Entries follow the last and one another, and none is too large.
fn check_run(group: GroupId, mut last: Option<LogId>, entries: &[Entry], bytes_max: usize) -> Result<()> {
    for entry in entries {
        let (got, max) = (entry.payload.len() as u64, bytes_max as u64);
        if got > max {
            return Err(Error::TooLarge { what: "bytes of an entry", got, max });
        }
        let follows = |last: LogId| entry.log_id.index == last.index + 1 && entry.log_id.term >= last.term;
        if !last.is_none_or(follows) || entry.log_id.index > INDEX_MAX {
            return Err(Error::Gap { group, entry: entry.log_id, last: Last(last) });
        }
        last = Some(entry.log_id);
    }
    Ok(())
}
