//! Entries back from the log: from memory, or record by record from their segments.

use super::index::{Extent, Place};
use super::record::{Entry, GroupState, Record};
use super::writer::{SegmentFile, io};
use super::{Log, lock, segment};
use crate::error::{Error, Result};
use crate::limits::COLD_READS_MAX;
use crate::types::{GroupId, LogId};
use bytes::Bytes;
use engine::error::{Damage, Nature};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// Who reads what is in memory no more.
pub(super) struct ColdReads {
    /// Whether threads of their own do, as in production. A simulation has none: there the task that asks reads.
    has_threads: AtomicBool,
    /// So many at once.
    turns: Arc<Semaphore>,
}

impl Default for ColdReads {
    fn default() -> Self {
        Self { has_threads: AtomicBool::new(false), turns: Arc::new(Semaphore::new(COLD_READS_MAX)) }
    }
}

impl ColdReads {
    /// From now on threads of their own read.
    pub(super) fn use_threads(&self) {
        self.has_threads.store(true, Ordering::Relaxed);
    }
}

enum Sought {
    Here(Entry),
    OnDisk(Arc<SegmentFile>, Place),
}

impl Log {
    /// The group as it stands.
    ///
    /// # Errors
    /// `NoSuchGroup`.
    pub fn state(&self, group: GroupId) -> Result<GroupState> {
        Ok(*lock(&self.state).living(group)?.state())
    }

    /// First index that is here, and the one after the last.
    ///
    /// # Errors
    /// `NoSuchGroup`.
    pub fn bounds(&self, group: GroupId) -> Result<(u64, u64)> {
        let mut state = lock(&self.state);
        let log = state.living(group)?;
        Ok((log.first(), log.end()))
    }

    /// How much of the group's log there is.
    ///
    /// # Errors
    /// `NoSuchGroup`.
    pub fn extent(&self, group: GroupId) -> Result<Extent> {
        Ok(lock(&self.state).living(group)?.extent())
    }

    /// The last entry of the group that is durable; what was purged counts.
    ///
    /// # Errors
    /// `NoSuchGroup`.
    pub fn stored(&self, group: GroupId) -> Result<Option<LogId>> {
        Ok(lock(&self.state).living(group)?.stored())
    }

    /// Which entry stands at `index`, and the stamp stored with it; `None` if none is here.
    ///
    /// # Errors
    /// `NoSuchGroup`.
    pub fn stamped(&self, group: GroupId, index: u64) -> Result<Option<(LogId, u64)>> {
        let mut state = lock(&self.state);
        Ok(state.living(group)?.place(index).map(|place| (place.log_id, place.stamp)))
    }

    /// The stamp stored with the last entry; `None` if no entry is here.
    ///
    /// # Errors
    /// `NoSuchGroup`.
    pub fn last_stamp(&self, group: GroupId) -> Result<Option<u64>> {
        let mut state = lock(&self.state);
        let log = state.living(group)?;
        Ok(log.end().checked_sub(1).and_then(|last| log.place(last)).map(|place| place.stamp))
    }

    /// The entries `from..to` of the group, as many as come to about `bytes_max` bytes, but one at least.
    ///
    /// # Errors
    /// `NotHere`: one of them is purged or not there yet. `Damaged`: one is damaged on disk. `NoSuchGroup`; disk.
    pub fn entries(&self, group: GroupId, from: u64, to: u64, bytes_max: u64) -> Result<Vec<Entry>> {
        let sought = self.find(group, from, to, bytes_max)?;
        sought.into_iter().map(|one| self.fetch(group, one)).collect()
    }

    /// As [`Log::entries`], but whoever asks does not wait for the disk on the thread that runs its task, if a thread writes the log:
    /// then others read too, a few at once. `held` is kept until the read is over, also if the future is dropped before.
    ///
    /// # Errors
    /// As [`Log::entries`].
    pub async fn entries_aside(
        self: &Arc<Self>,
        group: GroupId,
        (from, to): (u64, u64),
        bytes_max: u64,
        held: impl Send + 'static,
    ) -> Result<Vec<Entry>> {
        let sought = self.find(group, from, to, bytes_max)?;
        let is_cold = sought.iter().any(|one| matches!(one, Sought::OnDisk(..)));
        let own = self.clone();
        let read = move || sought.into_iter().map(|one| own.fetch(group, one)).collect();
        if !is_cold || !self.cold.has_threads.load(Ordering::Relaxed) {
            return read();
        }
        // It is never closed. Whoever asks may give up: the read goes on, and keeps its turn.
        let turn = self.cold.turns.clone().acquire_owned().await;
        let aside = move || {
            let entries = read();
            drop((held, turn));
            entries
        };
        let entries = tokio::task::spawn_blocking(aside).await;
        entries.map_err(|_| Error::Fenced { cause: "a thread that read the log ended".to_owned() })?
    }

    /// Reads one entry. It may be purged, or written again elsewhere and its segment written over, while it is read: then it is
    /// looked up anew, and only what is bad where it still should be is damage.
    fn fetch(&self, group: GroupId, mut sought: Sought) -> Result<Entry> {
        loop {
            let (segment, place) = match sought {
                Sought::Here(entry) => return Ok(entry),
                Sought::OnDisk(segment, place) => (segment, place),
            };
            let error = match self.read(group, &segment, &place) {
                Ok(entry) => return Ok(entry),
                Err(error) => error,
            };
            let index = place.log_id.index;
            let again = self.find(group, index, index + 1, 0)?.pop();
            let gone =
                || Error::NotHere { group, from: index, to: index + 1, first: index + 1, end: index + 1 };
            sought = again.ok_or_else(gone)?;
            match &sought {
                Sought::Here(entry) if entry.log_id != place.log_id => return Err(gone()),
                Sought::OnDisk(_, now) if now.log_id != place.log_id => return Err(gone()),
                Sought::OnDisk(_, now) if now.position == place.position => return Err(error),
                _ => {}
            }
        }
    }

    fn find(&self, group: GroupId, from: u64, to: u64, bytes_max: u64) -> Result<Vec<Sought>> {
        let mut state = lock(&self.state);
        let log = state.living(group)?;
        let (first, end) = (log.first(), log.end());
        if from < first || to > end {
            return Err(Error::NotHere { group, from, to, first, end });
        }
        let mut places = Vec::new();
        let mut bytes = 0;
        for place in (from..to).filter_map(|index| log.place(index).copied()) {
            bytes += u64::from(place.bytes);
            if bytes > bytes_max && !places.is_empty() {
                break;
            }
            places.push(place);
        }
        let sought = places.into_iter().map(|place| {
            if let Some(entry) = state.cache.get(group, place.log_id) {
                self.stats.log.cache_hit_entries.add(1);
                return Ok(Sought::Here(entry.clone()));
            }
            self.stats.log.cache_missed_entries.add(1);
            let segment = place.position.and_then(|at| state.segments.range(..=at).next_back());
            let lost = || Damage::of(Nature::Missing, "an entry is in no segment").at(group);
            segment.map(|(_, one)| Sought::OnDisk(one.clone(), place)).ok_or_else(|| lost().into())
        });
        sought.collect()
    }

    /// Reads an entry from its segment.
    fn read(&self, group: GroupId, segment: &SegmentFile, place: &Place) -> Result<Entry> {
        let position = place.position.unwrap_or_default();
        let offset = segment.header.offset(position);
        let path = self.config.dir.join(segment::file_name(segment.header.number));
        let mut bytes = vec![0; place.bytes as usize];
        self.stats.log.disk_reads.add(1);
        segment.file.read_exact_at(&mut bytes, offset).map_err(|error| io("read", &path, error))?;
        let damage = match Record::decode(&Bytes::from(bytes), position, &segment.header.salt) {
            Ok((Record::Entry(its, entry) | Record::Moved(its, entry), _))
                if its == group && entry.log_id == place.log_id =>
            {
                return Ok(entry);
            }
            Ok(_) => Damage::of(Nature::WrongPlace, "another record stands where an entry should"),
            Err(damage) => damage,
        };
        Err(Error::DamagedInside { segment: segment.header.number, offset, damage })
    }
}
