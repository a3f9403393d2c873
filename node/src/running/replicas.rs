//! A node at work: its replicas, what works for each of them, and what all of them stand on.

use super::fault::NotRunning;
use super::opening::Admitted;
use super::{Error, Result, RunningParts};
use crate::surroundings;
use crate::work::Task;
use engine::Stamp;
use engine::error::with_sources;
use engine::ids::{NodeId, TenantId};
use engine::tablet::pool::Pool;
use raft::compare::question::{Asked, Told};
use raft::delay::receive::Delayed;
use raft::delay::{CatalogGate, GateStore, Keeper};
use raft::group::batcher::Batcher;
use raft::group::birth::{self, Birth, Here};
use raft::group::registry::Registry;
use raft::group::start::{Ground, Wanted};
use raft::group::start_fault::StartFault;
use raft::group::supervise::Supervisor;
use raft::log::{Log, LogThread};
use raft::machine::{Machine, MachineParts};
use raft::net::door::Door;
use raft::net::heard::Voice;
use raft::net::heartbeats::Heartbeats;
use raft::net::inbound::Receiver;
use raft::net::link::Lane;
use raft::net::message::Message;
use raft::net::request::{Address, Requests};
use raft::net::words::Words;
use raft::types::{GroupId, ReplicaId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

/// A replica at work.
pub struct Seated {
    /// Its receiver, behind which is its group.
    pub receiver: Arc<Receiver>,
    /// Where commands for it go.
    pub batcher: Arc<Batcher>,
    tasks: Vec<Task>,
}

/// A node at work.
pub struct Running {
    pub(super) parts: RunningParts,
    pub(super) log: Arc<Log>,
    pub(super) pool: Arc<Pool>,
    pub(super) registry: Arc<Registry>,
    pub(super) ground: Ground,
    pub(super) requests: Arc<Requests>,
    pub(super) words: Arc<Words>,
    pub(super) supervisor: tokio::sync::Mutex<Supervisor>,
    seated: RwLock<BTreeMap<GroupId, Arc<Seated>>>,
    failed: Mutex<BTreeMap<GroupId, NotRunning>>,
    /// The gate, if the node is delayed.
    late: OnceLock<Arc<Keeper>>,
    /// What lives here and does not run yet.
    waiting: tokio::sync::Mutex<Vec<Wanted>>,
    /// Until the node ends.
    thread: Mutex<Option<LogThread>>,
}

impl Seated {
    /// Ends what works for it: whoever waits for a command does not hear whether it was applied.
    fn end(&self) {
        self.batcher.close();
        self.tasks.iter().for_each(Task::end);
    }
}

impl Seated {
    /// Bytes that a tenant has in tables here, older versions among them. What was written last is not in a table yet.
    #[must_use]
    pub fn bytes_of(&self, tenant: TenantId) -> u64 {
        let sealed = self.receiver.group().machine().tablet().coverage();
        sealed.iter().filter(|((of, _), _)| *of == tenant).map(|(_, bytes)| *bytes).sum()
    }
}

impl Running {
    /// Lets the meta group run, if it lives here or is born now: the founders of a new cluster are. The others wait for
    /// [`Running::seat_rest`]: what they have to apply again may need keys that the meta group brings. Nothing of it is heard before
    /// `self.registry` is served.
    ///
    /// # Errors
    /// Log, catalog and disk; `CatalogOlder`.
    pub async fn run(admitted: Admitted, births: &[Birth]) -> Result<Arc<Self>> {
        let Admitted { parts, disk, pool, requests, log, replace } = admitted;
        let thread = surroundings::write_log(&parts.dir, &log)?;
        let machine_parts = MachineParts {
            meta: Arc::default(),
            pool: pool.clone(),
            disk,
            spool: parts.spool(),
            sealer: parts.sealer.clone(),
            entropy: parts.entropy.clone(),
            log: log.clone(),
            operations: parts.operations.clone(),
            feed: parts.feed.clone(),
            shredded: parts.shredded.clone(),
        };
        let Here { machines, outdated, .. } = birth::find(&machine_parts, &replace)?;
        for (group, replica) in outdated {
            tracing::warn!(%group, %replica, "the tablet of a replica is older than it was: the replica ends, another takes its place");
            birth::end((group, replica), &log, &pool).await?;
        }
        let late = OnceLock::new();
        if let Some(keeper) = stored_gate(&parts, &pool, &log)? {
            drop(late.set(keeper));
        }
        let wants = |machine, is_born| wanted(late.get(), &log, machine, is_born);
        let mut all =
            machines.into_iter().map(|machine| wants(machine, false)).collect::<Result<Vec<_>>>()?;
        for birth in births {
            if all.iter().all(|one| one.machine.group() != birth.group) {
                all.push(wants(birth::bear(birth, machine_parts.clone()).await?, true)?);
            }
        }
        let door = Door::new(parts.cluster, requests.heard().clone(), log.stats().clone());
        let registry = Arc::new(Registry::new(door, log.clone()));
        let heartbeats = Heartbeats::new(requests.clone(), log.clone(), parts.pace.heartbeat_ms);
        let ground = Ground {
            registry: registry.clone(),
            heartbeats,
            parts: machine_parts,
            clock: parts.clock.clone(),
            pace: parts.pace,
        };
        let running = Arc::new(Self {
            supervisor: tokio::sync::Mutex::new(Supervisor::new(ground.clone())),
            parts,
            log,
            pool,
            registry,
            ground,
            requests,
            words: Arc::default(),
            seated: RwLock::default(),
            failed: Mutex::default(),
            late,
            waiting: tokio::sync::Mutex::default(),
            thread: Mutex::new(thread),
        });
        let is_meta = |one: &Wanted| one.machine.group() == GroupId::META;
        let (meta, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(is_meta);
        running.seat_all(meta).await;
        *running.waiting.lock().await = rest;
        Ok(running)
    }

    /// Lets all others run that live here. The meta group must be followed by then.
    pub async fn seat_rest(self: &Arc<Self>) {
        let rest = std::mem::take(&mut *self.waiting.lock().await);
        self.seat_all(rest).await;
    }

    /// Builds replicas, lets them run, and lets work what works for them. What could not be built is told by [`Running::failed`].
    pub(super) async fn seat_all(self: &Arc<Self>, wanted: Vec<Wanted>) {
        let started = self.ground.start(wanted).await;
        started.receivers.into_values().for_each(|receiver| self.seat(receiver));
        for (group, error) in started.failed {
            tracing::error!(%group, %error, "a replica cannot be built");
            let (fault, cause) = (StartFault::of(&error), with_sources(&error));
            self.failures().insert(group, NotRunning { fault, cause });
        }
    }

    /// Lets work for a replica what works beside consensus. What worked for an instance of it before ends.
    pub(super) fn seat(self: &Arc<Self>, receiver: Arc<Receiver>) {
        let group = receiver.group().clone();
        let (sealer, entropy) = (self.parts.sealer.clone(), self.parts.entropy.clone());
        let batcher = Batcher::new(group.clone(), sealer, entropy, self.parts.clock.clone());
        receiver.proposes_by(&batcher);
        let works = batcher.clone();
        let (spawner, id) = (&self.parts.spawner, group.id());
        let closes = super::chores::close(Arc::downgrade(self), group.clone(), batcher.clone());
        let tasks = vec![
            spawner.spawn(format!("close {id}"), closes),
            spawner.spawn(format!("propose {id}"), async move { works.run().await }),
        ];
        self.failures().remove(&group.id());
        let seated = Arc::new(Seated { receiver, batcher, tasks });
        if let Some(before) = self.write().insert(group.id(), seated) {
            before.end();
        }
    }

    /// Ends what works for the replica of a group here.
    pub(super) fn unseat(&self, group: GroupId) {
        if let Some(seated) = self.write().remove(&group) {
            seated.end();
        }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<GroupId, Arc<Seated>>> {
        self.seated.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failures(&self) -> MutexGuard<'_, BTreeMap<GroupId, NotRunning>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replica of a group here, if it runs.
    #[must_use]
    pub fn replica(&self, group: GroupId) -> Option<Arc<Seated>> {
        self.seated.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    /// All replicas that run here.
    #[must_use]
    pub fn replicas(&self) -> Vec<Arc<Seated>> {
        self.seated.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Which replica of which group lives here, whether it runs or not.
    #[must_use]
    pub fn living(&self) -> BTreeMap<GroupId, ReplicaId> {
        self.log.groups().into_iter().map(|(group, state)| (group, state.replica)).collect()
    }

    /// Replicas that do not run, and why.
    #[must_use]
    pub fn failed(&self) -> BTreeMap<GroupId, NotRunning> {
        self.failures().clone()
    }

    /// What takes the frames of peers.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// As whom the node speaks on its links.
    #[must_use]
    pub fn voice(&self) -> Voice {
        let found = self.log.found();
        Voice::of(self.parts.node, found.log, found.incarnation, &found.boot_nonce)
    }

    /// The log of the node.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The tablets of the node.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What it is made with.
    #[must_use]
    pub fn parts(&self) -> &RunningParts {
        &self.parts
    }

    /// What a replica on `node` says of its rows; nothing if it does not answer in time.
    pub async fn told(&self, node: NodeId, asked: Asked) -> Option<Told> {
        if node == self.parts.node {
            return Some(self.registry.tell(asked).await);
        }
        let said = (self.registry.durable(), Message::AskState(asked));
        match self.requests.call(node, Lane::Bulk, Address::default(), said).await {
            Ok(Message::State(told)) => Some(told),
            Ok(_) => None,
            Err(cause) => {
                tracing::debug!(%node, %cause, "a replica says nothing of its rows");
                None
            }
        }
    }

    /// What replicas elsewhere said of themselves.
    #[must_use]
    pub fn words(&self) -> &Arc<Words> {
        &self.words
    }

    /// The gate of the node, if it is delayed.
    #[must_use]
    pub fn late(&self) -> Option<&Arc<Keeper>> {
        self.late.get()
    }

    /// Makes the node a delayed one, which it stays. It holds no data yet: the cluster gives a node that is to be late nothing before it has a gate.
    ///
    /// # Errors
    /// Of the catalog.
    pub fn become_late(&self, delay_ms: u64) -> Result<()> {
        if self.late.get().is_none() {
            let store =
                Arc::new(CatalogGate::new(self.pool.clone(), self.parts.sealer.clone(), self.parts.node));
            let now = Stamp::new(self.parts.clock.wall_ms(), 0);
            let keeper = Keeper::open(store, (now, delay_ms), self.log.stats().clone())?;
            tracing::info!(delay_ms, gate = %keeper.state().gate, "the node is delayed from now on");
            drop(self.late.set(keeper));
        }
        Ok(())
    }

    /// A replica of a group that is to run here.
    pub(super) fn wanted(&self, machine: Arc<Machine>, is_born: bool) -> Result<Wanted> {
        wanted(self.late.get(), &self.log, machine, is_born)
    }

    /// Milliseconds of the clock that nobody sets.
    pub(super) fn now_ms(&self) -> u64 {
        self.parts.clock.boot_ms()
    }

    /// Ends it in order: no more commands, consensus ends, tables and log are closed. All of it that is durable is found by the next start.
    pub async fn end(&self) {
        let seated = std::mem::take(&mut *self.write());
        seated.values().for_each(|one| one.end());
        let ends = seated.values().map(|one| async move {
            self.registry.remove(one.receiver.group().id());
            one.receiver.group().shutdown().await;
        });
        futures_util::future::join_all(ends).await;
        self.pool.close();
        self.log.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(thread);
    }

    /// Whether it can go on at all; else why not.
    ///
    /// # Errors
    /// `Raft`: the log is fenced.
    pub fn check(&self) -> Result<()> {
        match self.log.fenced() {
            Some(cause) => Err(Error::Raft(raft::Error::Fenced { cause })),
            None => Ok(()),
        }
    }
}

/// The gate that a start finds, of a node that is delayed.
fn stored_gate(parts: &RunningParts, pool: &Arc<Pool>, log: &Arc<Log>) -> Result<Option<Arc<Keeper>>> {
    let store = Arc::new(CatalogGate::new(pool.clone(), parts.sealer.clone(), parts.node));
    Ok(match store.load()? {
        Some(stored) => Some(Keeper::open(store, (stored.gate, stored.delay_ms), log.stats().clone())?),
        None => None,
    })
}

/// A replica that is to run. On a delayed node every replica but that of the meta group stands behind the gate.
fn wanted(
    late: Option<&Arc<Keeper>>,
    log: &Arc<Log>,
    machine: Arc<Machine>,
    is_born: bool,
) -> Result<Wanted> {
    let delayed = match late.filter(|_| machine.group() != GroupId::META) {
        Some(keeper) => {
            let delayed = Delayed::new(log.clone(), machine.group(), &machine.applied(), keeper.clone())?;
            Some(Arc::new(delayed))
        }
        None => None,
    };
    Ok(Wanted { machine, delayed, is_born })
}
