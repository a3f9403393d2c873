//! Pure: how far a rotation has come: which share of what a tenant has in tables is sealed with its active key. Counted from clear rows of the
//! files, so it needs no key.

use super::{KeyRow, KeyState, rotation};
use engine::ids::{KeyEpoch, Owner, Purpose, TenantId};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes in tables, by tenant and key.
pub type Sealed = BTreeMap<(TenantId, KeyEpoch), u64>;

/// How far one tenant is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Bytes sealed with the active key.
    pub active_bytes: u64,
    /// All bytes.
    pub bytes: u64,
}

impl Coverage {
    /// Bytes to seal again.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.active_bytes)
    }

    /// Percent, rounded down: 100 means all of it. Of nothing all is covered.
    #[must_use]
    pub fn percent(&self) -> u8 {
        u8::try_from(self.of(100)).unwrap_or(100)
    }

    /// The same of a thousand.
    #[must_use]
    pub fn permille(&self) -> u32 {
        self.of(1_000)
    }

    fn of(&self, whole: u32) -> u32 {
        if self.bytes == 0 {
            return whole;
        }
        let part = u128::from(self.active_bytes) * u128::from(whole) / u128::from(self.bytes);
        u32::try_from(part).unwrap_or(whole).min(whole)
    }
}

/// Adds up what tablets, or nodes, have.
#[must_use]
pub fn sum(parts: impl IntoIterator<Item = Sealed>) -> Sealed {
    let mut out = Sealed::new();
    for ((tenant, epoch), bytes) in parts.into_iter().flatten() {
        let all = out.entry((tenant, epoch)).or_default();
        *all = all.saturating_add(bytes);
    }
    out
}

/// How far each tenant is. One without an active key has nothing covered.
#[must_use]
pub fn by_tenant(sealed: &Sealed, active: &BTreeMap<TenantId, KeyEpoch>) -> BTreeMap<TenantId, Coverage> {
    let mut out: BTreeMap<TenantId, Coverage> =
        active.keys().map(|tenant| (*tenant, Coverage::default())).collect();
    for ((tenant, epoch), bytes) in sealed {
        let one = out.entry(*tenant).or_default();
        one.bytes = one.bytes.saturating_add(*bytes);
        if active.get(tenant) == Some(epoch) {
            one.active_bytes = one.active_bytes.saturating_add(*bytes);
        }
    }
    out
}

fn owner(tenant: TenantId) -> Owner {
    if tenant == TenantId(0) { Owner::Cluster } else { Owner::Tenant(tenant) }
}

/// Whether something in tables is sealed under another key than the one that is active, so that it has to be sealed again. Whoever has no
/// active key has nothing to seal it with.
#[must_use]
pub fn is_behind(sealed: &Sealed, active: impl Fn(Owner) -> Option<KeyEpoch>) -> bool {
    sealed.iter().any(|((tenant, epoch), bytes)| {
        *bytes > 0 && active(owner(*tenant)).is_some_and(|active| active != *epoch)
    })
}

/// How far all tenants together are that have keys, by the keys there are.
#[must_use]
pub fn total(sealed: &Sealed, keys: &[KeyRow]) -> Coverage {
    let active = keys.iter().filter_map(|row| match row.key.name.owner {
        Owner::Tenant(tenant) if row.key.name.purpose == Purpose::Data && row.state == KeyState::Active => {
            Some((tenant, row.key.name.epoch))
        }
        _ => None,
    });
    let active = active.collect();
    let mut out = Coverage::default();
    for (_, one) in by_tenant(sealed, &active).iter().filter(|(tenant, _)| active.contains_key(tenant)) {
        out.active_bytes = out.active_bytes.saturating_add(one.active_bytes);
        out.bytes = out.bytes.saturating_add(one.bytes);
    }
    out
}

/// How far a rotation of the cluster key is: of the keys of tenants, those that the version `newest` wraps. A key counts as one byte.
#[must_use]
pub fn of_cluster(keys: &[KeyRow], newest: u32) -> Coverage {
    let mut out = Coverage::default();
    for row in rotation::to_rewrap_by_cluster(keys) {
        out.bytes += 1;
        out.active_bytes += u64::from(row.wrapped_by == KeyEpoch(newest));
    }
    out
}

/// Which keys tables still need.
#[must_use]
pub fn in_tables(sealed: &Sealed) -> BTreeSet<(Owner, KeyEpoch)> {
    sealed
        .iter()
        .filter(|(_, bytes)| **bytes > 0)
        .map(|((tenant, epoch), _)| (owner(*tenant), *epoch))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(rows: &[(u64, u32, u64)]) -> Sealed {
        rows.iter().map(|(tenant, epoch, bytes)| ((TenantId(*tenant), KeyEpoch(*epoch)), *bytes)).collect()
    }

    #[test]
    fn a_tenant_is_covered_by_its_active_key_alone() {
        let all = sum([
            sealed(&[(7, 1, 300), (8, 1, 5)]),
            sealed(&[(7, 1, 99), (7, 2, 1)]),
            sealed(&[(7, 2, 600)]),
        ]);
        assert_eq!(all, sealed(&[(7, 1, 399), (7, 2, 601), (8, 1, 5)]));
        let active = [(TenantId(7), KeyEpoch(2)), (TenantId(9), KeyEpoch(1))].into();
        let found = by_tenant(&all, &active);
        let (seven, eight, nine) = (found[&TenantId(7)], found[&TenantId(8)], found[&TenantId(9)]);
        assert_eq!((seven.percent(), seven.left_bytes()), (60, 399));
        assert_eq!((eight.percent(), eight.left_bytes()), (0, 5));
        assert_eq!((nine.percent(), nine.left_bytes()), (100, 0));
    }

    #[test]
    fn what_lies_under_an_old_key_is_behind() {
        let active = |owner| match owner {
            Owner::Tenant(TenantId(7)) => Some(KeyEpoch(2)),
            Owner::Cluster => Some(KeyEpoch(1)),
            _ => None,
        };
        assert!(is_behind(&sealed(&[(0, 1, 5), (7, 2, 5), (7, 1, 1)]), active));
        assert!(is_behind(&sealed(&[(0, 2, 1)]), active));
        assert!(!is_behind(&sealed(&[(0, 1, 5), (7, 2, 5), (7, 1, 0), (8, 1, 9)]), active));
    }

    #[test]
    fn of_the_cluster_key_count_the_keys_that_it_wraps() {
        let row = |tenant, purpose, state, by| KeyRow {
            key: crate::keys::WrappedKey {
                name: crate::keys::KeyName {
                    owner: Owner::Tenant(TenantId(tenant)),
                    purpose,
                    epoch: KeyEpoch(1),
                },
                wrapped: vec![],
            },
            state,
            wrapped_by: KeyEpoch(by),
        };
        let rows = [
            row(7, Purpose::Wrap, KeyState::Active, 2),
            row(8, Purpose::Wrap, KeyState::OpenOnly, 1),
            row(9, Purpose::Wrap, KeyState::Destroyed, 1),
            row(7, Purpose::Data, KeyState::Active, 1),
        ];
        let found = of_cluster(&rows, 2);
        assert_eq!((found.permille(), found.left_bytes()), (500, 1));
        assert_eq!(of_cluster(&[], 2).permille(), 1_000);
    }

    #[test]
    fn a_hundred_percent_means_all() {
        let nearly = Coverage { active_bytes: u64::MAX - 1, bytes: u64::MAX };
        assert_eq!((nearly.percent(), nearly.left_bytes()), (99, 1));
        assert_eq!(Coverage { active_bytes: u64::MAX, bytes: u64::MAX }.percent(), 100);
    }

    #[test]
    fn tables_name_the_keys_they_need() {
        let found = in_tables(&sealed(&[(0, 1, 9), (7, 1, 0), (7, 2, 1)]));
        assert_eq!(found, [(Owner::Cluster, KeyEpoch(1)), (Owner::Tenant(TenantId(7)), KeyEpoch(2))].into());
    }
}
