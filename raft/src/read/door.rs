//! Where all reads of one replica come in. Each kind is answered with what it has a proof for, or told why not, and whom to ask:
//!
//! * **linearizable**: sees every write that was acknowledged before it was asked. The leader answers from its lease, or asks a quorum;
//!   another replica asks the leader from which entry on such a read sees all, and waits until it has applied that;
//! * **bounded**: misses only what is younger than a bound;
//! * **as of a stamp**: sees all up to it, and nothing behind.
//!
//! The protocol: `docs/protocols/reads.md`.

use super::as_of;
use super::bearing::Bearing;
use super::bounded::{self, Freshness};
use super::lease::{Clocks, Lease};
use super::rounds::Rounds;
use crate::delay::receive::Delayed;
use crate::group::batcher::Batcher;
use crate::group::closing::close_upto;
use crate::group::handle::Group;
use crate::group::lifecycle::Stage;
use crate::group::outcome::NotNow;
use crate::limits;
use crate::net::message::Message;
use crate::net::no_answer::NoAnswer;
use crate::net::replica_message::{ReadIndex, ReadIndexReply};
use crate::planted::{self, Planted};
use crate::stats::ReadStats;
use crate::time::BootClock;
use crate::types::{LogId, ReplicaId, Role, Seat};
use engine::Stamp;
use engine::error::with_sources;
use engine::ids::NodeId;
use engine::stats::Counter;
use engine::tablet::view::{ScanCursor, View};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The way in for reads of one replica.
pub struct Door {
    group: Arc<Group>,
    clock: Arc<dyn BootClock>,
    /// Of a delayed replica: what it may be told.
    delayed: Option<Arc<Delayed>>,
    lease: Arc<Mutex<Lease>>,
    /// Those that are answered from the lease.
    rounds: Rounds<Result<LogId, NotNow>>,
    /// Whether a read closes the time: the others wait for it.
    is_closing: AtomicBool,
}

/// How a read is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The wall clock, in milliseconds since 1970: what has expired by then is not seen.
    pub wall_ms: u64,
    /// It waits for so many milliseconds at most.
    pub wait_ms: u64,
}

/// Why an answer is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A quorum has answered this leader so lately that it can have voted for no other.
    Lease,
    /// A quorum has answered this leader since the read was asked for.
    Round,
    /// What the leader named is applied here.
    Leader(ReplicaId),
    /// The closed stamp of what is applied here.
    Closed(Stamp),
}

/// A read that may be answered.
pub struct Granted {
    /// What to read from.
    pub view: View,
    /// Why.
    pub proof: Proof,
}

/// Only one read at a time closes the time; whichever way it ends, the next one may.
struct Closing<'a>(&'a AtomicBool);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// How long a read has waited, by a clock that nobody sets.
struct Waited<'a> {
    clock: &'a dyn BootClock,
    since_ms: u64,
    wait_ms: u64,
}

impl Waited<'_> {
    fn left_ms(&self) -> u64 {
        self.wait_ms.saturating_sub(self.clock.monotonic_ms().saturating_sub(self.since_ms))
    }

    /// As a read that waits for one tick counts it: one that may wait for less only has waited for the rest already.
    fn of_tick_ms(&self) -> u64 {
        limits::TICK_MS.saturating_sub(self.left_ms())
    }
}

impl Door {
    /// The way to a replica. `clock` is that of its node.
    #[must_use]
    pub fn new(group: Arc<Group>, clock: Arc<dyn BootClock>, delayed: Option<Arc<Delayed>>) -> Self {
        let lease = Arc::new(Mutex::new(Lease::new(group.pace().election_max_ms, clocks(&*clock))));
        let (rounds, is_closing) = (Rounds::default(), AtomicBool::new(false));
        Self { group, clock, delayed, lease, rounds, is_closing }
    }

    /// A read that sees every write acknowledged before.
    ///
    /// # Errors
    /// See [`NotNow`]. Never `TooFarAhead`.
    pub async fn linearizable(&self, asked: Asked) -> Result<Granted, NotNow> {
        let granted = self.see_all(asked).await;
        self.count(granted, |reads, proof| match proof {
            Proof::Lease => &reads.lease_reads,
            Proof::Round => &reads.round_reads,
            Proof::Leader(_) | Proof::Closed(_) => &reads.follower_reads,
        })
    }

    /// Counts what became of a read: refused, or what `answered` says.
    fn count(
        &self,
        granted: Result<Granted, NotNow>,
        answered: impl for<'a> FnOnce(&'a ReadStats, Proof) -> &'a Counter,
    ) -> Result<Granted, NotNow> {
        let reads = &self.group.stats().read;
        match &granted {
            Ok(granted) => answered(reads, granted.proof).add(1),
            Err(why) => reads.refused(why).add(1),
        }
        granted
    }

    async fn see_all(&self, asked: Asked) -> Result<Granted, NotNow> {
        let waited = self.begin(asked.wait_ms);
        let bearing = self.group.bearing();
        let fresh = self.freshness(&bearing);
        if fresh.role == Role::Delayed || !fresh.stage.allows_reads() {
            return Err(NotNow::Elsewhere { better: fresh.better });
        }
        let (read, proof) = match bearing.is_leader {
            true => self.read_index(asked.wait_ms).await?,
            false => self.ask_leader(&bearing, &waited).await?,
        };
        self.group.await_read(read, waited.left_ms()).await?;
        let view = self.group.machine().tablet().view(asked.wall_ms);
        granted(view, proof)
    }

    /// From which entry on a read sees every write acknowledged before, and why, if this replica leads. The lease is asked first; without
    /// it a round to the quorum, which reads that wait at once share.
    ///
    /// # Errors
    /// `NotLeader`. `RetryLater`: no quorum has answered within `wait_ms`. `Stopped`.
    pub async fn read_index(&self, wait_ms: u64) -> Result<(LogId, Proof), NotNow> {
        if planted::is(Planted::ReadWithoutQuorum) && self.group.leads() {
            return Ok((self.group.machine().applied().applied.unwrap_or_default(), Proof::Lease));
        }
        if self.group.is_unfit() {
            // A round would be a sign of life, of a leader that must fall silent.
            return Err(NotNow::RetryLater { after_ms: self.group.pace().election_max_ms });
        }
        if age_ms(&self.lease, &*self.clock).is_some() {
            let (group, lease, clock) = (self.group.clone(), self.lease.clone(), self.clock.clone());
            // It may have waited for the question before: the machine may have slept meanwhile, so the lease is asked when the question is put.
            let ask = move || async move {
                match age_ms(&lease, &*clock) {
                    Some(age_ms) => group.read_index(Some(age_ms), 0).await,
                    None => Err(NotNow::RetryLater { after_ms: 0 }),
                }
            };
            match self.rounds.join(ask).await {
                Ok(read) => return Ok((read, Proof::Lease)),
                // No quorum has answered so lately.
                Err(NotNow::RetryLater { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        self.group.read_index(None, wait_ms).await.map(|read| (read, Proof::Round))
    }

    async fn ask_leader(&self, bearing: &Bearing, waited: &Waited<'_>) -> Result<(LogId, Proof), NotNow> {
        let Some((leader, seat)) = bearing.leader.filter(|(leader, _)| *leader != self.group.replica())
        else {
            return Err(NotNow::NotLeader { leader: None });
        };
        let asked = self.group.peers().ask(leader, seat, Message::ReadIndex(ReadIndex {}));
        // Whoever waits for what was lost waits no longer than it wanted to.
        match tokio::time::timeout(Duration::from_millis(waited.left_ms()), asked).await {
            Ok(Ok(Message::ReadIndexReply(ReadIndexReply::Read(read)))) => Ok((read, Proof::Leader(leader))),
            Ok(Ok(Message::ReadIndexReply(ReadIndexReply::NotLeader(other)))) => {
                let seat = |other| Some((other, *self.group.standing().membership.1.seats.get(&other)?));
                Err(NotNow::NotLeader { leader: other.and_then(seat) })
            }
            Ok(Ok(Message::ReadIndexReply(ReadIndexReply::RetryLater(after_ms)))) => {
                Err(NotNow::RetryLater { after_ms })
            }
            Ok(Err(NoAnswer::Refused { refusal, .. })) => {
                Err(NotNow::LeaderRefuses { leader: (leader, seat), refusal })
            }
            Ok(Ok(_) | Err(NoAnswer::Lost { .. })) | Err(_) => {
                Err(NotNow::LeaderSilent { leader: (leader, seat) })
            }
        }
    }

    /// A read that misses nothing that is older than `bound_ms` milliseconds, by clocks that agree. It waits for one tick at most.
    ///
    /// # Errors
    /// `Elsewhere`, `Stopped`.
    pub async fn bounded(&self, bound_ms: u64, asked: Asked) -> Result<Granted, NotNow> {
        let granted = self.see_fresh(bound_ms, asked).await;
        self.count(granted, |reads, _| match self.group.leads() {
            true => &reads.bounded_leader_reads,
            false => &reads.bounded_follower_reads,
        })
    }

    /// Whether all that is older than `bound_ms` milliseconds is applied here, as far as this replica can prove it now; a leader's own word
    /// is enough. For whoever tells of what is applied, and must not fall silent with a replica that is cut off.
    ///
    /// # Errors
    /// `Elsewhere`.
    pub fn keeps_up(&self, bound_ms: u64) -> Result<(), NotNow> {
        let bearing = self.group.bearing();
        if bearing.is_leader {
            return Ok(());
        }
        match bounded::bounded(&self.freshness(&bearing), bound_ms, limits::TICK_MS) {
            bounded::Answer::Serve => Ok(()),
            bounded::Answer::Wait { .. } => Err(NotNow::Elsewhere { better: None }),
            bounded::Answer::Elsewhere(better) => Err(NotNow::Elsewhere { better }),
        }
    }

    async fn see_fresh(&self, bound_ms: u64, asked: Asked) -> Result<Granted, NotNow> {
        let waited = self.begin(asked.wait_ms.min(limits::TICK_MS));
        loop {
            let fresh = self.freshness(&self.group.bearing());
            match bounded::bounded(&fresh, bound_ms, waited.of_tick_ms()) {
                bounded::Answer::Serve => {
                    let view = self.group.machine().tablet().view(asked.wall_ms);
                    return granted(view, Proof::Closed(fresh.closed.unwrap_or_default()));
                }
                bounded::Answer::Wait { wait_ms } => self.pause(wait_ms).await,
                bounded::Answer::Elsewhere(better) => return Err(NotNow::Elsewhere { better }),
            }
        }
    }

    /// A read of what was there at `at`. If that is not closed yet, it waits for one tick at most; a leader closes it, through `batcher`.
    /// Whether history is kept for so long each tenant's read of the view tells.
    ///
    /// # Errors
    /// `TooFarAhead`, `Elsewhere`, `Stopped`.
    pub async fn as_of(&self, at: Stamp, wait_ms: u64, batcher: &Batcher) -> Result<Granted, NotNow> {
        let granted = self.see_past(at, wait_ms, batcher).await;
        self.count(granted, |reads, _| &reads.as_of_reads)
    }

    async fn see_past(&self, at: Stamp, wait_ms: u64, batcher: &Batcher) -> Result<Granted, NotNow> {
        let waited = self.begin(wait_ms.min(limits::TICK_MS));
        loop {
            let bearing = self.group.bearing();
            let fresh = self.freshness(&bearing);
            match as_of::as_of(&fresh, bearing.is_leader, at, waited.of_tick_ms()) {
                as_of::Answer::Serve => {
                    return self.past(at, fresh.closed.unwrap_or_default());
                }
                as_of::Answer::Wait { wait_ms } => self.pause(wait_ms).await,
                as_of::Answer::Close { upto } => self.close(upto, batcher, waited.left_ms()).await,
                as_of::Answer::AskToClose { upto } => {
                    self.ask_to_close(upto, &bearing, waited.left_ms()).await
                }
                as_of::Answer::Elsewhere(better) => return Err(NotNow::Elsewhere { better }),
                as_of::Answer::TooFarAhead { ahead_ms } => return Err(NotNow::TooFarAhead { ahead_ms }),
            }
        }
    }

    /// The view at `at`, which is closed. What was written last may be older: the view is of that then, at the time of `at`.
    fn past(&self, at: Stamp, closed: Stamp) -> Result<Granted, NotNow> {
        let tablet = self.group.machine().tablet();
        let view = tablet.view(at.ms()).and_then(|newest| {
            let cursor = ScanCursor { at: at.min(newest.at()), now_ms: at.ms(), after: Vec::new() };
            tablet.view_of(&cursor)
        });
        granted(view, Proof::Closed(closed))
    }

    async fn close(&self, upto: Stamp, batcher: &Batcher, left_ms: u64) {
        if self.is_closing.swap(true, Ordering::SeqCst) {
            return self.pause(left_ms).await;
        }
        let _alone = Closing(&self.is_closing);
        let closed =
            tokio::time::timeout(Duration::from_millis(left_ms), close_upto(&self.group, batcher, upto));
        // If it is not closed, be it that another leads now, the next look tells.
        if !matches!(closed.await, Ok(Ok(true))) {
            self.pause(left_ms).await;
        }
    }

    /// Closes the time up to `now` for a read as of `at` at another replica, if this one leads. True if it is closed up to `at`.
    pub(crate) async fn close_for_another(
        &self,
        (at, now): (Stamp, Stamp),
        wait_ms: u64,
        batcher: &Batcher,
    ) -> bool {
        let waited = self.begin(wait_ms);
        while waited.left_ms() > 0 && self.group.leads() && !self.group.is_unfit() {
            if self.group.machine().reached().1 >= at {
                self.group.stats().read.closed_times.add(1);
                return true;
            }
            self.close(now, batcher, waited.left_ms()).await;
        }
        false
    }

    /// Asks the leader to close the time. What it has closed comes with its log; until it is here, or if it was not closed, the read waits.
    /// One read asks at a time, and the others wait for it.
    async fn ask_to_close(&self, upto: Stamp, bearing: &Bearing, left_ms: u64) {
        let other = bearing.leader.filter(|(leader, _)| *leader != self.group.replica());
        let is_asked = !self.is_closing.swap(true, Ordering::SeqCst);
        if let (Some((leader, seat)), true) = (other, is_asked) {
            let _alone = Closing(&self.is_closing);
            let asked = self.group.peers().ask(leader, seat, Message::CloseTime(upto));
            let answer = tokio::time::timeout(Duration::from_millis(left_ms), asked).await;
            if matches!(answer, Ok(Ok(Message::TimeClosed(true)))) {
                // It is on its way: with the next heartbeat at the latest it is known to be committed.
                let _ = tokio::time::timeout(Duration::from_millis(left_ms), self.until_closed(upto)).await;
                return;
            }
        }
        self.pause(left_ms).await;
    }

    async fn until_closed(&self, upto: Stamp) {
        while self.group.machine().reached().1 < upto && !self.group.machine().is_over() {
            self.pause(u64::MAX).await;
        }
    }

    /// Lets time pass until something may have changed.
    async fn pause(&self, most_ms: u64) {
        let ms = (self.group.pace().heartbeat_ms / 4).min(most_ms).max(1);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn begin(&self, wait_ms: u64) -> Waited<'_> {
        Waited { clock: &*self.clock, since_ms: self.clock.monotonic_ms(), wait_ms }
    }

    /// What this replica can prove.
    fn freshness(&self, bearing: &Bearing) -> Freshness {
        let (own, (applied, last)) = (self.group.replica(), self.group.machine().reached());
        let is_late = self.delayed.as_ref().is_some_and(|delayed| !delayed.is_lifted());
        let stage = match bearing.role {
            _ if self.group.machine().is_over() => Stage::Fenced,
            _ if self.delayed.as_ref().is_some_and(|delayed| delayed.is_parked()) => Stage::Parked,
            _ if applied.is_none() => Stage::Joining,
            None => Stage::Leaving,
            Some(_) => Stage::Serving,
        };
        let better = bearing.leader.filter(|(leader, _)| *leader != own);
        Freshness {
            role: if is_late { Role::Delayed } else { bearing.role.unwrap_or_default() },
            stage,
            closed: applied.map(|_| last),
            now_ms: self.clock.agreed_ms(),
            better: better.map(|(_, seat): (ReplicaId, Seat)| -> NodeId { seat.node }),
        }
    }
}

/// Both clocks, the boot clock first: whatever passes between the two looks is no sleep.
/// How old a quorum's answer may be to read by it; nothing while the lease does not hold.
fn age_ms(lease: &Mutex<Lease>, clock: &dyn BootClock) -> Option<u64> {
    lease.lock().unwrap_or_else(PoisonError::into_inner).age_ms(clocks(clock))
}

fn clocks(clock: &dyn BootClock) -> Clocks {
    let boot_ms = clock.boot_ms();
    Clocks { monotonic_ms: clock.monotonic_ms(), boot_ms }
}

fn granted(view: engine::Result<View>, proof: Proof) -> Result<Granted, NotNow> {
    match view {
        Ok(view) => Ok(Granted { view, proof }),
        Err(error) => Err(NotNow::Stopped { cause: with_sources(&error) }),
    }
}
