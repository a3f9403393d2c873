//! Pure: durations and sizes as a person writes them: a whole number and a unit.

use std::fmt;

/// A span of time, whole milliseconds: `250ms`, `5s`, `10m`, `12h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

/// A number of bytes: `512 B`, `64 KiB`, `8 MiB`, `4 GiB`, `1 TiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(u64);

const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Duration {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// From what a person wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, &SPANS).map(Self)
    }
}

impl Bytes {
    /// So many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of them.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// From what a person wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, &SIZES).map(Self)
    }
}

/// A whole number, then one of the units, with or without a space between; a bare 0 needs none.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = (&text[..end], text[end..].trim_start());
    let number: u64 = digits.parse().ok()?;
    if unit.is_empty() {
        return (number == 0).then_some(0);
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// The greatest unit that leaves no rest.
fn print(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)], space: &str) -> fmt::Result {
    let last = units[units.len() - 1];
    let fits = |(_, factor): &&(&str, u64)| number > 0 && number.is_multiple_of(*factor);
    let (unit, factor) = units.iter().find(fits).copied().unwrap_or(last);
    write!(f, "{}{space}{unit}", number / factor)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &SPANS, "")
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &SIZES, " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for ms in [0, 1, 250, 999, 1_000, 1_001, 60_000, 90_000, 3_600_000, 86_400_000, 86_400_001] {
            assert_eq!(Duration::parse(&Duration::from_ms(ms).to_string()), Some(Duration::from_ms(ms)));
        }
        for bytes in [0, 1, 1_023, 1_024, 1_025, 8 << 20, 3 << 30, 1 << 40, u64::MAX] {
            assert_eq!(Bytes::parse(&Bytes::new(bytes).to_string()), Some(Bytes::new(bytes)));
        }
        assert_eq!(Duration::from_ms(90_000).to_string(), "90s");
        assert_eq!(Bytes::new(8 << 20).to_string(), "8 MiB");
        assert_eq!(Bytes::new(0).to_string(), "0 B");
    }

    #[test]
    fn a_number_without_its_unit_is_refused() {
        for wrong in
            ["", "5", "-1s", "1.5s", "5 sec", "s", "1MS", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(Duration::parse(wrong), None, "{wrong}");
        }
        for wrong in ["8", "8MB", "8 mib", "MiB", "16777216 TiB", "8 MiB x"] {
            assert_eq!(Bytes::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Duration::parse(" 5 s "), Some(Duration::from_ms(5_000)));
        assert_eq!(Bytes::parse("8MiB"), Some(Bytes::new(8 << 20)));
    }
}
