//! Commands that wait together become one entry: one sync, one round to the followers and one envelope a tenant for all of them.

use crate::command::Command;
use crate::error::Error;
use crate::group::handle::Group;
use crate::group::outcome::NotApplied;
use crate::group::pressure::{Load, Pressure, Quantity, pressure};
use crate::limits;
use crate::proposal::{Committed, Proposal, Reply};
use crate::seal::{self, NotSealed, Times, Unsealed};
use crate::stats::Retry;
use crate::types::{LogId, Vote};
use engine::Stamp;
use engine::clock::Clock;
use engine::entropy::Entropy;
use engine::error::with_sources;
use engine::sealed::Sealer;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// One command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The entry it was in.
    pub log_id: LogId,
    /// Its stamp.
    pub stamp: Stamp,
    /// What became of it.
    pub reply: Reply,
}

type Answered = Result<Answer, NotApplied>;

struct Waiting {
    command: Unsealed,
    told: oneshot::Sender<Answered>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    is_closed: bool,
}

/// Gathers the commands of one group.
pub struct Batcher {
    group: Arc<Group>,
    sealer: Arc<Sealer>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    bell: Notify,
}

/// An entry on its way.
struct Sent {
    told: Vec<oneshot::Sender<Answered>>,
    outcome: Result<Committed, Failed>,
}

/// What was not applied; if it may come again, because of what.
struct Failed {
    error: NotApplied,
    retry: Option<Retry>,
}

impl Failed {
    fn later(after_ms: u64, why: Retry) -> Self {
        Self { error: NotApplied::RetryLater { after_ms }, retry: Some(why) }
    }
}

impl From<NotApplied> for Failed {
    fn from(error: NotApplied) -> Self {
        Self { error, retry: None }
    }
}

impl Batcher {
    /// Gathers for `group`. Nothing is sent before [`Batcher::run`].
    #[must_use]
    pub fn new(
        group: Arc<Group>,
        sealer: Arc<Sealer>,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let (queue, bell) = (Mutex::default(), Notify::new());
        Arc::new(Self { group, sealer, entropy, clock, queue, bell })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commands that wait, and their bytes.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let queue = self.queue();
        (queue.waiting.len(), queue.bytes)
    }

    /// Whether a command may come in now.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let (commands, bytes) = self.waiting();
        // Who does not lead has nothing to do for it but to say who does: a delayed replica is behind for hours.
        let load = if self.group.leads() { self.group.load() } else { Load::default() };
        pressure(&Load { commands: commands as u64, command_bytes: bytes as u64, ..load })
    }

    /// Proposes a command, with others that wait, and waits until it is applied. Dropped, it may be applied all the same.
    ///
    /// # Errors
    /// See [`NotApplied`]; `RetryLater` also if the group has more to do than it may.
    pub async fn submit(&self, command: Unsealed) -> Answered {
        self.group.stats().proposal.asked_commands.add(1);
        let heard = self.let_in(command).await.map_err(|why| self.not_applied(1, why))?;
        self.bell.notify_one();
        let lost = |_| {
            let cause = "the group stopped before it answered".to_owned();
            Err(self.not_applied(1, NotApplied::Unknown { cause }.into()))
        };
        heard.await.unwrap_or_else(lost)
    }

    /// Puts a command among those that wait, if there is room.
    async fn let_in(&self, command: Unsealed) -> Result<oneshot::Receiver<Answered>, Failed> {
        if command.body.len() > limits::COMMAND_BYTES_MAX {
            let rule = format!("a command has at most {} bytes", limits::COMMAND_BYTES_MAX);
            return Err(NotApplied::Refused { rule }.into());
        }
        if let Pressure::Slow { wait_ms, .. } = self.pressure() {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        if let Pressure::Refuse { by, retry_ms } = self.pressure() {
            tracing::debug!(group = %self.group.id(), ?by, retry_ms, "a command is sent away");
            return Err(Failed::later(retry_ms, Retry::Full(by)));
        }
        let mut queue = self.queue();
        // Others may have come in since it was asked: the bound holds all the same.
        let bytes = queue.bytes + command.body.len();
        let why = if queue.is_closed {
            Some(Retry::Closed)
        } else if queue.waiting.len() as u64 >= limits::PROPOSE_COMMANDS_MAX {
            Some(Retry::Full(Quantity::Commands))
        } else {
            (bytes as u64 > limits::PROPOSE_BYTES_MAX).then_some(Retry::Full(Quantity::CommandBytes))
        };
        if let Some(why) = why {
            return Err(Failed::later(limits::RETRY_MS, why));
        }
        let (told, heard) = oneshot::channel();
        queue.bytes = bytes;
        queue.waiting.push_back(Waiting { command, told });
        Ok(heard)
    }

    /// Counts `commands` that are not applied, and says why.
    fn not_applied(&self, commands: u64, why: Failed) -> NotApplied {
        self.group.stats().proposal.not_applied(&why.error, why.retry).add(commands);
        why.error
    }

    /// Sends what waits, until it is closed. Whoever owns the group runs this once.
    pub async fn run(&self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let is_room = under_way.len() < limits::ENTRIES_IN_FLIGHT;
            // Behind an entry that is on its way a little patience makes the next one larger.
            let patience = if under_way.is_empty() { 0 } else { limits::GATHER_MS };
            tokio::select! {
                biased;
                Some(sent) = under_way.next() => self.answer(sent),
                () = self.gathered(patience), if is_room => {}
            }
            while under_way.len() < limits::ENTRIES_IN_FLIGHT && self.group.pause().is_open() {
                let Some(batch) = self.take() else { break };
                under_way.push(self.send(batch));
            }
            if self.queue().is_closed {
                break;
            }
        }
        while let Some(sent) = under_way.next().await {
            self.answer(sent);
        }
    }

    /// Something waits, and has for a while.
    async fn gathered(&self, patience_ms: u64) {
        loop {
            let bell = self.bell.notified();
            if !self.queue().waiting.is_empty() || self.queue().is_closed {
                break;
            }
            bell.await;
        }
        self.group.pause().opened().await;
        if patience_ms > 0 {
            tokio::time::sleep(Duration::from_millis(patience_ms)).await;
        }
    }

    /// The next entry's commands.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < limits::COMMANDS_MAX
            && let Some(next) = queue.waiting.front()
            && (batch.is_empty() || bytes + next.command.body.len() <= limits::GATHER_BYTES)
        {
            bytes += next.command.body.len();
            batch.extend(queue.waiting.pop_front());
        }
        queue.bytes -= bytes;
        (!batch.is_empty()).then_some(batch)
    }

    async fn send(&self, mut batch: Vec<Waiting>) -> Sent {
        let outcome = match self.leadership() {
            Ok(under) => match self.seal(&mut batch) {
                Ok(command) => self.propose(&command, under).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        Sent { told: batch.into_iter().map(|one| one.told).collect(), outcome }
    }

    /// Seals what waits. Those of a tenant whose key is not here are told so alone, and are left out.
    fn seal(&self, batch: &mut Vec<Waiting>) -> Result<Command, Failed> {
        let times = Times { stamp: Stamp::new(self.clock.now_ms(), 0), ..Times::default() };
        loop {
            let commands: Vec<Unsealed> = batch.iter().map(|one| one.command.clone()).collect();
            let causes = match self.sealed(times, &commands) {
                Ok(command) => return Ok(command),
                Err(Error::NotSealed(NotSealed(causes))) => causes,
                Err(error) => return Err(NotApplied::Refused { rule: with_sources(&error) }.into()),
            };
            for (tenant, cause) in causes {
                tracing::warn!(group = %self.group.id(), %tenant, %cause, "commands cannot be sealed");
                let error = NotApplied::not_sealed(&cause, self.group.machine().is_shredded(tenant));
                let left_out: Vec<_> = batch.extract_if(.., |one| one.command.tenant == tenant).collect();
                let retry = matches!(error, NotApplied::RetryLater { .. }).then_some(Retry::Key);
                let error = self.not_applied(left_out.len() as u64, Failed { error, retry });
                for one in left_out {
                    let _ = one.told.send(Err(error.clone()));
                }
            }
            if batch.is_empty() {
                // Nobody is left who would hear of it.
                return Err(Failed::later(limits::KEY_RETRY_MS, Retry::Key));
            }
        }
    }

    fn sealed(&self, times: Times, commands: &[Unsealed]) -> crate::Result<Command> {
        seal::seal(&self.sealer, &*self.entropy, self.group.id(), times, commands)
    }

    /// Closes the time up to `upto`, if this replica leads: an entry without commands.
    ///
    /// # Errors
    /// See [`NotApplied`].
    pub async fn close_time(&self, upto: Stamp) -> Result<Committed, NotApplied> {
        self.empty(Times { stamp: upto, closed: upto, ..Times::default() }).await
    }

    /// Proposes an entry without commands that no replica applies, nor anything behind it, before its meta group has applied the entry
    /// `meta_index`; if this replica leads.
    ///
    /// # Errors
    /// See [`NotApplied`].
    pub async fn await_meta(&self, meta_index: u64) -> Result<Committed, NotApplied> {
        self.empty(Times { stamp: Stamp::new(self.clock.now_ms(), 0), closed: Stamp::ZERO, meta_index }).await
    }

    async fn empty(&self, times: Times) -> Result<Committed, NotApplied> {
        let under = self.leadership().map_err(|why| why.error)?;
        let command = self.sealed(times, &[]);
        let command = command.map_err(|error| NotApplied::Refused { rule: with_sources(&error) })?;
        self.propose(&command, under).await.map_err(|why| why.error)
    }

    fn leadership(&self) -> Result<Vote, Failed> {
        let standing = self.group.standing();
        if standing.is_leader && self.group.is_unfit() {
            return Err(Failed::later(self.group.pace().election_max_ms, Retry::Clock));
        }
        if standing.is_leader {
            return Ok(standing.vote);
        }
        let seat = |leader| standing.membership.1.seats.get(&leader).map(|seat| (leader, *seat));
        Err(NotApplied::NotLeader { leader: standing.leader.and_then(seat) }.into())
    }

    async fn propose(&self, command: &Command, under: Vote) -> Result<Committed, Failed> {
        self.group.stats().proposal.sent_entries.add(1);
        let (proposal, beat_ms) = (Proposal(command.encode()), self.group.pace().heartbeat_ms);
        let mut waited_ms = 0;
        loop {
            self.group.pause().opened().await;
            match self.group.propose(proposal.clone(), under).await {
                // A fresh leader, or one that has not heard its quorum for a moment: the next heartbeats tell.
                Err(NotApplied::RetryLater { after_ms: 0 }) if waited_ms < 2 * beat_ms => {
                    tokio::time::sleep(Duration::from_millis((beat_ms / 4).max(1))).await;
                    waited_ms += (beat_ms / 4).max(1);
                }
                Err(NotApplied::RetryLater { after_ms: 0 }) => {
                    return Err(Failed::later(self.group.pace().election_max_ms, Retry::Quorum));
                }
                outcome => return outcome.map_err(Failed::from),
            }
        }
    }

    fn answer(&self, sent: Sent) {
        let Sent { told, outcome } = sent;
        match outcome {
            Ok(Committed { log_id, replies }) => {
                self.group.stats().proposal.applied_commands.add(told.len() as u64);
                for (n, (told, reply)) in told.into_iter().zip(replies.replies).enumerate() {
                    let stamp = Stamp(replies.first.0 + n as u64);
                    let _ = told.send(Ok(Answer { log_id, stamp, reply }));
                }
            }
            Err(why) => {
                let error = self.not_applied(told.len() as u64, why);
                for told in told {
                    let _ = told.send(Err(error.clone()));
                }
            }
        }
    }

    /// Takes nothing more. What waits is told to come again.
    pub fn close(&self) {
        let waiting = {
            let mut queue = self.queue();
            queue.is_closed = true;
            queue.bytes = 0;
            std::mem::take(&mut queue.waiting)
        };
        self.bell.notify_one();
        for one in waiting {
            let why = Failed::later(self.group.pace().heartbeat_ms, Retry::Closed);
            let _ = one.told.send(Err(self.not_applied(1, why)));
        }
    }
}
