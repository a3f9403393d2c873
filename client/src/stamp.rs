//! When something was written.

use crate::clock::to_ms;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When something was written: 48 bits of milliseconds since 1970, 16 of counter. It never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Milliseconds since 1970.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The moment, without the counter.
    #[must_use]
    pub fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.ms())
    }
}

/// Everything up to the end of that millisecond.
impl From<SystemTime> for Stamp {
    fn from(time: SystemTime) -> Self {
        Self(to_ms(time).min(u64::MAX >> 16) << 16 | 0xffff)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms(), self.0 & 0xffff)
    }
}

/// One commit: its stamp, and the group in whose log it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit {
    /// When.
    pub stamp: Stamp,
    /// Where.
    pub group: u64,
}

/// As a restore takes it: `c-01a203932eb30004-11`.
impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c-{:016x}-{:x}", self.stamp.0, self.group)
    }
}

/// It is no stamp: milliseconds, a point, a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stamp is milliseconds since 1970, a point and a counter: 1764000000000.3")]
pub struct NoStamp;

impl FromStr for Stamp {
    type Err = NoStamp;

    fn from_str(text: &str) -> Result<Self, NoStamp> {
        let (ms, counter) = text.split_once('.').ok_or(NoStamp)?;
        let ms: u64 = ms.parse().map_err(|_| NoStamp)?;
        let counter: u16 = counter.parse().map_err(|_| NoStamp)?;
        if ms > u64::MAX >> 16 {
            return Err(NoStamp);
        }
        Ok(Self(ms << 16 | u64::from(counter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_is_written() {
        for stamp in [Stamp(0), Stamp(1), Stamp(0xffff), Stamp(1_764_000_000_000 << 16 | 3), Stamp(u64::MAX)]
        {
            assert_eq!(stamp.to_string().parse(), Ok(stamp));
        }
        for bad in ["", "1", "1.", ".1", "1.65536", "281474976710656.0", "-1.0", "1.0.0"] {
            assert_eq!(bad.parse::<Stamp>(), Err(NoStamp), "{bad}");
        }
        let commit = Commit { stamp: Stamp(0x01a2_0393_2eb3_0004), group: 17 };
        assert_eq!(commit.to_string(), "c-01a203932eb30004-11");
        assert_eq!(Stamp::from(UNIX_EPOCH + Duration::from_millis(5)), Stamp(5 << 16 | 0xffff));
    }
}
