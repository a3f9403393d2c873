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
    /// It handed over the lead, and nobody leads long after: what consensus waits for does not come.
    Leaderless,
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

/// What is left of an instance that goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
    /// How long it has been going down, in ms.
    pub age_ms: u64,
    /// Whether consensus has ended.
    pub is_down: bool,
    /// Parts of it that hold the replica's log or machine.
    pub holders: usize,
    /// Whether it was told that it is late.
    pub is_told: bool,
}

/// What to do with it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing yet: what lives of it may write still.
    Wait,
    /// The same, and a person should know.
    TellLate,
    /// It is gone: its files may be touched.
    GoOn,
}

/// Whether its files may be touched: only if nothing of it can write any more, however long that takes.
#[must_use]
pub fn next(remains: &Remains) -> Next {
    if remains.is_down && remains.holders == 0 {
        Next::GoOn
    } else if is_token_late(remains.age_ms) && !remains.is_told {
        Next::TellLate
    } else {
        Next::Wait
    }
}

/// A leader that has handed over, while nobody is known to lead in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedOver {
    /// In which term it led.
    pub term: u64,
    /// When, in ms of the monotonic clock.
    pub at_ms: u64,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// A later term has a leader: it is over.
    Over,
    /// None yet.
    Open,
    /// None for twice the longest election timeout: build the group again.
    Stuck,
}

impl HandedOver {
    /// What became of it, if the replica has heard of `leader_term` as the last that has a leader, at `now_ms`; `election_max_ms` is the
    /// longest election timeout.
    #[must_use]
    pub fn look(&self, leader_term: Option<u64>, now_ms: u64, election_max_ms: u64) -> Succession {
        if leader_term > Some(self.term) {
            Succession::Over
        } else if now_ms.saturating_sub(self.at_ms) >= election_max_ms.saturating_mul(2) {
            Succession::Stuck
        } else {
            Succession::Open
        }
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
    fn a_lead_that_went_nowhere_is_stuck_after_twice_the_longest_timeout() {
        let handed = HandedOver { term: 7, at_ms: 1_000 };
        for (leader, now_ms, wanted) in [
            (None, 1_000, Succession::Open),
            (Some(7), 4_599, Succession::Open),
            (None, 4_599, Succession::Open),
            (None, 4_600, Succession::Stuck),
            // It says that it leads still, and takes nothing.
            (Some(7), 4_600, Succession::Stuck),
            (Some(8), 1_001, Succession::Over),
            (Some(8), 9_999, Succession::Over),
        ] {
            assert_eq!(handed.look(leader, now_ms, 1_800), wanted, "{leader:?} {now_ms}");
        }
    }

    #[test]
    fn no_storage_error_is_forgiven() {
        assert_eq!(Restarts::default().died(Death::Storage, 0), Verdict::Fence);
        assert!(!is_token_late(59_999) && is_token_late(60_000));
    }

    #[test]
    fn nothing_is_touched_while_anything_lives_and_who_is_late_is_told_once() {
        let late = limits::TOKEN_LATE_MS;
        for (age_ms, is_down, holders, is_told, wanted) in [
            (0, true, 0, false, Next::GoOn),
            (late, true, 0, true, Next::GoOn),
            (0, false, 0, false, Next::Wait),
            (0, true, 1, false, Next::Wait),
            (late - 1, true, 1, false, Next::Wait),
            (late, true, 1, false, Next::TellLate),
            (late, false, 0, false, Next::TellLate),
            (late, true, 1, true, Next::Wait),
            (u64::MAX, true, 1, true, Next::Wait),
        ] {
            assert_eq!(next(&Remains { age_ms, is_down, holders, is_told }), wanted, "{age_ms} {holders}");
        }
    }
}
