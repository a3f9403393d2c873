//! The log in use: one sync for all that wait, segments that go, entries read back from disk, refusals.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::disk::sim::Faults;
use engine::disk::{Disk, RealDisk};
use engine::entropy::Seeded;
use engine::ids::NodeId;
use raft::log::{Log, LogConfig, LogParts, LogThread, Mark, Stepped};
use raft::types::{GroupId, ReplicaId, Vote};
use raft::{Error, limits};
use rig::{NODE, Rig, acknowledge, entry, id, nobody, opened, segments};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

#[test]
fn one_write_serves_every_group_and_tells_the_newest_of_each() {
    let rig = Rig::new(1);
    let log = opened(&rig, 3);
    let told: Vec<Arc<AtomicU64>> = (0..3).map(|_| Arc::default()).collect();
    for index in 0..4 {
        for (n, told) in (1..).zip(&told) {
            let group = GroupId(n);
            log.append(group, vec![entry(group, 1, index)], acknowledge(told, &Arc::new((index + 1).into())))
                .unwrap();
        }
    }
    let before = rig.disk.operations();
    assert!(matches!(log.step(), Stepped::Wrote(12)));
    assert_eq!(rig.disk.operations() - before, 2, "one write, one sync");
    assert!(told.iter().all(|told| told.load(Ordering::SeqCst) == 4));
    assert_eq!(log.step(), Stepped::Nothing);
}

#[test]
fn a_marker_of_what_is_committed_rides_behind_its_entry_and_asks_for_no_sync() {
    let rig = Rig::new(2);
    let log = opened(&rig, 1);
    let group = GroupId(1);
    log.save_committed(group, Some(id(1, 0))).unwrap();
    assert_eq!(log.step(), Stepped::Nothing);
    log.append(group, vec![entry(group, 1, 0)], nobody()).unwrap();
    assert_eq!(log.step(), Stepped::Wrote(2));
    drop(log);
    assert_eq!(rig.open().groups()[&group].committed, Some(id(1, 0)));
}

#[test]
fn what_waits_to_be_written_is_not_stored() {
    let rig = Rig::new(4);
    let log = opened(&rig, 1);
    let group = GroupId(1);
    assert_eq!(log.stored(group).unwrap(), None);
    log.append(group, vec![entry(group, 1, 0), entry(group, 1, 1)], nobody()).unwrap();
    assert_eq!((log.bounds(group).unwrap(), log.stored(group).unwrap()), ((0, 2), None));
    log.step();
    log.append(group, vec![entry(group, 1, 2)], nobody()).unwrap();
    assert_eq!(log.stored(group).unwrap().map(|id| id.index), Some(1), "the third can still be lost");
    log.step();
    assert_eq!(log.stored(group).unwrap().map(|id| id.index), Some(2));
    log.purge(group, id(1, 2)).unwrap();
    assert_eq!(
        log.stored(group).unwrap().map(|id| id.index),
        Some(2),
        "what is gone from the head was stored"
    );
    // Another leader's entry takes the place of one that was stored.
    log.append(group, vec![entry(group, 1, 3), entry(group, 1, 4)], nobody()).unwrap();
    log.step();
    log.truncate_after(group, Some(id(1, 3))).unwrap();
    log.append(group, vec![entry(group, 2, 4)], nobody()).unwrap();
    assert_eq!(log.stored(group).unwrap().map(|id| id.index), Some(3));
    assert!(log.stored(GroupId(9)).is_err());
}

#[test]
fn segments_go_when_nothing_lives_in_them_and_are_written_over() {
    let mut rig = Rig::new(3);
    rig.config.segments_kept = usize::MAX;
    let log = opened(&rig, 2);
    let (one, two) = (GroupId(1), GroupId(2));
    log.append(two, vec![entry(two, 1, 0)], nobody()).unwrap();
    for index in 0..1_500 {
        log.append(one, vec![entry(one, 1, index)], nobody()).unwrap();
        if index % 10 == 9 {
            log.step();
            log.purge(one, id(1, index - 5)).unwrap();
        }
    }
    while log.step() != Stepped::Nothing {}
    let lagging = segments(&rig);
    assert!(lagging > 10, "{lagging}: an entry of the other group lives in the first");
    log.purge(two, id(1, 0)).unwrap();
    log.step();
    assert!(segments(&rig) <= 2, "{} segments", segments(&rig));
    let spares =
        rig.disk.list(Path::new("/log")).unwrap().iter().filter(|name| name.ends_with(".spare")).count();
    assert_eq!(spares, limits::SPARE_SEGMENTS_MAX);
    // They are used again: what was in them does not come to life.
    for index in 1_500..2_000 {
        log.append(one, vec![entry(one, 1, index)], nobody()).unwrap();
        log.step();
    }
    let end = log.durable();
    drop(log);
    let log = rig.open();
    assert_eq!((log.found().end, log.found().was_torn), (end, false));
    let entries = log.entries(one, 1_495, 2_000, u64::MAX).unwrap();
    assert!((1_495..2_000).zip(entries).all(|(index, found)| found == entry(one, 1, index)));
}

#[test]
fn entries_come_from_memory_or_disk_in_bounded_pieces() {
    let rig = Rig::new(4);
    let log = opened(&rig, 1);
    let group = GroupId(1);
    let entries: Vec<_> = (0..200).map(|index| entry(group, 1, index)).collect();
    log.append(group, entries.clone(), nobody()).unwrap();
    assert_eq!(log.entries(group, 0, 200, u64::MAX).unwrap(), entries, "not written yet");
    while log.step() != Stepped::Nothing {}
    assert_eq!(log.entries(group, 0, 200, u64::MAX).unwrap(), entries);
    let some = log.entries(group, 50, 200, 1_000).unwrap();
    assert!(!some.is_empty() && some.len() < 20 && some[..] == entries[50..50 + some.len()]);
    assert_eq!(log.entries(group, 7, 9, 0).unwrap().len(), 1, "one always is");
    assert_eq!(log.entries(group, 7, 7, 100).unwrap(), []);
    for (from, to) in [(199, 201), (300, 301)] {
        assert!(matches!(log.entries(group, from, to, 1), Err(Error::NotHere { first: 0, end: 200, .. })));
    }
    log.purge(group, id(1, 9)).unwrap();
    assert!(matches!(log.entries(group, 9, 12, 1), Err(Error::NotHere { first: 10, .. })));
    log.truncate_after(group, Some(id(1, 99))).unwrap();
    assert!(log.entries(group, 99, 101, 1).is_err());
}

#[test]
fn an_entry_that_rots_on_disk_is_named_and_not_given() {
    let rig = Rig::new(5);
    let log = opened(&rig, 1);
    let group = GroupId(1);
    (0..100).for_each(|index| log.append(group, vec![entry(group, 1, index)], nobody()).unwrap());
    while log.step() != Stepped::Nothing {}
    let (name, bytes) =
        rig.disk.files().into_iter().find(|(name, _)| name.extension().unwrap() == "log").unwrap();
    // Somewhere in the entries, which begin behind header, state and births.
    for at in 4_600..bytes.len().min(6_000) {
        rig.disk.tamper(&name, |bytes| bytes[at] ^= 1).unwrap();
        let found = log.entries(group, 0, 100, u64::MAX);
        rig.disk.tamper(&name, |bytes| bytes[at] ^= 1).unwrap();
        match found {
            Ok(found) => assert!((0..100).zip(found).all(|(index, found)| found == entry(group, 1, index))),
            Err(Error::DamagedInside { offset, .. }) => {
                assert!(offset as usize <= at && at < offset as usize + 400)
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn what_breaks_a_rule_is_refused_and_changes_nothing() {
    let rig = Rig::new(6);
    let log = opened(&rig, 1);
    let (group, other) = (GroupId(1), GroupId(9));
    log.append(group, vec![entry(group, 3, 0)], nobody()).unwrap();
    for entries in [
        vec![entry(group, 3, 2)],
        vec![entry(group, 3, 0)],
        vec![entry(group, 2, 1)],
        vec![entry(group, 3, 1), entry(group, 3, 3)],
    ] {
        assert!(matches!(log.append(group, entries, nobody()), Err(Error::Gap { .. })));
    }
    let mut large = entry(group, 3, 1);
    large.payload = vec![0; rig.config.entry_bytes_max + 1].into();
    assert!(matches!(log.append(group, vec![large], nobody()), Err(Error::TooLarge { .. })));
    assert!(matches!(log.truncate_after(group, Some(id(9, 0))), Err(Error::Gap { .. })));
    assert!(matches!(log.open_replica(group, ReplicaId(5), nobody()), Err(Error::ReplicaLives { .. })));
    assert!(matches!(log.save_vote(other, Vote::default(), nobody()), Err(Error::NoSuchGroup(_))));
    assert!(matches!(log.append(other, vec![], nobody()), Err(Error::NoSuchGroup(_))));
    log.close_replica(group, nobody()).unwrap();
    assert!(matches!(log.open_replica(group, ReplicaId(1), nobody()), Err(Error::ReplicaUsed { .. })));
    assert!(matches!(log.append(group, vec![], nobody()), Err(Error::NoSuchGroup(_))));
    log.open_replica(group, ReplicaId(2), nobody()).unwrap();
    log.append(group, vec![entry(group, 1, 0)], nobody()).unwrap();
    while log.step() != Stepped::Nothing {}
    assert_eq!(log.entries(group, 0, 1, 1).unwrap(), [entry(group, 1, 0)]);
}

#[test]
fn a_full_or_failing_disk_fences_and_acknowledges_nothing() {
    for faults in [
        Faults { fail_writes: true, ..Faults::default() },
        Faults { fail_syncs: true, ..Faults::default() },
        Faults { capacity_bytes: Some(1), ..Faults::default() },
    ] {
        let rig = Rig::new(7);
        let log = opened(&rig, 1);
        let group = GroupId(1);
        rig.disk.set_faults(faults.clone());
        let told: Arc<AtomicU64> = Arc::default();
        let (failed, failures) = mpsc::sync_channel(10_000);
        let (mut index, mut votes) = (0, 0);
        // A full disk is only felt when a segment must be made.
        while log.fenced().is_none() {
            // More than one write takes, so that some wait while one fails.
            let entries = (index..index + 30).map(|index| entry(group, 1, index)).collect();
            index += 30;
            log.append(group, entries, acknowledge(&told, &Arc::new(index.into()))).unwrap();
            let failed = failed.clone();
            log.save_vote(group, Vote::default(), Box::new(move |outcome| failed.send(outcome).unwrap()))
                .unwrap();
            votes += 1;
            log.step();
        }
        let outcomes: Vec<_> = failures.try_iter().collect();
        assert_eq!(outcomes.len(), votes, "nobody waits for ever");
        assert!(outcomes[votes - 1].is_err(), "a vote that is not durable is never given: {faults:?}");
        assert!(told.load(Ordering::SeqCst) < index);
        assert!(matches!(log.append(group, vec![], nobody()), Err(Error::Fenced { .. })));
        drop(log);
        rig.disk.set_faults(Faults::default());
        let end = rig.open().groups()[&group].last.map_or(0, |last| last.index + 1);
        assert!((told.load(Ordering::SeqCst)..=index).contains(&end), "{faults:?}");
    }
}

#[test]
fn the_log_of_another_node_or_a_hole_in_it_is_refused() {
    let mut rig = Rig::new(8);
    rig.config.segments_kept = usize::MAX;
    let log = opened(&rig, 1);
    let group = GroupId(1);
    for index in 0..300 {
        log.append(group, vec![entry(group, 1, index)], nobody()).unwrap();
        log.step();
    }
    assert!(segments(&rig) > 3);
    assert!(
        matches!(rig.try_open(), Err(Error::Engine(engine::Error::InUse { .. }))),
        "its folder has one user"
    );
    drop(log);
    let parts = LogParts {
        disk: Arc::new(rig.disk.clone()),
        sealer: rig::sealer(),
        entropy: Arc::new(Seeded::new(99)),
        node: NodeId(8),
        stats: Arc::default(),
    };
    assert!(matches!(Log::open(rig.config.clone(), parts), Err(Error::Foreign { what: "node", .. })));
    let second = Path::new("/log").join(raft::log::segment::file_name(2));
    let bytes = rig.disk.files()[&second].clone();
    rig.disk.remove(&second).unwrap();
    assert!(matches!(rig.try_open(), Err(Error::SegmentMissing { segment: 2 })));
    // Rot anywhere in a closed segment is damage in the middle.
    rig.disk.create(&second).unwrap().write_all_at(&bytes, 0).unwrap();
    rig.disk.tamper(&second, |bytes| bytes[5_000] ^= 4).unwrap();
    let Err(Error::DamagedInside { segment: 2, .. }) = rig.try_open() else { panic!("it was opened") };
    rig.disk.tamper(&second, |bytes| bytes[5_000] ^= 4).unwrap();
    assert_eq!(rig.open().groups()[&group].last, Some(id(1, 299)));
}

#[test]
fn a_thread_writes_what_waits_and_ends_with_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, entropy) = (Arc::new(RealDisk), Arc::new(Seeded::new(5)));
    let parts = LogParts { disk, sealer: rig::sealer(), entropy, node: NODE, stats: Arc::default() };
    let config = LogConfig { groups_max: 4, ..LogConfig::new(dir.path().join("log")) };
    let log = Log::open(config.clone(), parts.clone()).unwrap();
    let thread = LogThread::start(log.clone()).unwrap();
    let (done, dones) = mpsc::sync_channel(10_000);
    let tell = |done: &mpsc::SyncSender<_>| -> raft::log::Done {
        let done = done.clone();
        Box::new(move |outcome| done.send(outcome).unwrap())
    };
    for n in 1..=4 {
        log.open_replica(GroupId(n), ReplicaId(1), tell(&done)).unwrap();
    }
    (0..4).for_each(|_| dones.recv().unwrap().unwrap());
    for index in 0..50 {
        for n in 1..=4 {
            let group = GroupId(n);
            log.append(group, vec![entry(group, 1, index)], nobody()).unwrap();
            log.save_vote(group, Vote::default(), tell(&done)).unwrap();
        }
    }
    (0..200).for_each(|_| dones.recv().unwrap().unwrap());
    // Its companion has begun to fill segments ahead, and stops with it.
    drop(thread);
    assert!(matches!(log.append(GroupId(1), vec![], nobody()), Err(Error::Fenced { .. })));
    drop(log);
    let log = Log::open(config, parts).unwrap();
    assert_eq!(log.found().incarnation, 2);
    for n in 1..=4 {
        assert_eq!(log.entries(GroupId(n), 0, 50, u64::MAX).unwrap().len(), 50);
    }
}

#[test]
fn a_replica_born_again_in_the_write_that_closes_the_one_before_keeps_its_entries() {
    let rig = Rig::new(9);
    let log = opened(&rig, 2);
    let (one, two) = (GroupId(1), GroupId(2));
    log.append(one, vec![entry(one, 1, 0)], nobody()).unwrap();
    log.close_replica(one, nobody()).unwrap();
    log.open_replica(one, ReplicaId(2), nobody()).unwrap();
    log.append(one, vec![entry(one, 7, 0)], nobody()).unwrap();
    while log.step() != Stepped::Nothing {}
    for index in 0..300 {
        log.append(two, vec![entry(two, 1, index)], nobody()).unwrap();
        log.purge(two, id(1, index)).unwrap();
        log.step();
    }
    assert_eq!(log.entries(one, 0, 1, 1).unwrap(), [entry(one, 7, 0)]);
    drop(log);
    assert_eq!(rig.open().entries(one, 0, 1, 1).unwrap(), [entry(one, 7, 0)]);
}

#[test]
fn a_group_that_lags_keeps_few_segments_and_loses_nothing() {
    let rig = Rig::new(10);
    let log = opened(&rig, 3);
    let (busy, lagging, changing) = (GroupId(1), GroupId(2), GroupId(3));
    let some: Vec<_> = (0..6).map(|index| entry(lagging, 1, index)).collect();
    log.append(lagging, some.clone(), nobody()).unwrap();
    log.append(changing, (0..6).map(|index| entry(changing, 1, index)).collect(), nobody()).unwrap();
    for index in 0..2_000 {
        log.append(busy, vec![entry(busy, 1, index)], nobody()).unwrap();
        log.purge(busy, id(1, index)).unwrap();
        if index == 700 {
            log.truncate_after(changing, Some(id(1, 3))).unwrap();
            log.append(changing, vec![entry(changing, 2, 4)], nobody()).unwrap();
        }
        if index == 1_400 {
            log.purge(changing, id(1, 1)).unwrap();
        }
        log.step();
        assert!(segments(&rig) <= 4, "{} segments at {index}", segments(&rig));
    }
    let rest = [entry(changing, 1, 2), entry(changing, 1, 3), entry(changing, 2, 4)];
    // Somebody reads all the while: what is written again elsewhere is found there.
    let (reader, is_over) = (log.clone(), Arc::new(AtomicBool::new(false)));
    let (over, wanted) = (is_over.clone(), some.clone());
    let reading = std::thread::spawn(move || {
        while !over.load(Ordering::SeqCst) {
            assert_eq!(reader.entries(lagging, 0, 6, u64::MAX).unwrap(), wanted);
        }
    });
    for index in 2_000..4_000 {
        log.append(busy, vec![entry(busy, 1, index)], nobody()).unwrap();
        log.purge(busy, id(1, index)).unwrap();
        log.step();
    }
    is_over.store(true, Ordering::SeqCst);
    reading.join().unwrap();
    let check = |log: &Log| {
        assert_eq!(log.entries(lagging, 0, 6, u64::MAX).unwrap(), some);
        assert_eq!(log.entries(changing, 2, 5, u64::MAX).unwrap(), rest);
    };
    check(&log);
    drop(log);
    let log = rig.open();
    check(&log);
    // And once more from the start: what was moved is moved on.
    for index in 4_000..5_000 {
        log.append(busy, vec![entry(busy, 1, index)], nobody()).unwrap();
        log.purge(busy, id(1, index)).unwrap();
        log.step();
    }
    check(&log);
    drop(log);
    check(&rig.open());
}

#[test]
fn what_a_start_must_know_outlives_the_segment_it_stood_in() {
    let rig = Rig::new(11);
    let log = opened(&rig, 2);
    let (one, two) = (GroupId(1), GroupId(2));
    let marks = vec![Mark { node: 9, log: [4; 16], position: 77 }];
    log.note_marks(marks.clone()).unwrap();
    log.note_manifest(one, 12, Some(id(1, 3))).unwrap();
    log.note_manifest(two, 5, None).unwrap();
    drop(log);
    // Not written yet, so it is not there; said again, it is.
    let log = rig.open();
    assert_eq!((log.found().incarnation, log.found().marks.len()), (2, 0));
    log.note_marks(marks.clone()).unwrap();
    log.note_manifest(one, 12, Some(id(1, 3))).unwrap();
    log.note_manifest(two, 5, None).unwrap();
    for index in 0..600 {
        log.append(one, vec![entry(one, 1, index)], nobody()).unwrap();
        log.purge(one, id(1, index)).unwrap();
        log.step();
    }
    log.close_replica(two, nobody()).unwrap();
    while log.step() != Stepped::Nothing {}
    let first = Path::new("/log").join(raft::log::segment::file_name(1));
    assert!(!rig.disk.files().contains_key(&first), "the segment is gone");
    drop(log);
    let log = rig.open();
    let found = log.found();
    assert_eq!((found.incarnation, &found.marks), (3, &marks));
    assert_eq!(
        found.manifests,
        [(one, (12, Some(id(1, 3))))].into(),
        "that of a closed replica is forgotten"
    );
}

#[test]
fn an_oldest_segment_without_its_first_write_is_no_empty_log() {
    let rig = Rig::new(12);
    let log = opened(&rig, 1);
    let group = GroupId(1);
    for index in 0..200 {
        log.append(group, vec![entry(group, 1, index)], nobody()).unwrap();
        log.purge(group, id(1, index)).unwrap();
        log.step();
    }
    while log.step() != Stepped::Nothing {}
    let name = rig.disk.files().into_keys().find(|name| name.extension().unwrap() == "log").unwrap();
    assert_eq!(segments(&rig), 1);
    drop(log);
    rig.disk.tamper(&name, |bytes| bytes[4_100] ^= 1).unwrap();
    rig.disk.tamper(&name, |bytes| bytes[4_096 + 64..].fill(0)).unwrap();
    assert!(matches!(rig.try_open(), Err(Error::DamagedInside { .. })));
}

#[test]
fn a_purge_up_to_another_leaders_entry_of_the_last_index_replaces_it() {
    let rig = Rig::new(13);
    let log = opened(&rig, 1);
    let group = GroupId(1);
    log.append(group, (0..6).map(|index| entry(group, 1, index)).collect(), nobody()).unwrap();
    log.purge(group, id(2, 5)).unwrap();
    let check = |log: &Log| {
        let state = log.groups()[&group];
        assert_eq!((state.purged, state.last), (Some(id(2, 5)), Some(id(2, 5))));
    };
    check(&log);
    while log.step() != Stepped::Nothing {}
    drop(log);
    check(&rig.open());
    assert!(rig.open().purge(group, id(9, u64::MAX)).is_err());
}

#[test]
fn whoever_is_told_may_call_the_log_and_one_who_panics_keeps_no_other_waiting() {
    let rig = Rig::new(14);
    let log = opened(&rig, 3);
    let (own, told) = (log.clone(), Arc::<AtomicU64>::default());
    log.save_vote(GroupId(1), Vote::default(), Box::new(move |_| drop((own.step(), own.groups())))).unwrap();
    assert!(matches!(log.step(), Stepped::Wrote(_)));
    log.save_vote(GroupId(1), Vote::default(), Box::new(|_| panic!("on purpose"))).unwrap();
    log.save_vote(GroupId(2), Vote::default(), acknowledge(&told, &Arc::new(1.into()))).unwrap();
    assert_eq!(log.step(), Stepped::Fenced);
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert!(log.fenced().unwrap().contains("panicked"));
}

#[test]
fn settings_under_which_a_write_may_not_fit_a_segment_are_refused() {
    let rig = Rig::new(15);
    for change in [
        |config: &mut LogConfig| config.write_bytes = usize::MAX,
        |config: &mut LogConfig| config.entry_bytes_max = 16 << 10,
        |config: &mut LogConfig| config.groups_max = 100,
        |config: &mut LogConfig| config.peers_max = 1_000,
        |config: &mut LogConfig| config.segment_bytes = 8 << 10,
        |config: &mut LogConfig| config.segment_bytes = u64::MAX,
    ] {
        let mut rig = Rig::new(15);
        change(&mut rig.config);
        assert!(matches!(rig.try_open(), Err(Error::Invalid(_))));
    }
    let log = opened(&rig, 12);
    assert!(matches!(log.open_replica(GroupId(99), ReplicaId(1), nobody()), Err(Error::TooLarge { .. })));
    let many = vec![Mark::default(); 13];
    assert!(matches!(log.note_marks(many), Err(Error::TooLarge { .. })));
}
