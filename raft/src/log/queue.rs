//! Pure: what waits to be written, in its order, and who waits for it.

use super::record::{Record, entry_bytes};
use crate::types::{GroupId, LogId};
use std::collections::{BTreeMap, VecDeque};

/// Told once that what it waits for is durable, or why it never will be.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

struct Waiting {
    record: Record,
    bytes: usize,
    done: Option<Done>,
}

/// What waits to be written.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// The newest committed marker of each group: rides behind the entries it names, with the next write there is.
    committed: BTreeMap<GroupId, Option<LogId>>,
}

/// One write.
#[derive(Default)]
pub struct Write {
    /// Its records.
    pub records: Vec<Record>,
    /// Told when they are durable, in this order. Of a group's appends only the newest is told: it speaks for those before.
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
        let bytes = bytes_of(&record);
        self.bytes += bytes;
        self.waiting.push_back(Waiting { record, bytes, done });
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
        while self
            .waiting
            .front()
            .is_some_and(|next| write.records.is_empty() || bytes + next.bytes <= bytes_max)
        {
            let Some(Waiting { record, bytes: more, done }) = self.waiting.pop_front() else { break };
            bytes += more;
            match (&record, done) {
                (Record::Entry(group, _), Some(done)) => {
                    appends.insert(*group, done);
                }
                (_, Some(done)) => write.done.push(done),
                (_, None) => {}
            }
            write.records.push(record);
        }
        self.bytes -= bytes;
        if write.records.is_empty() {
            return None;
        }
        write.done.extend(appends.into_values());
        // A marker may name an entry that waits still; it goes with the write that has it.
        if self.waiting.is_empty() {
            let committed = std::mem::take(&mut self.committed);
            write.records.extend(committed.into_iter().map(|(group, upto)| Record::Committed(group, upto)));
        }
        Some(write)
    }

    /// Everybody who waits, for being told that it was in vain.
    pub fn take_waiters(&mut self) -> Vec<Done> {
        self.bytes = 0;
        self.committed.clear();
        std::mem::take(&mut self.waiting).into_iter().filter_map(|one| one.done).collect()
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
        assert_eq!(write.records.len(), 4, "the large one waits, and the marker with it");
        write.done.into_iter().for_each(|done| done(Ok(())));
        assert_eq!(*told.lock().unwrap(), ["vote", "one, 1", "two, 0"]);
        let write = queue.next_write(600).unwrap();
        assert_eq!(write.records.len(), 2, "over the limit, but alone; and the marker");
        assert!(queue.next_write(600).is_none() && queue.bytes() == 0);
        queue.push(entry(1, 3, 0), done("in vain"));
        assert_eq!(queue.take_waiters().len(), 1);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }
}
