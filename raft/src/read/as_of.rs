//! Pure: may this replica answer a read as of a stamp? Once nothing at or below the stamp can come any more: it is at or below the
//! closed stamp of what is applied here. If it lies later, the read waits until it is closed, or the leader closes it.

use super::bounded::Freshness;
use crate::limits;
use crate::planted::{self, Planted};
use crate::types::Role;
use engine::Stamp;
use engine::ids::NodeId;

/// What to do with the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answer it.
    Serve,
    /// Ask again after at most this many ms.
    Wait {
        /// How long, in ms.
        wait_ms: u64,
    },
    /// This replica leads: close the time up to here, then ask again.
    Close {
        /// The end of the last millisecond that is over.
        upto: Stamp,
    },
    /// Ask the leader to close the time up to here, then ask again.
    AskToClose {
        /// The end of the last millisecond that is over.
        upto: Stamp,
    },
    /// Ask another node; this one, if one is known.
    Elsewhere(Option<NodeId>),
    /// The stamp is so far ahead of every clock that nobody can have been given it.
    TooFarAhead {
        /// How far, in ms.
        ahead_ms: u64,
    },
}

/// Answers a read as of `at` that has waited for `waited_ms` already. It waits for one tick at most.
#[must_use]
pub fn as_of(fresh: &Freshness, is_leader: bool, at: Stamp, waited_ms: u64) -> Answer {
    let elsewhere = Answer::Elsewhere(fresh.better);
    if fresh.role == Role::Delayed || !fresh.stage.allows_reads() {
        return elsewhere;
    }
    // What is closed stays so, whatever time it is.
    let Some(closed) = fresh.closed else { return elsewhere };
    if closed >= at || planted::is(Planted::PastBeforeClosed) {
        return Answer::Serve;
    }
    let Some(now_ms) = fresh.now_ms else { return elsewhere };
    let ahead_ms = at.ms().saturating_sub(now_ms);
    if ahead_ms > limits::CLOCK_PART_MS_MAX {
        return Answer::TooFarAhead { ahead_ms };
    }
    let left_ms = limits::TICK_MS.saturating_sub(waited_ms);
    match (left_ms, at.ms() < now_ms) {
        (0, _) => elsewhere,
        (_, true) if is_leader => Answer::Close { upto: Stamp::end_of_ms(now_ms - 1) },
        // It gives out stamps of this millisecond still.
        (_, false) => Answer::Wait { wait_ms: (ahead_ms + 1).min(left_ms) },
        (_, true) if fresh.better.is_some() => Answer::AskToClose { upto: Stamp::end_of_ms(at.ms()) },
        _ => Answer::Wait { wait_ms: left_ms },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::lifecycle::Stage;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn fresh(closed: Stamp) -> Freshness {
        let (role, stage, better) = (Role::Learner, Stage::Serving, Some(NodeId(4)));
        Freshness { role, stage, closed: Some(closed), now_ms: Some(NOW_MS), better }
    }

    #[test]
    fn it_serves_what_is_closed_waits_for_the_rest_and_a_leader_closes_it() {
        let (closed, tick) = (Stamp::new(NOW_MS - 900, 7), limits::TICK_MS);
        let (close, elsewhere) =
            (Answer::Close { upto: Stamp::end_of_ms(NOW_MS - 1) }, Answer::Elsewhere(Some(NodeId(4))));
        let wait = |wait_ms| Answer::Wait { wait_ms };
        let ask = |ms| Answer::AskToClose { upto: Stamp::end_of_ms(ms) };
        for (at, waited_ms, follower, leader) in [
            (Stamp::ZERO, u64::MAX, Answer::Serve, Answer::Serve),
            (closed, u64::MAX, Answer::Serve, Answer::Serve),
            (closed.next(), 0, ask(NOW_MS - 900), close),
            (closed.next(), tick - 1, ask(NOW_MS - 900), close),
            (closed.next(), tick, elsewhere, elsewhere),
            (Stamp::end_of_ms(NOW_MS - 1), 0, ask(NOW_MS - 1), close),
            (Stamp::new(NOW_MS, 0), 0, wait(1), wait(1)),
            (Stamp::new(NOW_MS + 250, 9), 0, wait(251), wait(251)),
            (Stamp::new(NOW_MS + 250, 9), tick - 3, wait(3), wait(3)),
            (
                Stamp::new(NOW_MS + 251, 0),
                0,
                Answer::TooFarAhead { ahead_ms: 251 },
                Answer::TooFarAhead { ahead_ms: 251 },
            ),
        ] {
            assert_eq!(as_of(&fresh(closed), false, at, waited_ms), follower, "{at} {waited_ms}");
            assert_eq!(as_of(&fresh(closed), true, at, waited_ms), leader, "leader, {at} {waited_ms}");
        }
    }

    #[test]
    fn without_proof_it_never_serves_and_proof_needs_no_clock() {
        let (good, at) = (fresh(Stamp::new(NOW_MS, 0)), Stamp::new(NOW_MS, 0));
        for bad in [
            Freshness { role: Role::Delayed, ..good },
            Freshness { stage: Stage::Parked, ..good },
            Freshness { stage: Stage::Joining, ..good },
            Freshness { stage: Stage::Fenced, ..good },
            Freshness { closed: None, ..good },
        ] {
            assert_eq!(as_of(&bad, true, at, 0), Answer::Elsewhere(Some(NodeId(4))), "{bad:?}");
        }
        let clockless = Freshness { now_ms: None, ..good };
        assert_eq!(as_of(&clockless, true, at, 0), Answer::Serve);
        assert_eq!(as_of(&clockless, true, at.next(), 0), Answer::Elsewhere(Some(NodeId(4))));
    }
}
