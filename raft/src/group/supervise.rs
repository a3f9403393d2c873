//! Notices replicas whose consensus has stopped by itself, and does what [`super::restart`] says: builds one again when nothing of the old
//! instance can write any more, or leaves it down; nobody else would hear of it. And ends for ever those that were removed.

use super::birth;
use super::down::Down;
use super::ending::Removed;
use super::handle::Group;
use super::lifecycle::{Event, Stage};
use super::restart::{Death, HandedOver, Next, Restarts, Succession, Verdict, next};
use super::start::{Ground, Wanted};
use super::start_fault::StartFault;
use crate::delay::receive::Delayed;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::net::inbound::Receiver;
use crate::stats::GroupStats;
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
    /// A replica that was removed from its group has ended here for ever, and its files are gone.
    Gone {
        /// The group.
        group: GroupId,
        /// Its replica here.
        replica: ReplicaId,
    },
    /// The end of one did not come to its end: it is tried again at the next look.
    NotEnded {
        /// The group.
        group: GroupId,
        /// Why.
        error: Error,
    },
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
    /// What a person does about it.
    pub fault: StartFault,
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
    handed_over: BTreeMap<GroupId, HandedOver>,
}

/// A replica of which no instance runs now.
struct Passing {
    replica: ReplicaId,
    /// The last instance, if one ran here since the node started.
    down: Option<Down>,
    delayed: Option<Arc<Delayed>>,
    then: Then,
    is_told: bool,
    building: Option<Job<Built>>,
    ending: Option<Job<Result<()>>>,
}

/// What comes when nothing of the old instance can write any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Build,
    Stay,
    End,
}

/// Of what an instance has died.
struct Fall {
    death: Death,
    fault: StartFault,
    cause: String,
}

/// An instance that is ready to run, or of what it died on the way.
type Built = Result<Arc<Receiver>, Fall>;

/// What came of a work.
enum Outcome<T> {
    Runs,
    Done(T),
    /// It panicked.
    Lost,
}

/// Work that is under way.
struct Job<T> {
    done: Arc<Mutex<Option<T>>>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// That of a node.
    #[must_use]
    pub fn new(ground: Ground) -> Self {
        let (restarts, passing) = (BTreeMap::new(), BTreeMap::new());
        Self { ground, restarts, passing, fenced: BTreeMap::new(), handed_over: BTreeMap::new() }
    }

    /// Whether something is under way with the replica of a group that runs no more: it is being built again, or ends.
    #[must_use]
    pub fn is_busy(&self, group: GroupId) -> bool {
        self.passing.get(&group).is_some_and(|passing| passing.then != Then::Stay)
    }

    /// The replica of `group` here has handed over the lead that it had in `term`, at `now_ms`. If nobody leads in a later one long after,
    /// it is built again.
    pub fn handed_over(&mut self, group: GroupId, term: u64, now_ms: u64) {
        self.handed_over.insert(group, HandedOver { term, at_ms: now_ms });
    }

    /// Ends a replica that was removed from its group, for ever: takes it out of the registry, lets consensus of it end, waits until nothing
    /// can write any more, however long that takes, closes it in the log, and drops its files. [`Supervisor::look`] says when it is gone.
    /// Nothing happens if it is not here, or not any more.
    pub fn end(&mut self, removed: Removed, now_ms: u64) {
        let (group, replica) = (removed.group(), removed.replica());
        let lives = self.ground.parts.log.state(group).ok().map(|state| state.replica);
        if lives != Some(replica) || self.passing.get(&group).is_some_and(|one| one.then == Then::End) {
            return;
        }
        tracing::info!(%group, %replica, "a replica that was removed ends");
        let down = match self.ground.registry.get(group).filter(|one| one.group().replica() == replica) {
            Some(receiver) => {
                self.ground.registry.remove(group);
                receiver.group().machine().life().may_happen(Event::Removed);
                Some(Down::begin(receiver.group().clone(), "it was removed from its group", now_ms))
            }
            None => None,
        };
        match self.passing.get_mut(&group) {
            // A build that is under way is waited for, and what it builds never runs.
            Some(passing) => {
                passing.then = Then::End;
                if let Some(down) = &passing.down {
                    down.group().machine().life().may_happen(Event::Removed);
                }
            }
            None => drop(self.passing.insert(group, Passing::new(replica, down, None, Then::End))),
        }
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
                let fall = Fall { death, fault: receiver.group().fault(death), cause };
                told.push(Told::Died(self.died(&receiver, fall, now_ms)));
            } else if self.is_stuck(receiver.group(), now_ms) {
                let cause = "it handed over the lead, and nobody leads".to_owned();
                let fall = Fall { death: Death::Leaderless, fault: StartFault::Bug, cause };
                told.push(Told::Died(self.died(&receiver, fall, now_ms)));
            }
        }
        for (group, passing) in std::mem::take(&mut self.passing) {
            if let Some(left) = self.go_on(group, passing, now_ms, &mut told) {
                self.passing.insert(group, left);
            }
        }
        told
    }

    fn stats(&self) -> &GroupStats {
        &self.ground.parts.log.stats().group
    }

    /// Takes it out of the registry, and lets it go.
    fn died(&mut self, receiver: &Arc<Receiver>, fall: Fall, now_ms: u64) -> Dead {
        let group = receiver.group();
        self.ground.registry.remove(group.id());
        let down = Down::begin(group.clone(), &fall.cause, now_ms);
        let dead = self.judge(group, fall, now_ms);
        let delayed = receiver.delayed().cloned();
        let passing = Passing::new(group.replica(), Some(down), delayed, after(dead.verdict));
        self.passing.insert(group.id(), passing);
        dead
    }

    /// Whether it has handed over, and nobody leads long after.
    fn is_stuck(&mut self, group: &Group, now_ms: u64) -> bool {
        let Some(handed) = self.handed_over.get(&group.id()) else { return false };
        let standing = group.standing();
        if !standing.membership.1.seats.contains_key(&group.replica()) {
            // It was taken away meanwhile: nobody tells it any more who leads.
            self.handed_over.remove(&group.id());
            return false;
        }
        let term = standing.leader.map(|_| standing.vote.term);
        let succession = handed.look(term, now_ms, self.ground.pace.election_max_ms);
        if succession != Succession::Open {
            self.handed_over.remove(&group.id());
        }
        succession == Succession::Stuck
    }

    fn judge(&mut self, group: &Group, fall: Fall, now_ms: u64) -> Dead {
        let Fall { death, fault, cause } = fall;
        let (group, replica, machine) = (group.id(), group.replica(), group.machine());
        let verdict = self.restarts.entry(group).or_default().died(death, now_ms);
        tracing::error!(%group, %replica, cause, ?fault, ?verdict, "a replica has died");
        self.stats().died(death).add(1);
        if verdict == Verdict::Fence {
            machine.life().may_happen(Event::Broke);
            self.fenced.insert(group, cause.clone());
            self.stats().down_replicas.set(self.fenced.len() as u64);
        }
        Dead { group, replica, death, fault, cause, verdict }
    }

    /// What is left to be done of one, if anything is.
    fn go_on(
        &mut self,
        group: GroupId,
        mut passing: Passing,
        now_ms: u64,
        told: &mut Vec<Told>,
    ) -> Option<Passing> {
        if let Some(building) = passing.building.take() {
            return self.go_on_building(passing, building, now_ms, told);
        }
        if let Some(ending) = passing.ending.take() {
            match ending.outcome() {
                Outcome::Runs => passing.ending = Some(ending),
                // It panicked: it is begun anew.
                Outcome::Lost => {}
                Outcome::Done(Ok(())) => {
                    told.push(self.is_gone(group, &passing));
                    return None;
                }
                Outcome::Done(Err(error)) => {
                    self.stats().unended_replicas.add(1);
                    told.push(Told::NotEnded { group, error });
                }
            }
            return Some(passing);
        }
        let remains = passing.down.as_ref().map(|down| down.remains(now_ms, passing.is_told));
        match remains.as_ref().map_or(Next::GoOn, next) {
            Next::Wait => {}
            Next::TellLate => {
                let holders = remains.map_or(0, |remains| remains.holders);
                tracing::error!(%group, holders, "parts of a dead replica live on: its files stay untouched");
                passing.is_told = true;
                self.stats().lingering_replicas.add(1);
                told.push(Told::Late { group, holders });
            }
            Next::GoOn => match (passing.then, &passing.down) {
                // It broke after it had panicked: whoever came after it would be fenced, and nobody would hear of it.
                (Then::Build, Some(down)) if down.group().stage() == Stage::Fenced => {
                    let broken = broken(down);
                    self.is_not_built(&mut passing, broken, now_ms, told);
                }
                (Then::Build, Some(down)) => passing.building = Some(self.build(down, &passing)),
                (Then::End, _) => passing.ending = Some(self.close(group, passing.replica)),
                (Then::Stay | Then::Build, _) => return None,
            },
        }
        Some(passing)
    }

    /// The same of one that is being built.
    fn go_on_building(
        &mut self,
        mut passing: Passing,
        building: Job<Built>,
        now_ms: u64,
        told: &mut Vec<Told>,
    ) -> Option<Passing> {
        match building.outcome() {
            Outcome::Runs => passing.building = Some(building),
            Outcome::Lost => self.is_not_built(&mut passing, lost(), now_ms, told),
            Outcome::Done(Err(failed)) => self.is_not_built(&mut passing, failed, now_ms, told),
            // It was removed meanwhile: it never ran.
            Outcome::Done(Ok(receiver)) if passing.then == Then::End => {
                let group = receiver.group().clone();
                passing.down = Some(Down::begin(group, "it was removed from its group", now_ms));
            }
            // It broke meanwhile: somebody was still at the old instance. The new one never runs.
            Outcome::Done(Ok(receiver)) if receiver.group().stage() == Stage::Fenced => {
                let cause = passing.down.as_ref().map_or_else(lost, broken);
                self.is_not_built(&mut passing, cause, now_ms, told);
                passing.down = Some(Down::begin(receiver.group().clone(), "it is fenced", now_ms));
            }
            Outcome::Done(Ok(receiver)) => {
                told.push(Told::Rebuilt(self.seat(receiver)));
                return None;
            }
        }
        Some(passing)
    }

    /// What was to be built has died on the way.
    fn is_not_built(&mut self, passing: &mut Passing, fall: Fall, now_ms: u64, told: &mut Vec<Told>) {
        let (Some(down), true) = (&passing.down, passing.then == Then::Build) else { return };
        let dead = self.judge(down.group(), fall, now_ms);
        passing.then = after(dead.verdict);
        told.push(Told::Died(dead));
    }

    fn build(&self, down: &Down, passing: &Passing) -> Job<Built> {
        let (ground, delayed) = (self.ground.clone(), passing.delayed.clone());
        let old = down.group().machine().clone();
        Job::begin(async move { build_again(&ground, &old, delayed.as_deref()).await })
    }

    fn close(&self, group: GroupId, replica: ReplicaId) -> Job<Result<()>> {
        let (log, pool) = (self.ground.parts.log.clone(), self.ground.parts.pool.clone());
        Job::begin(async move { birth::end((group, replica), &log, &pool).await })
    }

    fn is_gone(&mut self, group: GroupId, passing: &Passing) -> Told {
        if let Some(down) = &passing.down {
            down.group().machine().life().may_happen(Event::Closed);
        }
        self.restarts.remove(&group);
        self.fenced.remove(&group);
        self.stats().down_replicas.set(self.fenced.len() as u64);
        self.stats().ended_replicas.add(1);
        self.handed_over.remove(&group);
        tracing::info!(%group, replica = %passing.replica, "a replica is gone");
        Told::Gone { group, replica: passing.replica }
    }

    fn seat(&self, receiver: Arc<Receiver>) -> Arc<Receiver> {
        let group = receiver.group();
        tracing::info!(group = %group.id(), replica = %group.replica(), "a replica was built again");
        self.ground.registry.add(receiver.clone());
        self.stats().rebuilt_replicas.add(1);
        group.run();
        receiver
    }
}

impl Passing {
    fn new(replica: ReplicaId, down: Option<Down>, delayed: Option<Arc<Delayed>>, then: Then) -> Self {
        Self { replica, down, delayed, then, is_told: false, building: None, ending: None }
    }
}

impl<T: Send + 'static> Job<T> {
    fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        let done = Arc::<Mutex<Option<T>>>::default();
        let slot = done.clone();
        let task = spawn(async move {
            let outcome = work.await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        Self { done, task }
    }

    /// What came of it.
    fn outcome(&self) -> Outcome<T> {
        // In this order: what ends between the two looks has left what it did.
        let is_over = self.task.is_finished();
        match self.done.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(done) => Outcome::Done(done),
            None if is_over => Outcome::Lost,
            None => Outcome::Runs,
        }
    }
}

fn lost() -> Fall {
    Fall { death: Death::Panic, fault: StartFault::Bug, cause: "the build panicked".to_owned() }
}

/// What broke in an instance that goes down.
fn broken(down: &Down) -> Fall {
    let (group, death) = (down.group(), Death::Storage);
    Fall { death, fault: group.fault(death), cause: group.machine().fenced().unwrap_or_default() }
}

fn after(verdict: Verdict) -> Then {
    if verdict == Verdict::Rebuild { Then::Build } else { Then::Stay }
}

async fn build_again(ground: &Ground, old: &Machine, delayed: Option<&Delayed>) -> Built {
    let failed = |error: Error| Fall {
        death: Death::Storage,
        fault: StartFault::of(&error),
        cause: with_sources(&error),
    };
    let (log, group) = (&ground.parts.log, old.group());
    // What the old instance has put in may not be durable yet, and the new one takes all that it finds for durable.
    birth::durably(|done| log.append(group, Vec::new(), done)).await.map_err(failed)?;
    let machine = old.again().map_err(failed)?;
    let delayed = delayed.map(|delayed| delayed.again(&machine.applied())).transpose().map_err(failed)?;
    let wanted = Wanted { machine: machine.clone(), delayed: delayed.map(Arc::new), is_born: false };
    ground.build(wanted).await.map_err(|error| match machine.panicked() {
        Some(cause) => Fall { death: Death::Panic, fault: StartFault::Bug, cause },
        None => failed(error),
    })
}
