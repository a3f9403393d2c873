//! Pure: what waits to be written, in its order, and who waits for it.

use super::record::{Record, entry_bytes};
use crate::types::{GroupId, LogId};
use std::collections::{BTreeMap, VecDeque};

/// Told once that what it waits for is durable, or why it never will be. Called while the log holds no lock, by the thread that
/// writes: it may call the log, and must not wait for anything long.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

struct Waiting {
    record: Record,
    bytes: usize,
    /// Of an entry: which append it is of.
    ticket: u64,
    done: Option<Done>,
}

/// What waits to be written.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// How many entries of each group wait.
    entries: BTreeMap<GroupId, usize>,
    /// The newest committed marker of each group: rides behind the entries it names, with the next write there is.
    committed: BTreeMap<GroupId, Option<LogId>>,
}

/// One write.
#[derive(Default)]
pub struct Write {
    /// Its records.
    pub records: Vec<Record>,
    /// Of each entry among them, in their order: which append it is of.
    pub tickets: Vec<u64>,
    /// Told when they are durable, in this order. Of a replica's appends only the newest is told: it speaks for those before.
    pub done: Vec<Done>,
}

fn bytes_of(record: &Record) -> usize {
    match record {
        Record::Entry(_, entry) | Record::Moved(_, entry) => entry_bytes(entry),
        Record::State(groups) => 64 + groups.len() * 128,
        Record::Marks(marks) => 64 + marks.len() * 32,
        _ => 96,
    }
}

impl Queue {
    /// Puts a record behind those that wait.
    pub fn push(&mut self, record: Record, done: Option<Done>) {
        self.push_entry(record, 0, done);
    }

    /// Puts a record behind those that wait: an entry of append `ticket`.
    pub fn push_entry(&mut self, record: Record, ticket: u64, done: Option<Done>) {
        let bytes = bytes_of(&record);
        self.bytes += bytes;
        if let Record::Entry(group, _) = &record {
            *self.entries.entry(*group).or_default() += 1;
        }
        self.waiting.push_back(Waiting { record, bytes, ticket, done });
    }

    /// Notes what is committed; written with whatever is written next, and never alone.
    pub fn commit(&mut self, group: GroupId, upto: Option<LogId>) {
        self.committed.insert(group, upto);
    }

    /// Forgets what a group that is gone had committed.
    pub fn forget(&mut self, group: GroupId) {
        self.committed.remove(&group);
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits that somebody may wait for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next write: what waits, up to about `bytes_max`. `None` if nothing does.
    pub fn next_write(&mut self, bytes_max: usize) -> Option<Write> {
        let (mut write, mut bytes, mut appends) = (Write::default(), 0, BTreeMap::new());
        let fits = |next: &Waiting, bytes: usize, is_first: bool| is_first || bytes + next.bytes <= bytes_max;
        while self.waiting.front().is_some_and(|next| fits(next, bytes, write.records.is_empty())) {
            let Some(Waiting { record, bytes: more, ticket, done }) = self.waiting.pop_front() else { break };
            bytes += more;
            match &record {
                Record::Entry(group, _) => {
                    self.left(*group);
                    write.tickets.push(ticket);
                    if let Some(done) = done {
                        appends.insert(*group, done);
                    }
                }
                Record::Moved(..) => write.tickets.push(ticket),
                // What a later replica of the group appends says nothing of this one's.
                Record::Close(group, _) => write.done.extend(appends.remove(group).into_iter().chain(done)),
                _ => write.done.extend(done),
            }
            write.records.push(record);
        }
        self.bytes -= bytes;
        if write.records.is_empty() {
            return None;
        }
        write.done.extend(appends.into_values());
        // A marker may name an entry that waits still; it goes with the write that has it.
        let due = self.committed.extract_if(.., |group, _| !self.entries.contains_key(group));
        write.records.extend(due.map(|(group, upto)| Record::Committed(group, upto)));
        Some(write)
    }

    fn left(&mut self, group: GroupId) {
        if let Some(count) = self.entries.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.entries.remove(&group);
            }
        }
    }

    /// Everybody who waits, for being told that it was in vain.
    pub fn take_waiters(&mut self) -> Vec<Done> {
        let waiting = std::mem::take(self).waiting;
        waiting.into_iter().filter_map(|one| one.done).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::Entry;
    use crate::types::{ReplicaId, Vote};
    use std::sync::{Arc, Mutex};

    fn entry(group: u64, index: u64, bytes: usize) -> Record {
        let log_id = LogId { term: 1, replica: ReplicaId(1), index };
        Record::Entry(GroupId(group), Entry { log_id, kind: 0, stamp: 0, payload: vec![0; bytes].into() })
    }

    #[test]
    fn a_write_takes_what_waits_and_tells_the_newest_of_each_group() {
        let told: Arc<Mutex<Vec<&str>>> = Arc::default();
        let done = |name: &'static str| -> Option<Done> {
            let told = told.clone();
            Some(Box::new(move |_| told.lock().unwrap().push(name)))
        };
        let mut queue = Queue::default();
        assert!(queue.next_write(100).is_none());
        queue.commit(GroupId(1), None);
        assert!(queue.next_write(100).is_none(), "a marker is never written alone");
        queue.push(entry(1, 0, 10), done("one, 0"));
        queue.push(entry(2, 0, 10), done("two, 0"));
        queue.push(Record::Vote(GroupId(3), Vote::default()), done("vote"));
        queue.push(entry(1, 1, 10), done("one, 1"));
        queue.push(entry(1, 2, 1_000), done("one, 2"));
        let write = queue.next_write(600).unwrap();
        assert_eq!(write.records.len(), 4, "the large one waits, and the marker of its group");
        write.done.into_iter().for_each(|done| done(Ok(())));
        assert_eq!(*told.lock().unwrap(), ["vote", "one, 1", "two, 0"]);
        let write = queue.next_write(600).unwrap();
        assert_eq!(write.records.len(), 2, "over the limit, but alone; and the marker");
        assert!(queue.next_write(600).is_none() && queue.bytes() == 0);
        queue.push(entry(1, 3, 0), done("in vain"));
        assert_eq!(queue.take_waiters().len(), 1);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn a_replica_that_is_closed_is_told_of_its_own_appends() {
        let told: Arc<Mutex<Vec<&str>>> = Arc::default();
        let done = |name: &'static str| -> Option<Done> {
            let told = told.clone();
            Some(Box::new(move |_| told.lock().unwrap().push(name)))
        };
        let mut queue = Queue::default();
        queue.push(entry(1, 0, 10), done("first"));
        queue.push(Record::Close(GroupId(1), ReplicaId(1)), done("closed"));
        queue.push(Record::Open(GroupId(1), ReplicaId(2)), done("opened"));
        queue.push(entry(1, 0, 10), done("second"));
        queue.next_write(10_000).unwrap().done.into_iter().for_each(|done| done(Ok(())));
        assert_eq!(*told.lock().unwrap(), ["first", "closed", "opened", "second"]);
    }

    #[test]
    fn markers_of_groups_without_waiting_entries_go_though_the_queue_is_never_empty() {
        let mut queue = Queue::default();
        queue.commit(GroupId(1), None);
        queue.commit(GroupId(2), None);
        (0..10).for_each(|index| queue.push(entry(2, index, 100), None));
        let write = queue.next_write(300).unwrap();
        assert!(write.records.iter().any(|record| matches!(record, Record::Committed(GroupId(1), _))));
        assert!(!write.records.iter().any(|record| matches!(record, Record::Committed(GroupId(2), _))));
    }
}
