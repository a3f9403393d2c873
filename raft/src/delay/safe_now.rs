//! Pure: what time it surely is. The wall clock is believed as far as the boot clock has gone since peers last agreed with it; when
//! the two part there is no answer until peers agree again.

use crate::limits;

/// When peers last agreed with the wall clock of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SafeNow {
    /// Wall and boot clock then, ms.
    agreed: Option<(u64, u64)>,
}

impl SafeNow {
    /// Peers agree that it is `wall_ms`, at `boot_ms` of the clock that runs evenly since the machine booted.
    pub fn agree(&mut self, wall_ms: u64, boot_ms: u64) {
        self.agreed = Some((wall_ms, boot_ms));
    }

    /// Peers disagree: there is no safe time until they agree again.
    pub fn disagree(&mut self) {
        self.agreed = None;
    }

    /// What time it surely is at least, in ms: never later than either clock says. `None` if peers have not agreed since the start,
    /// or the clocks have parted by more than [`limits::CLOCK_PART_MS_MAX`] since they did.
    #[must_use]
    pub fn at(&self, wall_ms: u64, boot_ms: u64) -> Option<u64> {
        let (agreed_wall_ms, agreed_boot_ms) = self.agreed?;
        let expected_ms = agreed_wall_ms.checked_add(boot_ms.checked_sub(agreed_boot_ms)?)?;
        let is_near = expected_ms.abs_diff(wall_ms) <= limits::CLOCK_PART_MS_MAX;
        is_near.then_some(expected_ms.min(wall_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_gives_no_time_and_never_a_later_one() {
        let mut safe = SafeNow::default();
        assert_eq!(safe.at(1_000, 10), None, "nobody has agreed");
        safe.agree(1_000_000, 500);
        for (wall_ms, boot_ms, wanted) in [
            (1_000_000, 500, Some(1_000_000)),
            (1_060_000, 60_500, Some(1_060_000)),
            (1_060_250, 60_500, Some(1_060_000)), // ahead a little: the boot clock is believed
            (1_059_750, 60_500, Some(1_059_750)), // behind a little: the wall is
            (1_060_251, 60_500, None),
            (1_059_749, 60_500, None),
            (u64::MAX, 60_500, None),
            (0, 60_500, None),
            (1_000_000, 499, None), // another boot
            (5, u64::MAX, None),
        ] {
            assert_eq!(safe.at(wall_ms, boot_ms), wanted, "{wall_ms} {boot_ms}");
        }
        safe.disagree();
        assert_eq!(safe.at(1_000_000, 500), None);
    }
}
