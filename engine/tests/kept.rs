//! What is not archived yet stays, whatever the history window is; and a walk over it finds everything that was written, however it was
//! flushed and merged meanwhile.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::Stamp;
use engine::compaction::retention::Policy;
use engine::ids::{LogIndex, TenantId};
use engine::key::{self, KeyRange};
use engine::range_tombstone::RangeTombstone;
use engine::read::OwnedSlot;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Pool, PoolConfig};
use rig::{C, Dice, Rig, START_MS, T1, T2, TABLET};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was written, by version, and which ranges were deleted.
#[derive(Default)]
struct Written {
    versions: BTreeMap<Vec<u8>, OwnedSlot>,
    ranges: Vec<RangeTombstone>,
}

struct Store {
    rig: Rig,
    pool: Arc<Pool>,
    tablet: Arc<Tablet>,
}

fn store(is_archived: bool) -> Store {
    let mut rig = Rig::new(4);
    rig.config = PoolConfig { is_archived, ..rig.config };
    let pool = rig.open();
    // A window of a millisecond: everything old may go at once.
    let windows = BTreeMap::from([(T1, 1), (T2, 1)]);
    pool.set_policy(Policy { windows, ..Policy::default() });
    let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
    Store { rig, pool, tablet }
}

impl Store {
    fn write(&self, dice: &mut Dice, written: &mut Written) {
        let applied = self.tablet.applied();
        let mut batch = Batch::new(LogIndex(applied.index.0 + 1));
        let ms = applied.stamp.ms().max(START_MS) + 1 + dice.below(5);
        let stamp = Stamp::new(ms, 0);
        self.rig.clock.set(ms);
        let tenant = if dice.below(2) == 0 { T1 } else { T2 };
        let user = [b'a' + u8::try_from(dice.below(8)).unwrap()];
        let version = key::version(&key::row(tenant, C, &user), stamp);
        match dice.below(10) {
            0 => {
                batch.delete_range(tenant, C, b"c", Some(b"e"), stamp).unwrap();
                let (start, end) = (key::row(tenant, C, b"c"), key::row(tenant, C, b"e"));
                written.ranges.push(RangeTombstone { start, end, stamp });
            }
            1 | 2 => {
                batch.delete(tenant, C, &user, stamp).unwrap();
                written.versions.insert(version, OwnedSlot::Delete);
            }
            _ => {
                let value = ms.to_be_bytes();
                batch.put(tenant, C, &user, &value, stamp, 0).unwrap();
                let value = bytes::Bytes::copy_from_slice(&value);
                written.versions.insert(version, OwnedSlot::Put { value, expires_ms: 0 });
            }
        }
        self.tablet.apply(&batch).unwrap();
        match dice.below(20) {
            0 => self.tablet.request_compaction(),
            1 | 2 => self.tablet.freeze(),
            _ => {}
        }
        self.pool.settle();
    }

    fn found(&self, after: Stamp, without: &BTreeSet<TenantId>) -> Written {
        let view = Arc::new(self.tablet.view(0).unwrap());
        assert!(view.history_floor(&BTreeSet::new()) <= after, "nothing behind it is gone");
        let mut walk = view.kept(after, without).unwrap();
        let mut found = Written { ranges: walk.tombstones().to_vec(), ..Written::default() };
        while walk
            .step(&mut |version, slot| {
                assert!(found.versions.insert(version.to_vec(), slot.to_owned()).is_none());
                Ok(())
            })
            .unwrap()
        {}
        found
    }
}

#[test]
fn what_is_not_archived_stays_and_is_found_however_tables_are_merged() {
    let (store, mut dice, mut written) = (store(true), Dice::new(7), Written::default());
    let mut archived = Stamp::ZERO;
    for round in 0..600_u64 {
        store.write(&mut dice, &mut written);
        if round % 40 == 39 {
            let is_due = |stamp: Stamp| stamp > archived;
            let found = store.found(archived, &BTreeSet::new());
            let due: BTreeMap<_, _> =
                written.versions.iter().filter(|(version, _)| is_due(key::split(version).1)).collect();
            assert!(due.into_iter().eq(&found.versions), "round {round}");
            let ranges = |all: &[RangeTombstone]| -> BTreeSet<Stamp> {
                all.iter().map(|one| one.stamp).filter(|stamp| is_due(*stamp)).collect()
            };
            assert_eq!(ranges(&written.ranges), ranges(&found.ranges));
            let only = store.found(archived, &BTreeSet::from([T1]));
            assert!(only.versions.keys().all(|version| key::tenant_of(version) == T2));
            archived = store.tablet.applied_stamp();
            store.tablet.set_archived(archived);
        }
    }
    assert!(archived > Stamp::ZERO);
}

#[test]
fn what_is_archived_goes_as_ever() {
    for is_archived in [false, true] {
        let (store, mut dice, mut written) = (store(is_archived), Dice::new(9), Written::default());
        for _ in 0..300 {
            store.write(&mut dice, &mut written);
        }
        if is_archived {
            store.tablet.set_archived(Stamp::MAX);
        }
        store.tablet.freeze();
        store.tablet.request_compaction();
        store.pool.settle();
        let view = Arc::new(store.tablet.view(0).unwrap());
        assert!(view.history_floor(&BTreeSet::new()) > Stamp::ZERO, "it is told that history is gone");
        let mut kept = 0;
        let mut walk = view.kept(Stamp::ZERO, &BTreeSet::new()).unwrap();
        while walk
            .step(&mut |_, _| {
                kept += 1;
                Ok(())
            })
            .unwrap()
        {}
        assert!(kept * 4 < written.versions.len(), "{kept} of {}", written.versions.len());
    }
}
