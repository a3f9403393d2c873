//! Pure: of replicas that say different things of one range, which are the odd ones?

use crate::machine::range_digest::{RowRange, RowSum};
use crate::types::ReplicaId;
use engine::Stamp;
use std::collections::{BTreeMap, BTreeSet};

/// A range in which replicas differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub range: RowRange,
    /// As of which stamp.
    pub at: Stamp,
    /// What each of them says.
    pub said: BTreeMap<ReplicaId, RowSum>,
}

impl Difference {
    /// The replicas that hold other rows than more than half of all that were asked; where no more than half agree, all of them: nobody
    /// knows who is right.
    #[must_use]
    pub fn odd(&self) -> BTreeSet<ReplicaId> {
        let agree = |sum: &RowSum| self.said.values().filter(|other| *other == sum).count();
        let most = self.said.values().find(|sum| agree(sum) * 2 > self.said.len());
        self.said.iter().filter(|(_, sum)| Some(*sum) != most).map(|(replica, _)| *replica).collect()
    }

    /// The rows of whoever says that there are most.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.said.values().map(|sum| sum.rows).max().unwrap_or_default()
    }
}

/// Whether all of them say the same.
#[must_use]
pub fn is_same(said: &BTreeMap<ReplicaId, RowSum>) -> bool {
    let mut sums = said.values();
    let first = sums.next();
    sums.all(|sum| Some(sum) == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::{CollectionId, TenantId};

    fn odd(sums: &[u128]) -> Vec<u64> {
        let sum = |(n, sum): (usize, &u128)| (ReplicaId(n as u64 + 1), RowSum { rows: 1, sum: *sum });
        let said: BTreeMap<_, _> = sums.iter().enumerate().map(sum).collect();
        assert_eq!(is_same(&said), sums.windows(2).all(|two| two[0] == two[1]));
        let range = RowRange::all(TenantId(1), CollectionId(1));
        let found = Difference { range, at: Stamp(9), said };
        found.odd().into_iter().map(|replica| replica.0).collect()
    }

    #[test]
    fn the_minority_is_named_and_without_a_majority_everybody() {
        for (sums, named) in [
            (&[5, 5, 5][..], &[][..]),
            (&[5, 6, 5], &[2]),
            (&[6, 5, 5], &[1]),
            (&[5, 6], &[1, 2]),
            (&[5, 6, 7], &[1, 2, 3]),
            (&[5, 5, 6, 6], &[1, 2, 3, 4]),
            (&[5, 5, 6, 7], &[1, 2, 3, 4]),
            (&[5, 5, 5, 6, 7], &[4, 5]),
            (&[], &[]),
        ] {
            assert_eq!(odd(sums), named, "{sums:?}");
        }
    }
}
