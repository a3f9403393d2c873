//! Pure: the instant that a restore goes to, as a person names it: a time with its zone, a stamp, a commit, or the newest there is.
//!
//! Whatever is named becomes one stamp, and everything at or before it belongs to the restore. A time means the whole millisecond; `before`
//! leaves out what it names, and everything at the same stamp in other groups with it.

use engine::Stamp;
use jiff::Timestamp;
use raft::types::GroupId;
use std::fmt;

/// One command that was committed: its stamp, and the group in whose log it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitId {
    /// When.
    pub stamp: Stamp,
    /// Where.
    pub group: GroupId,
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c-{:016x}-{:x}", self.stamp.0, self.group.0)
    }
}

impl CommitId {
    /// The id that `text`, as printed by `Display`, names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (stamp, group) = text.strip_prefix("c-")?.split_once('-')?;
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if stamp.len() != 16 || !(1..=16).contains(&group.len()) || !is_hex(stamp) || !is_hex(group) {
            return None;
        }
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self { stamp: Stamp(number(stamp)?), group: GroupId(number(group)?) })
    }
}

/// Where a restore goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All at or before this stamp.
    Upto(Stamp),
    /// All there is when the plan is made.
    Latest,
}

/// Why what was written names no instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// A time of nobody's clock.
    #[error("`{0}` is a time without its zone: write {0}Z, or with an offset as {0}+01:00")]
    NoZone(String),
    /// Nothing that is known.
    #[error(
        "`{0}` names no instant: write a time with its zone (2026-01-31T12:00:00Z), a stamp (1764000000000.3), a commit (c-01a203932eb30004-11), or latest"
    )]
    Unknown(String),
    /// A time finer than what is kept.
    #[error("`{0}` is finer than a millisecond: name a commit, or a stamp")]
    TooFine(String),
    /// It leaves nothing.
    #[error("nothing is before `{0}`")]
    Nothing(String),
    /// `before latest` says nothing.
    #[error("`latest` has no before: name a time, a stamp or a commit")]
    Latest,
    /// Neither or both were said.
    #[error("say either where to go (--at), or what to leave out (--before)")]
    OneOf,
}

/// The target that the line names: `at` one instant, or just `before` one; the other is empty.
///
/// # Errors
/// See [`NoTarget`].
pub fn target(at: &str, before: &str) -> Result<Target, NoTarget> {
    match (at, before) {
        ("", "") => Err(NoTarget::OneOf),
        ("latest", "") => Ok(Target::Latest),
        ("", "latest") => Err(NoTarget::Latest),
        (at, "") => instant(at).map(|(_, last)| Target::Upto(last)),
        ("", before) => {
            let (first, _) = instant(before)?;
            let last = first.0.checked_sub(1).filter(|last| *last > 0);
            last.map(|last| Target::Upto(Stamp(last))).ok_or_else(|| NoTarget::Nothing(before.to_owned()))
        }
        _ => Err(NoTarget::OneOf),
    }
}

/// The first and the last stamp of what is named.
fn instant(text: &str) -> Result<(Stamp, Stamp), NoTarget> {
    if let Some(commit) = CommitId::parse(text) {
        return Ok((commit.stamp, commit.stamp));
    }
    if let Some(stamp) = Stamp::parse(text) {
        return Ok((stamp, stamp));
    }
    let unknown = || NoTarget::Unknown(text.to_owned());
    let Ok(time) = text.parse::<Timestamp>() else {
        return Err(match text.parse::<jiff::civil::DateTime>() {
            Ok(_) => NoTarget::NoZone(text.to_owned()),
            Err(_) => unknown(),
        });
    };
    if time.subsec_nanosecond() % 1_000_000 != 0 {
        return Err(NoTarget::TooFine(text.to_owned()));
    }
    let ms = u64::try_from(time.as_millisecond()).map_err(|_| unknown())?;
    if ms == 0 || ms > Stamp::MAX.ms() {
        return Err(unknown());
    }
    Ok((Stamp::new(ms, 0), Stamp::end_of_ms(ms)))
}

/// A moment for people: RFC 3339, UTC, to the millisecond.
#[must_use]
pub fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms since 1970"), |time| format!("{time:.3}"))
}

/// A stamp for people: its moment, and its counter where that says something.
#[must_use]
pub fn shown(stamp: Stamp) -> String {
    match stamp.counter() {
        u16::MAX => time(stamp.ms()),
        counter => format!("{} +{counter}", time(stamp.ms())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_764_000_000_123;

    fn upto(stamp: Stamp) -> Result<Target, NoTarget> {
        Ok(Target::Upto(stamp))
    }

    #[test]
    fn a_time_is_its_whole_millisecond_whatever_the_zone() {
        for text in ["2025-11-24T16:00:00.123Z", "2025-11-24T17:00:00.123+01:00", "2025-11-24 16:00:00.123Z"]
        {
            assert_eq!(target(text, ""), upto(Stamp::end_of_ms(MS)), "{text}");
            assert_eq!(target("", text), upto(Stamp(Stamp::new(MS, 0).0 - 1)), "{text}");
        }
        assert_eq!(time(MS), "2025-11-24T16:00:00.123Z");
        assert_eq!(
            (shown(Stamp::end_of_ms(MS)), shown(Stamp::new(MS, 4))),
            (time(MS), format!("{} +4", time(MS)))
        );
        assert_eq!(time(u64::MAX), format!("{} ms since 1970", u64::MAX));
    }

    #[test]
    fn a_commit_is_exact_and_before_leaves_it_out() {
        let commit = CommitId { stamp: Stamp::new(MS, 4), group: GroupId(0x11) };
        let text = commit.to_string();
        assert_eq!(text, format!("c-{:016x}-11", Stamp::new(MS, 4).0));
        assert_eq!(CommitId::parse(&text), Some(commit));
        assert_eq!(target(&text, ""), upto(commit.stamp));
        assert_eq!(target("", &text), upto(Stamp::new(MS, 3)));
        assert_eq!(target("1764000000123.4", ""), upto(commit.stamp));
        assert_eq!(target("", "1764000000123.4"), upto(Stamp::new(MS, 3)));
        for bad in [
            "c-",
            "c-1-1",
            "c-01a203932eb3000g-11",
            "c-01A203932eb30004-11",
            "c-01a203932eb30004-",
            "c-01a203932eb30004",
        ] {
            assert_eq!(CommitId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_names_no_instant_is_refused_and_says_what_would() {
        assert_eq!(target("latest", ""), Ok(Target::Latest));
        assert_eq!(target("", "latest"), Err(NoTarget::Latest));
        for (at, before) in [("", ""), ("latest", "latest")] {
            assert_eq!(target(at, before), Err(NoTarget::OneOf));
        }
        let zoneless = target("2025-11-24T16:00:00", "").unwrap_err();
        assert!(zoneless.to_string().contains("2025-11-24T16:00:00Z"), "{zoneless}");
        assert!(matches!(target("2025-11-24T16:00:00.0001Z", ""), Err(NoTarget::TooFine(_))));
        assert!(matches!(target("", "0.1"), Err(NoTarget::Nothing(_))));
        for bad in [
            "yesterday",
            "16:00",
            "-5m",
            "1764000000123",
            "1960-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z",
            " latest",
        ] {
            assert!(matches!(target(bad, ""), Err(NoTarget::Unknown(_))), "{bad}");
        }
    }
}
