//! Pure: may a leader answer a read without asking anybody? As long as a quorum has answered it so lately that none of them votes for
//! another yet. A fifth of the time is left for clocks of different rate.
//!
//! The monotonic clock stands still while a machine is suspended, the boot clock does not. When the two have parted, answers that look
//! recent may be hours old, so the lease is off until one of them would have ended.

use crate::limits;
use crate::planted::{self, Planted};

/// The two clocks of a machine, ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Stands still while the machine is suspended.
    pub monotonic_ms: u64,
    /// Does not.
    pub boot_ms: u64,
}

/// The lease of one group on its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    election_max_ms: u64,
    /// By how much the boot clock is ahead.
    ahead_ms: i128,
    /// Until when of the monotonic clock it is off.
    off_until_ms: u64,
}

impl Lease {
    /// The lease of a group whose longest election timeout is `election_max_ms`.
    #[must_use]
    pub fn new(election_max_ms: u64, clocks: Clocks) -> Self {
        Self { election_max_ms, ahead_ms: ahead(clocks), off_until_ms: 0 }
    }

    /// How long ago, ms of the monotonic clock, the requests may have been sent that a quorum answered last, for a read to be answered at
    /// `clocks` without asking anybody. `None`: the lease is off, and the read must ask a quorum.
    pub fn age_ms(&mut self, clocks: Clocks) -> Option<u64> {
        let parted = ahead(clocks).abs_diff(self.ahead_ms) > u128::from(limits::SUSPEND_MS);
        if parted {
            self.ahead_ms = ahead(clocks);
            self.off_until_ms = clocks.monotonic_ms.saturating_add(self.election_max_ms);
        }
        if planted::is(Planted::StaleLease) {
            return Some(u64::from(u32::MAX));
        }
        let age = u128::from(self.election_max_ms) * u128::from(limits::LEASE_PERCENT) / 100;
        (clocks.monotonic_ms >= self.off_until_ms).then(|| u64::try_from(age).unwrap_or(u64::MAX))
    }
}

fn ahead(clocks: Clocks) -> i128 {
    i128::from(clocks.boot_ms) - i128::from(clocks.monotonic_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64, boot_ms: u64) -> Clocks {
        Clocks { monotonic_ms, boot_ms }
    }

    #[test]
    fn an_answer_counts_for_four_fifths_of_the_longest_election() {
        for (election_max_ms, wanted) in [(1_800, 1_440), (600, 480), (5_000, 4_000), (1, 0), (0, 0)] {
            let mut lease = Lease::new(election_max_ms, at(10_000, 50_000));
            assert_eq!(lease.age_ms(at(10_000, 50_000)), Some(wanted));
        }
        assert!(Lease::new(u64::MAX, at(0, 0)).age_ms(at(0, 0)).is_some());
    }

    #[test]
    fn off_for_one_lease_after_a_suspension() {
        for (parted, is_off) in [(20, false), (21, true), (-20, false), (-21, true), (7_200_000, true)] {
            let mut lease = Lease::new(1_800, at(10_000, 9_000_000));
            let boot = |now_ms: u64| (now_ms + 8_990_000).checked_add_signed(parted).unwrap();
            for (now_ms, off) in [(10_100, is_off), (11_899, is_off), (11_900, false)] {
                assert_eq!(lease.age_ms(at(now_ms, boot(now_ms))).is_none(), off, "{parted} {now_ms}");
            }
        }
    }

    #[test]
    fn many_short_suspensions_add_up() {
        let mut lease = Lease::new(1_800, at(0, 0));
        let is_off: Vec<bool> = (1..=3).map(|n| lease.age_ms(at(n, n + 9 * n)).is_none()).collect();
        assert_eq!(is_off, [false, false, true]);
    }
}
