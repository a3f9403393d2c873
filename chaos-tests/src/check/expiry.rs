//! Pure: does a value go when its time is over, and not before? Whoever asks wrote all versions of the key, one after the other, and knows
//! when each was written and until when it is there. A read as of a stamp finds the newest version at or before it if that is there still
//! at the time of the stamp, and never an older one that it had hidden.

use super::Violation;
use engine::Stamp;

const JUDGE: &str = "expiry";

/// A version that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// When it was written.
    pub stamp: Stamp,
    /// For how many milliseconds; 0 for ever.
    pub ttl_ms: u64,
}

impl Written {
    /// Until when it is there, in milliseconds since 1970; 0 for ever.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        if self.ttl_ms == 0 { 0 } else { self.stamp.ms() + self.ttl_ms }
    }

    fn is_there(&self, now_ms: u64) -> bool {
        self.ttl_ms == 0 || self.expires_ms() > now_ms
    }
}

/// What a read found: the version's stamp, and until when it is there.
pub type Found = Option<(Stamp, u64)>;

/// Judges a read as of `at`. Whether the newest version had gone by then.
///
/// # Errors
/// Broken: it found what had gone, what was hidden, or not what is there.
pub fn as_of(versions: &[Written], at: Stamp, found: Found) -> Result<bool, Violation> {
    let newest = versions.iter().filter(|written| written.stamp <= at).max_by_key(|written| written.stamp);
    let wanted = newest.filter(|written| written.is_there(at.ms())).map(told);
    if found != wanted {
        let what = format!("as of {at} {found:?} was found, and {wanted:?} was there, of {versions:?}");
        return Err(Violation::broken(JUDGE, what));
    }
    Ok(newest.is_some() && wanted.is_none())
}

/// Judges a read of now, by a clock that is wrong by so much at most: it was asked at `from_ms` and answered at `until_ms`.
///
/// # Errors
/// Broken: it found what had gone long before, or not what is there for longer.
pub fn now(
    versions: &[Written],
    (from_ms, until_ms): (u64, u64),
    wrong_ms: u64,
    found: Found,
) -> Result<(), Violation> {
    let newest = versions.iter().max_by_key(|written| written.stamp);
    let may = newest.filter(|written| written.is_there(from_ms.saturating_sub(wrong_ms))).map(told);
    let must = newest.filter(|written| written.is_there(until_ms + wrong_ms)).map(told);
    if found == may || found == must {
        return Ok(());
    }
    let what = format!("between {from_ms} and {until_ms} {found:?} was found, of {versions:?}");
    Err(Violation::broken(JUDGE, what))
}

fn told(written: &Written) -> (Stamp, u64) {
    (written.stamp, written.expires_ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(ms: u64, ttl_ms: u64) -> Written {
        Written { stamp: Stamp::new(ms, 0), ttl_ms }
    }

    fn at(ms: u64) -> Stamp {
        Stamp::new(ms, 0)
    }

    #[test]
    fn what_is_there_is_found_until_its_time_is_over_and_hides_what_was_before() {
        let versions = [written(100, 0), written(200, 50), written(400, 0)];
        for (ms, found, is_gone) in [
            (50, None, false),
            (100, Some((at(100), 0)), false),
            (200, Some((at(200), 250)), false),
            (249, Some((at(200), 250)), false),
            (250, None, true),
            (399, None, true),
            (400, Some((at(400), 0)), false),
        ] {
            assert_eq!(as_of(&versions, at(ms), found).ok(), Some(is_gone), "{ms}");
        }
    }

    #[test]
    fn what_has_gone_what_was_hidden_and_what_is_missing_are_told() {
        let versions = [written(100, 0), written(200, 50)];
        for (ms, found) in [
            (250, Some((at(200), 250))),
            (300, Some((at(100), 0))),
            (249, None),
            (99, Some((at(100), 0))),
            (210, Some((at(200), 260))),
        ] {
            let told = as_of(&versions, at(ms), found).unwrap_err();
            assert_eq!(told.judge, JUDGE, "{ms}");
        }
    }

    #[test]
    fn a_read_of_now_may_be_early_or_late_by_what_clocks_are_wrong() {
        let versions = [written(100, 0), written(200, 50)];
        let there = Some((at(200), 250));
        assert!(
            now(&versions, (230, 235), 10, there).is_ok() && now(&versions, (230, 235), 10, None).is_err()
        );
        assert!(
            now(&versions, (245, 250), 10, there).is_ok() && now(&versions, (245, 250), 10, None).is_ok()
        );
        assert!(
            now(&versions, (270, 275), 10, None).is_ok() && now(&versions, (270, 275), 10, there).is_err()
        );
        assert!(now(&versions, (270, 275), 10, Some((at(100), 0))).is_err(), "what was hidden stays hidden");
    }
}
