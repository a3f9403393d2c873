//! What the log counts.

use super::risen;
use crate::rig::{Rig, entry, id, nobody, opened, segments};
use engine::disk::Disk;
use engine::disk::sim::Faults;
use raft::log::{Log, Stepped};
use raft::types::{GroupId, ReplicaId, Vote};
use std::path::Path;

const ONE: GroupId = GroupId(1);
const TWO: GroupId = GroupId(2);

fn spares(rig: &Rig) -> usize {
    rig.disk.list(Path::new("/log")).unwrap().iter().filter(|name| name.ends_with(".spare")).count()
}

fn append(log: &Log, group: GroupId, indexes: std::ops::Range<u64>) {
    log.append(group, indexes.map(|index| entry(group, 1, index)).collect(), nobody()).unwrap();
}

#[test]
fn a_write_counts_its_records_its_bytes_and_one_sync() {
    let rig = Rig::new(1);
    let log = opened(&rig, 2);
    let (before, durable) = (log.stats().read(), log.durable());
    append(&log, ONE, 0..2);
    append(&log, TWO, 0..1);
    log.save_vote(TWO, Vote { term: 3, replica: ReplicaId(1), is_committed: false }, nobody()).unwrap();
    // It rides along.
    log.save_committed(ONE, Some(id(1, 1))).unwrap();
    assert_eq!(risen(&before, log.stats(), &["log"]), [].into(), "nothing is written yet");
    assert_eq!(log.step(), Stepped::Wrote(5));
    let bytes = log.durable() - durable;
    let wanted = [("log_write_syncs", 1), ("log_written_bytes", bytes), ("log_written_records", 5)];
    assert_eq!(risen(&before, log.stats(), &["log"]), wanted.into());
    assert_eq!(log.step(), Stepped::Nothing);
    assert_eq!(risen(&before, log.stats(), &["log"]), wanted.into());
    assert!(log.stats().histograms().iter().all(|one| one.count() == 0), "nobody gave it a clock");
}

#[test]
fn segments_and_spares_are_as_many_as_there_are_files() {
    let rig = Rig::new(2);
    let log = opened(&rig, 1);
    let is_told = |log: &Log, begun: u64| {
        let figures = log.stats().read().log;
        let told = (figures.kept_segments, figures.spare_segments, figures.begun_segments);
        assert_eq!(told, (segments(&rig) as u64, spares(&rig) as u64, begun));
        figures
    };
    let figures = is_told(&log, 1);
    assert_eq!((figures.kept_segments, figures.kept_bytes), (1, log.durable()));
    for index in 0.. {
        append(&log, ONE, index..index + 1);
        log.step();
        if segments(&rig) == 4 {
            break;
        }
    }
    assert_eq!(is_told(&log, 4).hollow_segments, 3, "nobody fills files ahead");
    assert_eq!(log.stats().read().log.kept_bytes, log.durable());
    log.purge(ONE, log.state(ONE).unwrap().last.unwrap()).unwrap();
    log.step();
    let figures = is_told(&log, 4);
    assert!(figures.kept_segments < 4 && figures.spare_segments > 0 && figures.kept_bytes < log.durable());
    log.fill_ahead().unwrap();
    is_told(&log, 4);
    drop(log);
    // What a start finds counts, and so does the segment it begins; what an earlier start did does not.
    is_told(&rig.open(), 1);
}

#[test]
fn an_entry_comes_from_memory_or_by_one_read() {
    let rig = Rig::new(3);
    let log = opened(&rig, 1);
    for index in 0..100 {
        append(&log, ONE, index..index + 1);
        log.step();
    }
    let before = log.stats().read();
    assert_eq!(log.entries(ONE, 99, 100, u64::MAX).unwrap().len(), 1);
    assert_eq!(risen(&before, log.stats(), &["log"]), [("log_cache_hit_entries", 1)].into());
    let before = log.stats().read();
    assert_eq!(log.entries(ONE, 0, 7, u64::MAX).unwrap().len(), 7);
    let wanted = [("log_cache_missed_entries", 7), ("log_disk_reads", 7)];
    assert_eq!(risen(&before, log.stats(), &["log"]), wanted.into());
}

#[test]
fn a_segment_that_a_group_keeps_is_emptied_and_what_lived_there_is_written_again() {
    let rig = Rig::new(4);
    let log = opened(&rig, 2);
    append(&log, TWO, 0..6);
    let mut index = 0;
    while log.stats().read().log.evacuated_segments == 0 {
        append(&log, ONE, index..index + 1);
        log.purge(ONE, id(1, index)).unwrap();
        log.step();
        index += 1;
    }
    let figures = log.stats().read().log;
    assert_eq!((figures.evacuated_segments, figures.moved_entries), (1, 6));
    assert_eq!(log.entries(TWO, 0, 6, u64::MAX).unwrap().len(), 6);
}

#[test]
fn a_log_that_fails_says_that_it_is_fenced_and_one_that_is_closed_does_not() {
    for (fail_syncs, fenced) in [(true, 1), (false, 0)] {
        let rig = Rig::new(5);
        let log = opened(&rig, 1);
        assert_eq!(log.stats().read().log.fenced_flag, 0);
        rig.disk.set_faults(Faults { fail_syncs, ..Faults::default() });
        append(&log, ONE, 0..1);
        let before = log.stats().read();
        log.step();
        let written = risen(&before, log.stats(), &["log"]).get("log_write_syncs").copied();
        assert_eq!(written, (!fail_syncs).then_some(1), "a write that failed");
        log.close();
        assert_eq!(log.stats().read().log.fenced_flag, fenced);
    }
}
