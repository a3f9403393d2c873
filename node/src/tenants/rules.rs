//! Pure: the life of a tenant, what it may use, and what it may be called.
//!
//! A tenant that is dropped stands in quarantine: nothing of it is served and all of it is kept, until the window is over. Then it may be
//! purged, its keys with it; that is for ever.

use crate::limits;

/// Where a tenant is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TenantState {
    /// It reads and writes. Number 1.
    #[default]
    Active,
    /// It does neither. Number 2.
    Frozen,
    /// It stands in quarantine. Number 3, and 4 if it was frozen before.
    Dropped {
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
        /// Until when that can be undone, in milliseconds since 1970.
        until_ms: u64,
        /// Whether it comes back frozen.
        was_frozen: bool,
    },
    /// Nothing of it is left but its id. Number 5.
    Purged,
}

/// What is done to a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Refuse its reads and writes. Number 1.
    Freeze,
    /// Serve it again. Number 2.
    Unfreeze,
    /// Put it into quarantine. Number 3.
    Drop,
    /// Take it out again. Number 4.
    Undrop,
    /// End it. Number 5.
    Purge,
}

impl Act {
    /// Every act, by number.
    pub const ALL: [Self; 5] = [Self::Freeze, Self::Unfreeze, Self::Drop, Self::Undrop, Self::Purge];

    /// The number that stands for it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Freeze => 1,
            Self::Unfreeze => 2,
            Self::Drop => 3,
            Self::Undrop => 4,
            Self::Purge => 5,
        }
    }
}

/// Why an act is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// It makes no sense where the tenant is.
    #[error("that cannot be done to a tenant in this state")]
    State,
    /// It is too late: the window is over.
    #[error("the drop can no longer be undone")]
    WindowOver,
    /// It is too early: the drop can still be undone, until then.
    #[error("the drop can still be undone until {until_ms} ms")]
    WindowOpen {
        /// Until when, in milliseconds since 1970.
        until_ms: u64,
    },
}

impl TenantState {
    /// Where `act` at `now_ms` (milliseconds since 1970) leads.
    ///
    /// # Errors
    /// See [`NotAllowed`].
    pub fn after(self, act: Act, now_ms: u64) -> Result<Self, NotAllowed> {
        match (self, act) {
            (Self::Active, Act::Freeze) => Ok(Self::Frozen),
            (Self::Frozen, Act::Unfreeze) => Ok(Self::Active),
            (_, Act::Drop) => self.dropped(now_ms, limits::QUARANTINE_MS),
            (Self::Dropped { until_ms, .. }, Act::Purge) if now_ms < until_ms => {
                Err(NotAllowed::WindowOpen { until_ms })
            }
            (Self::Dropped { .. }, Act::Purge) => Ok(Self::Purged),
            (Self::Dropped { until_ms, .. }, Act::Undrop) if now_ms >= until_ms => {
                Err(NotAllowed::WindowOver)
            }
            (Self::Dropped { was_frozen, .. }, Act::Undrop) => {
                Ok(if was_frozen { Self::Frozen } else { Self::Active })
            }
            _ => Err(NotAllowed::State),
        }
    }

    /// Where a drop at `now_ms` leads that can be undone for `window_ms`. What was said then holds, whatever is set later.
    ///
    /// # Errors
    /// `State`: it is neither active nor frozen.
    pub fn dropped(self, now_ms: u64, window_ms: u64) -> Result<Self, NotAllowed> {
        let was_frozen = match self {
            Self::Active => false,
            Self::Frozen => true,
            _ => return Err(NotAllowed::State),
        };
        Ok(Self::Dropped { since_ms: now_ms, until_ms: now_ms.saturating_add(window_ms), was_frozen })
    }

    /// Whether it is to be ended for good at `now_ms`.
    #[must_use]
    pub fn is_over(self, now_ms: u64) -> bool {
        matches!(self, Self::Dropped { until_ms, .. } if now_ms >= until_ms)
    }

    /// Whether its reads and writes are served.
    #[must_use]
    pub fn is_served(self) -> bool {
        self == Self::Active
    }
}

/// What a tenant may use; 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes it may keep.
    pub bytes: u64,
    /// Operations it may ask for in a second.
    pub operations_per_second: u32,
}

impl Quota {
    /// Whether a tenant that keeps `kept` bytes may write `more`.
    #[must_use]
    pub fn has_room(self, kept: u64, more: u64) -> bool {
        self.bytes == 0 || kept.saturating_add(more) <= self.bytes
    }
}

/// Thousandths of an operation.
const UNIT: u64 = 1_000;

/// What of its operations a tenant has left: it fills by the quota, and holds those of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Used, in thousandths of an operation.
    used: u64,
    /// When that was so, in milliseconds of the monotonic clock.
    at_ms: u64,
}

impl Bucket {
    /// The bucket after `operations` at `now_ms` of the monotonic clock. Larger requests than a second's pass when it is full, and are
    /// paid for afterwards.
    ///
    /// # Errors
    /// After how many milliseconds there is room.
    pub fn take(self, quota: Quota, operations: u64, now_ms: u64) -> Result<Self, u64> {
        let rate = u64::from(quota.operations_per_second);
        if rate == 0 {
            return Ok(Self { used: 0, at_ms: now_ms });
        }
        // Thousandths of an operation in a millisecond are as many as operations in a second.
        let used = self.used.saturating_sub(now_ms.saturating_sub(self.at_ms).saturating_mul(rate));
        let cost = operations.saturating_mul(UNIT);
        let over = used.saturating_add(cost.min(rate * UNIT)).saturating_sub(rate * UNIT);
        if over > 0 {
            return Err(over.div_ceil(rate));
        }
        Ok(Self { used: used.saturating_add(cost), at_ms: now_ms.max(self.at_ms) })
    }
}

/// Whether `name` may be that of a tenant, a node, a region, a collection or a setting: 1 to 63 of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`, of
/// which the first is a letter or a digit.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=limits::NAME_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(is_good)
        && bytes[0].is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_tenant_is_this_table() {
        use TenantState::{Active, Dropped, Frozen, Purged};
        let (now, until) = (5_000, 5_000 + limits::QUARANTINE_MS);
        let dropped = |was_frozen| Dropped { since_ms: 5_000, until_ms: until, was_frozen };
        let allowed = [
            (Active, Act::Freeze, now, Frozen),
            (Frozen, Act::Unfreeze, now, Active),
            (Active, Act::Drop, now, dropped(false)),
            (Frozen, Act::Drop, now, dropped(true)),
            (dropped(false), Act::Undrop, until - 1, Active),
            (dropped(true), Act::Undrop, until - 1, Frozen),
            (dropped(true), Act::Purge, until, Purged),
            (dropped(false), Act::Purge, until, Purged),
        ];
        for (from, act, at, to) in allowed {
            assert_eq!(from.after(act, at), Ok(to), "{from:?} {act:?}");
        }
        for from in [Active, Frozen, dropped(false), dropped(true), Purged] {
            for act in Act::ALL {
                let is_allowed = allowed.iter().any(|row| (row.0, row.1) == (from, act));
                let after = from.after(act, until - 1);
                assert!(is_allowed || after == Err(NotAllowed::State), "{from:?} {act:?}");
            }
            assert_eq!(from.is_served(), from == Active);
        }
        assert_eq!(dropped(false).after(Act::Undrop, until), Err(NotAllowed::WindowOver));
        assert_eq!(
            dropped(false).after(Act::Purge, until - 1),
            Err(NotAllowed::WindowOpen { until_ms: until })
        );
        for (state, at, over) in
            [(dropped(true), until - 1, false), (dropped(true), until, true), (Active, until, false)]
        {
            assert_eq!(state.is_over(at), over, "{state:?} {at}");
        }
        // A window of its own.
        let short = Frozen.dropped(5_000, 10).unwrap();
        assert_eq!(short, Dropped { since_ms: 5_000, until_ms: 5_010, was_frozen: true });
        assert_eq!(short.after(Act::Undrop, 5_009), Ok(Frozen));
        assert_eq!(short.after(Act::Undrop, 5_010), Err(NotAllowed::WindowOver));
        assert_eq!(short.dropped(6_000, 10), Err(NotAllowed::State), "a second drop gives no more time");
    }

    #[test]
    fn operations_pass_at_the_rate_and_no_faster() {
        let quota = Quota { bytes: 0, operations_per_second: 100 };
        let (mut bucket, mut passed) = (Bucket::default(), 0);
        for now_ms in 0..10_000 {
            while let Ok(next) = bucket.take(quota, 1, now_ms) {
                (bucket, passed) = (next, passed + 1);
            }
            assert!(passed <= 100 + now_ms / 10, "{passed} at {now_ms}");
        }
        assert_eq!(passed, 1_099);
        let retry_ms = bucket.take(quota, 50, 10_000).unwrap_err();
        assert!(bucket.take(quota, 50, 10_000 + retry_ms - 1).is_err());
        assert!(bucket.take(quota, 50, 10_000 + retry_ms).is_ok());
        // More than a second's: when it is full, and then nobody for as long as it takes.
        let large = Bucket::default().take(quota, 1_000, 0).unwrap();
        assert_eq!(large.take(quota, 1, 0), Err(9_010));
        // A clock that goes back gives nothing.
        assert!(large.take(quota, 1, 0).is_err());
        assert!(Bucket::default().take(Quota::default(), u64::MAX, 7).is_ok());
    }

    #[test]
    fn bytes_have_a_bound_if_there_is_one() {
        let quota = Quota { bytes: 100, operations_per_second: 0 };
        assert!(quota.has_room(90, 10) && !quota.has_room(90, 11) && !quota.has_room(u64::MAX, 1));
        assert!(Quota::default().has_room(u64::MAX, u64::MAX));
    }

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "acme", "Acme-1.eu_west", "0", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", ".", "a b", "a/b", "\u{e4}", "a\n", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
