//! Pure: hybrid logical time of a commit: 48 bits of milliseconds since 1970, then a 16-bit counter.

use std::fmt;

/// Hybrid logical time of a commit. Orders as a number: later is greater.
///
/// ```
/// use engine::Stamp;
/// let stamp = Stamp::new(1_700_000_000_000, 3);
/// assert_eq!((stamp.ms(), stamp.counter()), (1_700_000_000_000, 3));
/// assert!(stamp < stamp.next());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Before every commit.
    pub const ZERO: Self = Self(0);
    /// At or after every commit.
    pub const MAX: Self = Self(u64::MAX);

    /// The stamp of `ms` milliseconds since 1970 (the lower 48 bits of it) and `counter`.
    #[must_use]
    pub fn new(ms: u64, counter: u16) -> Self {
        Self(ms << 16 | u64::from(counter))
    }

    /// The last stamp of millisecond `ms`.
    #[must_use]
    pub fn end_of_ms(ms: u64) -> Self {
        Self::new(ms, u16::MAX)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The counter inside the millisecond.
    #[must_use]
    pub fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The stamp right after this one. Carries into the milliseconds; stays at [`Stamp::MAX`].
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The stamp `ms` milliseconds earlier, counter 0; [`Stamp::ZERO`] if there is none.
    #[must_use]
    pub fn minus_ms(self, ms: u64) -> Self {
        Self::new(self.ms().saturating_sub(ms), 0)
    }

    /// The stamp that `text`, as printed by `Display`, names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (ms, counter) = text.split_once('.')?;
        let (ms, counter) = (ms.parse::<u64>().ok()?, counter.parse::<u16>().ok()?);
        (ms < 1 << 48).then(|| Self::new(ms, counter))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms(), self.counter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_time_then_counter() {
        assert!(Stamp::new(5, u16::MAX) < Stamp::new(6, 0));
        assert_eq!(Stamp::new(5, u16::MAX).next(), Stamp::new(6, 0));
        assert_eq!(Stamp::MAX.next(), Stamp::MAX);
        assert_eq!(Stamp::new(5, 9).minus_ms(3), Stamp::new(2, 0));
        assert_eq!(Stamp::new(5, 9).minus_ms(9), Stamp::ZERO);
    }

    #[test]
    fn printed_stamps_parse_back() {
        for stamp in [Stamp::ZERO, Stamp::MAX, Stamp::new(1_700_000_000_000, 12)] {
            assert_eq!(Stamp::parse(&stamp.to_string()), Some(stamp));
        }
        assert_eq!(Stamp::parse("12"), None);
        assert_eq!(Stamp::parse("281474976710656.0"), None);
    }
}
