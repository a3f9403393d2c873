//! Pure: how fast snapshots are moved while clients are served: slower while calls take too long or pile up, faster again once they do not.

/// Bytes a second from which it becomes slower.
const RATE_FIRST: u64 = 64 << 20;
/// And at the slowest: a snapshot comes to an end all the same.
pub const RATE_MIN: u64 = 1 << 20;
/// From here on there is no limit.
const RATE_MAX: u64 = 1 << 30;
/// Calls that a percentile is told of.
const CALLS_MIN: u64 = 20;

/// From when on calls of clients come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The slowest of a hundred calls takes longer than that, in milliseconds; 0: however long.
    pub p99_ms: u64,
    /// More are under way than that; 0: however many.
    pub calls: u64,
}

/// How clients are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Up to how many milliseconds 99 of a hundred calls have taken; nothing: hardly anybody has called.
    pub p99_ms: Option<u64>,
    /// Calls under way.
    pub calls: u64,
}

/// Up to how many milliseconds 99 of a hundred calls have taken between two looks at counters: how many took at most `most[n]` and more than the
/// one before; of the last, longer than all.
#[must_use]
pub fn p99(most: &[u64], before: &[u64], now: &[u64]) -> Option<u64> {
    let counts: Vec<u64> = now.iter().zip(before).map(|(now, before)| now.saturating_sub(*before)).collect();
    let all: u64 = counts.iter().sum();
    if all < CALLS_MIN {
        return None;
    }
    let mut below = 0;
    let at = counts.iter().position(|count| {
        below += count;
        below * 100 >= all * 99
    })?;
    Some(most.get(at).copied().unwrap_or(u64::MAX))
}

/// How fast a snapshot may be moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    rate_bytes_s: u64,
}

impl Throttle {
    /// Bytes a second; 0: as fast as it goes.
    #[must_use]
    pub fn rate_bytes_s(self) -> u64 {
        self.rate_bytes_s
    }

    /// After one more look: half as fast while clients wait, twice as fast while they do not.
    #[must_use]
    pub fn after(self, seen: Seen, limits: Limits) -> Self {
        let is_slow = limits.p99_ms > 0 && seen.p99_ms.is_some_and(|ms| ms > limits.p99_ms);
        let is_full = limits.calls > 0 && seen.calls > limits.calls;
        let rate_bytes_s = match (is_slow || is_full, self.rate_bytes_s) {
            (true, 0) => RATE_FIRST,
            (true, rate) => (rate / 2).max(RATE_MIN),
            (false, rate) if rate >= RATE_MAX / 2 => 0,
            (false, rate) => rate * 2,
        };
        Self { rate_bytes_s }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { p99_ms: 50, calls: 10 };

    #[test]
    fn it_becomes_slower_while_clients_wait_and_faster_once_they_do_not() {
        let (slow, full) = (Seen { p99_ms: Some(100), calls: 0 }, Seen { p99_ms: Some(50), calls: 11 });
        let calm = Seen { p99_ms: Some(50), calls: 10 };
        let rates = |looks: &[Seen]| {
            let mut throttle = Throttle::default();
            let each = looks.iter().map(|seen| {
                throttle = throttle.after(*seen, LIMITS);
                throttle.rate_bytes_s() >> 20
            });
            each.collect::<Vec<_>>()
        };
        assert_eq!(rates(&[calm, slow, full, slow, calm, calm]), [0, 64, 32, 16, 32, 64]);
        assert_eq!(rates(&[slow; 9]).last(), Some(&1), "it never stands still");
        assert_eq!(rates(&[&[slow][..], &[calm; 4]].concat()), [64, 128, 256, 512, 0]);
        let idle = Seen::default();
        assert_eq!(rates(&[slow, idle]), [64, 128], "whoever calls nothing waits for nothing");
        assert_eq!(
            Throttle::default().after(slow, Limits::default()),
            Throttle::default(),
            "nobody asked for it"
        );
    }

    #[test]
    fn a_percentile_follows_from_what_was_counted_between_two_looks() {
        let most = [1, 10, 100];
        let of = |now: [u64; 4]| p99(&most, &[5, 5, 5, 5], &now);
        assert_eq!(of([104, 5, 5, 6]), Some(1), "one of a hundred may take longer");
        assert_eq!(of([103, 5, 5, 7]), Some(u64::MAX));
        assert_eq!(of([5, 24, 6, 5]), Some(100));
        assert_eq!(of([24, 5, 5, 5]), None, "too few");
    }
}
