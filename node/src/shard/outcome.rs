//! What became of a write whose answer was lost. Asking closes it: a command that does nothing takes its place among the replies that are kept,
//! unless it is there already. So what was not applied by then never will be.

use super::command::{Condition, Expected, KvCommand};
use super::door::{Consistency, Door, WriteId, submit};
use super::reply::KvReply;
use crate::refused::Refused;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};
use proto::errors::code;
use raft::command::Counts;
use raft::limits::RETRY_WINDOW_MS_MAX;
use raft::machine::once::{self, Request};
use raft::proposal::Reply;
use raft::seal::Unsealed;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied, with this stamp.
    Applied(Stamp),
    /// It was not, and never will be.
    NotApplied,
    /// It is older than what is remembered.
    Forgotten,
}

impl Outcome {
    /// What a kept reply says. A condition that does not hold, that of [`closer`] among them, means that nothing was done.
    fn of(reply: &[u8]) -> Result<Self, Refused> {
        match KvReply::decode(reply).map_err(|_| Refused::new(code::INTERNAL))? {
            KvReply::Applied(stamp) => Ok(Self::Applied(stamp)),
            KvReply::Failed { .. } | KvReply::Malformed => Ok(Self::NotApplied),
        }
    }
}

/// A command that does nothing, and whose reply says so: no value has the stamp that it asks for.
fn closer() -> KvCommand<Bytes> {
    let expected = Expected::Stamp(Stamp::MAX);
    let condition = Condition { collection: CollectionId(1), key: Bytes::from_static(b"\0"), expected };
    KvCommand { conditions: vec![condition], operations: Vec::new() }
}

impl Door {
    /// What became of a write that was sent as `id`, which is closed with it. Of one whose `valid_until_ms` is not told, 0, whoever asks must know
    /// that it has not ended yet: what is not remembered is taken for not applied. Waits at most `wait_ms`, and as long again.
    ///
    /// # Errors
    /// What is wrong with tenant, quota or routing. `REQUEST_REUSED`: it was sent with another `valid_until_ms`. `UNKNOWN_OUTCOME`.
    pub async fn outcome(&self, tenant: TenantId, id: WriteId, wait_ms: u64) -> Result<Outcome, Refused> {
        let seated = self.enter(tenant, 1)?;
        let until_ms = match id.valid_until_ms {
            0 => {
                let (found, now) = self.remembered(tenant, id, wait_ms).await?;
                if let Some(found) = found {
                    return Ok(found);
                }
                // As long as anything that may be sent now may still run.
                now.ms().saturating_add(RETRY_WINDOW_MS_MAX)
            }
            until_ms => until_ms,
        };
        let closing = Unsealed {
            tenant,
            session: id.session,
            number: id.number,
            valid_until: Stamp::new(until_ms, u16::MAX),
            counts: Counts::default(),
            body: closer().encode().into(),
        };
        match submit(&seated, closing, wait_ms).await? {
            Reply::Ran(_) => Ok(Outcome::NotApplied),
            Reply::RanBefore(reply) => Outcome::of(&reply),
            Reply::Expired => {
                let (found, _) = self.remembered(tenant, id, wait_ms).await?;
                Ok(found.unwrap_or(Outcome::Forgotten))
            }
            Reply::OtherWindow if id.valid_until_ms == 0 => {
                // It has come between the look and the closing.
                let (found, _) = self.remembered(tenant, id, wait_ms).await?;
                found.ok_or_else(|| Refused::new(code::UNKNOWN_OUTCOME))
            }
            other => Err(super::door::ran(other).err().unwrap_or_else(|| Refused::new(code::INTERNAL))),
        }
    }

    /// What is remembered of a write, in force or expired, and the stamp of the look.
    async fn remembered(
        &self,
        tenant: TenantId,
        id: WriteId,
        wait_ms: u64,
    ) -> Result<(Option<Outcome>, Stamp), Refused> {
        let view = self.view(tenant, Consistency::Linearizable, wait_ms).await?;
        let at = view.at();
        let request = Request { session: id.session, number: id.number, valid_until: Stamp::ZERO };
        let kept = crate::work::aside(move || view.history(tenant, once::COLLECTION, &request.key(), 1));
        let kept = kept.await.map_err(|_| Refused::new(code::INTERNAL).saying("a read has panicked"))??;
        let Some((row, _)) = kept.events.into_iter().next().and_then(|event| event.value) else {
            return Ok((None, at));
        };
        let reply = once::decode(&row).map_err(|_| Refused::new(code::DAMAGED))?;
        Outcome::of(reply).map(|found| (Some(found), at))
    }
}
