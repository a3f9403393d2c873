//! Pure: may a leader answer a read without asking anybody? As long as a quorum has answered it so lately that none of them votes for
//! another yet. A fifth of the time is left for clocks of different rate.
//!
//! The monotonic clock stands still while a machine is suspended, the boot clock does not. When the two have parted, answers that look
//! recent may be hours old, so the lease is off until one of them would have ended.

use crate::limits;

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

    /// Whether a read may be answered at `clocks`, if the requests that a quorum answered last were sent at `acknowledged_ms` of the
    /// monotonic clock. `None`: no quorum has answered yet. If not, the read must ask a quorum.
    pub fn allows(&mut self, clocks: Clocks, acknowledged_ms: Option<u64>) -> bool {
        if ahead(clocks).abs_diff(self.ahead_ms) > u128::from(limits::SUSPEND_MS) {
            self.ahead_ms = ahead(clocks);
            self.off_until_ms = clocks.monotonic_ms.saturating_add(self.election_max_ms);
        }
        let age_ms = acknowledged_ms.and_then(|sent_ms| clocks.monotonic_ms.checked_sub(sent_ms));
        let bound = u128::from(self.election_max_ms) * u128::from(limits::LEASE_PERCENT);
        let is_recent = age_ms.is_some_and(|age_ms| u128::from(age_ms) * 100 < bound);
        is_recent && clocks.monotonic_ms >= self.off_until_ms
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
    fn recent_is_less_than_four_fifths() {
        let mut lease = Lease::new(1_800, at(10_000, 50_000));
        for (now_ms, acknowledged_ms, wanted) in [
            (10_000, None, false),
            (10_000, Some(10_000), true),
            (11_439, Some(10_000), true),
            (11_440, Some(10_000), false),
            (10_000, Some(10_001), false), // not yet: not this clock
        ] {
            assert_eq!(lease.allows(at(now_ms, now_ms + 40_000), acknowledged_ms), wanted, "{now_ms}");
        }
    }

    #[test]
    fn off_for_one_lease_after_a_suspension() {
        for (parted, is_off) in [(20, false), (21, true), (-20, false), (-21, true), (7_200_000, true)] {
            let mut lease = Lease::new(1_800, at(10_000, 9_000_000));
            let boot = |now_ms: u64| (now_ms + 8_990_000).checked_add_signed(parted).unwrap();
            for (now_ms, off) in [(10_100, is_off), (11_899, is_off), (11_900, false)] {
                assert_eq!(!lease.allows(at(now_ms, boot(now_ms)), Some(now_ms)), off, "{parted} {now_ms}");
            }
        }
    }
}
