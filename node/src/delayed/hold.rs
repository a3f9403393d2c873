//! Pure: when does a delayed node hold its gate by itself? When a tenant is dropped, when many of its keys are deleted in a short while, and
//! when a range of many keys is. How many keys a tenant has is counted only as far as it matters.

use super::suspects::{Act, Commit, Slot};
use engine::Stamp;

/// From where on something is suspicious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Whether it holds by itself at all.
    pub is_on: bool,
    /// Keys deleted within the window, at least.
    pub deletes_min: u64,
    /// Percent of the keys of the tenant, at least; not 0.
    pub deletes_percent: u64,
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// Keys in ranges that are deleted.
    pub range_keys: u64,
}

/// How many keys a tenant has at the gate, as far as they were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// So many were found.
    pub keys: u64,
    /// Whether these are all.
    pub is_all: bool,
}

/// What follows of what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing.
    Pass,
    /// The keys of the tenant must be counted, up to so many: then ask again.
    Count(u64),
    /// The gate is held.
    Hold,
}

/// Judges `deleted` keys of a tenant in one window.
#[must_use]
pub fn deletes(thresholds: &Thresholds, deleted: u64, counted: Counted) -> Judgement {
    if !thresholds.is_on || deleted < thresholds.deletes_min.max(1) {
        return Judgement::Pass;
    }
    // Of a tenant with more keys than these it is less than the share that counts.
    let most = deleted.saturating_mul(100) / thresholds.deletes_percent.max(1);
    match counted {
        Counted { keys, .. } if keys > most => Judgement::Pass,
        Counted { is_all: true, .. } => Judgement::Hold,
        Counted { is_all: false, .. } => Judgement::Count(most.saturating_add(1)),
    }
}

/// Judges ranges that are deleted, in which about so many keys are.
#[must_use]
pub fn ranges(thresholds: &Thresholds, keys: u64) -> Judgement {
    match thresholds.is_on && keys >= thresholds.range_keys.max(1) {
        true => Judgement::Hold,
        false => Judgement::Pass,
    }
}

/// Judges a tenant that was dropped at `at`, where the gate stands at `gate` and everything up to `passed` was looked at by a person.
#[must_use]
pub fn drops(thresholds: &Thresholds, at: Stamp, (gate, passed): (Stamp, Stamp)) -> Judgement {
    match thresholds.is_on && at > gate && at > passed {
        true => Judgement::Hold,
        false => Judgement::Pass,
    }
}

/// What is told of it. `name` is that of the tenant.
#[must_use]
pub fn reason(act: Act, name: &str, slot: &Slot) -> String {
    let Slot { keys, first, last } = slot;
    match act {
        Act::Drop => format!("tenant {name} was dropped, {first}"),
        Act::DeleteRange => format!("ranges of about {keys} keys of tenant {name} are deleted, {first}"),
        Act::Delete | Act::Put => {
            format!("{keys} keys of tenant {name}: {} from {first} to {last}", act.name())
        }
    }
}

/// The commands that a person types next, on the node of this name.
#[must_use]
pub fn commands(node: &str, first: Commit) -> String {
    format!(
        "dew delayed suspects {node}; dew delayed donate {node} --tenant NAME --before {first}; or dew delayed release {node}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::types::GroupId;

    const USUAL: Thresholds = Thresholds {
        is_on: true,
        deletes_min: 1_000,
        deletes_percent: 5,
        window_ms: 60_000,
        range_keys: 1_000,
    };

    fn counted(keys: u64, is_all: bool) -> Counted {
        Counted { keys, is_all }
    }

    #[test]
    fn many_deletes_hold_if_they_are_many_of_this_tenant() {
        let nothing = Counted::default();
        for (deleted, known, wanted) in [
            (999, counted(10, true), Judgement::Pass),
            (1_000, nothing, Judgement::Count(20_001)),
            (1_000, counted(20_000, true), Judgement::Hold),
            (1_000, counted(20_001, true), Judgement::Pass),
            (1_000, counted(20_001, false), Judgement::Pass),
            (2_000, counted(20_001, false), Judgement::Count(40_001)),
            (5_000, counted(0, true), Judgement::Hold),
            (u64::MAX, counted(5, false), Judgement::Count(u64::MAX / 5 + 1)),
        ] {
            assert_eq!(deletes(&USUAL, deleted, known), wanted, "{deleted} {known:?}");
        }
        let off = Thresholds { is_on: false, ..USUAL };
        assert_eq!(deletes(&off, 5_000, counted(0, true)), Judgement::Pass);
        let all = Thresholds { deletes_min: 0, deletes_percent: 0, ..USUAL };
        assert_eq!(deletes(&all, 0, counted(0, true)), Judgement::Pass, "nothing is no burst");
    }

    #[test]
    fn a_large_range_holds_and_a_small_one_does_not() {
        assert_eq!((ranges(&USUAL, 999), ranges(&USUAL, 1_000)), (Judgement::Pass, Judgement::Hold));
        assert_eq!(ranges(&Thresholds { is_on: false, ..USUAL }, 9_999), Judgement::Pass);
    }

    #[test]
    fn a_drop_holds_once_and_not_when_it_is_applied() {
        let at = |ms| Stamp::new(ms, 0);
        assert_eq!(drops(&USUAL, at(9), (at(5), at(0))), Judgement::Hold);
        assert_eq!(drops(&USUAL, at(9), (at(5), at(9))), Judgement::Pass, "a person has let it pass");
        assert_eq!(drops(&USUAL, at(9), (at(9), at(0))), Judgement::Pass, "it is too late");
        assert_eq!(drops(&Thresholds { is_on: false, ..USUAL }, at(9), (at(5), at(0))), Judgement::Pass);
    }

    #[test]
    fn a_reason_names_the_commits_and_the_commands() {
        let commit = |n| Commit { stamp: Stamp(n), group: GroupId(2) };
        let slot = Slot { keys: 1_200, first: commit(16), last: commit(17) };
        let told = reason(Act::Delete, "acme", &slot);
        assert_eq!(
            told,
            "1200 keys of tenant acme: delete from c-0000000000000010-2 to c-0000000000000011-2"
        );
        assert!(reason(Act::Drop, "acme", &slot).contains("dropped"));
        assert!(commands("d1", slot.first).contains("donate d1 --tenant NAME --before c-0000000000000010-2"));
    }
}
