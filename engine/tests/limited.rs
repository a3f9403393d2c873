//! Background work under a byte rate: a merge waits, a flush does not, and a pool that closes ends both.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::ids::LogIndex;
use engine::key::KeyRange;
use engine::tablet::Tablet;
use engine::tablet::batch::Batch;
use engine::tablet::pool::{NewTablet, Pool};
use engine::{Error, Stamp};
use rig::{C, Dice, Rig, START_MS, T1, TABLET};
use std::sync::Arc;
use std::time::Duration;

/// A pool with threads whose background work may move `bytes_per_s`, and a tablet in it.
fn limited(bytes_per_s: u64) -> (Rig, Arc<Pool>, Arc<Tablet>) {
    let mut rig = Rig::new(8);
    (rig.config.threads, rig.config.background_bytes_per_s) = (2, bytes_per_s);
    // So large that nothing is merged before it is asked for, and a merge is worth telling the limit of.
    (rig.config.memtable_bytes_per_tablet, rig.config.memtable_bytes) = (1 << 20, 8 << 20);
    let pool = rig.open();
    let tablet = pool.create(&[NewTablet::empty(TABLET, KeyRange::all())]).unwrap().remove(0);
    (rig, pool, tablet)
}

/// Writes half a MiB and waits until it is in a table.
fn fill(tablet: &Tablet) {
    let dice = Dice::new(tablet.applied().index.0);
    for _ in 0..512 {
        let index = tablet.applied().index.0 + 1;
        let mut batch = Batch::new(LogIndex(index));
        batch
            .put(
                T1,
                C,
                &index.to_be_bytes(),
                &dice.bytes(1_000),
                Stamp::new(START_MS, 0).max(tablet.applied_stamp()).next(),
                0,
            )
            .unwrap();
        match tablet.apply(&batch) {
            Ok(()) => {}
            Err(Error::Overloaded { .. }) => assert!(tablet.await_room(10_000)),
            Err(other) => panic!("{other}"),
        }
    }
    tablet.freeze();
    assert!(soon(|| tablet.durable().index == tablet.applied().index), "a flush waits for nobody");
}

/// Whether `is_so` within some seconds.
fn soon(is_so: impl Fn() -> bool) -> bool {
    (0..1_000).any(|_| {
        std::thread::park_timeout(Duration::from_millis(10));
        is_so()
    })
}

#[test]
fn a_merge_keeps_to_the_rate_a_flush_does_not_and_closing_waits_for_neither() {
    let merged = |tablet: &Tablet| tablet.stats().tables_by_level[0] == 0;
    // The control: without a limit the merge is done.
    let (_rig, pool, tablet) = limited(0);
    fill(&tablet);
    tablet.request_compaction();
    assert!(soon(|| merged(&tablet)));
    pool.close();
    // Half a MiB at a byte a second, on a clock that stands still.
    let (_rig, pool, tablet) = limited(1);
    fill(&tablet);
    tablet.request_compaction();
    std::thread::park_timeout(Duration::from_millis(700));
    assert!(!merged(&tablet), "the merge is still waiting");
    fill(&tablet);
    assert!(!merged(&tablet) && tablet.stats().tables_by_level[0] == 2);
    pool.close();
}
