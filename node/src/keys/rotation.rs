//! Pure: which keys a rotation makes, what they wrap, and when an old one may go. It speaks of names; who makes keys is [`super::turn`].
//!
//! * A new data key is `Pending` until every node has its row, then `Active`; the one before then only opens, until nothing is sealed with it.
//! * A new key of a tenant wraps all data keys of the tenant that still exist, in the same command; the old one goes when nothing is wrapped
//!   by it and every node has applied that.
//! * A new cluster key wraps the keys of every tenant and all system keys; every node its own. The old one goes when every node has taken
//!   the new one and nothing is wrapped by the old one.

use super::{KeyName, KeyRow, KeyState};
use engine::ids::{KeyEpoch, Owner, Purpose};
use std::collections::{BTreeMap, BTreeSet};

/// Why nothing is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationRefused {
    /// There is no such key.
    #[error("the owner has no such key to rotate")]
    NoKey,
    /// The last rotation is not through: its key is not active yet.
    #[error("the last rotation of this key still waits for a node; see `dew key list`")]
    Waiting,
    /// Keys of this purpose stay for ever.
    #[error("keys of this purpose are never rotated")]
    Never,
    /// There are no numbers left.
    #[error("this key was rotated as often as it can be")]
    UsedUp,
}

/// A change of the state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which key.
    pub name: KeyName,
    /// What it may do now.
    pub state: KeyState,
}

fn of(rows: &[KeyRow], owner: Owner, purpose: Purpose) -> impl Iterator<Item = &KeyRow> {
    rows.iter().filter(move |row| row.key.name.owner == owner && row.key.name.purpose == purpose)
}

fn exists(row: &&KeyRow) -> bool {
    row.state != KeyState::Destroyed
}

/// The name of the key that a rotation of `owner` and `purpose` makes.
///
/// # Errors
/// Why there is none.
pub fn next(rows: &[KeyRow], owner: Owner, purpose: Purpose) -> Result<KeyName, RotationRefused> {
    if matches!(purpose, Purpose::Digest | Purpose::Sign) {
        return Err(RotationRefused::Never);
    }
    let found: Vec<&KeyRow> = of(rows, owner, purpose).collect();
    if found.iter().any(|row| row.state == KeyState::Pending) {
        return Err(RotationRefused::Waiting);
    }
    // Destroyed ones count: a number is never used again.
    let last = found.iter().map(|row| row.key.name.epoch).max().ok_or(RotationRefused::NoKey)?;
    if !found.iter().any(|row| row.state == KeyState::Active) {
        return Err(RotationRefused::NoKey);
    }
    let epoch = last.0.checked_add(1).map(KeyEpoch).ok_or(RotationRefused::UsedUp)?;
    Ok(KeyName { owner, purpose, epoch })
}

/// Keys that a new key of `owner` must wrap: all data keys of it that exist.
#[must_use]
pub fn to_rewrap(rows: &[KeyRow], owner: Owner) -> Vec<KeyName> {
    let own = rows.iter().filter(|row| row.key.name.owner == owner && row.key.name.purpose != Purpose::Wrap);
    own.filter(exists).map(|row| row.key.name).collect()
}

/// Keys that a new cluster key must wrap: those of tenants that wrap others, and exist.
pub fn to_rewrap_by_cluster(rows: &[KeyRow]) -> impl Iterator<Item = &KeyRow> {
    let is_one = |row: &&KeyRow| {
        matches!(row.key.name.owner, Owner::Tenant(_)) && row.key.name.purpose == Purpose::Wrap
    };
    rows.iter().filter(is_one).filter(exists)
}

/// What becomes of keys that wait: `held` says which every node has. Each becomes active, and the one before only opens.
#[must_use]
pub fn promote(rows: &[KeyRow], held: impl Fn(&KeyName) -> bool) -> Vec<Change> {
    let mut out = Vec::new();
    for row in rows.iter().filter(|row| row.state == KeyState::Pending && held(&row.key.name)) {
        let name = row.key.name;
        let before = of(rows, name.owner, name.purpose).filter(|other| other.state == KeyState::Active);
        out.extend(before.map(|other| Change { name: other.key.name, state: KeyState::OpenOnly }));
        out.push(Change { name, state: KeyState::Active });
    }
    out
}

/// What is still sealed, and by which key every node has been rewrapped.
pub struct StillUsed<'a> {
    /// Bytes in tables of any node, by owner and epoch: of data keys.
    pub in_tables: &'a BTreeSet<(Owner, KeyEpoch)>,
    /// Of each owner the greatest epoch below which no log of any node has an entry. An owner that is not here may have entries of any.
    pub log_floor: &'a BTreeMap<Owner, KeyEpoch>,
    /// Whether every node has applied all rows that are given.
    pub is_applied_everywhere: bool,
}

/// Keys that only open, and that nothing needs any more.
#[must_use]
pub fn to_destroy(rows: &[KeyRow], used: &StillUsed<'_>) -> Vec<KeyName> {
    if !used.is_applied_everywhere {
        return Vec::new();
    }
    let is_over = |row: &&KeyRow| {
        let KeyName { owner, purpose, epoch } = row.key.name;
        row.state == KeyState::OpenOnly
            && match purpose {
                Purpose::Data => !used.in_tables.contains(&(owner, epoch)),
                Purpose::Log => used.log_floor.get(&owner).is_some_and(|floor| epoch < *floor),
                Purpose::Wrap => !is_needed(rows, owner, epoch),
                // Of other purposes it is not known where they are used.
                _ => false,
            }
    };
    rows.iter().filter(is_over).map(|row| row.key.name).collect()
}

/// Whether a key of `owner` still wraps one.
fn is_needed(rows: &[KeyRow], owner: Owner, epoch: KeyEpoch) -> bool {
    let own = |row: &&KeyRow| row.key.name.owner == owner && row.key.name.purpose != Purpose::Wrap;
    rows.iter().filter(own).filter(exists).any(|row| row.wrapped_by == epoch)
}

/// What a rotation of the cluster key does next, by whoever leads the meta group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is one version, and every node has taken it.
    Done,
    /// Wrap these keys of tenants anew: not all of them at once.
    Rewrap(Vec<KeyName>),
    /// Wait: every key is wrapped anew, but not every node has taken the root file as it is.
    Wait,
    /// Let these versions go.
    Retire(Vec<u32>),
}

/// The next step: `versions` are those of the cluster key in the root file that all nodes have alike, and whether every node has taken that
/// file says `is_taken`. Keys are wrapped anew before every node has it, for each takes the file before the keys; an old version goes after.
#[must_use]
pub fn turn(rows: &[KeyRow], versions: &[u32], is_taken: bool, keys_max: usize) -> Turn {
    let newest = versions.iter().max().copied().unwrap_or(0);
    let behind = to_rewrap_by_cluster(rows).filter(|row| row.wrapped_by != KeyEpoch(newest));
    let behind: Vec<KeyName> = behind.map(|row| row.key.name).take(keys_max).collect();
    let old: Vec<u32> = versions.iter().filter(|version| **version < newest).copied().collect();
    match (behind.is_empty(), is_taken, old.is_empty()) {
        (false, ..) => Turn::Rewrap(behind),
        (true, false, _) => Turn::Wait,
        (true, true, true) => Turn::Done,
        (true, true, false) => Turn::Retire(old),
    }
}

#[cfg(test)]
mod tests {
    use super::super::WrappedKey;
    use super::*;
    use KeyState::{Active, Destroyed, Disabled, OpenOnly, Pending};
    use engine::ids::TenantId;

    const T: Owner = Owner::Tenant(TenantId(7));
    const U: Owner = Owner::Tenant(TenantId(8));

    fn name(owner: Owner, purpose: Purpose, epoch: u32) -> KeyName {
        KeyName { owner, purpose, epoch: KeyEpoch(epoch) }
    }

    fn row(owner: Owner, purpose: Purpose, epoch: u32, state: KeyState, by: u32) -> KeyRow {
        let key = WrappedKey { name: name(owner, purpose, epoch), wrapped: vec![] };
        KeyRow { key, state, wrapped_by: KeyEpoch(by) }
    }

    #[test]
    fn the_next_key_has_a_number_that_was_never_used() {
        use Purpose::{Data, Digest, Log};
        let rows = [
            row(T, Data, 1, Destroyed, 1),
            row(T, Data, 2, Active, 1),
            row(T, Data, 5, Destroyed, 1),
            row(T, Log, 1, Active, 1),
            row(T, Log, 2, Pending, 1),
            row(T, Digest, 1, Active, 1),
            row(U, Data, u32::MAX, Active, 1),
            row(U, Log, 1, Disabled, 1),
        ];
        assert_eq!(next(&rows, T, Data), Ok(name(T, Data, 6)));
        assert_eq!(next(&rows, T, Log), Err(RotationRefused::Waiting));
        assert_eq!(next(&rows, T, Digest), Err(RotationRefused::Never));
        assert_eq!(next(&rows, U, Data), Err(RotationRefused::UsedUp));
        assert_eq!(next(&rows, U, Log), Err(RotationRefused::NoKey));
        assert_eq!(next(&rows, U, Purpose::Meta), Err(RotationRefused::NoKey));
    }

    #[test]
    fn a_new_key_wraps_all_that_exist_and_nobody_elses() {
        use Purpose::{Data, Log, Wrap};
        let rows = [
            row(T, Wrap, 1, OpenOnly, 1),
            row(T, Wrap, 2, Active, 1),
            row(T, Data, 1, Destroyed, 1),
            row(T, Data, 2, Active, 1),
            row(T, Log, 1, Disabled, 1),
            row(U, Data, 1, Active, 1),
            row(U, Wrap, 1, Destroyed, 1),
        ];
        assert_eq!(to_rewrap(&rows, T), [name(T, Data, 2), name(T, Log, 1)]);
        let by_cluster: Vec<_> = to_rewrap_by_cluster(&rows).map(|row| row.key.name).collect();
        assert_eq!(by_cluster, [name(T, Wrap, 1), name(T, Wrap, 2)]);
    }

    #[test]
    fn a_key_is_used_once_every_node_has_it() {
        use Purpose::Data;
        let rows = [row(T, Data, 1, Active, 1), row(T, Data, 2, Pending, 1), row(U, Data, 2, Pending, 1)];
        assert_eq!(promote(&rows, |_| false), []);
        let change = |owner, epoch, state| Change { name: name(owner, Data, epoch), state };
        assert_eq!(promote(&rows, |name| name.owner == T), [change(T, 1, OpenOnly), change(T, 2, Active)]);
        assert_eq!(promote(&rows, |name| name.owner == U), [change(U, 2, Active)]);
    }

    #[test]
    fn a_key_goes_when_nothing_needs_it_and_not_before() {
        use Purpose::{Data, Index, Log, Wrap};
        let rows = [
            row(T, Wrap, 1, OpenOnly, 1),
            row(T, Wrap, 2, OpenOnly, 1),
            row(T, Wrap, 3, Active, 1),
            row(T, Data, 1, OpenOnly, 3),
            row(T, Data, 2, OpenOnly, 2),
            row(T, Data, 3, Active, 3),
            row(T, Data, 9, Destroyed, 1),
            row(T, Log, 1, OpenOnly, 3),
            row(T, Log, 2, OpenOnly, 3),
            row(T, Log, 3, Active, 3),
            row(T, Index, 1, OpenOnly, 3),
            row(U, Data, 1, OpenOnly, 1),
            row(U, Log, 1, OpenOnly, 1),
        ];
        let in_tables = [(T, KeyEpoch(2)), (T, KeyEpoch(3)), (U, KeyEpoch(1))].into();
        let log_floor = [(T, KeyEpoch(2))].into();
        let used = |is_applied_everywhere| StillUsed {
            in_tables: &in_tables,
            log_floor: &log_floor,
            is_applied_everywhere,
        };
        assert_eq!(to_destroy(&rows, &used(false)), []);
        assert_eq!(to_destroy(&rows, &used(true)), [name(T, Wrap, 1), name(T, Data, 1), name(T, Log, 1)]);
    }

    #[test]
    fn a_cluster_key_goes_when_no_tenant_and_no_node_needs_it() {
        use Purpose::{Data, Wrap};
        let rows = |by: [u32; 3]| {
            [
                row(T, Wrap, 1, OpenOnly, by[0]),
                row(T, Wrap, 2, Active, by[1]),
                row(U, Wrap, 1, Active, by[2]),
                row(U, Wrap, 7, Destroyed, 1),
                row(U, Data, 1, Active, 1),
            ]
        };
        let behind = |by, max| match turn(&rows(by), &[1, 2, 3], true, max) {
            Turn::Rewrap(names) => names,
            other => panic!("{other:?}"),
        };
        assert_eq!(behind([1, 2, 3], 9), [name(T, Wrap, 1), name(T, Wrap, 2)]);
        assert_eq!(behind([1, 1, 1], 2), [name(T, Wrap, 1), name(T, Wrap, 2)], "no more than a step may");
        assert_eq!(behind([3, 3, 1], 9), [name(U, Wrap, 1)]);
        let through = rows([3, 3, 3]);
        assert_eq!(turn(&through, &[1, 2, 3], false, 9), Turn::Wait, "a node still stands on it");
        assert_eq!(turn(&through, &[1, 2, 3], true, 9), Turn::Retire(vec![1, 2]));
        assert_eq!(turn(&through, &[3], false, 9), Turn::Wait, "a node has the old one still");
        assert_eq!(turn(&through, &[3], true, 9), Turn::Done);
        assert_eq!(turn(&[], &[1], true, 9), Turn::Done);
    }
}
