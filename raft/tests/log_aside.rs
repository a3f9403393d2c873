//! What threads of the log do beside writing: segments filled before they are wanted, and entries read aside.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod rig;

use engine::disk::Disk;
use engine::disk::sim::Faults;
use raft::limits;
use raft::log::{Entry, Log, LogThread, Stepped};
use raft::types::GroupId;
use rig::{Rig, entry, id, nobody, opened, segments};
use std::path::Path;
use std::sync::mpsc;
use std::thread::ThreadId;
use std::time::Duration;

/// Files that wait to become segments, by their bytes.
fn spares(rig: &Rig) -> Vec<u64> {
    let names = rig.disk.list(Path::new("/log")).unwrap();
    let spares = names.iter().filter(|name| name.ends_with(".spare"));
    spares.map(|name| rig.disk.open(&Path::new("/log").join(name)).unwrap().len().unwrap()).collect()
}

#[test]
fn segments_are_filled_before_they_are_wanted() {
    let rig = Rig::new(11);
    let (log, group) = (opened(&rig, 1), GroupId(1));
    let full = vec![rig.config.segment_bytes; limits::SPARES_AHEAD];
    assert_eq!(spares(&rig), [] as [u64; 0], "nobody fills any without being asked");
    log.fill_ahead().unwrap();
    assert_eq!(spares(&rig), full);
    let mut index = 0;
    let mut write_to = |log: &Log, wanted: usize| {
        while segments(&rig) < wanted {
            log.append(group, vec![entry(group, 1, index)], nobody()).unwrap();
            log.step();
            index += 1;
        }
    };
    // The next segments are those files, and others take their place when they are asked for.
    let before = segments(&rig);
    write_to(&log, before + 1);
    assert_eq!(spares(&rig), full[1..]);
    log.fill_ahead().unwrap();
    assert_eq!(spares(&rig), full);
    write_to(&log, before + 4);
    assert_eq!(spares(&rig), [] as [u64; 0], "and without any the log goes on");
    log.fill_ahead().unwrap();
    // Segments that are freed later take no name of theirs.
    log.purge(group, id(1, index - 1)).unwrap();
    while log.step() != Stepped::Nothing {}
    assert_eq!(spares(&rig).len(), limits::SPARE_SEGMENTS_MAX);
    let end = log.durable();
    drop(log);
    assert_eq!(rig.open().found().end, end);
}

#[test]
fn a_thread_fills_them_when_a_segment_is_begun() {
    let rig = Rig::new(13);
    let (log, group) = (opened(&rig, 1), GroupId(1));
    let _thread = LogThread::start(log.clone()).unwrap();
    let (done, told) = mpsc::sync_channel(1);
    let await_spares = || {
        let is_full = || spares(&rig).len() == limits::SPARES_AHEAD;
        // Nobody answers here: this only waits.
        (0..30_000).any(|_| is_full() || told.recv_timeout(Duration::from_millis(1)).is_ok())
    };
    assert!(await_spares());
    for index in 0..160 {
        let done = done.clone();
        let tell = Box::new(move |outcome| done.send(outcome).unwrap());
        log.append(group, vec![entry(group, 1, index)], tell).unwrap();
        told.recv().unwrap().unwrap();
    }
    let begun = segments(&rig);
    assert!(begun >= 2, "{begun} segments");
    assert!(await_spares());
}

/// Says where it was dropped.
struct Held(mpsc::SyncSender<ThreadId>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send(std::thread::current().id()).unwrap();
    }
}

#[tokio::test]
async fn what_is_in_memory_no_more_is_read_aside_if_the_log_has_threads() {
    let rig = Rig::new(14);
    let (log, group) = (opened(&rig, 1), GroupId(1));
    for index in 0..60 {
        log.append(group, vec![entry(group, 1, index)], nobody()).unwrap();
        log.step();
    }
    let here = std::thread::current().id();
    let (dropped, where_from) = mpsc::sync_channel(1);
    let read = async |from: u64, to: u64| {
        let read = log.entries_aside(group, (from, to), u64::MAX, Held(dropped.clone())).await.unwrap();
        let wanted: Vec<Entry> = (from..to).map(|index| entry(group, 1, index)).collect();
        assert_eq!(read, wanted);
        where_from.recv().unwrap()
    };
    assert_eq!([read(0, 60).await, read(59, 60).await], [here, here], "a simulation has no threads");
    let thread = LogThread::start(log.clone()).unwrap();
    assert_eq!(read(59, 60).await, here, "memory is at hand");
    assert_ne!(read(0, 60).await, here);
    drop(thread);
    assert_ne!(read(0, 1).await, here, "a log that is closed can be read still");
}

#[test]
fn a_file_that_cannot_be_filled_is_gone_and_the_log_lives() {
    let rig = Rig::new(12);
    let (log, group) = (opened(&rig, 1), GroupId(1));
    rig.disk.set_faults(Faults { fail_writes: true, ..Faults::default() });
    assert!(log.fill_ahead().is_err());
    rig.disk.set_faults(Faults::default());
    assert_eq!(spares(&rig), [] as [u64; 0]);
    log.append(group, vec![entry(group, 1, 0)], nobody()).unwrap();
    assert_eq!(log.step(), Stepped::Wrote(1));
    log.fill_ahead().unwrap();
    assert_eq!(spares(&rig).len(), limits::SPARES_AHEAD);
}
