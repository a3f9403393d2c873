//! What consensus alone costs an entry: openraft and nothing of ours. 64 groups of three replicas with one writer each, logs and states in
//! memory that cost next to nothing, and function calls in the place of a network. What many groups cost beside that is our own.

use super::plan::{GROUPS_ALL, Job};
use crate::clock::Stopwatch;
use crate::engine::figures::Figures;
use crate::{Outcome, process};
use futures_util::stream::{Stream, StreamExt};
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{
    Config, EntryPayload, LogState, OptionalSend, Raft, RaftLogReader, RaftSnapshotBuilder, SnapshotPolicy,
};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Replicas of a group.
const REPLICAS: u64 = 3;
/// Bytes of a command, as those of the other parts.
const BODY_BYTES: usize = 256;

openraft::declare_raft_types!(
    /// Commands are text, and so are answers.
    pub Alone:
        D = String,
        R = String,
        AsyncRuntime = openraft::TokioRuntime,
);

type Consensus = Raft<Alone, State>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log in memory. Clones are the same.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    entries: BTreeMap<u64, EntryOf<Alone>>,
    vote: Option<VoteOf<Alone>>,
}

impl RaftLogReader<Alone> for Memory {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<EntryOf<Alone>>> {
        Ok(lock(&self.0).entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Alone>>> {
        Ok(lock(&self.0).vote)
    }
}

impl RaftLogStorage<Alone> for Memory {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Alone>> {
        let last_log_id = lock(&self.0).entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: None, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Alone>) -> io::Result<()> {
        lock(&self.0).vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Alone>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Alone>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        lock(&self.0).entries.extend(entries.into_iter().map(|entry| (entry.log_id.index, entry)));
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Alone>>) -> io::Result<()> {
        lock(&self.0).entries.split_off(&last.map_or(0, |last| last.index + 1));
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Alone>) -> io::Result<()> {
        let mut kept = lock(&self.0);
        kept.entries = kept.entries.split_off(&(upto.index + 1));
        Ok(())
    }
}

/// A state of which only is known how far it is.
#[derive(Clone, Default)]
struct State(Option<LogIdOf<Alone>>, StoredMembershipOf<Alone>);

fn nothing() -> io::Error {
    io::Error::other("no snapshot is ever made here")
}

impl RaftStateMachine<Alone> for State {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Alone>>, StoredMembershipOf<Alone>)> {
        Ok((self.0, self.1.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Alone>>> + Unpin + OptionalSend,
    {
        while let Some(one) = entries.next().await {
            let (entry, responder) = one?;
            self.0 = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = &entry.payload {
                self.1 = StoredMembershipOf::<Alone>::new(Some(entry.log_id), membership.clone());
            }
            if let Some(responder) = responder {
                responder.send(String::new());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<Alone>, (): ()) -> io::Result<()> {
        Err(nothing())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Alone, ()>>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Alone> for State {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Alone, ()>> {
        Err(nothing())
    }
}

/// The replicas of one group.
type Replicas = Arc<Mutex<BTreeMap<u64, Consensus>>>;

/// The way to one of them, or to any.
#[derive(Clone)]
struct Way(Replicas, u64);

impl Way {
    fn there(&self) -> Result<Consensus, RPCError<Alone>> {
        let there = lock(&self.0).get(&self.1).cloned();
        there.ok_or_else(|| RPCError::Unreachable(Unreachable::new(&nothing())))
    }
}

fn lost(error: &(impl std::error::Error + 'static)) -> RPCError<Alone> {
    RPCError::Network(NetworkError::new(error))
}

impl RaftNetworkFactory<Alone> for Way {
    type Network = Self;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Self {
        Self(self.0.clone(), target)
    }
}

impl RaftNetworkV2<Alone> for Way {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Alone>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Alone>, RPCError<Alone>> {
        self.there()?.append_entries(request).await.map_err(|error| lost(&error))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Alone>,
        _: RPCOption,
    ) -> Result<VoteResponse<Alone>, RPCError<Alone>> {
        self.there()?.vote(request).await.map_err(|error| lost(&error))
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Alone>,
        _: SnapshotOf<Alone, ()>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Alone>, StreamingError<Alone>> {
        Err(StreamingError::Unreachable(Unreachable::new(&nothing())))
    }
}

/// A group whose first replica leads: that one, and all.
async fn group() -> Outcome<(Consensus, Replicas)> {
    let config = Config {
        heartbeat_interval: 400,
        election_timeout_min: 1_200,
        election_timeout_max: 1_800,
        snapshot_policy: SnapshotPolicy::Never,
        broadcast_submitted_on_append: Some(true),
        ..Config::default()
    };
    let (config, replicas) = (Arc::new(config.validate()?), Replicas::default());
    for id in 1..=REPLICAS {
        let way = Way(replicas.clone(), id);
        let raft = Raft::new(id, config.clone(), way, Memory::default(), State::default()).await?;
        lock(&replicas).insert(id, raft);
    }
    let first = lock(&replicas).get(&1).cloned().ok_or("no replica")?;
    let members: BTreeMap<u64, BasicNode> = (1..=REPLICAS).map(|id| (id, BasicNode::default())).collect();
    first.initialize(members).await?;
    while first.current_leader().await != Some(1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(other) = first.current_leader().await.filter(|leader| *leader != 1) {
            let other = lock(&replicas).get(&other).cloned().ok_or("no replica")?;
            return Ok((other, replicas));
        }
    }
    Ok((first, replicas))
}

/// Measures entries a second, and what one costs the processor.
///
/// # Errors
/// What goes wrong in consensus.
pub async fn run(job: &Job) -> Outcome<Figures> {
    let mut groups = Vec::new();
    for _ in 0..GROUPS_ALL {
        groups.push(group().await?);
    }
    let (is_over, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let write = |leads: Consensus| {
        let (is_over, written) = (is_over.clone(), written.clone());
        tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let done = leads.client_write("x".repeat(BODY_BYTES)).await;
                done.map_err(|error| error.to_string())?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), String>(())
        })
    };
    let writers: Vec<_> = groups.iter().map(|(leads, _)| write(leads.clone())).collect();
    tokio::time::sleep(Duration::from_millis(job.window_ms() / 4)).await;
    let (watch, before, cpu_s) = (Stopwatch::start(), written.load(Ordering::Relaxed), process::cpu_seconds()?);
    tokio::time::sleep(Duration::from_millis(job.window_ms() * 2)).await;
    let entries = (written.load(Ordering::Relaxed) - before) as f64;
    let (cpu_s, seconds) = (process::cpu_seconds()? - cpu_s, watch.seconds());
    is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await??;
    }
    for (_, replicas) in groups {
        let all: Vec<Consensus> = lock(&replicas).values().cloned().collect();
        for raft in all {
            raft.shutdown().await?;
        }
    }
    let pairs = [("groups64_per_s", entries / seconds), ("groups64_cpu_us", cpu_s / entries.max(1.0) * 1e6)];
    Ok(pairs.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect())
}
