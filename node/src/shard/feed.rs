//! What is applied to the groups of this node, for those who watch: of each group that somebody watches the last entries, as many as there
//! is room for. Whoever comes too late to an entry reads what the tablet keeps instead.

use super::watch::Rows;
use crate::limits;
use engine::Stamp;
use engine::tablet::batch::Batch;
use engine::tablet::changes::Change;
use raft::machine::AppliedEntry;
use raft::planted::{self, Planted};
use raft::types::GroupId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::watch;

/// An entry that was applied.
pub struct Applied {
    /// Nothing comes at or below this stamp any more.
    pub upto: Stamp,
    /// Which entry of the log it is.
    pub index: u64,
    batch: Batch,
}

impl Applied {
    /// What it wrote, all of it.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// What it wrote to `rows` behind `after`, by stamp; of one stamp, deletions of ranges first.
    ///
    /// # Errors
    /// `Damaged`: a key that is none.
    pub fn changes(&self, rows: &Rows, after: Stamp) -> engine::Result<Vec<(Stamp, Change)>> {
        let mut changes = Vec::new();
        for op in self.batch.ops() {
            if let Some((stamp, change)) = rows.change(op)?.filter(|(stamp, _)| *stamp > after) {
                changes.push((stamp, change));
            }
        }
        let is_row = |change: &Change| !matches!(change, Change::DeleteRange { .. });
        changes.sort_by_key(|(stamp, change)| (*stamp, is_row(change)));
        Ok(changes)
    }
}

/// The last entries of one group.
#[derive(Default)]
struct Ring {
    /// The number of the first of them.
    first: u64,
    last: VecDeque<(Arc<Applied>, usize)>,
    bytes: usize,
    watchers: usize,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.last.len() as u64
    }

    /// Lets the oldest go until not more than `keep` bytes are left; how many bytes have gone.
    fn trim(&mut self, keep: usize) -> usize {
        let before = self.bytes;
        while self.bytes > keep {
            let Some((_, bytes)) = self.last.pop_front() else { break };
            self.first += 1;
            self.bytes -= bytes;
        }
        before - self.bytes
    }
}

/// One group that is watched.
struct Watched {
    ring: Mutex<Ring>,
    /// The number behind the last entry.
    end: watch::Sender<u64>,
}

impl Watched {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct All {
    watched: RwLock<BTreeMap<GroupId, Arc<Watched>>>,
    /// Bytes in all rings.
    bytes: AtomicUsize,
    watches: AtomicUsize,
    /// Watches that read much at once.
    large: AtomicUsize,
}

/// The groups of a node that are watched. Clones are the same.
#[derive(Clone, Default)]
pub struct Feeds(Arc<All>);

impl Feeds {
    fn of(&self, group: GroupId) -> Option<Arc<Watched>> {
        self.0.watched.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    /// An entry was applied to the tablet of a group. Does not wait.
    pub fn applied(&self, group: GroupId, entry: &AppliedEntry<'_>) {
        let Some(watched) = self.of(group) else { return };
        if planted::is(Planted::KeepEntriesFromWatches) && entry.log_id.index.is_multiple_of(16) {
            return;
        }
        let bytes = entry.batch.bytes() + size_of::<Applied>();
        let applied =
            Arc::new(Applied { upto: entry.last, index: entry.log_id.index, batch: entry.batch.clone() });
        let mut ring = watched.ring();
        if ring.watchers == 0 {
            // The last one has just gone, and nobody would ever give these bytes back.
            return;
        }
        ring.last.push_back((applied, bytes));
        ring.bytes += bytes;
        let all = self.0.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let over = all.saturating_sub(limits::FEEDS_BYTES_MAX);
        let keep = limits::FEED_BYTES_MAX.min(ring.bytes.saturating_sub(over));
        let gone = ring.trim(keep);
        self.0.bytes.fetch_sub(gone, Ordering::Relaxed);
        watched.end.send_replace(ring.end());
    }

    /// A snapshot took the place of all that was: what comes next does not follow what was heard. Does not wait.
    pub fn installed(&self, group: GroupId) {
        let Some(watched) = self.of(group) else { return };
        let mut ring = watched.ring();
        let gone = ring.trim(0);
        self.0.bytes.fetch_sub(gone, Ordering::Relaxed);
        // Nobody who heard what was before goes on without looking.
        ring.first += 1;
        watched.end.send_replace(ring.end());
    }

    /// Hears of what is applied to a group from now on.
    #[must_use]
    pub fn hear(&self, group: GroupId) -> Hearing {
        let mut all = self.0.watched.write().unwrap_or_else(PoisonError::into_inner);
        let watched = all
            .entry(group)
            .or_insert_with(|| Arc::new(Watched { ring: Mutex::default(), end: watch::Sender::new(0) }));
        let mut ring = watched.ring();
        ring.watchers += 1;
        let (next, end) = (ring.end(), watched.end.subscribe());
        drop(ring);
        Hearing { feeds: self.clone(), group, watched: watched.clone(), next, end }
    }

    /// A place for one watch; none if there are as many as there may be.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let taken = self.0.watches.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        (taken < limits::WATCHES_MAX).then_some(place)
    }

    /// Room for one watch to read much at once; none if there are as many of these as there may be.
    #[must_use]
    pub fn large(&self) -> Option<Large> {
        let taken = self.0.large.fetch_add(1, Ordering::Relaxed);
        let large = Large(self.clone());
        (taken < limits::WATCHES_LARGE_MAX).then_some(large)
    }
}

/// Room for one watch to read much at once.
pub struct Large(Feeds);

impl Drop for Large {
    fn drop(&mut self) {
        self.0.0.large.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of one watch.
pub struct Place(Feeds);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is heard of a group.
pub struct Hearing {
    feeds: Feeds,
    group: GroupId,
    watched: Arc<Watched>,
    /// The number of the entry that is next.
    next: u64,
    end: watch::Receiver<u64>,
}

/// An entry that is gone was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed;

impl Hearing {
    /// The next entry, if one was applied.
    ///
    /// # Errors
    /// [`Missed`]: it is gone, and so is whatever is to be known of it here.
    pub fn take(&mut self) -> Result<Option<Arc<Applied>>, Missed> {
        let ring = self.watched.ring();
        let place = self.next.checked_sub(ring.first).ok_or(Missed)?;
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let found = ring.last.get(place).map(|(applied, _)| applied.clone());
        self.next += u64::from(found.is_some());
        Ok(found)
    }

    /// Waits until there may be one.
    pub async fn waits(&mut self) {
        let next = self.next;
        // The sender is kept here: it cannot go away meanwhile.
        let _ = self.end.wait_for(|end| *end > next).await;
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut all = self.feeds.0.watched.write().unwrap_or_else(PoisonError::into_inner);
        let mut ring = self.watched.ring();
        ring.watchers -= 1;
        if ring.watchers == 0 {
            let gone = ring.trim(0);
            self.feeds.0.bytes.fetch_sub(gone, Ordering::Relaxed);
            all.remove(&self.group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::{CollectionId, LogIndex, TenantId};
    use raft::types::LogId;

    const OF: (TenantId, CollectionId) = (TenantId(7), CollectionId(1));
    const GROUP: GroupId = GroupId(2);

    fn tell(feeds: &Feeds, group: GroupId, stamp: u64, value: &[u8]) {
        let mut batch = Batch::new(LogIndex(stamp));
        batch.put(OF.0, OF.1, b"k", value, Stamp(stamp), 0).unwrap();
        let (log_id, last) = (LogId::default(), Stamp(stamp));
        feeds.applied(group, &AppliedEntry { log_id, last, closed: last, batch: &batch });
    }

    fn heard(hearing: &mut Hearing) -> Result<Vec<u64>, Missed> {
        let mut all = Vec::new();
        while let Some(applied) = hearing.take()? {
            all.push(applied.upto.0);
        }
        Ok(all)
    }

    #[test]
    fn everybody_hears_all_that_comes_and_nothing_that_is_not_watched_is_kept() {
        let feeds = Feeds::default();
        tell(&feeds, GROUP, 1, b"");
        let mut first = feeds.hear(GROUP);
        tell(&feeds, GROUP, 2, b"");
        tell(&feeds, GroupId(3), 3, b"");
        let mut second = feeds.hear(GROUP);
        tell(&feeds, GROUP, 4, b"");
        assert_eq!((heard(&mut first), heard(&mut second)), (Ok(vec![2, 4]), Ok(vec![4])));
        assert_eq!((heard(&mut first), heard(&mut second)), (Ok(vec![]), Ok(vec![])));
        drop(first);
        assert!(feeds.0.bytes.load(Ordering::Relaxed) > 0, "somebody is there still");
        drop(second);
        assert_eq!(feeds.0.bytes.load(Ordering::Relaxed), 0);
        assert!(feeds.of(GROUP).is_none());
    }

    #[test]
    fn whoever_is_too_slow_or_sees_a_snapshot_come_has_missed_something() {
        let feeds = Feeds::default();
        let (mut slow, mut quick) = (feeds.hear(GROUP), feeds.hear(GROUP));
        let large = vec![7; limits::VALUE_BYTES_MAX];
        let most = (limits::FEED_BYTES_MAX / large.len()) as u64;
        for stamp in 1..=most {
            tell(&feeds, GROUP, stamp, &large);
            assert_eq!(heard(&mut quick), Ok(vec![stamp]));
        }
        assert_eq!(heard(&mut slow), Err(Missed));
        assert!(feeds.0.bytes.load(Ordering::Relaxed) <= limits::FEED_BYTES_MAX);
        let mut after = feeds.hear(GROUP);
        feeds.installed(GROUP);
        for hearing in [&mut quick, &mut after] {
            assert_eq!(heard(hearing), Err(Missed));
        }
        assert_eq!(heard(&mut feeds.hear(GROUP)), Ok(vec![]));
    }

    #[test]
    fn all_groups_together_keep_no_more_than_they_may() {
        let feeds = Feeds::default();
        let large = vec![7; limits::VALUE_BYTES_MAX];
        let groups: Vec<GroupId> =
            (10..10 + 2 * (limits::FEEDS_BYTES_MAX / limits::FEED_BYTES_MAX) as u64).map(GroupId).collect();
        let mut all: Vec<Hearing> = groups.iter().map(|group| feeds.hear(*group)).collect();
        for (stamp, group) in (1..20).flat_map(|stamp| groups.iter().map(move |group| (stamp, *group))) {
            tell(&feeds, group, stamp, &large);
            assert!(feeds.0.bytes.load(Ordering::Relaxed) <= limits::FEEDS_BYTES_MAX);
        }
        assert!(all.iter_mut().any(|hearing| heard(hearing) == Err(Missed)));
        drop(all);
        assert_eq!(feeds.0.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn watches_are_counted() {
        let feeds = Feeds::default();
        let places: Vec<Place> = (0..limits::WATCHES_MAX).map_while(|_| feeds.place()).collect();
        assert_eq!(places.len(), limits::WATCHES_MAX);
        assert!(feeds.place().is_none() && feeds.place().is_none());
        drop(places);
        assert!(feeds.place().is_some());
        let large: Vec<Large> = (0..limits::WATCHES_LARGE_MAX).map_while(|_| feeds.large()).collect();
        assert_eq!(large.len(), limits::WATCHES_LARGE_MAX);
        assert!(feeds.large().is_none() && feeds.large().is_none());
        drop(large);
        assert!(feeds.large().is_some());
    }
}
