//! One entry applied. Every valid entry has an outcome; what has none fences the group.

use super::note::Note;
use super::once::{self, Decision, Request};
use super::operations::{Rows, Unapplied};
use super::{AppliedEntry, Machine, engine_index, lock, stamping};
use crate::command::Command;
use crate::error::{Error, Last, Result};
use crate::limits;
use crate::planted::{self, Planted};
use crate::proposal::{Replies, Reply};
use crate::seal::{self, Opened};
use crate::types::{GroupId, LogId, Membership};
use bytes::Bytes;
use engine::Kind;
use engine::ids::TenantId;
use engine::tablet::batch::Batch;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two looks for a key that is not here, in milliseconds.
const KEY_LOOK_MS: u64 = 250;
/// Between two looks at how far the meta group is, in milliseconds.
const META_LOOK_MS: u64 = 20;

impl Machine {
    /// Applies an entry that means nothing but that its leader leads.
    ///
    /// # Errors
    /// As [`Machine::apply_command`].
    pub async fn apply_blank(&self, id: LogId) -> Result<Replies> {
        let note = Note { applied: Some(id), ..self.before(id)? };
        self.write(id, note, Batch::new(engine_index(id.index))).await
    }

    /// Applies an entry that says who belongs to the group.
    ///
    /// # Errors
    /// As [`Machine::apply_command`].
    pub async fn apply_membership(&self, id: LogId, membership: Membership) -> Result<Replies> {
        let note = Note { applied: Some(id), membership_at: Some(id), membership, ..self.before(id)? };
        self.write(id, note, Batch::new(engine_index(id.index))).await
    }

    /// Applies an entry of commands, in order.
    ///
    /// # Errors
    /// Only what makes it impossible to go on, and with it the group: an entry that does not follow the last, a body that does not
    /// open though its tenant is not shredded, damage, disk, a bug.
    pub async fn apply_command(&self, id: LogId, payload: &Bytes) -> Result<Replies> {
        let mut note = self.before(id)?;
        let command = Command::decode(payload)?;
        self.await_meta(command.meta_index).await?;
        let opened = self.bodies(&command).await?;
        let run = stamping::run(note.last, command.stamp, command.closed, command.rows.len())?;
        let mut unapplied = Unapplied::default();
        let mut replies = Vec::with_capacity(opened.len());
        let (view, range) = (self.tablet().view(0)?, self.tablet().range());
        for (n, (row, body)) in command.rows.iter().zip(opened).enumerate() {
            let tenant = command.parts[usize::from(row.part)].tenant;
            let request = Request { session: row.session, number: row.number, valid_until: row.valid_until };
            let reply = match body {
                Opened::Shredded => Reply::Shredded,
                Opened::Body(body) => {
                    let rows = Rows::new(&view, &mut unapplied, run.nth(n)).within(&range);
                    self.run_once(tenant, &request, &body, rows)?
                }
            };
            note.digest.fold(tenant, run.nth(n), &[&reply.digest()]);
            replies.push(reply);
        }
        drop(view);
        // Which replica this is, nobody knows here; but the names of their tablets differ.
        let is_odd = (self.tablet().id().0 ^ (id.index >> 4)) % 2 == 1;
        if planted::is(Planted::ApplyInPart) && is_odd {
            unapplied = Unapplied::default();
        }
        if !(planted::is(Planted::DigestInPart) && is_odd) {
            unapplied.fold_into(&mut note.digest);
        }
        let batch = unapplied.batch(engine_index(id.index))?;
        let note = Note { applied: Some(id), last: run.last(), ..note };
        self.write(id, note, batch).await?;
        replies.iter().for_each(|reply| self.stats().machine.became(reply).add(1));
        let commands = replies.iter().filter(|reply| **reply == Reply::Shredded).count();
        if commands > 0 {
            tracing::info!(group = %self.group, at = %id, commands, "commands of tenants whose keys are gone for good are applied as nothing");
        }
        Ok(Replies { first: run.first(), replies })
    }

    /// The note before the entry, which must follow.
    fn before(&self, id: LogId) -> Result<Note> {
        self.allows()?;
        let note = self.applied();
        let follows = |last: LogId| id.index == last.index + 1 && id.term >= last.term;
        if note.applied.is_none_or(follows) {
            Ok(note)
        } else {
            Err(Error::OutOfOrder { entry: id, last: Last(note.applied) })
        }
    }

    /// Waits until the meta group has applied here what the entry needs of it.
    async fn await_meta(&self, index: u64) -> Result<()> {
        let mut waited_ms = 0;
        while self.group != GroupId::META && self.parts.meta.index() < index {
            if waited_ms == 0 {
                self.stats().machine.meta_waits.add(1);
            }
            if waited_ms >= limits::META_WAIT_MS_MAX {
                let reached = self.parts.meta.index();
                return Err(Error::MetaBehind { group: self.group, needs: index, reached });
            }
            tokio::time::sleep(Duration::from_millis(META_LOOK_MS)).await;
            waited_ms += META_LOOK_MS;
            self.allows()?;
        }
        self.meta_needed.fetch_max(index, Ordering::AcqRel);
        Ok(())
    }

    /// The index of the last entry of the meta group that an entry applied here, since it was opened, has needed; 0: none has.
    #[must_use]
    pub fn meta_needed(&self) -> u64 {
        self.meta_needed.load(Ordering::Acquire)
    }

    /// Whether what is here may hold entries that have needed something of the meta group which is not known: as of which coming.
    #[must_use]
    pub fn meta_unsure(&self) -> Option<u64> {
        let came = self.came_times.load(Ordering::Acquire);
        (self.assured_times.load(Ordering::Acquire) < came).then_some(came)
    }

    /// All that was acknowledged by the meta group before is known up to `meta_index`, asked after [`Machine::meta_unsure`] has told `came`.
    pub fn assured(&self, came: u64, meta_index: u64) {
        self.meta_needed.fetch_max(meta_index, Ordering::AcqRel);
        self.assured_times.fetch_max(came, Ordering::AcqRel);
    }

    /// Opens the bodies. A key that is not here may be on its way.
    async fn bodies(&self, command: &Command) -> Result<Vec<Opened>> {
        let mut waited_ms = 0;
        loop {
            let shredded = |tenant: TenantId| self.parts.shredded.is_shredded(tenant);
            match seal::open(&self.parts.sealer, self.group, command, &shredded) {
                Err(error) if error.kind() == Kind::Key && waited_ms < limits::KEY_WAIT_MS_MAX => {
                    tokio::time::sleep(Duration::from_millis(KEY_LOOK_MS)).await;
                    waited_ms += KEY_LOOK_MS;
                    self.allows()?;
                }
                other => return other,
            }
        }
    }

    /// Runs a command, unless it has run before or must not any more.
    pub(super) fn run_once(
        &self,
        tenant: TenantId,
        request: &Request,
        body: &[u8],
        mut rows: Rows<'_>,
    ) -> Result<Reply> {
        let decision = request.decide(rows.stamp());
        match decision {
            Decision::Expired => return Ok(Reply::Expired),
            Decision::WindowTooLong => return Ok(Reply::WindowTooLong),
            Decision::Run | Decision::RunOnce => {}
        }
        if decision == Decision::RunOnce && !planted::is(Planted::RunAgain) && !self.forgets_replies() {
            match rows.get(tenant, once::COLLECTION, &request.key()) {
                Ok(Some(row)) if row.expires_ms != request.expires_ms() => return Ok(Reply::OtherWindow),
                Ok(Some(row)) => {
                    return Ok(Reply::RanBefore(Bytes::copy_from_slice(once::decode(&row.value)?)));
                }
                Ok(None) => {}
                Err(Error::OutsideRange) => return Ok(Reply::OutsideRange),
                Err(error) => return Err(error),
            }
        }
        let ran = self.evaluate(tenant, body, &mut rows).and_then(|reply| {
            rows.check_reply(reply.len())?;
            if decision == Decision::RunOnce {
                let (key, row) = (request.key(), once::encode(&reply));
                rows.put(tenant, once::COLLECTION, &key, &row, request.expires_ms())?;
            }
            Ok(reply)
        });
        match ran {
            Ok(reply) => Ok(Reply::Ran(reply)),
            Err(Error::TooLarge { .. }) if rows.is_over() => {
                rows.undo();
                Ok(Reply::TooLarge)
            }
            Err(Error::OutsideRange) => {
                rows.undo();
                Ok(Reply::OutsideRange)
            }
            Err(error) => Err(error),
        }
    }

    /// Evaluates a command. One that panics would do so on every replica, and nobody would hear of it: the group is fenced instead.
    fn evaluate(&self, tenant: TenantId, body: &[u8], rows: &mut Rows<'_>) -> Result<Bytes> {
        let evaluate = || self.parts.operations.evaluate(tenant, body, rows);
        catch_unwind(AssertUnwindSafe(evaluate)).unwrap_or_else(|_| {
            let cause = "the evaluation of a command panicked".to_owned();
            Err(Error::GroupFenced { group: self.group, cause })
        })
    }

    /// Brings the entry into the tablet, with the note that says so.
    async fn write(&self, id: LogId, note: Note, mut batch: Batch) -> Result<Replies> {
        batch.set_note(&note.encode())?;
        let tablet = self.tablet();
        let mut stopped_ms = 0;
        loop {
            match tablet.apply(&batch) {
                Ok(()) => break,
                // Most often the disk is full: nothing has changed, and the tablet goes on by itself once there is room.
                Err(engine::Error::WritesStopped { .. }) if stopped_ms < limits::STOPPED_MS_MAX => {
                    self.stats().machine.stalled_times.add(1);
                    tokio::time::sleep(Duration::from_millis(limits::STOPPED_LOOK_MS)).await;
                    stopped_ms += limits::STOPPED_LOOK_MS;
                    self.allows()?;
                }
                Err(engine::Error::Overloaded { retry_ms, .. }) => {
                    self.stats().machine.stalled_times.add(1);
                    tokio::time::sleep(Duration::from_millis(retry_ms.max(1))).await;
                    self.allows()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let last = note.last;
        self.tell_reach(&note);
        *lock(&self.note) = note;
        self.stats().machine.applied_entries.add(1);
        self.parts.feed.applied(self.group, &AppliedEntry { log_id: id, last, closed: last, batch: &batch });
        Ok(Replies { first: last, replies: Vec::new() })
    }
}
