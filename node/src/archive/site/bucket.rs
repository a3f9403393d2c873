//! Pure: how fast bytes may go to a site, or come from it.

/// A budget that fills with time and is drawn on by transfers. It may go below zero by one transfer: the next waits.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate_bytes_s: u64,
    /// Bytes in it, by 1,000: so that no part of a byte is lost.
    level: i128,
    at_ms: u64,
}

impl Bucket {
    /// A full one of `rate_bytes_s` bytes a second, which holds a second's worth; 0 is no limit.
    #[must_use]
    pub fn new(rate_bytes_s: u64, now_ms: u64) -> Self {
        Self { rate_bytes_s, level: i128::from(rate_bytes_s) * 1_000, at_ms: now_ms }
    }

    /// Sets another rate.
    pub fn set_rate(&mut self, rate_bytes_s: u64) {
        self.rate_bytes_s = rate_bytes_s;
        self.level = self.level.min(i128::from(rate_bytes_s) * 1_000);
    }

    /// Takes `bytes`; so many milliseconds must pass before they are moved.
    #[must_use]
    pub fn take(&mut self, bytes: u64, now_ms: u64) -> u64 {
        if self.rate_bytes_s == 0 {
            return 0;
        }
        let rate = i128::from(self.rate_bytes_s);
        let passed = i128::from(now_ms.saturating_sub(self.at_ms));
        self.at_ms = self.at_ms.max(now_ms);
        self.level = (self.level + passed * rate).min(rate * 1_000);
        let wait = if self.level >= 0 { 0 } else { (-self.level + rate - 1) / rate };
        self.level -= i128::from(bytes) * 1_000;
        u64::try_from(wait).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_goes_than_the_rate_and_one_transfer() {
        let mut bucket = Bucket::new(1_000, 0);
        let (mut now, mut moved) = (0, 0_u64);
        while now < 60_000 {
            now += bucket.take(700, now);
            moved += 700;
            assert!(moved <= 1_000 + now + 700, "{moved} bytes in {now} ms");
        }
        assert!(moved >= 59_000, "and not much less: {moved}");
    }

    #[test]
    fn what_was_not_used_does_not_pile_up() {
        let mut bucket = Bucket::new(1_000, 0);
        assert_eq!(bucket.take(5_000, 1_000_000), 0);
        assert_eq!(bucket.take(1, 1_000_000), 4_000);
        assert_eq!(bucket.take(1, 1_000_000), 4_001);
        let mut free = Bucket::new(0, 0);
        assert_eq!((free.take(u64::MAX, 0), free.take(u64::MAX, 0)), (0, 0));
    }
}
