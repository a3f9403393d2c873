use super::sim::Faults;
use super::{Disk, RealDisk, SimDisk, suite};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[test]
fn the_real_disk_keeps_the_contract() {
    let dirs = Mutex::new(Vec::new());
    suite::suite(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        dirs.lock().unwrap().push(dir);
        (Arc::new(RealDisk), path)
    });
}

#[test]
fn the_simulated_disk_keeps_the_contract() {
    suite::suite(|| {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/d")).unwrap();
        (Arc::new(disk), PathBuf::from("/d"))
    });
}

fn disk_with_file(seed: u64) -> (SimDisk, Arc<dyn super::DiskFile>) {
    let disk = SimDisk::new(seed);
    disk.create_dir(Path::new("/d")).unwrap();
    let file = disk.create(Path::new("/d/a")).unwrap();
    (disk, file)
}

#[test]
fn a_file_without_a_name_lives_as_long_as_it_is_open() {
    let (disk, file) = disk_with_file(1);
    file.write_all_at(&[1; 2_000], 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    let again = disk.open(Path::new("/d/a")).unwrap();
    drop(file);
    disk.remove(Path::new("/d/a")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    let mut bytes = [0; 10];
    again.read_exact_at(&mut bytes, 1_990).unwrap();
    assert_eq!((bytes, disk.bytes_held()), ([1; 10], 2_000));
    drop(again);
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(disk.bytes_held(), 0);
}

#[test]
fn a_file_that_was_made_and_removed_unsynced_may_be_there_after_a_crash() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let (disk, file) = disk_with_file(seed);
        file.sync().unwrap();
        drop(file);
        disk.remove(Path::new("/d/a")).unwrap();
        disk.create_dir(Path::new("/e")).unwrap();
        disk.sync_dir(Path::new("/e")).unwrap();
        disk.crash();
        disk.restart();
        outcomes.insert(disk.files().len());
    }
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn a_crash_keeps_what_was_synced_and_may_tear_the_rest() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let (disk, file) = disk_with_file(seed);
        file.write_all_at(&[1; 2_000], 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_all_at(&[2; 2_000], 1_000).unwrap();
        disk.crash();
        assert!(file.len().is_err(), "handles die");
        assert!(disk.open(Path::new("/d/a")).is_err(), "a crashed disk does nothing");
        disk.restart();
        let bytes = disk.files()[Path::new("/d/a")].clone();
        assert!(bytes.len() >= 2_000);
        assert_eq!(bytes[..1_000], [1; 1_000], "synced bytes that were not overwritten stay");
        assert!(bytes[1_000..].iter().all(|b| [0, 1, 2].contains(b)));
        outcomes.insert(bytes);
    }
    assert!(outcomes.len() > 10, "{} outcomes", outcomes.len());
}

#[test]
fn names_are_lost_unless_their_folder_was_synced() {
    let lost = (0..40).filter(|seed| {
        let (disk, file) = disk_with_file(*seed);
        file.sync().unwrap();
        disk.crash();
        disk.restart();
        disk.files().is_empty()
    });
    assert!((5..35).contains(&lost.count()));
}

#[test]
fn one_seed_is_one_fate() {
    let run = |seed| {
        let (disk, file) = disk_with_file(seed);
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_all_at(&[7; 9_000], 0).unwrap();
        disk.crash();
        disk.files()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn faults_come_as_planned() {
    let (disk, file) = disk_with_file(3);
    disk.set_faults(Faults { capacity_bytes: Some(1_000), ..Faults::default() });
    assert_eq!(file.write_all_at(&[1; 2_000], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    file.set_len(0).unwrap();
    file.write_all_at(&[1; 1_000], 0).unwrap();
    // A file may be longer than there is room for, until it is written.
    file.set_len(10_000).unwrap();
    assert_eq!(file.write_all_at(&[1; 10], 5_000).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_faults(Faults { fail_syncs: true, ..Faults::default() });
    assert!(file.sync().is_err());
    disk.set_faults(Faults::default());
    assert!(file.sync().is_err(), "a sync after a failed one is never believed");
    let at = disk.operations() + 2;
    disk.set_faults(Faults { crash_at: Some(at), ..Faults::default() });
    assert!(file.len().is_ok() && file.len().is_err() && disk.is_down());
}
