//! Pure: when snapshots are taken by themselves, and when nothing of them is moved: instants of the calendar, UTC.
//!
//! A schedule is `every 6h` or `cron 0 3 * * 1-5`, and behind it any number of `; quiet mon-fri/08:00-18:00`. An instant that was missed, for
//! nobody led or it was quiet, is made up for once.

use super::civil::parts;
use std::fmt;

const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3_600;
/// Days that an instant is looked for: a leap day comes every eighth year at the latest.
const DAYS_MAX: u64 = 8 * 366;
/// Bytes of a schedule.
const TEXT_BYTES_MAX: usize = 512;
/// Times in which it is quiet, at most.
const QUIET_MAX: usize = 16;
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn weekday(days: u64) -> u64 {
    // 1 January 1970 was a Thursday.
    (days + 4) % 7
}

/// Numbers that a field lets through: bit `n` is number `n`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    text: String,
    bits: u64,
}

impl Field {
    fn parse(text: &str, least: u64, most: u64) -> Option<Self> {
        let mut bits = 0;
        for piece in text.split(',') {
            let (range, step) = match piece.split_once('/') {
                Some((range, step)) => (range, step.parse().ok().filter(|step| (1..=most).contains(step))?),
                None => (piece, 1),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (least, most),
                Some((from, to)) => (from.parse().ok()?, to.parse().ok()?),
                // `5/10` goes on to the end, `5` alone is one number.
                None if piece.contains('/') => (range.parse().ok()?, most),
                None => (range.parse().ok()?, range.parse().ok()?),
            };
            if from > to || from < least || to > most {
                return None;
            }
            bits |= (from..=to).step_by(usize::try_from(step).ok()?).fold(0, |bits, n| bits | 1 << n);
        }
        Some(Self { text: text.to_owned(), bits })
    }

    fn holds(&self, number: u64) -> bool {
        self.bits >> number & 1 == 1
    }

    fn is_any(&self) -> bool {
        self.text.starts_with('*')
    }

    /// The greatest number that it lets through, up to one.
    fn last_upto(&self, most: u64) -> Option<u64> {
        (0..=most).rev().find(|number| self.holds(*number))
    }
}

/// Instants of the calendar: minute, hour, day of the month, month, day of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cron([Field; 5]);

impl Cron {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else { return None };
        let mut of_week = Field::parse(weekday, 0, 7)?;
        // Sunday has two numbers.
        of_week.bits |= of_week.bits >> 7 & 1;
        let fields = [
            Field::parse(minute, 0, 59)?,
            Field::parse(hour, 0, 23)?,
            Field::parse(day, 1, 31)?,
            Field::parse(month, 1, 12)?,
            of_week,
        ];
        Some(Self(fields))
    }

    fn is_on(&self, days: u64) -> bool {
        let [.., of_month, month, of_week] = &self.0;
        let date = parts(days * DAY_S);
        let (is_date, is_weekday) = (of_month.holds(date.day), of_week.holds(weekday(days)));
        // Where both are said, either is enough.
        let is_day =
            if of_month.is_any() || of_week.is_any() { is_date && is_weekday } else { is_date || is_weekday };
        month.holds(date.month) && is_day
    }

    /// The last of its instants at or before a second.
    fn last(&self, now_s: u64) -> Option<u64> {
        let [minute, hour, ..] = &self.0;
        let today = now_s / DAY_S;
        for days in (today.saturating_sub(DAYS_MAX)..=today).rev().filter(|days| self.is_on(*days)) {
            let upto = if days == today { now_s % DAY_S } else { DAY_S - 1 };
            let (at_hour, at_minute) = (upto / HOUR_S, upto % HOUR_S / 60);
            let this_hour = hour.holds(at_hour).then(|| minute.last_upto(at_minute)).flatten();
            let before = || {
                let earlier = at_hour.checked_sub(1).and_then(|most| hour.last_upto(most))?;
                Some((earlier, minute.last_upto(59)?))
            };
            if let Some((hour, minute)) = this_hour.map(|minute| (at_hour, minute)).or_else(before) {
                return Some(days * DAY_S + hour * HOUR_S + minute * 60);
            }
        }
        None
    }
}

/// A time of some days of the week; one that ends before it begins ends on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// The first day it begins on, and the last: Sunday is 0.
    days: (u64, u64),
    /// Seconds of the day.
    from_s: u64,
    to_s: u64,
}

fn clock(text: &str) -> Option<u64> {
    let (hour, minute) = text.split_once(':')?;
    let is_two = |part: &str| part.len() == 2 && part.bytes().all(|c| c.is_ascii_digit());
    let (hour, minute): (u64, u64) =
        (is_two(hour).then(|| hour.parse().ok())??, is_two(minute).then(|| minute.parse().ok())??);
    let is_end = (hour, minute) == (24, 0);
    (is_end || hour < 24 && minute < 60).then_some(hour * HOUR_S + minute * 60)
}

impl Quiet {
    /// Reads `08:00-18:00`, `sat/00:00-24:00` or `mon-fri/22:00-06:00`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (days, times) = text.split_once('/').map_or((None, text), |(days, times)| (Some(days), times));
        let day = |text: &str| DAYS.iter().position(|day| *day == text).map(|at| at as u64);
        let days = match days.map(|days| days.split_once('-').unwrap_or((days, days))) {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (0, 6),
        };
        let (from, to) = times.split_once('-')?;
        let (from_s, to_s) = (clock(from)?, clock(to)?);
        (from_s != to_s && from_s < DAY_S).then_some(Self { days, from_s, to_s })
    }

    /// Several, separated by commas.
    #[must_use]
    pub fn parse_all(text: &str) -> Option<Vec<Self>> {
        let all: Option<Vec<Self>> = text.split(',').map(Self::parse).collect();
        all.filter(|all| all.len() <= QUIET_MAX)
    }

    fn begins_on(&self, day: u64) -> bool {
        let (first, last) = self.days;
        if first <= last { (first..=last).contains(&day) } else { day >= first || day <= last }
    }

    /// Whether a second lies in it.
    #[must_use]
    pub fn holds(&self, at_s: u64) -> bool {
        let (today, of_day) = (weekday(at_s / DAY_S), at_s % DAY_S);
        if self.from_s < self.to_s {
            return self.begins_on(today) && (self.from_s..self.to_s).contains(&of_day);
        }
        let began_yesterday = self.begins_on((today + 6) % 7) && of_day < self.to_s;
        began_yesterday || self.begins_on(today) && of_day >= self.from_s
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |day: u64| usize::try_from(day).ok().and_then(|day| DAYS.get(day)).copied().unwrap_or("");
        match self.days {
            (0, 6) => {}
            (first, last) if first == last => write!(f, "{}/", name(first))?,
            (first, last) => write!(f, "{}-{}/", name(first), name(last))?,
        }
        let of = |s: u64| (s / HOUR_S, s % HOUR_S / 60);
        let ((a, b), (c, d)) = (of(self.from_s), of(self.to_s));
        write!(f, "{a:02}:{b:02}-{c:02}:{d:02}")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum When {
    /// Only when somebody asks.
    #[default]
    Never,
    /// So often, in milliseconds.
    Every(u64),
    At(Cron),
}

/// When snapshots are taken by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    when: When,
    quiet: Vec<Quiet>,
}

impl Schedule {
    /// So often, in milliseconds; 0: only when somebody asks.
    #[must_use]
    pub fn every(ms: u64) -> Self {
        let when = if ms == 0 { When::Never } else { When::Every(ms) };
        Self { when, quiet: Vec::new() }
    }

    /// Reads what its display says.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a schedule has {TEXT_BYTES_MAX} bytes at most"));
        }
        let mut pieces = text.split(';').map(str::trim);
        let first = pieces.next().unwrap_or_default();
        let when = match first.split_once(' ') {
            None if first.is_empty() || first == "off" => When::Never,
            Some(("every", span)) => {
                let span = crate::config::value::Duration::parse(span.trim()).map(|span| span.ms());
                let span = span.filter(|ms| *ms >= 60_000);
                When::Every(
                    span.ok_or_else(|| format!("{first} is no span of a minute or more, like `every 6h`"))?,
                )
            }
            Some(("cron", fields)) => When::At(Cron::parse(fields).ok_or_else(|| {
                format!(
                    "{first} is not minute, hour, day, month and day of the week, like `cron 0 3 * * 1-5`"
                )
            })?),
            _ => return Err(format!("{first} begins neither with `every` nor with `cron`")),
        };
        let mut quiet = Vec::new();
        for piece in pieces {
            let window = piece.strip_prefix("quiet ").and_then(|window| Quiet::parse(window.trim()));
            quiet.push(window.ok_or_else(|| format!("{piece} is no time like `quiet mon-fri/08:00-18:00`"))?);
        }
        if quiet.len() > QUIET_MAX {
            return Err(format!("there may be {QUIET_MAX} times in which it is quiet"));
        }
        let is_never_due = matches!(&when, When::At(cron) if cron.last(LATE_S).is_none());
        if is_never_due {
            return Err(format!("{first}: that day never comes"));
        }
        Ok(Self { when, quiet })
    }

    /// How often it says, in milliseconds; 0: it says no span.
    #[must_use]
    pub fn every_ms(&self) -> u64 {
        if let When::Every(ms) = self.when { ms } else { 0 }
    }

    /// Times in which nothing of a snapshot is moved.
    #[must_use]
    pub fn quiet(&self) -> &[Quiet] {
        &self.quiet
    }

    /// Whether it is quiet at this time, in milliseconds since 1970.
    #[must_use]
    pub fn is_quiet(&self, now_ms: u64) -> bool {
        self.quiet.iter().any(|window| window.holds(now_ms / 1_000))
    }

    /// Whether a snapshot is due, if the last one was begun at `last_ms`; both in milliseconds since 1970.
    #[must_use]
    pub fn is_due(&self, last_ms: u64, now_ms: u64) -> bool {
        let is_due = match &self.when {
            When::Never => false,
            When::Every(ms) => now_ms.saturating_sub(last_ms) >= *ms,
            When::At(cron) => cron.last(now_ms / 1_000).is_some_and(|at_s| at_s * 1_000 > last_ms),
        };
        is_due && !self.is_quiet(now_ms)
    }
}

/// 31 December 2099: every day that there is has come by then.
const LATE_S: u64 = 4_102_358_400;

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.when {
            When::Never => f.write_str("off")?,
            When::Every(ms) => write!(f, "every {}", crate::config::value::Duration::from_ms(*ms))?,
            When::At(Cron(fields)) => {
                f.write_str("cron")?;
                fields.iter().try_for_each(|field| write!(f, " {}", field.text))?;
            }
        }
        self.quiet.iter().try_for_each(|window| write!(f, "; quiet {window}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::civil::{Parts, seconds};

    /// The second of a date and time.
    fn at([year, month, day, hour, minute]: [u64; 5]) -> u64 {
        seconds(Parts { year, month, day, hour, minute, second: 0 }).expect("a second of the calendar")
    }

    /// A Sunday.
    const SUNDAY: [u64; 3] = [2026, 11, 22];

    fn on(hour: u64, minute: u64) -> u64 {
        let [year, month, day] = SUNDAY;
        at([year, month, day, hour, minute])
    }

    #[test]
    fn the_last_instant_of_a_schedule_is_found() {
        for (cron, now, last) in [
            ("0 3 * * *", on(14, 5), on(3, 0)),
            ("0 3 * * *", on(3, 0), on(3, 0)),
            ("0 3 * * *", on(2, 59), on(3, 0) - DAY_S),
            ("*/15 * * * *", on(14, 5), on(14, 0)),
            ("50 9-17/4 * * *", on(14, 5), on(13, 50)),
            ("5/20 14 * * *", on(14, 44), on(14, 25)),
            ("0 3 * * 1-5", on(14, 5), on(3, 0) - 2 * DAY_S),
            ("0 3 * * 0", on(14, 5), on(3, 0)),
            ("0 3 * * 7", on(14, 5), on(3, 0)),
            ("0 3 1 * *", on(14, 5), at([2026, 11, 1, 3, 0])),
            ("0 3 1,20 * 2", on(14, 5), at([2026, 11, 20, 3, 0])),
            ("0 3 31 * *", on(14, 5), at([2026, 10, 31, 3, 0])),
            ("30 23 29 2 *", on(14, 5), at([2024, 2, 29, 23, 30])),
        ] {
            let found = Cron::parse(cron).expect("a schedule").last(now);
            assert_eq!(found, Some(last), "{cron}");
        }
    }

    #[test]
    fn what_was_missed_is_made_up_for_once_and_not_while_it_is_quiet() {
        let schedule = Schedule::parse("cron 0 3 * * *; quiet 02:00-06:00; quiet sun/09:00-12:00").unwrap();
        let ms = |s: u64| s * 1_000;
        let days_ago = ms(on(3, 0) - 5 * DAY_S);
        assert!(!schedule.is_due(days_ago, ms(on(5, 59))), "it is quiet");
        assert!(schedule.is_due(days_ago, ms(on(6, 0))));
        assert!(!schedule.is_due(days_ago, ms(on(9, 0))), "again");
        assert!(!schedule.is_due(ms(on(6, 0)), ms(on(14, 0))), "once");
        let every = Schedule::parse("every 6h").unwrap();
        assert!(!every.is_due(ms(on(6, 0)), ms(on(11, 59))) && every.is_due(ms(on(6, 0)), ms(on(12, 0))));
        assert!(!Schedule::default().is_due(0, u64::MAX));
        assert_eq!((every.every_ms(), schedule.every_ms()), (21_600_000, 0));
    }

    #[test]
    fn a_time_over_midnight_belongs_to_the_day_it_begins_on() {
        let quiet = Quiet::parse("fri-sat/22:00-06:00").unwrap();
        // Friday is two days before Sunday.
        let (friday, sunday) = (on(0, 0) - 2 * DAY_S, on(0, 0));
        assert!(!quiet.holds(friday + 5 * HOUR_S), "it began on Thursday");
        assert!(quiet.holds(friday + 22 * HOUR_S) && quiet.holds(friday + DAY_S + 5 * HOUR_S));
        assert!(quiet.holds(sunday + 5 * HOUR_S) && !quiet.holds(sunday + 6 * HOUR_S));
        assert!(!quiet.holds(sunday + 23 * HOUR_S));
        let whole = Quiet::parse("sat-mon/00:00-24:00").unwrap();
        let is_in = |day: u64| whole.holds(friday + day * DAY_S + 1);
        assert_eq!([0, 1, 2, 3, 4].map(is_in), [false, true, true, true, false]);
    }

    #[test]
    fn a_schedule_reads_what_it_says_and_nothing_else() {
        for text in [
            "off",
            "every 6h",
            "cron 0 */6 * * 1-5",
            "every 1d; quiet mon-fri/08:00-18:00; quiet 22:00-06:00; quiet sat/00:00-24:00",
        ] {
            assert_eq!(Schedule::parse(text).unwrap().to_string(), text);
        }
        for (text, said) in [
            ("hourly", "neither with"),
            ("every 1s", "a minute or more"),
            ("every now", "a minute or more"),
            ("cron 0 3 * *", "is not minute, hour"),
            ("cron 60 3 * * *", "is not minute, hour"),
            ("cron 0 3 * * 8", "is not minute, hour"),
            ("cron 0 3 0 * *", "is not minute, hour"),
            ("cron 5-3 3 * * *", "is not minute, hour"),
            ("cron */0 3 * * *", "is not minute, hour"),
            ("cron 0 3 30 2 *", "never comes"),
            ("every 6h; loud 08:00-18:00", "no time like"),
            ("every 6h; quiet 08:00-08:00", "no time like"),
            ("every 6h; quiet 8:00-18:00", "no time like"),
            ("every 6h; quiet 08:00-24:01", "no time like"),
            ("every 6h; quiet someday/08:00-18:00", "no time like"),
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let many = format!("every 6h{}", "; quiet 01:00-02:00".repeat(QUIET_MAX + 1));
        assert!(Schedule::parse(&many).is_err());
    }
}
