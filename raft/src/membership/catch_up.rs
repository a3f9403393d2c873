//! Pure: has a learner caught up, so that it may count? Only if it has for a while: it has matched nearly all of the log, and by its
//! own word has applied what was committed a moment ago. The while is as long as it had needed to come so near: whoever had much to
//! fetch may fall behind as much again, and a group of which there is little to fetch need not wait.

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
    /// When it was added, if whoever looks has added it.
    added_ms: Option<u64>,
    since_ms: Option<u64>,
}

impl CatchUp {
    /// Of one that is added at `now_ms` of the monotonic clock, by whoever looks at it from now on.
    #[must_use]
    pub fn added(now_ms: u64) -> Self {
        Self { added_ms: Some(now_ms), since_ms: None }
    }

    /// What was seen at `now_ms` of the monotonic clock. Answers whether it has caught up: it was near each time it was looked at, for as
    /// long as it had needed for that since it was added, within [`limits::CAUGHT_UP_FOR_MS_MIN`] and [`limits::CAUGHT_UP_FOR_MS_MAX`].
    /// How long that was is not known of one that somebody else has added: the longest counts.
    pub fn observe(&mut self, nearness: Nearness, now_ms: u64) -> bool {
        if !nearness.is_near() {
            self.since_ms = None;
            return false;
        }
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        let needed_ms = self.added_ms.map_or(u64::MAX, |added_ms| since_ms.saturating_sub(added_ms));
        let for_ms = needed_ms.clamp(limits::CAUGHT_UP_FOR_MS_MIN, limits::CAUGHT_UP_FOR_MS_MAX);
        now_ms.saturating_sub(since_ms) >= for_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(unmatched: u64, applied_age_ms: Option<u64>) -> Nearness {
        Nearness { unmatched, applied_age_ms }
    }

    const NEAR: Nearness = at(1_000, Some(limits::CAUGHT_UP_AGE_MS));
    const FAR: Nearness = at(1_001, Some(0));

    #[test]
    fn near_for_ten_seconds_without_a_break() {
        let (late, silent) = (at(0, Some(limits::CAUGHT_UP_AGE_MS + 1)), at(0, None));
        for bad in [FAR, late, silent] {
            let mut catch_up = CatchUp::default();
            for (now_ms, seen, wanted) in [
                (100, NEAR, false),
                (10_099, NEAR, false),
                (10_100, NEAR, true),
                (10_200, bad, false),
                (10_300, NEAR, false),
                (20_299, NEAR, false),
                (20_300, NEAR, true),
            ] {
                assert_eq!(catch_up.observe(seen, now_ms), wanted, "{bad:?} {now_ms}");
            }
        }
    }

    #[test]
    fn near_for_as_long_as_it_had_needed_since_it_was_added() {
        for (near_ms, for_ms) in [
            (1_000, 1_000),
            (1_200, 1_000),
            (3_000, 2_000),
            (9_500, 8_500),
            (11_000, 10_000),
            (99_000, 10_000),
        ] {
            let mut catch_up = CatchUp::added(1_000);
            assert!(!catch_up.observe(FAR, near_ms - 1));
            assert!(!catch_up.observe(NEAR, near_ms));
            assert!(!catch_up.observe(NEAR, near_ms + for_ms - 1), "{near_ms}");
            assert!(catch_up.observe(NEAR, near_ms + for_ms), "{near_ms}");
        }
    }

    #[test]
    fn whoever_falls_back_is_looked_at_for_longer() {
        let mut catch_up = CatchUp::added(0);
        assert!(!catch_up.observe(NEAR, 500));
        assert!(!catch_up.observe(FAR, 1_000), "it was near for half a second");
        assert!(!catch_up.observe(NEAR, 4_000));
        assert!(!catch_up.observe(NEAR, 7_999) && catch_up.observe(NEAR, 8_000));
    }
}
