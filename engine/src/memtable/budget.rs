//! Pure: which memtable to freeze when the budget they share runs short.

use crate::ids::TabletId;

/// The tablet whose active memtable should be frozen, if any should. `sizes` has, for each tablet, the bytes of its active
/// memtable and of those already frozen.
///
/// One is frozen when it reaches `per_tablet` bytes; the largest is when all active ones together with the frozen ones
/// reach `share` bytes and freezing would free something that is not on its way to disk already.
#[must_use]
pub fn choose(share: usize, per_tablet: usize, sizes: &[(TabletId, usize, usize)]) -> Option<TabletId> {
    let (id, largest, _) = sizes.iter().max_by_key(|(id, active, _)| (*active, std::cmp::Reverse(*id)))?;
    let active: usize = sizes.iter().map(|(_, active, _)| active).sum();
    let frozen: usize = sizes.iter().map(|(_, _, frozen)| frozen).sum();
    let is_short = active + frozen >= share && active >= frozen;
    (*largest > 0 && (*largest >= per_tablet || is_short)).then_some(*id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_goes_first_and_only_when_it_must() {
        let t = TabletId;
        let cases = [
            (vec![], None),
            (vec![(t(1), 0, 0)], None),
            (vec![(t(1), 30, 0), (t(2), 40, 0)], None),
            (vec![(t(1), 50, 0), (t(2), 60, 0)], Some(t(2))),
            (vec![(t(1), 55, 0), (t(2), 55, 0)], Some(t(1))),
            (vec![(t(1), 5, 90), (t(2), 6, 0)], None),
            (vec![(t(1), 80, 0)], Some(t(1))),
        ];
        for (sizes, want) in cases {
            assert_eq!(choose(100, 80, &sizes), want, "{sizes:?}");
        }
    }
}
