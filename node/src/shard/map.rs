//! Pure: which shard holds which tenants. The shards of a map hold every tenant, each once; a map with a hole is none.
//! Tenant 0 is the cluster itself: its rows are those of the meta group, and of no shard.

use crate::meta::CLUSTER_TENANT;
use crate::meta::shard_row::ShardRow;
use engine::ids::TenantId;
use engine::key::{self, KeyRange};
use raft::types::GroupId;

/// The tenants of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRange {
    /// Its group.
    pub group: GroupId,
    /// The first of them.
    pub start: TenantId,
    /// The first behind them; `None`: there is none.
    pub end: Option<TenantId>,
}

impl From<&ShardRow> for ShardRange {
    fn from(row: &ShardRow) -> Self {
        Self { group: row.group, start: row.start, end: row.end }
    }
}

impl ShardRange {
    /// That of the meta group.
    pub const META: Self =
        Self { group: GroupId::META, start: CLUSTER_TENANT, end: Some(TenantId(CLUSTER_TENANT.0 + 1)) };

    /// The rows of these tenants.
    #[must_use]
    pub fn rows(&self) -> KeyRange {
        let start = match self.start {
            CLUSTER_TENANT => Vec::new(),
            start => key::tenant_start(start),
        };
        KeyRange { start, end: self.end.map(key::tenant_start) }
    }
}

/// Why shards make no map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMap {
    /// No shard holds this tenant, or more than one.
    #[error("no shard holds {0}")]
    Hole(TenantId),
    /// Two hold it.
    #[error("two shards hold {0}")]
    Overlap(TenantId),
    /// It stands in the map of no shard's group, or in that of two.
    #[error("a group has two ranges, or is the meta group")]
    Group(GroupId),
}

/// Which shard holds which tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardMap {
    /// In the order of their tenants.
    ranges: Vec<ShardRange>,
}

impl ShardMap {
    /// The map of these shards, in any order.
    ///
    /// # Errors
    /// See [`NoMap`].
    pub fn of(ranges: impl IntoIterator<Item = ShardRange>) -> Result<Self, NoMap> {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_by_key(|range| (range.start, range.end.is_none(), range.end));
        let mut groups: Vec<GroupId> =
            ranges.iter().map(|range| range.group).chain([GroupId::META]).collect();
        groups.sort_unstable();
        if let Some(pair) = groups.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(NoMap::Group(pair[0]));
        }
        // The first tenant that is not held yet; `None`: all are.
        let mut next = Some(TenantId(CLUSTER_TENANT.0 + 1));
        for range in &ranges {
            match next {
                None => return Err(NoMap::Overlap(range.start)),
                Some(next) if range.start > next => return Err(NoMap::Hole(next)),
                Some(next) if range.start < next => return Err(NoMap::Overlap(range.start)),
                Some(_) if range.end.is_some_and(|end| end <= range.start) => {
                    return Err(NoMap::Hole(range.start));
                }
                Some(_) => next = range.end,
            }
        }
        next.map_or(Ok(Self { ranges }), |next| Err(NoMap::Hole(next)))
    }

    /// The map of a new cluster: `shards` of the same size, in the groups behind the meta group. None are as good as one.
    #[must_use]
    pub fn first(shards: u32) -> Self {
        let shards = u64::from(shards.max(1));
        let width = u64::MAX / shards;
        let start = |n: u64| TenantId(1 + n * width);
        let range = |n: u64| ShardRange {
            group: GroupId(GroupId::META.0 + 1 + n),
            start: start(n),
            end: (n + 1 < shards).then(|| start(n + 1)),
        };
        Self { ranges: (0..shards).map(range).collect() }
    }

    /// Its shards, in the order of their tenants.
    #[must_use]
    pub fn ranges(&self) -> &[ShardRange] {
        &self.ranges
    }

    /// The group that holds the rows of a tenant; `None` of an empty map.
    #[must_use]
    pub fn locate(&self, tenant: TenantId) -> Option<GroupId> {
        if tenant == CLUSTER_TENANT {
            return Some(GroupId::META);
        }
        let behind = self.ranges.partition_point(|range| range.start <= tenant);
        self.ranges[..behind].last().map(|range| range.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::CollectionId;
    use proptest::prelude::*;

    fn range(group: u64, start: u64, end: Option<u64>) -> ShardRange {
        ShardRange { group: GroupId(group), start: TenantId(start), end: end.map(TenantId) }
    }

    #[test]
    fn a_map_has_no_hole_and_no_overlap() {
        let of = |ranges: &[ShardRange]| ShardMap::of(ranges.to_vec()).map(|_| ());
        assert_eq!(of(&[range(3, 9, None), range(2, 1, Some(9))]), Ok(()));
        for (ranges, wrong) in [
            (vec![], NoMap::Hole(TenantId(1))),
            (vec![range(2, 2, None)], NoMap::Hole(TenantId(1))),
            (vec![range(2, 0, None)], NoMap::Overlap(TenantId(0))),
            (vec![range(2, 1, Some(9))], NoMap::Hole(TenantId(9))),
            (vec![range(2, 1, Some(9)), range(3, 10, None)], NoMap::Hole(TenantId(9))),
            (vec![range(2, 1, Some(9)), range(3, 8, None)], NoMap::Overlap(TenantId(8))),
            (vec![range(2, 1, None), range(3, 8, None)], NoMap::Overlap(TenantId(8))),
            (vec![range(2, 1, Some(1)), range(3, 1, None)], NoMap::Hole(TenantId(1))),
            (vec![range(2, 1, Some(9)), range(2, 9, None)], NoMap::Group(GroupId(2))),
            (vec![range(1, 1, None)], NoMap::Group(GroupId(1))),
        ] {
            assert_eq!(of(&ranges), Err(wrong), "{ranges:?}");
        }
    }

    proptest! {
        #[test]
        fn the_first_map_is_one_and_finds_every_tenant(shards in 0..1_500u32, tenant in any::<u64>()) {
            let map = ShardMap::first(shards);
            prop_assert_eq!(&ShardMap::of(map.ranges().to_vec()).unwrap(), &map);
            prop_assert_eq!(map.ranges().len(), shards.max(1) as usize);
            for tenant in [tenant, 1, u64::MAX, 0] {
                let tenant = TenantId(tenant);
                let row = engine::key::row(tenant, CollectionId(7), b"key");
                let held: Vec<_> = map.ranges().iter().chain([&ShardRange::META])
                    .filter(|range| range.rows().contains(&row)).map(|range| range.group).collect();
                prop_assert_eq!(held, vec![map.locate(tenant).unwrap()]);
            }
        }
    }

    #[test]
    fn an_empty_map_finds_nobody() {
        assert_eq!(ShardMap::default().locate(TenantId(7)), None);
        assert_eq!(ShardMap::default().locate(TenantId(0)), Some(GroupId::META));
    }
}
