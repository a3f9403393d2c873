//! Pure: who wrote and deleted how much, of what has come in and is not applied yet, in slots of a tick; and the bursts in it, the most
//! suspicious first.

use crate::limits;
use engine::Stamp;
use engine::ids::TenantId;
use raft::types::GroupId;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A tenant was dropped.
    Drop,
    /// Ranges of keys were deleted.
    DeleteRange,
    /// Keys were deleted.
    Delete,
    /// Keys were written.
    Put,
}

impl Act {
    /// How it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::DeleteRange => "delete-range",
            Self::Delete => "delete",
            Self::Put => "put",
        }
    }
}

/// One commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit {
    /// Its stamp.
    pub stamp: Stamp,
    /// Its group.
    pub group: GroupId,
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c-{:016x}-{:x}", self.stamp.0, self.group.0)
    }
}

/// What one tenant did in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Keys, as far as that is known; of drops none.
    pub keys: u64,
    /// The first commit.
    pub first: Commit,
    /// The last one.
    pub last: Commit,
}

impl Slot {
    fn of(keys: u64, commit: Commit) -> Self {
        Self { keys, first: commit, last: commit }
    }

    fn with(self, other: Self) -> Self {
        Self {
            keys: self.keys.saturating_add(other.keys),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

/// A burst: what one tenant did in ticks that follow one another, where it did most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Whose.
    pub tenant: TenantId,
    /// What.
    pub act: Act,
    /// How much, from when to when.
    pub slot: Slot,
}

/// What has come in and is not applied yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    slots: BTreeMap<(TenantId, Act, u64), Slot>,
    /// Slots of fewer keys are not kept: there were too many.
    least: u64,
}

fn number(stamp: Stamp) -> u64 {
    stamp.ms() / limits::SUSPECT_SLOT_MS
}

impl Suspects {
    /// Takes note of a commit that does this to so many keys.
    pub fn see(&mut self, tenant: TenantId, act: Act, keys: u64, commit: Commit) {
        let slot = Slot::of(keys, commit);
        let known = self.slots.entry((tenant, act, number(commit.stamp))).or_insert(Slot::of(0, commit));
        *known = known.with(slot);
        while self.slots.len() > limits::SUSPECT_SLOTS_MAX {
            self.least = self.least.saturating_mul(2).max(1);
            let least = self.least;
            self.slots.retain(|(_, act, _), slot| *act == Act::Drop || slot.keys >= least);
            if self.least == u64::MAX {
                return;
            }
        }
    }

    /// What lies at or below `gate` is applied, and suspicious no more.
    pub fn forget(&mut self, gate: Stamp) {
        self.slots.retain(|_, slot| slot.last.stamp > gate);
        if self.slots.is_empty() {
            self.least = 0;
        }
    }

    /// The last commit that is remembered.
    #[must_use]
    pub fn newest(&self) -> Option<Stamp> {
        self.slots.values().map(|slot| slot.last.stamp).max()
    }

    /// What a tenant did of this in the `window_ms` up to `end`, of what begins behind `after`. The window begins with a slot.
    #[must_use]
    pub fn within(
        &self,
        (tenant, act): (TenantId, Act),
        end: Stamp,
        window_ms: u64,
        after: Stamp,
    ) -> Option<Slot> {
        let first = end.ms().saturating_sub(window_ms) / limits::SUSPECT_SLOT_MS;
        let slots = self.slots.range((tenant, act, first)..=(tenant, act, number(end)));
        let new = slots.map(|(_, slot)| *slot).filter(|slot| slot.first.stamp > after);
        new.reduce(Slot::with)
    }

    /// Keys that a tenant is seen to write, at most: none is counted twice only if none was written twice.
    #[must_use]
    pub fn puts(&self, tenant: TenantId) -> u64 {
        let slots = self.slots.range((tenant, Act::Put, 0)..=(tenant, Act::Put, u64::MAX));
        slots.fold(0, |sum, (_, slot)| sum.saturating_add(slot.keys))
    }

    /// The bursts, at most `max`: what takes away before what writes, most keys first. A burst is a run of slots, none empty between them, of
    /// which each has at least a tenth of the greatest: so a burst stands out of what the tenant does anyhow.
    #[must_use]
    pub fn bursts(&self, max: usize) -> Vec<Burst> {
        let mut left = self.slots.clone();
        let mut bursts = Vec::new();
        // The greatest first, so that what is left of a run is what does not belong to it.
        let mut peaks: Vec<_> = self.slots.iter().map(|(of, slot)| (*of, slot.keys)).collect();
        peaks.sort_by_key(|((_, act, _), keys)| (*act, Reverse(*keys)));
        for ((tenant, act, at), peak) in peaks {
            let Some(mut slot) = left.remove(&(tenant, act, at)) else { continue };
            let mut take = |at: u64, slot: &mut Slot| {
                let of = (tenant, act, at);
                let belongs = left.get(&of).is_some_and(|one| one.keys.saturating_mul(10) >= peak);
                belongs.then(|| left.remove(&of)).flatten().map(|one| *slot = slot.with(one)).is_some()
            };
            let mut before = at;
            while before > 0 && take(before - 1, &mut slot) {
                before -= 1;
            }
            let mut behind = at;
            while take(behind + 1, &mut slot) {
                behind += 1;
            }
            bursts.push(Burst { tenant, act, slot });
        }
        let is_write = |act: Act| act == Act::Put;
        let rank =
            |one: &Burst| (one.act != Act::Drop, is_write(one.act), Reverse(one.slot.keys), one.slot.first);
        bursts.sort_by_key(rank);
        bursts.truncate(max);
        bursts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: TenantId = TenantId(7);
    const FIR: TenantId = TenantId(8);
    const NOW_MS: u64 = 1_700_000_000_000;

    fn commit(s: u64) -> Commit {
        Commit { stamp: Stamp::new(NOW_MS + s * 1_000, 0), group: GroupId(2) }
    }

    #[test]
    fn a_commit_has_one_name() {
        let one = Commit { stamp: Stamp(0x01a2_0393_2eb3_0004), group: GroupId(0x11) };
        assert_eq!(one.to_string(), "c-01a203932eb30004-11");
    }

    #[test]
    fn what_lies_in_a_window_is_summed() {
        let mut all = Suspects::default();
        for s in 0..30 {
            all.see(ACME, Act::Delete, 10, commit(s * 5));
        }
        let within = |end, window_s: u64, after| {
            all.within((ACME, Act::Delete), commit(end).stamp, window_s * 1_000, after)
        };
        let slot = within(145, 60, Stamp::ZERO).unwrap();
        assert_eq!((slot.keys, slot.first, slot.last), (130, commit(85), commit(145)));
        assert_eq!(within(145, 60, commit(140).stamp).map(|slot| slot.keys), Some(10), "what was let pass");
        assert_eq!(within(300, 60, Stamp::ZERO), None);
        assert_eq!(all.within((FIR, Act::Delete), commit(145).stamp, 60_000, Stamp::ZERO), None);
        assert_eq!(all.within((ACME, Act::DeleteRange), commit(145).stamp, 60_000, Stamp::ZERO), None);
    }

    #[test]
    fn a_burst_stands_out_of_what_is_done_anyhow() {
        let mut all = Suspects::default();
        for s in 0..60 {
            all.see(ACME, Act::Delete, 3, commit(s * 5));
            all.see(FIR, Act::Put, 50_000, commit(s * 5));
        }
        for s in 20..23 {
            all.see(ACME, Act::Delete, 1_000, commit(s * 5 + 2));
        }
        all.see(FIR, Act::DeleteRange, 5_000, commit(77));
        all.see(FIR, Act::Drop, 0, commit(200));
        let bursts = all.bursts(4);
        let told: Vec<_> = bursts.iter().map(|one| (one.tenant, one.act, one.slot.keys)).collect();
        assert_eq!(told[0], (FIR, Act::Drop, 0));
        assert_eq!(told[1], (FIR, Act::DeleteRange, 5_000));
        assert_eq!(told[2], (ACME, Act::Delete, 3_009));
        assert_eq!((bursts[2].slot.first, bursts[2].slot.last), (commit(100), commit(112)));
        assert_eq!(bursts.len(), 4);
        all.forget(commit(112).stamp);
        assert!(all.bursts(9).iter().all(|one| one.slot.keys != 3_009), "it is applied");
    }

    #[test]
    fn a_burst_begins_where_it_begins() {
        let mut all = Suspects::default();
        for (s, keys) in [(0, 5), (5, 2_000), (10, 900), (15, 150), (20, 5), (30, 4_000)] {
            all.see(ACME, Act::Delete, keys, commit(s));
        }
        let bursts = all.bursts(9);
        let told: Vec<_> = bursts.iter().map(|one| (one.slot.keys, one.slot.first, one.slot.last)).collect();
        let wanted = [
            (4_000, commit(30), commit(30)),
            (2_900, commit(5), commit(10)),
            (155, commit(15), commit(20)),
            (5, commit(0), commit(0)),
        ];
        // What is less than a tenth of one burst may be one of its own.
        assert_eq!(told[..2], wanted[..2]);
        assert_eq!(told.iter().map(|one| one.0).sum::<u64>(), 7_060, "nothing is told twice");
    }

    #[test]
    fn memory_is_bounded_and_the_greatest_are_kept() {
        let mut all = Suspects::default();
        let most = limits::SUSPECT_SLOTS_MAX as u64;
        all.see(ACME, Act::Delete, 90_000, commit(0));
        all.see(FIR, Act::Drop, 0, commit(0));
        for n in 0..most * 2 {
            all.see(TenantId(100 + n), Act::Put, 1 + n % 3, commit(n % 100));
        }
        assert!(all.slots.len() <= limits::SUSPECT_SLOTS_MAX);
        let bursts = all.bursts(2);
        assert_eq!((bursts[0].act, bursts[1].slot.keys), (Act::Drop, 90_000));
    }
}
