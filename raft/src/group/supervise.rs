//! Notices replicas whose consensus has stopped by itself, and does what [`super::restart`] says: builds one again when nothing of the old
//! instance can write any more, or leaves it down. Nobody else would hear of it.

use super::birth;
use super::down::Down;
use super::handle::Group;
use super::restart::{Death, Next, Restarts, Verdict, next};
use super::start::{Ground, Wanted};
use crate::delay::receive::Delayed;
use crate::error::Error;
use crate::machine::Machine;
use crate::net::inbound::Receiver;
use crate::type_config::spawn;
use crate::types::{GroupId, ReplicaId};
use engine::error::with_sources;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// What a supervisor has to say.
pub enum Told {
    /// A replica has died. It hears nothing any more; the others go on.
    Died(Dead),
    /// Parts of a dead instance live after so long that a person should know. Nothing is touched before they are gone.
    Late {
        /// The group.
        group: GroupId,
        /// How many parts hold its log or machine.
        holders: usize,
    },
    /// It was built again and runs, behind a fresh start guard. What proposed to the one before must be closed, and another made.
    Rebuilt(Arc<Receiver>),
}

/// A replica that has stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The group.
    pub group: GroupId,
    /// Its replica here.
    pub replica: ReplicaId,
    /// Of what it died.
    pub death: Death,
    /// In its own words.
    pub cause: String,
    /// What is done.
    pub verdict: Verdict,
}

/// Watches the replicas of a node.
pub struct Supervisor {
    ground: Ground,
    restarts: BTreeMap<GroupId, Restarts>,
    passing: BTreeMap<GroupId, Passing>,
    fenced: BTreeMap<GroupId, String>,
}

/// A replica of which no instance runs now.
struct Passing {
    down: Down,
    delayed: Option<Arc<Delayed>>,
    verdict: Verdict,
    is_told: bool,
    building: Option<Building>,
}

/// An instance that is ready to run, or of what it has died already.
type Built = Result<Arc<Receiver>, (Death, String)>;

/// A build that is under way.
struct Building {
    built: Arc<Mutex<Option<Built>>>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// That of a node.
    #[must_use]
    pub fn new(ground: Ground) -> Self {
        let (restarts, passing, fenced) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { ground, restarts, passing, fenced }
    }

    /// Why a replica is down until a person acts, by group.
    #[must_use]
    pub fn fenced(&self) -> &BTreeMap<GroupId, String> {
        &self.fenced
    }

    /// Looks at every replica once, at `now_ms` of the monotonic clock. Call it a few times a second; it waits for nothing.
    pub fn look(&mut self, now_ms: u64) -> Vec<Told> {
        let mut told = Vec::new();
        for receiver in self.ground.registry.all() {
            if let Some((death, cause)) = receiver.group().death() {
                told.push(Told::Died(self.died(&receiver, death, cause, now_ms)));
            }
        }
        for (group, passing) in std::mem::take(&mut self.passing) {
            if let Some(left) = self.go_on(group, passing, now_ms, &mut told) {
                self.passing.insert(group, left);
            }
        }
        told
    }

    /// Takes it out of the registry, and lets it go.
    fn died(&mut self, receiver: &Arc<Receiver>, death: Death, cause: String, now_ms: u64) -> Dead {
        let group = receiver.group();
        self.ground.registry.remove(group.id());
        let down = Down::begin(group.clone(), &cause, now_ms);
        let dead = self.judge(group, death, cause, now_ms);
        let (delayed, verdict) = (receiver.delayed().cloned(), dead.verdict);
        self.passing.insert(group.id(), Passing { down, delayed, verdict, is_told: false, building: None });
        dead
    }

    fn judge(&mut self, group: &Group, death: Death, cause: String, now_ms: u64) -> Dead {
        let (group, replica) = (group.id(), group.replica());
        let verdict = self.restarts.entry(group).or_default().died(death, now_ms);
        tracing::error!(%group, %replica, cause, ?verdict, "a replica has died");
        if verdict == Verdict::Fence {
            self.fenced.insert(group, cause.clone());
        }
        Dead { group, replica, death, cause, verdict }
    }

    /// What is left to be done of one, if anything is.
    fn go_on(
        &mut self,
        group: GroupId,
        mut passing: Passing,
        now_ms: u64,
        told: &mut Vec<Told>,
    ) -> Option<Passing> {
        if let Some(building) = &passing.building {
            match building.outcome() {
                None => return Some(passing),
                Some(Ok(receiver)) => {
                    told.push(Told::Rebuilt(self.seat(receiver)));
                    return None;
                }
                Some(Err((death, cause))) => {
                    let dead = self.judge(passing.down.group(), death, cause, now_ms);
                    passing.building = None;
                    passing.verdict = dead.verdict;
                    told.push(Told::Died(dead));
                }
            }
        }
        let remains = passing.down.remains(now_ms, passing.is_told);
        match next(&remains) {
            Next::Wait => {}
            Next::TellLate => {
                let holders = remains.holders;
                tracing::error!(%group, holders, "parts of a dead replica live on: its files stay untouched");
                passing.is_told = true;
                told.push(Told::Late { group, holders });
            }
            Next::GoOn if passing.verdict == Verdict::Fence => return None,
            Next::GoOn => passing.building = Some(self.build(&passing)),
        }
        Some(passing)
    }

    fn build(&self, passing: &Passing) -> Building {
        let (ground, delayed) = (self.ground.clone(), passing.delayed.clone());
        let (old, built) = (passing.down.group().machine().clone(), Arc::<Mutex<Option<Built>>>::default());
        let slot = built.clone();
        let task = spawn(async move {
            let outcome = build_again(&ground, &old, delayed.as_deref()).await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        Building { built, task }
    }

    fn seat(&self, receiver: Arc<Receiver>) -> Arc<Receiver> {
        let group = receiver.group();
        tracing::info!(group = %group.id(), replica = %group.replica(), "a replica was built again");
        self.ground.registry.add(receiver.clone());
        group.run();
        receiver
    }
}

impl Building {
    /// What came of it, if it is over.
    fn outcome(&self) -> Option<Built> {
        let is_over = self.task.is_finished();
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner).take();
        built.or_else(|| is_over.then(|| Err((Death::Panic, "the build panicked".to_owned()))))
    }
}

async fn build_again(ground: &Ground, old: &Machine, delayed: Option<&Delayed>) -> Built {
    let failed = |error: Error| (Death::Storage, with_sources(&error));
    let (log, group) = (&ground.parts.log, old.group());
    // What the old instance has put in may not be durable yet, and the new one takes all that it finds for durable.
    birth::durably(|done| log.append(group, Vec::new(), done)).await.map_err(failed)?;
    let machine = old.again().map_err(failed)?;
    let delayed = delayed.map(|delayed| delayed.again(&machine.applied())).transpose().map_err(failed)?;
    let wanted = Wanted { machine: machine.clone(), delayed: delayed.map(Arc::new), is_born: false };
    ground.build(wanted).await.map_err(|error| match machine.panicked() {
        Some(cause) => (Death::Panic, cause),
        None => failed(error),
    })
}
