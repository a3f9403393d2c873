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

/// The stamp of a commit, as `c-STAMP-GROUP` names it; nothing if it is none.
fn commit(text: &str) -> Option<Stamp> {
    let (stamp, group) = text.strip_prefix("c-")?.split_once('-')?;
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_one = stamp.len() == 16 && is_hex(stamp) && group.len() <= 16 && is_hex(group);
    u64::from_str_radix(stamp, 16).ok().filter(|_| is_one).map(Stamp)
}

/// The stamp just before which something is meant: that of a commit or a stamp itself, else the first of a time.
///
/// # Errors
/// As [`moment`].
pub fn before_moment(text: &str, now_ms: u64) -> Result<Stamp> {
    match commit(text).or_else(|| text.parse().ok()) {
        Some(exact) => Ok(exact),
        None => Ok(Stamp(moment(text, now_ms)?.ms() << 16)),
    }
}

/// The same of what is meant up to a commit, stamp or time, itself included.
///
/// # Errors
/// As [`moment`].
pub fn at_moment(text: &str, now_ms: u64) -> Result<Stamp> {
    let at = match commit(text) {
        Some(exact) => exact,
        None => moment(text, now_ms)?,
    };
    Ok(Stamp(at.0.saturating_add(1)))
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
    fn a_moment_is_met_from_before_and_with_what_was_written_then() {
        let before = |text| before_moment(text, 100_000).map(|stamp| stamp.0).ok();
        let at = |text| at_moment(text, 100_000).map(|stamp| stamp.0).ok();
        let one = "c-01a203932eb30004-11";
        assert_eq!((before(one), at(one)), (Some(0x01a2_0393_2eb3_0004), Some(0x01a2_0393_2eb3_0005)));
        assert_eq!((before("55.3"), at("55.3")), (Some(55 << 16 | 3), Some(55 << 16 | 4)));
        assert_eq!((before("-90s"), at("-90s")), (Some(10_000 << 16), Some(10_001 << 16)));
        for bad in ["c-1-2", "c-01a203932eb30004-", "c-01a203932eb30004", "c-01a203932eb3000g-1", "x"] {
            assert_eq!((before(bad), at(bad)), (None, None), "{bad}");
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
