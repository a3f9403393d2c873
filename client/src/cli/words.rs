//! Pure: words of the line that become values: times and stamps.

use crate::error::{Error, Result, code};
use crate::stamp::Stamp;
use std::time::Duration;

/// A time: a number and one of `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// Invalid, if it is none.
pub fn time(text: &str) -> Result<Duration> {
    let bad = || Error::new(code::INPUT, format!("`{text}` is no time: write 250ms, 90s, 5m, 36h or 7d"));
    let at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(at);
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    Ok(Duration::from_millis(number.checked_mul(ms).ok_or_else(bad)?))
}

/// A moment: a stamp, a time with an offset, or `-90m` before now.
///
/// # Errors
/// Invalid, if it is none; a time without an offset is refused.
pub fn moment(text: &str, now_ms: u64) -> Result<Stamp> {
    let end_of = |ms: u64| Stamp(ms.min(u64::MAX >> 16) << 16 | 0xffff);
    if let Some(ago) = text.strip_prefix('-') {
        let ago_ms = u64::try_from(time(ago)?.as_millis()).unwrap_or(u64::MAX);
        return Ok(end_of(now_ms.saturating_sub(ago_ms)));
    }
    if let Ok(stamp) = text.parse() {
        return Ok(stamp);
    }
    let bad = "write a stamp, a time with an offset (2026-01-31T12:00:00Z), or -90m";
    let parsed: jiff::Timestamp =
        text.parse().map_err(|_| Error::new(code::INPUT, format!("`{text}` is no moment: {bad}")))?;
    Ok(end_of(u64::try_from(parsed.as_millisecond()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let ms = |text| time(text).map(|time| time.as_millis()).ok();
        assert_eq!(
            (ms("250ms"), ms("90s"), ms("2h"), ms("7d")),
            (Some(250), Some(90_000), Some(7_200_000), Some(604_800_000))
        );
        for bad in ["", "5", "s", "5w", "-5s", "99999999999999999999s", "99999999999999999d"] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn moments_are_stamps_times_with_offset_or_ago() {
        let of = |text| moment(text, 100_000).map(|stamp| (stamp.ms(), stamp.0 & 0xffff)).ok();
        assert_eq!(of("-90s"), Some((10_000, 0xffff)));
        assert_eq!(of("55.3"), Some((55, 3)));
        assert_eq!(of("1970-01-01T01:00:02+01:00"), Some((2000, 0xffff)));
        assert_eq!((of("1970-01-01T01:00:02"), of("yesterday"), of("-x")), (None, None, None));
    }
}
