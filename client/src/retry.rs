//! Pure: whether a call is sent again, and after what wait.

use crate::limits::{BACKOFF_FIRST_MS, BACKOFF_LONGEST_MS, HOPS_MAX};
use proto::errors::{RetryClass, code};
use std::time::Duration;

/// What has become of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Of the code it failed with.
    pub class: RetryClass,
    /// Attempts there were, this one included.
    pub attempt: u32,
    /// How often another node was named already.
    pub hops: u32,
    /// Whether the answer names another node.
    pub is_elsewhere: bool,
    /// How long to wait, as the server says; 0: it does not.
    pub told_ms: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the same again after so long.
    Wait(Duration),
    /// It is no use, or too late.
    Stop,
}

/// What to do after a failed attempt, with what is left of the time. `random` is any number: it spreads waits between half and whole.
#[must_use]
pub fn decide(outcome: Outcome, left: Duration, random: u64) -> Next {
    let Outcome { class, attempt, hops, is_elsewhere, told_ms } = outcome;
    if !matches!(class, RetryClass::Same | RetryClass::Ask) {
        return Next::Stop;
    }
    let wait =
        if is_elsewhere && hops < HOPS_MAX { Duration::ZERO } else { backoff(attempt, told_ms, random) };
    if wait < left { Next::Wait(wait) } else { Next::Stop }
}

/// The wait after so many attempts: doubled each time up to a bound, never less than half of what the server says.
#[must_use]
pub fn backoff(attempt: u32, told_ms: u64, random: u64) -> Duration {
    let doubled = BACKOFF_FIRST_MS.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let whole_us = doubled.min(BACKOFF_LONGEST_MS).max(told_ms).saturating_mul(1000);
    let half_us = whole_us / 2;
    let spread_us = if half_us == 0 { 0 } else { random % (half_us + 1) };
    Duration::from_micros(half_us + spread_us)
}

/// Whether an error says for sure that the write was not applied, even if an earlier sending of it was lost: the servers decide it from the
/// request alone, or a replica decided it when it applied the request, and keeps that answer.
#[must_use]
pub fn is_final(code: u32) -> bool {
    matches!(
        code,
        code::CONDITION_FAILED
            | code::MALFORMED
            | code::KEY_TOO_LONG
            | code::VALUE_TOO_LONG
            | code::BATCH_TOO_LARGE
            | code::NAME_INVALID
            | code::RANGE_INVALID
            | code::FEATURE_MISSING
            | code::TWO_SHARDS
            | code::REQUEST_REUSED
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn outcome(class: RetryClass, attempt: u32) -> Outcome {
        Outcome { class, attempt, hops: 0, is_elsewhere: false, told_ms: 0 }
    }

    #[test]
    fn only_what_may_be_sent_again_is() {
        for (class, is_again) in [
            (RetryClass::Never, false),
            (RetryClass::Reread, false),
            (RetryClass::Same, true),
            (RetryClass::Ask, true),
        ] {
            assert_eq!(decide(outcome(class, 1), MINUTE, 7) != Next::Stop, is_again, "{class:?}");
        }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        let ms = |attempt, random| backoff(attempt, 0, random).as_millis();
        assert_eq!((ms(1, 0), ms(2, 0), ms(3, 0), ms(40, 0)), (5, 10, 20, 250));
        assert_eq!((ms(1, 5000), ms(40, 250_000), ms(u32::MAX, 0)), (10, 500, 250));
        for random in [0, 1, 77_777, u64::MAX] {
            assert!((5..=10).contains(&ms(1, random)));
        }
    }

    #[test]
    fn the_servers_wish_and_the_deadline_are_kept() {
        assert_eq!(backoff(1, 900, 0).as_millis(), 450);
        let told = Outcome { told_ms: 900, ..outcome(RetryClass::Same, 1) };
        assert_eq!(decide(told, Duration::from_millis(450), 0), Next::Stop);
        assert_eq!(decide(told, Duration::from_millis(451), 0), Next::Wait(Duration::from_millis(450)));
        assert_eq!(decide(outcome(RetryClass::Same, 1), Duration::ZERO, 0), Next::Stop);
    }

    #[test]
    fn another_node_is_asked_at_once_but_not_for_ever() {
        let elsewhere = |hops| Outcome { is_elsewhere: true, hops, ..outcome(RetryClass::Same, hops + 1) };
        assert_eq!(decide(elsewhere(0), MINUTE, 3), Next::Wait(Duration::ZERO));
        assert_ne!(decide(elsewhere(HOPS_MAX), MINUTE, 3), Next::Wait(Duration::ZERO));
    }

    #[test]
    fn a_refusal_at_the_door_does_not_say_that_nothing_was_applied() {
        assert!(is_final(code::CONDITION_FAILED) && is_final(code::KEY_TOO_LONG));
        for code in
            [code::TENANT_FROZEN, code::QUOTA_BYTES, code::NO_LEADER, code::REQUEST_EXPIRED, code::DEADLINE]
        {
            assert!(!is_final(code), "{code}");
        }
    }
}
