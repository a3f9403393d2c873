//! Pure: days and hours of the calendar, UTC, for names that people read.

/// A second of the calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Year, 1970 to 9999.
    pub year: u64,
    /// Month, 1 to 12.
    pub month: u64,
    /// Day of the month, 1 to 31.
    pub day: u64,
    /// Hour, 0 to 23.
    pub hour: u64,
    /// Minute, 0 to 59.
    pub minute: u64,
    /// Second, 0 to 59.
    pub second: u64,
}

const DAY_S: u64 = 86_400;
/// Days from 1 March of year 0 to 1 January 1970.
const EPOCH_DAYS: u64 = 719_468;
/// Days of 400 years.
const ERA_DAYS: u64 = 146_097;

/// The second of the calendar that is `seconds` after the beginning of 1970.
#[must_use]
pub fn parts(seconds: u64) -> Parts {
    let (days, rest) = (seconds / DAY_S + EPOCH_DAYS, seconds % DAY_S);
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    // Of a year that begins in March, so that the odd day is its last.
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    Parts {
        year: era * 400 + years + u64::from(month <= 2),
        month,
        day: of_year - (153 * shifted + 2) / 5 + 1,
        hour: rest / 3_600,
        minute: rest / 60 % 60,
        second: rest % 60,
    }
}

/// Seconds from the beginning of 1970 to `at`; `None`: there is no such second, or it is before 1970 or after 9999.
#[must_use]
pub fn seconds(at: Parts) -> Option<u64> {
    let is_near = (1970..=9999).contains(&at.year) && (1..=12).contains(&at.month) && at.day >= 1;
    if !is_near || at.day > 31 || at.hour > 23 || at.minute > 59 || at.second > 59 {
        return None;
    }
    let year = at.year - u64::from(at.month <= 2);
    let shifted = if at.month > 2 { at.month - 3 } else { at.month + 9 };
    let of_era = year % 400;
    let of_year = (153 * shifted + 2) / 5 + at.day - 1;
    let days = year / 400 * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let found = days.checked_sub(EPOCH_DAYS)? * DAY_S + at.hour * 3_600 + at.minute * 60 + at.second;
    // A day that the month does not have is a day of the next one.
    (parts(found) == at).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let of = |seconds| {
            let at = parts(seconds);
            (at.year, at.month, at.day, at.hour, at.minute, at.second)
        };
        assert_eq!(of(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(of(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(of(1_795_356_305), (2026, 11, 22, 14, 5, 5));
        assert_eq!(of(253_402_300_799), (9999, 12, 31, 23, 59, 59));
        let at = |year, month, day| Parts { year, month, day, hour: 0, minute: 0, second: 0 };
        for none in [at(2026, 2, 29), at(2100, 2, 29), at(2026, 4, 31), at(2026, 13, 1), at(1969, 12, 31)] {
            assert_eq!(seconds(none), None, "{none:?}");
        }
        assert_eq!(seconds(Parts { hour: 24, ..at(2026, 1, 1) }), None);
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in 0..ERA_DAYS {
            let second = day * DAY_S + day % DAY_S;
            assert_eq!(seconds(parts(second)), Some(second));
        }
    }
}
