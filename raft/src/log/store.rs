//! One group's part of the log, as consensus wants it.

use super::{Entry, Log};
use crate::error::Error;
use crate::limits::READ_BYTES_MAX;
use crate::machine::stamping;
use crate::planted::{self, Planted};
use crate::type_config::{self, RaftEntryOf, RaftLogId, RaftVote, Types};
use crate::types::{GroupId, LogId};
use engine::Stamp;
use futures_util::stream::{self, Stream, StreamExt};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// One group's part of the log. Clones are the same.
#[derive(Clone)]
pub struct GroupStore {
    log: Arc<Log>,
    group: GroupId,
    watch: Arc<dyn Watch>,
    _token: Option<Arc<()>>,
}

/// Who must know of what the log of a group has, beside consensus.
pub trait Watch: Send + Sync {
    /// The last stamp given out by what is applied: where the log goes on if it holds no entry.
    fn applied_stamp(&self) -> Stamp;

    /// Every entry up to this one is durable here.
    fn durable(&self, upto: LogId);

    /// Consensus is told of this error, and ends with it.
    fn failed(&self, error: &Error);
}

impl GroupStore {
    /// The part of `group` in `log`.
    #[must_use]
    pub fn new(log: Arc<Log>, group: GroupId, watch: Arc<dyn Watch>) -> Self {
        Self { log, group, watch, _token: None }
    }

    /// Holds `token` for as long as it, or a reader of it, is held.
    #[must_use]
    pub fn with_token(self, token: Arc<()>) -> Self {
        Self { _token: Some(token), ..self }
    }

    fn failed(&self, error: Error) -> io::Error {
        self.watch.failed(&error);
        io::Error::other(error)
    }

    /// Entries `from..to` that are here, all of them.
    async fn all(&self, from: u64, to: u64) -> io::Result<Vec<RaftEntryOf>> {
        let (first, end) = self.log.bounds(self.group).map_err(|error| self.failed(error))?;
        let (mut next, to) = (from.max(first), to.min(end));
        let mut entries = Vec::new();
        while next < to {
            let more = self.some(next, to).await?;
            next += more.len() as u64;
            entries.extend(more);
        }
        Ok(entries)
    }

    /// Entries from `from` on, as many as one read gives.
    async fn some(&self, from: u64, to: u64) -> io::Result<Vec<RaftEntryOf>> {
        let read = self.log.entries_aside(self.group, (from, to), READ_BYTES_MAX, self.clone());
        let read = read.await.map_err(|error| self.failed(error))?;
        let entries = read.into_iter().map(type_config::read).collect::<Result<_, _>>();
        entries.map_err(|damage| self.failed(Error::from(damage)))
    }

    /// The entries as they are stored: each with the last stamp it gives out.
    fn stamped(&self, entries: impl Iterator<Item = RaftEntryOf>) -> io::Result<Vec<Entry>> {
        let mut last = match self.log.last_stamp(self.group).map_err(|error| self.failed(error))? {
            Some(stamp) => Stamp(stamp),
            None => self.watch.applied_stamp(),
        };
        let stamp = |entry: RaftEntryOf| {
            let entry = type_config::stored(&entry, 0);
            last = stamping::last_after(last, entry.kind, &entry.payload);
            Entry { stamp: last.0, ..entry }
        };
        Ok(entries.map(stamp).collect())
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(n) => *n,
        Bound::Excluded(n) => n.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(n) => n.saturating_add(1),
        Bound::Excluded(n) => *n,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<Types> for GroupStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<RaftEntryOf>> {
        let (from, to) = bounds(&range);
        self.all(from, to).await
    }

    /// Streams what is committed, read by read: what is to be applied may be hours of log.
    async fn entries_stream<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<RaftEntryOf>> + OptionalSend {
        let (from, mut to) = bounds(&range);
        let own = self.clone();
        // A range that reaches beyond the log ends with it; one that is gone in part is an error when it is read.
        if let Ok((_, end)) = self.log.bounds(self.group) {
            to = to.min(end);
        }
        let reads = stream::unfold(Some(from), move |next| {
            let own = own.clone();
            async move {
                let next = next.filter(|next| *next < to)?;
                match own.some(next, to).await {
                    Ok(read) => {
                        let after = next + read.len() as u64;
                        Some((read.into_iter().map(Ok).collect::<Vec<_>>(), Some(after)))
                    }
                    Err(error) => Some((vec![Err(error)], None)),
                }
            }
        });
        Box::pin(reads.flat_map(stream::iter))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntryOf>> {
        self.some(start, end).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        let state = self.log.state(self.group).map_err(|error| self.failed(error))?;
        Ok(state.vote.map(type_config::raft_vote))
    }
}

impl RaftLogStorage<Types> for GroupStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.log.state(self.group).map_err(|error| self.failed(error))?;
        Ok(LogState {
            last_purged_log_id: state.purged.map(type_config::raft_log_id),
            last_log_id: state.last.map(type_config::raft_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let (told, heard) = tokio::sync::oneshot::channel();
        let done = Box::new(move |outcome| {
            let _ = told.send(outcome);
        });
        self.log.save_vote(self.group, type_config::vote(vote), done).map_err(|error| self.failed(error))?;
        match heard.await {
            Ok(outcome) => outcome.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the log ended before the vote was stored")),
        }
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        let committed = committed.as_ref().map(type_config::log_id);
        self.log.save_committed(self.group, committed).map_err(|error| self.failed(error))
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        let state = self.log.state(self.group).map_err(|error| self.failed(error))?;
        Ok(state.committed.map(type_config::raft_log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntryOf> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = self.stamped(entries.into_iter())?;
        let (last, watch) = (entries.last().map(|entry| entry.log_id), self.watch.clone());
        let (stats, began) = (self.log.stats().clone(), self.log.stats().now());
        let done = Box::new(move |outcome: Result<(), String>| {
            if outcome.is_ok() && last.is_some() {
                stats.times.append.took(began, stats.now());
            }
            if let (Ok(()), Some(last)) = (&outcome, last) {
                watch.durable(last);
            }
            callback.io_completed(outcome.map_err(io::Error::other));
        });
        self.log.append(self.group, entries, done).map_err(|error| self.failed(error))
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        let after = last.as_ref().map(type_config::log_id);
        let end = self.log.state(self.group).map_err(|error| self.failed(error))?.last;
        if after.map(|id| id.index) >= end.map(|id| id.index) {
            // Nothing is behind it.
            return Ok(());
        }
        self.log.truncate_after(self.group, after).map_err(|error| self.failed(error))
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        let mut upto = type_config::log_id(&upto);
        if planted::is(Planted::PurgeAboveFloor) {
            let committed = self.log.state(self.group).map_err(|error| self.failed(error))?.committed;
            upto = committed.filter(|committed| committed.index > upto.index).unwrap_or(upto);
        }
        self.log.purge(self.group, upto).map_err(|error| self.failed(error))
    }
}
