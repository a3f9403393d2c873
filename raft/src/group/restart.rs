//! Pure: what to do with a group whose core is dead. A panic may be a matter of the moment, so the group is built again, a few times;
//! an error of storage is none, and who goes on after it believes a disk that has lied.

use crate::limits;
use std::collections::VecDeque;

/// Of what a core died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It panicked.
    Panic,
    /// Its storage gave an error.
    Storage,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// When all tokens of the old instance have fired, build it again.
    Rebuild,
    /// It stays down until a person acts.
    Fence,
}

/// When a group was built again, of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    at_ms: VecDeque<u64>,
}

impl Restarts {
    /// The core died at `now_ms` of the monotonic clock.
    pub fn died(&mut self, death: Death, now_ms: u64) -> Verdict {
        let is_old = |at_ms: &u64| now_ms.saturating_sub(*at_ms) >= limits::RESTARTS_WITHIN_MS;
        while self.at_ms.front().is_some_and(is_old) {
            self.at_ms.pop_front();
        }
        if death == Death::Storage || self.at_ms.len() >= limits::RESTARTS_MAX {
            return Verdict::Fence;
        }
        self.at_ms.push_back(now_ms);
        Verdict::Rebuild
    }
}

/// Whether tokens of an instance that died `since_ms` ago are late: a finding; its files stay as they are.
#[must_use]
pub fn is_token_late(since_ms: u64) -> bool {
    since_ms >= limits::TOKEN_LATE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_panics_in_ten_minutes_are_forgiven() {
        let mut restarts = Restarts::default();
        for (now_ms, wanted) in [
            (0, Verdict::Rebuild),
            (1_000, Verdict::Rebuild),
            (2_000, Verdict::Rebuild),
            (3_000, Verdict::Fence),
            (599_999, Verdict::Fence),
            (600_000, Verdict::Rebuild),
            (600_999, Verdict::Fence),
            (2_000_000, Verdict::Rebuild),
        ] {
            assert_eq!(restarts.died(Death::Panic, now_ms), wanted, "{now_ms}");
        }
    }

    #[test]
    fn no_storage_error_is_forgiven() {
        assert_eq!(Restarts::default().died(Death::Storage, 0), Verdict::Fence);
        assert!(!is_token_late(59_999) && is_token_late(60_000));
    }
}
