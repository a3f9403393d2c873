//! Pure: a byte-rate limit for background work, as a bucket that fills with time.

/// Bytes that background work may still move. Fills at a rate, holds at most one second's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    bytes_per_s: u64,
    /// May be negative: a piece larger than the bucket is paid off afterwards.
    left: i64,
    filled_ms: u64,
}

impl Bucket {
    /// A full bucket. A rate of 0 is no limit.
    #[must_use]
    pub fn new(bytes_per_s: u64, now_ms: u64) -> Self {
        Self { bytes_per_s, left: i64::try_from(bytes_per_s).unwrap_or(i64::MAX), filled_ms: now_ms }
    }

    /// Takes `bytes` out and tells how many milliseconds to wait before taking more.
    #[must_use]
    pub fn take(&mut self, bytes: u64, now_ms: u64) -> u64 {
        if self.bytes_per_s == 0 {
            return 0;
        }
        // A clock that went back fills nothing.
        let elapsed = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = now_ms;
        let rate = i64::try_from(self.bytes_per_s).unwrap_or(i64::MAX);
        let inflow =
            i64::try_from(u128::from(elapsed) * u128::from(self.bytes_per_s) / 1_000).unwrap_or(i64::MAX);
        let filled = self.left.saturating_add(inflow).min(rate);
        self.left = filled.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        if self.left >= 0 {
            return 0;
        }
        let debt = u128::from(self.left.unsigned_abs());
        u64::try_from((debt * 1_000).div_ceil(u128::from(self.bytes_per_s))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_bytes_is_free_then_time_is_paid() {
        let mut bucket = Bucket::new(1_000, 0);
        assert_eq!(bucket.take(1_000, 0), 0);
        assert_eq!(bucket.take(500, 0), 500);
        assert_eq!(bucket.take(0, 500), 0);
        assert_eq!(bucket.take(250, 750), 0);
    }

    #[test]
    fn never_more_than_a_second_is_saved_and_clocks_may_go_back() {
        let mut bucket = Bucket::new(1_000, 10_000);
        assert_eq!(bucket.take(1_001, 99_000), 1);
        assert_eq!(bucket.take(0, 50_000), 1);
        assert_eq!(bucket.take(0, 50_001), 0, "and go on from there");
        assert_eq!(Bucket::new(0, 0).take(u64::MAX, 0), 0);
    }

    #[test]
    fn the_long_run_rate_is_the_limit() {
        let mut bucket = Bucket::new(10_000, 0);
        let mut now = 0;
        for _ in 0..100 {
            now += bucket.take(3_000, now);
        }
        assert!((28_900..=29_100).contains(&now), "{now} ms for 300 kB at 10 kB/s with 10 kB saved");
    }
}
