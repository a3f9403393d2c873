//! A leader that closes the time of its idle group: what [`super::closer`] decides, done.

use super::batcher::Batcher;
use super::closer::{Idle, closer};
use super::handle::Group;
use super::outcome::NotApplied;
use crate::log::Log;
use crate::proposal::Committed;
use engine::Stamp;

/// What time it is for whoever closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, in ms.
    pub wall_ms: u64,
    /// Whether peers agree with it.
    pub is_agreed: bool,
    /// Milliseconds of a tick: [`crate::limits::TICK_MS`], or less where closed stamps are waited for.
    pub tick_ms: u64,
}

/// What this replica knows of its group, if it leads.
fn idle(group: &Group, log: &Log, is_clock_agreed: bool) -> Option<Idle> {
    let standing = group.standing();
    let leadership = (standing.vote.term, standing.vote.replica);
    let is_settled = standing.applied.is_some_and(|id| (id.term, id.replica) == leadership);
    // What is stored counts, applied or not: nothing at or below its last stamp comes any more.
    let stored = log.last_stamp(group.id()).ok()?.map(Stamp);
    let closed = stored.unwrap_or_default().max(group.machine().applied().last);
    standing.is_leader.then_some(Idle { closed, intent: None, is_settled, is_clock_agreed })
}

/// Proposes a closer, if this replica leads and a tick is over that nothing else has closed; waits until it is applied. Call it a few
/// times a tick, one call at a time. A call that is dropped may have proposed all the same.
///
/// # Errors
/// See [`NotApplied`]: the next call tries again, if it is still due.
pub async fn close_if_due(
    group: &Group,
    batcher: &Batcher,
    log: &Log,
    now: Now,
) -> Result<Option<Committed>, NotApplied> {
    let Some(idle) = idle(group, log, now.is_agreed) else { return Ok(None) };
    match closer(idle, now.wall_ms, now.tick_ms) {
        Some(upto) => batcher.close_time(upto).await.map(Some),
        None => Ok(None),
    }
}

/// Closes the time up to `upto`, which must lie behind this replica's wall clock, if it leads and an entry of its own term is applied.
/// Waits until that is applied here. True if it is closed then.
///
/// # Errors
/// See [`NotApplied`].
pub async fn close_upto(group: &Group, batcher: &Batcher, upto: Stamp) -> Result<bool, NotApplied> {
    let standing = group.standing();
    let leadership = (standing.vote.term, standing.vote.replica);
    let is_settled = standing.applied.is_some_and(|id| (id.term, id.replica) == leadership);
    if !standing.is_leader || !is_settled {
        return Ok(false);
    }
    batcher.close_time(upto).await.map(|_| true)
}
