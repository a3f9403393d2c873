//! The contract of a disk as a suite that every implementation passes.

use super::{Disk, atomic};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs the suite; `open` gives an empty folder on a disk each time.
///
/// # Panics
/// If the disk breaks its contract.
pub fn suite(open: impl Fn() -> (Arc<dyn Disk>, PathBuf)) {
    for check in [bytes_come_back, holes_and_ends, names, folders, replacing, locking] {
        let (disk, dir) = open();
        check(&*disk, &dir);
    }
}

fn bytes_come_back(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("a");
    let file = disk.create(&path).expect("create");
    file.write_all_at(b"hello world", 0).expect("write");
    file.write_all_at(b"W", 6).expect("overwrite");
    let mut out = [0; 5];
    file.read_exact_at(&mut out, 6).expect("read");
    assert_eq!(&out, b"World");
    file.write_out(0, 11);
    file.write_out(4 << 10, 0);
    file.sync().expect("sync");
    let again = disk.open(&path).expect("open");
    assert_eq!(again.len().expect("length"), 11);
    again.write_all_at(b"J", 0).expect("an opened file can be written");
    file.read_exact_at(&mut out, 0).expect("handles see each other's writes");
    assert_eq!(&out, b"Jello");
}

fn holes_and_ends(disk: &dyn Disk, dir: &Path) {
    let file = disk.create(&dir.join("a")).expect("create");
    file.write_all_at(b"x", 1_000).expect("write past the end");
    let mut out = [9; 1_001];
    file.read_exact_at(&mut out, 0).expect("read");
    assert!(out[..1_000].iter().all(|b| *b == 0) && out[1_000] == b'x');
    let past = file.read_exact_at(&mut out, 1).expect_err("reading past the end");
    assert_eq!(past.kind(), ErrorKind::UnexpectedEof);
    file.set_len(10).expect("cut");
    file.set_len(20).expect("extend");
    assert_eq!(file.len().expect("length"), 20);
    let mut tail = [9; 20];
    file.read_exact_at(&mut tail, 0).expect("read");
    assert_eq!(tail, [0; 20]);
    file.read_exact_at(&mut [], 20).expect("nothing can be read at the end");
}

fn names(disk: &dyn Disk, dir: &Path) {
    let (a, b) = (dir.join("a"), dir.join("b"));
    let file = disk.create(&a).expect("create");
    assert_eq!(disk.create(&a).err().map(|e| e.kind()), Some(ErrorKind::AlreadyExists));
    assert_eq!(disk.open(&b).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    assert_eq!(disk.remove(&b).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    assert_eq!(disk.rename(&b, &a).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    file.write_all_at(b"1", 0).expect("write");
    disk.create(&b).expect("create").write_all_at(b"2", 0).expect("write");
    assert_eq!(disk.list(dir).expect("list"), ["a", "b"]);
    disk.rename(&a, &b).expect("rename replaces");
    assert_eq!(disk.list(dir).expect("list"), ["b"]);
    let mut out = [0];
    let moved = disk.open(&b).expect("open");
    disk.remove(&b).expect("remove");
    moved.read_exact_at(&mut out, 0).expect("an open file outlives its name");
    assert_eq!(out, *b"1");
    disk.sync_dir(dir).expect("sync folder");
    assert!(disk.list(dir).expect("list").is_empty());
}

fn folders(disk: &dyn Disk, dir: &Path) {
    let deep = dir.join("x").join("y");
    assert_eq!(disk.create(&deep.join("a")).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    assert_eq!(disk.list(&deep).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    disk.create_dir(&deep).expect("create folder");
    disk.create_dir(&deep).expect("once more");
    disk.create(&deep.join("a")).expect("create inside");
    assert_eq!(disk.list(&deep).expect("list"), ["a"]);
}

fn replacing(disk: &dyn Disk, dir: &Path) {
    for content in [&b"first"[..], b"second, longer", b""] {
        atomic::replace(disk, dir, "a", content).expect("replace");
        let file = disk.open(&dir.join("a")).expect("open");
        let mut out = vec![0; usize::try_from(file.len().expect("length")).expect("small")];
        file.read_exact_at(&mut out, 0).expect("read");
        assert_eq!(out, content);
        assert_eq!(disk.list(dir).expect("list"), ["a"]);
    }
}

fn locking(disk: &dyn Disk, dir: &Path) {
    let held = disk.lock(dir, "first holder").expect("lock");
    let refused = disk.lock(dir, "second").err().expect("a second lock is refused");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    assert!(refused.to_string().contains("first holder"), "{refused}");
    drop(held);
    disk.lock(dir, "second").expect("lock after the first let go");
}
