//! Pure: may this replica answer a read that must not be older than so much? Only if it can prove it: every write up to its closed
//! stamp is applied here, and its clock says truly how long ago that is. A delayed or parked replica answers none.

use crate::group::lifecycle::Stage;
use crate::limits;
use crate::planted::{self, Planted};
use crate::types::Role;
use engine::Stamp;
use engine::ids::NodeId;

/// What a replica can prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// What it is there for.
    pub role: Role,
    /// Where it stands in its life.
    pub stage: Stage,
    /// The closed stamp of what it has applied.
    pub closed: Option<Stamp>,
    /// The wall in ms, if it agrees with the peers.
    pub now_ms: Option<u64>,
    /// A node that is known to be fresher.
    pub better: Option<NodeId>,
}

/// What to do with the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answer it.
    Serve,
    /// It will be fresh enough in at most this many ms, if all goes on: ask again then.
    Wait {
        /// How long, in ms.
        wait_ms: u64,
    },
    /// Ask another node; this one, if one is known.
    Elsewhere(Option<NodeId>),
}

/// Answers a read that may be `bound_ms` old and has waited for `waited_ms` already. It waits for one tick at most.
#[must_use]
pub fn bounded(fresh: &Freshness, bound_ms: u64, waited_ms: u64) -> Answer {
    let elsewhere = Answer::Elsewhere(fresh.better);
    if fresh.role == Role::Delayed || !fresh.stage.allows_reads() {
        return elsewhere;
    }
    let Some((now_ms, closed)) = fresh.now_ms.zip(fresh.closed) else { return elsewhere };
    let wanted = Stamp::new(now_ms.saturating_sub(bound_ms).min(Stamp::MAX.ms()), 0);
    if closed >= wanted || planted::is(Planted::BoundedWithoutProof) {
        return Answer::Serve;
    }
    let left_ms = limits::TICK_MS.saturating_sub(waited_ms);
    if left_ms == 0 { elsewhere } else { Answer::Wait { wait_ms: left_ms } }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn fresh(closed: Stamp) -> Freshness {
        let (role, stage, better) = (Role::Learner, Stage::Serving, Some(NodeId(4)));
        Freshness { role, stage, closed: Some(closed), now_ms: Some(NOW_MS), better }
    }

    #[test]
    fn it_serves_what_it_can_prove_waits_a_tick_and_names_another() {
        let (limit, elsewhere) = (Stamp::new(NOW_MS - 3_000, 0), Answer::Elsewhere(Some(NodeId(4))));
        for (closed, waited_ms, wanted) in [
            (limit, 0, Answer::Serve),
            (limit.next(), 9_999, Answer::Serve),
            (Stamp(limit.0 - 1), 0, Answer::Wait { wait_ms: limits::TICK_MS }),
            (Stamp(limit.0 - 1), limits::TICK_MS - 1, Answer::Wait { wait_ms: 1 }),
            (Stamp(limit.0 - 1), limits::TICK_MS, elsewhere),
            (Stamp::ZERO, u64::MAX, elsewhere),
        ] {
            assert_eq!(bounded(&fresh(closed), 3_000, waited_ms), wanted, "{closed} {waited_ms}");
        }
        assert_eq!(bounded(&fresh(Stamp::ZERO), u64::MAX, 0), Answer::Serve, "any age will do");
    }

    #[test]
    fn without_proof_it_never_serves() {
        let good = fresh(Stamp::MAX);
        for bad in [
            Freshness { role: Role::Delayed, ..good },
            Freshness { stage: Stage::Parked, ..good },
            Freshness { stage: Stage::Joining, ..good },
            Freshness { stage: Stage::Fenced, ..good },
            Freshness { closed: None, ..good },
            Freshness { now_ms: None, ..good },
        ] {
            assert_eq!(bounded(&bad, u64::MAX, 0), Answer::Elsewhere(Some(NodeId(4))), "{bad:?}");
        }
        assert_eq!(bounded(&Freshness { role: Role::Voter, ..good }, 0, 0), Answer::Serve);
    }
}
