//! Pure: has a learner caught up, so that it may count? Only if it has for a while: it has matched nearly all of the log, and by its
//! own word has applied what was committed a moment ago.

use crate::limits;

/// How near a learner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nearness {
    /// Entries of the leader it has not matched.
    pub unmatched: u64,
    /// How old what it has applied is, ms, by its own word; `None`: it has not said.
    pub applied_age_ms: Option<u64>,
}

impl Nearness {
    fn is_near(self) -> bool {
        self.unmatched <= limits::CAUGHT_UP_ENTRIES
            && self.applied_age_ms.is_some_and(|age_ms| age_ms <= limits::CAUGHT_UP_AGE_MS)
    }
}

/// Since when a learner is near.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatchUp {
    since_ms: Option<u64>,
}

impl CatchUp {
    /// What was seen at `now_ms` of the monotonic clock. Answers whether it has caught up: it was near each time it was looked at,
    /// for [`limits::CAUGHT_UP_FOR_MS`].
    pub fn observe(&mut self, nearness: Nearness, now_ms: u64) -> bool {
        if !nearness.is_near() {
            self.since_ms = None;
            return false;
        }
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        now_ms.saturating_sub(since_ms) >= limits::CAUGHT_UP_FOR_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_for_ten_seconds_without_a_break() {
        let at = |unmatched, applied_age_ms| Nearness { unmatched, applied_age_ms };
        let (near, far, late, silent) =
            (at(1_000, Some(5_000)), at(1_001, Some(0)), at(0, Some(5_001)), at(0, None));
        for bad in [far, late, silent] {
            let mut catch_up = CatchUp::default();
            for (now_ms, seen, wanted) in [
                (100, near, false),
                (10_099, near, false),
                (10_100, near, true),
                (10_200, bad, false),
                (10_300, near, false),
                (20_299, near, false),
                (20_300, near, true),
            ] {
                assert_eq!(catch_up.observe(seen, now_ms), wanted, "{bad:?} {now_ms}");
            }
        }
    }
}
