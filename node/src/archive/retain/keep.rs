//! Pure: what stays whatever the policy says: what pins, legal holds and restores name.

use crate::archive::manifest::keep::Pin;
use crate::archive::naming::SnapshotId;
use engine::Stamp;
use std::collections::{BTreeMap, BTreeSet};

/// Reason of a pin: a restore needs it.
pub const RESTORE: u32 = 1;
/// Reason of a pin: a person wants it.
pub const PERSON: u32 = 3;
/// Reason of a pin: the law wants it.
pub const LEGAL: u32 = 4;

/// Something that stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// These snapshots.
    pub snapshots: BTreeSet<SnapshotId>,
    /// Every instant that can be restored behind the first stamp and up to the second.
    pub span: Option<(Stamp, Stamp)>,
}

impl Keep {
    /// What a pin keeps.
    #[must_use]
    pub fn of(pin: &Pin) -> Self {
        let snapshots = pin.snapshots.iter().filter_map(|text| SnapshotId::parse(text)).collect();
        let (after, upto) = pin.span();
        Self { snapshots, span: (upto > Stamp::ZERO).then_some((after, upto)) }
    }
}

/// What stays at `now_ms`, in milliseconds since 1970, by pins that stand at a site and those that the cluster knows, each with the number of its
/// renewal: of one pin the last renewal counts, wherever it stands, so that neither an old site nor an old cluster ends a hold or brings it back.
#[must_use]
pub fn keeps<'a>(
    all: impl IntoIterator<Item = (&'a [u8; 8], &'a (u32, Pin))>,
    now_ms: u64,
) -> BTreeMap<[u8; 8], (u32, Keep)> {
    let mut last: BTreeMap<[u8; 8], &(u32, Pin)> = BTreeMap::new();
    for (id, pin) in all {
        let kept = last.entry(*id).or_insert(pin);
        if kept.0 < pin.0 {
            *kept = pin;
        }
    }
    let lives = |(id, (renewal, pin)): ([u8; 8], &(u32, Pin))| {
        (pin.until_ms > now_ms).then(|| (id, (*renewal, Keep::of(pin))))
    };
    last.into_iter().filter_map(lives).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_pin_the_last_renewal_counts_wherever_it_stands() {
        let pin = |until_ms| Pin { until_ms, reason: LEGAL, after: 5, upto: 9, ..Pin::default() };
        let at = |renewal, until_ms| BTreeMap::from([([1; 8], (renewal, pin(until_ms)))]);
        let (held, released) = (at(1, u64::MAX), at(2, 100));
        let keeps = |one: &BTreeMap<_, _>, other: &BTreeMap<_, _>, now_ms| {
            keeps(one.iter().chain(other), now_ms).len()
        };
        for (one, other) in [(&held, &released), (&released, &held)] {
            assert_eq!(keeps(one, other, 99), 1);
            assert_eq!(keeps(one, other, 100), 0, "it was released");
        }
        let renewed = at(3, 500);
        assert_eq!((keeps(&released, &renewed, 499), keeps(&renewed, &released, 499)), (1, 1));
        let none = BTreeMap::new();
        assert_eq!(super::keeps(held.iter().chain(&none), 1)[&[1; 8]].1.span, Some((Stamp(5), Stamp(9))));
    }
}
