//! A disk that fills up under the log. A segment that began in a file without blocks takes its room only when it is written, so that it may
//! be missing in the middle of any write.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::disk::sim::Faults;
use raft::Error;
use raft::log::{Log, Stepped};
use raft::types::GroupId;
use rig::{Rig, acknowledge, entry, nobody, opened, segments};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const GROUP: GroupId = GroupId(1);

/// Appends the entry at `index` and steps. Whoever is told that it is durable raises `acknowledged` to the index behind it.
fn append(log: &Log, index: u64, acknowledged: &Arc<AtomicU64>) -> Stepped {
    let done = acknowledge(acknowledged, &Arc::new((index + 1).into()));
    log.append(GROUP, vec![entry(GROUP, 1, index)], done).unwrap();
    log.step()
}

/// A log whose last segment has just begun in a file without blocks, and the index of its next entry.
fn hollow(rig: &Rig, acknowledged: &Arc<AtomicU64>) -> (Arc<Log>, u64) {
    let log = opened(rig, 1);
    let (begun, mut index) = (segments(rig), 0);
    let mut taken = 0;
    while segments(rig) == begun {
        taken = rig.disk.bytes_taken();
        append(&log, index, acknowledged);
        index += 1;
    }
    let took = rig.disk.bytes_taken() - taken;
    assert!(took < rig.config.segment_bytes / 2, "{took} bytes for the first write into a segment");
    (log, index)
}

/// Every entry before `end` is here and is what it was.
fn assert_holds(log: &Log, end: u64) {
    let read = log.entries(GROUP, 0, end, u64::MAX).unwrap();
    let wanted: Vec<_> = (0..end).map(|index| entry(GROUP, 1, index)).collect();
    assert!(read == wanted, "{} of {end} entries", read.len());
}

fn set_room(rig: &Rig, more_bytes: Option<u64>) {
    let capacity_bytes = more_bytes.map(|more| rig.disk.bytes_taken() + more);
    rig.disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
}

#[test]
fn room_that_is_missing_inside_a_segment_fences_and_loses_nothing() {
    // In the first write behind the header, a few writes later, and up to the last sectors of the segment.
    for (case, more_bytes) in (0..).zip((0..10_000).step_by(300)) {
        let mut rig = Rig::new(20 + case);
        rig.config.segments_kept = usize::MAX;
        let acknowledged = Arc::default();
        let (log, mut index) = hollow(&rig, &acknowledged);
        let begun = segments(&rig);
        set_room(&rig, Some(more_bytes));
        while log.fenced().is_none() {
            assert!(index < 1_000, "nobody felt it");
            // Two wait for one write, and the second of them is told as well.
            log.append(GROUP, vec![entry(GROUP, 1, index)], nobody()).unwrap();
            append(&log, index + 1, &acknowledged);
            index += 2;
        }
        let cause = log.fenced().unwrap();
        assert!(cause.starts_with("write ") && cause.contains("simulated full disk"), "{cause}");
        assert_eq!(segments(&rig), begun, "{more_bytes}: it is felt inside the segment");
        let end = acknowledged.load(Ordering::SeqCst);
        assert_eq!(end, index - 2, "{more_bytes}: all before the write that failed, and nothing of it");
        assert!(matches!(log.append(GROUP, vec![], nobody()), Err(Error::Fenced { .. })));
        assert_eq!(log.step(), Stepped::Nothing, "nothing is written after it");
        assert_holds(&log, end);
        drop(log);
        // The process ends, or the power goes as well.
        if case % 2 == 1 {
            rig.disk.crash();
            rig.disk.restart();
        }
        set_room(&rig, Some(0));
        let refused = rig.try_open().err().expect("a start needs a segment");
        assert!(refused.kind() == engine::Kind::Unavailable, "{refused}");
        set_room(&rig, None);
        goes_on(&rig, end, index);
    }
}

/// There is room again: what was acknowledged is here, and the log goes on.
fn goes_on(rig: &Rig, acknowledged: u64, appended: u64) {
    let log = rig.open();
    let found = log.state(GROUP).unwrap().last.map_or(0, |last| last.index + 1);
    assert!((acknowledged..=appended).contains(&found), "{acknowledged} {found} {appended}");
    assert_holds(&log, found);
    let after = Arc::default();
    let begun = segments(rig);
    let mut index = found;
    while segments(rig) < begun + 2 {
        assert_ne!(append(&log, index, &after), Stepped::Fenced);
        index += 1;
    }
    assert_eq!(after.load(Ordering::SeqCst), index);
    drop(log);
    assert_holds(&rig.open(), index);
}
