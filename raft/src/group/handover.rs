//! Hands over the lead of a group, to a replica that [`crate::membership::transfer`] lets lead. Proposals pause meanwhile: the heir must have
//! matched the last entry, and would run after it for ever.

use super::handle::{Group, Standing};
use super::settings::Pace;
use super::word::Word;
use crate::limits;
use crate::membership::transfer::{Heir, NotHeir, may_lead};
use crate::types::ReplicaId;
use std::time::Duration;

/// Between two looks at how far the heir is, in milliseconds.
const LOOK_MS: u64 = 5;

/// Why the lead was not handed over. Proposals go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHandedOver {
    /// This replica does not lead.
    #[error("this replica does not lead")]
    NotLeader,
    /// The other one may not lead now.
    #[error(transparent)]
    NoHeir(#[from] NotHeir),
    /// What was proposed before is not applied in time.
    #[error("what was proposed before is not applied")]
    Busy,
    /// This replica has stopped.
    #[error("this replica has stopped: {cause}")]
    Stopped {
        /// Why.
        cause: String,
    },
}

/// Whether `replica` is heard: see [`is_heard`].
#[must_use]
pub fn is_live(group: &Group, standing: &Standing, replica: ReplicaId) -> bool {
    let heard = standing.heard_ms.get(&replica).copied().flatten();
    replica == group.replica() || is_heard(heard, &group.pace())
}

/// Whether one was heard within the shortest election timeout, by the age of what is known of it. What is known is when that was sent
/// which it has answered last: that is older than its answer, by a round trip and the time between two heartbeats, so two of those are
/// given to it.
#[must_use]
pub fn is_heard(age_ms: Option<u64>, pace: &Pace) -> bool {
    age_ms.is_some_and(|age_ms| age_ms <= pace.election_min_ms + 2 * pace.heartbeat_ms)
}

/// Asks `to` to lead, if it may; `word` is what it says of itself, for of its clock and its guard its leader cannot know. Proposals pause
/// for [`limits::HANDOVER_PAUSE_MS`] at most before, until it has them all, and for [`limits::HANDOVER_HOLD_MS`] at most behind it, until
/// this replica leads no more; then they are told who does. Dropped half way, they go on.
///
/// # Errors
/// See [`NotHandedOver`]: nothing was asked of anybody.
pub async fn hand_over(group: &Group, to: ReplicaId, word: Word) -> Result<(), NotHandedOver> {
    let held = group.pause().hold();
    let mut waited_ms = 0;
    while let Err(reason) = is_ready(group, to, word) {
        let may_wait = matches!(reason, NotHandedOver::Busy | NotHandedOver::NoHeir(NotHeir::Behind { .. }));
        if !may_wait || waited_ms >= limits::HANDOVER_PAUSE_MS {
            return Err(reason);
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        waited_ms += LOOK_MS;
    }
    group.transfer(to).await.map_err(|error| NotHandedOver::Stopped { cause: error.to_string() })?;
    let mut waited_ms = 0;
    while group.leads() && waited_ms < limits::HANDOVER_HOLD_MS {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        waited_ms += LOOK_MS;
    }
    drop(held);
    Ok(())
}

fn is_ready(group: &Group, to: ReplicaId, word: Word) -> Result<(), NotHandedOver> {
    let standing = group.standing();
    if !standing.is_leader {
        return Err(NotHandedOver::NotLeader);
    }
    let heir = Heir {
        is_live: is_live(group, &standing, to),
        matched: standing.matched.get(&to).copied().flatten(),
        is_clock_agreed: word.is_clock_agreed,
        is_guard_open: word.is_guard_open,
    };
    may_lead(&standing.membership.1, group.replica(), to, &heir, group.last())?;
    if group.pause().is_quiet() { Ok(()) } else { Err(NotHandedOver::Busy) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_heard_for_the_shortest_election_timeout_and_the_way_of_an_answer() {
        for pace in [Pace::PRODUCTION, Pace::FAR, Pace::TEST] {
            let most = pace.election_min_ms + 2 * pace.heartbeat_ms;
            assert!(
                is_heard(Some(0), &pace) && is_heard(Some(pace.election_min_ms + pace.heartbeat_ms), &pace)
            );
            assert!(
                is_heard(Some(most), &pace) && !is_heard(Some(most + 1), &pace) && !is_heard(None, &pace)
            );
            // Who is silent for so long that others stand for election is taken for lost before a quorum is.
            assert!(most < pace.election_min_ms + pace.election_max_ms);
        }
    }
}
