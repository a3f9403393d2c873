//! Pure: when does a leader propose a closer, an entry without commands that only says that a tick is over? In the log, so that the
//! next leader inherits the promise, and so that an idle group holds back no cut.

use engine::Stamp;

/// What a leader knows of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Closed stamp of the last entry it has proposed, or inherited.
    pub closed: Stamp,
    /// The stamp below which an undecided intent holds the closed stamp, if there is one.
    pub intent: Option<Stamp>,
    /// Whether an entry of its own term is applied: before, it may promise nothing.
    pub is_settled: bool,
    /// Whether its clock agrees with its peers.
    pub is_clock_agreed: bool,
}

/// The stamp that a closer should close, if one is to be proposed at `now_ms` of the wall: the end of the last tick that is over,
/// ticks of `tick_ms` being counted from 1970. At least one millisecond is a tick.
#[must_use]
pub fn closer(idle: Idle, now_ms: u64, tick_ms: u64) -> Option<Stamp> {
    if !idle.is_settled || !idle.is_clock_agreed {
        return None;
    }
    let tick_ms = tick_ms.max(1);
    let end_ms = (now_ms - now_ms % tick_ms).checked_sub(1)?;
    let end = Stamp::end_of_ms(end_ms.min(Stamp::MAX.ms()));
    // A closer could close no more than the intent lets it.
    let reach = idle.intent.map_or(end, |intent| end.min(Stamp(intent.0.saturating_sub(1))));
    (idle.closed < reach).then_some(reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(closed: Stamp) -> Idle {
        Idle { closed, intent: None, is_settled: true, is_clock_agreed: true }
    }

    #[test]
    fn once_a_tick_and_only_if_nothing_else_closed_it() {
        let end = Stamp::end_of_ms(9_999);
        for (closed, now_ms, wanted) in [
            (Stamp::new(9_000, 0), 10_000, Some(end)),
            (Stamp::new(9_000, 0), 14_999, Some(end)),
            (
                Stamp::new(9_000, 0),
                9_999,
                Some(Stamp::end_of_ms(4_999)).filter(|end| *end > Stamp::new(9_000, 0)),
            ),
            (Stamp(end.0 - 1), 10_000, Some(end)),
            (end, 14_999, None),
            (Stamp::new(10_000, 0), 14_999, None),
            (end, 15_000, Some(Stamp::end_of_ms(14_999))),
            (Stamp::ZERO, 4_999, None),
            (Stamp::ZERO, 0, None),
        ] {
            assert_eq!(closer(idle(closed), now_ms, 5_000), wanted, "{closed} {now_ms}");
        }
        assert_eq!(
            closer(idle(Stamp::ZERO), 10, 0),
            Some(Stamp::end_of_ms(9)),
            "a tick is a millisecond at least"
        );
    }

    #[test]
    fn none_before_the_first_entry_of_a_leader_nor_with_a_wrong_clock() {
        let closed = Stamp::new(1, 0);
        assert_eq!(closer(Idle { is_settled: false, ..idle(closed) }, 10_000, 5_000), None);
        assert_eq!(closer(Idle { is_clock_agreed: false, ..idle(closed) }, 10_000, 5_000), None);
    }

    #[test]
    fn an_intent_holds_it_below() {
        let intent = Stamp::new(7_000, 4);
        let held = Idle { intent: Some(intent), ..idle(Stamp::new(1, 0)) };
        let below = Stamp::new(7_000, 3);
        assert_eq!(closer(held, 10_000, 5_000), Some(below));
        assert_eq!(
            closer(Idle { closed: below, ..held }, 20_000, 5_000),
            None,
            "again and again for nothing"
        );
    }
}
