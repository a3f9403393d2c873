//! Pure: what a site keeps: every instant for a while, then points that thin out with age.
//!
//! As the setting says it: `keep=35d,hourly:48,daily:35,weekly:12,monthly:24,yearly:7`, or `keep=all`. Of each hour, day, week, month and year
//! counted back from now that has a snapshot the newest one stays. A snapshot that is the newest of its hour is so for ever, and hours only
//! become older: what was let go once is never wanted again.

use crate::archive::civil;
use crate::archive::naming::SnapshotId;
use crate::config::value::Duration;
use std::collections::BTreeMap;
use std::fmt;

/// Of the time in which every instant can be restored, a snapshot stays for every so manieth part: the log reaches back by no more than one.
const STEPS: u64 = 8;
/// How long what is going to be collected is announced before, in seconds, if the setting does not say.
const GRACE_S: u64 = 24 * 3_600;
/// Points of a kind, at most.
const POINTS_MAX: u32 = 10_000;

/// A kind of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Every {
    /// The newest of an hour.
    Hour,
    /// The newest of a day.
    Day,
    /// The newest of a week, which begins on Monday.
    Week,
    /// The newest of a month.
    Month,
    /// The newest of a year.
    Year,
}

impl Every {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// In which one a second since 1970 lies.
    #[must_use]
    pub fn of(self, second: u64) -> u64 {
        let parts = civil::parts(second.min(crate::archive::naming::SECONDS_MAX));
        match self {
            Self::Hour => second / 3_600,
            Self::Day => second / 86_400,
            // 1 January 1970 was a Thursday.
            Self::Week => (second / 86_400 + 3) / 7,
            Self::Month => parts.year * 12 + parts.month,
            Self::Year => parts.year,
        }
    }
}

/// What a site keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Nothing is ever collected.
    pub keeps_all: bool,
    /// Every instant of so many seconds before now can be restored.
    pub log_s: u64,
    /// How many points of each kind, as in [`Every::ALL`].
    pub points: [u32; 5],
    /// How long what is going to be collected is announced before, in seconds. Nothing younger than twice that is.
    pub grace_s: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { keeps_all: false, log_s: 35 * 86_400, points: [48, 35, 12, 24, 7], grace_s: GRACE_S }
    }
}

fn seconds(text: &str) -> Option<u64> {
    Duration::parse(text).map(|span| span.ms() / 1_000).filter(|seconds| *seconds > 0)
}

impl Policy {
    /// The policy that `text` says; a kind of points that it leaves out keeps none.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self { keeps_all: true, ..Self::default() });
        }
        let mut pieces = text.split(',');
        let log_s = pieces.next().and_then(seconds);
        let log_s = log_s.ok_or_else(|| format!("keep={text} begins with no span, like 35d"))?;
        let mut policy = Self { log_s, points: [0; 5], ..Self::default() };
        for piece in pieces {
            let said = piece.split_once(':').and_then(|(word, count)| {
                let at = Every::ALL.iter().position(|every| every.word() == word)?;
                Some((at, count.parse().ok().filter(|count| *count <= POINTS_MAX)?))
            });
            let (at, count) = said.ok_or_else(|| format!("{piece} is no count of points, like daily:35"))?;
            policy.points[at] = count;
        }
        Ok(policy)
    }

    /// The same with another time of announcement.
    ///
    /// # Errors
    /// It is none.
    pub fn with_grace(self, text: &str) -> Result<Self, String> {
        let grace_s = seconds(text).ok_or_else(|| format!("grace={text} is no span of a second or more"))?;
        Ok(Self { grace_s, ..self })
    }

    /// Nothing younger is announced, in seconds.
    #[must_use]
    pub fn young_s(&self) -> u64 {
        self.grace_s.saturating_mul(2)
    }

    /// Whether a pin that ended then, in milliseconds since 1970, is forgotten. Its last word stays for a while: an older cluster that comes back
    /// might know it as it was before.
    #[must_use]
    pub fn forgets(&self, ended_ms: u64, now_s: u64) -> bool {
        (ended_ms / 1_000).saturating_add(self.young_s().saturating_mul(2)) <= now_s
    }

    /// Which of these snapshots stay as points, and why.
    #[must_use]
    pub fn points_of(&self, all: impl IntoIterator<Item = SnapshotId>) -> BTreeMap<SnapshotId, &'static str> {
        let mut newest_first: Vec<SnapshotId> = all.into_iter().collect();
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        let mut points = BTreeMap::new();
        for (every, count) in Every::ALL.into_iter().zip(self.points) {
            let (mut left, mut last) = (count, None);
            for id in &newest_first {
                let of = Some(every.of(id.cut.0));
                if left == 0 || of == last {
                    continue;
                }
                (left, last) = (left - 1, of);
                points.entry(*id).or_insert(every.word());
            }
        }
        points
    }

    /// Which of these snapshots, all of the time in which every instant can be restored, stay so that the log need not reach back further.
    #[must_use]
    pub fn steps_of(&self, all: impl IntoIterator<Item = SnapshotId>) -> Vec<SnapshotId> {
        let step_s = (self.log_s / STEPS).max(1);
        let newest: BTreeMap<u64, SnapshotId> = {
            let mut ascending: Vec<SnapshotId> = all.into_iter().collect();
            ascending.sort_unstable();
            ascending.into_iter().map(|id| (id.cut.0 / step_s, id)).collect()
        };
        newest.into_values().collect()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keeps_all {
            return f.write_str("all");
        }
        write!(f, "{}", Duration::from_ms(self.log_s.saturating_mul(1_000)))?;
        for (every, count) in Every::ALL.into_iter().zip(self.points).filter(|(_, count)| *count > 0) {
            write!(f, ",{}:{count}", every.word())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::naming::TickEnd;

    fn at(second: u64) -> SnapshotId {
        SnapshotId { cut: TickEnd(second), random: [1; 4] }
    }

    #[test]
    fn a_policy_prints_as_it_was_said() {
        let said = "35d,hourly:48,daily:35,weekly:12,monthly:24,yearly:7";
        assert_eq!(Policy::parse(said), Ok(Policy::default()));
        for text in [said, "all", "90s", "1h,yearly:3"] {
            assert_eq!(Policy::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Policy::parse("1h").unwrap().points, [0; 5]);
        for wrong in
            ["", "0s", "500ms", "hourly:3", "1h,hourly", "1h,nightly:3", "1h,daily:-1", "1h,daily:10001"]
        {
            assert!(Policy::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Policy::default().with_grace("0s").is_err());
        assert_eq!(Policy::default().with_grace("2s").unwrap().young_s(), 4);
    }

    #[test]
    fn of_each_hour_day_week_month_and_year_the_newest_stays() {
        // From 1 November 2026, 00:00, every half hour for 20 days.
        let (begin, half) = (1_793_491_200, 1_800);
        let all: Vec<SnapshotId> = (0..20 * 48).map(|n| at(begin + n * half)).collect();
        let of = |text: &str| Policy::parse(text).unwrap().points_of(all.iter().copied());
        let hourly: Vec<u64> = of("1h,hourly:3").into_keys().map(|id| (id.cut.0 - begin) / half).collect();
        assert_eq!(hourly, [955, 957, 959]);
        let daily: Vec<u64> = of("1h,daily:2").into_keys().map(|id| (id.cut.0 - begin) / half).collect();
        assert_eq!(daily, [911, 959]);
        // 1 November 2026 is a Sunday: the week before ends with it.
        let weekly: Vec<u64> = of("1h,weekly:9").into_keys().map(|id| (id.cut.0 - begin) / half).collect();
        assert_eq!(weekly, [47, 383, 719, 959]);
        assert_eq!(of("1h,monthly:5,yearly:5").len(), 1);
        assert_eq!(of("1h").len(), 0);
    }

    #[test]
    fn what_was_let_go_is_never_wanted_again() {
        let policy = Policy::parse("4h,hourly:3,daily:2,weekly:2,monthly:2").unwrap();
        let (mut ever, mut there): (Vec<SnapshotId>, BTreeMap<SnapshotId, &str>) = Default::default();
        for n in 0..3_000 {
            ever.push(at(1_793_491_200 + n * 2_500));
            there.insert(ever[ever.len() - 1], "new");
            let (wanted, kept) =
                (policy.points_of(ever.iter().copied()), policy.points_of(there.into_keys()));
            assert_eq!(wanted, kept, "as if nothing had ever gone");
            there = kept;
        }
        assert!((5..=9).contains(&there.len()), "{}", there.len());
    }
}
