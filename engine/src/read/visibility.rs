//! Pure: which version of a row a reader sees.
//!
//! A read at a stamp sees of each row the newest version at or before it, unless that is a tombstone, has expired by the
//! reader's time, or a range tombstone at or before the stamp and above the version's covers the row.

use super::Slot;
use crate::range_tombstone::Tombstones;
use crate::stamp::Stamp;
use std::sync::Arc;

/// A reader's place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Versions above it are not there yet.
    pub at: Stamp,
    /// Milliseconds since 1970 by which values expire.
    pub now_ms: u64,
}

/// Whether the newest version at or before the moment, made at `stamp`, holds a value the reader sees. `covered` is the newest
/// range tombstone at or before the moment that covers its row.
#[must_use]
pub fn is_visible(slot: Slot<'_>, stamp: Stamp, covered: Option<Stamp>, moment: Moment) -> bool {
    let is_alive = match slot {
        Slot::Delete => false,
        Slot::Put { expires_ms, .. } => expires_ms == 0 || expires_ms > moment.now_ms,
    };
    is_alive && covered.is_none_or(|tombstone| tombstone <= stamp)
}

/// The newest range tombstone of several indexes at or before `at` that covers `row`.
#[must_use]
pub fn covering(all: &[Arc<Tombstones>], row: &[u8], at: Stamp) -> Option<Stamp> {
    all.iter().filter_map(|tombstones| tombstones.covering(row, at)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_in_cases() {
        let put = |expires_ms| Slot::Put { value: b"v", expires_ms };
        let moment = Moment { at: Stamp(10), now_ms: 50 };
        let cases = [
            (put(0), 5, None, true),
            (put(51), 5, None, true),
            (put(50), 5, None, false),
            (put(0), 5, Some(6), false),
            (put(0), 5, Some(5), true),
            (put(0), 5, Some(4), true),
            (Slot::Delete, 5, None, false),
        ];
        for (slot, stamp, covered, want) in cases {
            assert_eq!(
                is_visible(slot, Stamp(stamp), covered.map(Stamp), moment),
                want,
                "{slot:?} {covered:?}"
            );
        }
    }
}
