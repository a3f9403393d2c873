//! What the operating system knows of a process and of files: memory, processor time, open files, bytes on disk, page cache.

use crate::Outcome;
use crate::clock::{self, Stopwatch};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Ticks a second in `/proc/*/stat`: Linux has told user space 100 on every machine for decades.
const TICKS_PER_S: f64 = 100.0;
/// Milliseconds in which a process that rests does nothing.
const QUIET_MS: u64 = 150;
/// Windows of that length in a row that count as rest.
const QUIET_WINDOWS: usize = 3;
/// Seconds after which nobody waits for rest any longer.
const QUIET_S_MAX: f64 = 600.0;

/// Greatest memory this process has had, in bytes.
pub fn peak_memory() -> Outcome<u64> {
    status("VmHWM")
}

/// Memory of this process now, in bytes.
pub fn memory() -> Outcome<u64> {
    status("VmRSS")
}

fn status(name: &str) -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    status_bytes(&text, name).ok_or_else(|| format!("/proc/self/status has no {name}").into())
}

/// Processor seconds of this process, user and system.
pub fn cpu_seconds() -> Outcome<f64> {
    Ok(cpu_ticks()? as f64 / TICKS_PER_S)
}

fn cpu_ticks() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    stat_ticks(&text).ok_or_else(|| "/proc/self/stat is not as it should be".into())
}

/// Processor seconds of other processes together, user and system.
///
/// # Errors
/// One of them is gone.
pub fn cpu_seconds_of(processes: &[u32]) -> Outcome<f64> {
    let mut ticks = 0;
    for process in processes {
        let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
        ticks += stat_ticks(&text).ok_or_else(|| format!("/proc/{process}/stat is not as it should be"))?;
    }
    Ok(ticks as f64 / TICKS_PER_S)
}

/// Processor seconds, user and system, of children of this process that have ended.
///
/// # Errors
/// `/proc` is not there.
pub fn cpu_seconds_of_ended() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let ticks = ticks_at(&text, 13).ok_or("/proc/self/stat is not as it should be")?;
    Ok(ticks as f64 / TICKS_PER_S)
}

/// Memory of processes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that is in memory; what several processes share counts once.
    pub all: u64,
    /// Of that what lies in no file.
    pub own: u64,
}

/// Memory of other processes together, now.
///
/// # Errors
/// One of them is gone.
pub fn memory_of(processes: &[u32]) -> Outcome<Memory> {
    let mut sum = Memory::default();
    for process in processes {
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let read = |name| {
            status_bytes(&text, name).ok_or_else(|| format!("/proc/{process}/smaps_rollup has no {name}"))
        };
        sum.all += read("Pss")?;
        sum.own += read("Anonymous")?;
    }
    Ok(sum)
}

/// Files this process has open.
pub fn open_files() -> Outcome<usize> {
    // The folder is itself open while it is read.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1))
}

/// Bytes that the line `name` of a `/proc/*/status` tells in kB.
fn status_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// User and system ticks of a `/proc/*/stat`.
fn stat_ticks(text: &str) -> Option<u64> {
    ticks_at(text, 11)
}

/// Two fields of a `/proc/*/stat`, added up. The name of the program stands in brackets and may hold anything; fields count from behind it.
fn ticks_at(text: &str, field: usize) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(field);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Bytes read and written, by whatever way, of a `/proc/*/io`.
fn moved_bytes(text: &str) -> u64 {
    let field =
        |name| text.lines().find_map(|line| line.strip_prefix(name)).and_then(|n| n.trim().parse().ok());
    let (read, written): (Option<u64>, Option<u64>) = (field("rchar:"), field("wchar:"));
    read.unwrap_or(0) + written.unwrap_or(0)
}

/// Waits until nothing in this process works any more: no processor time, no bytes moved, and `is_idle` says so too.
/// Tells the seconds it took, without the last windows of rest.
///
/// # Errors
/// It works on for `QUIET_S_MAX`, or `/proc` is not there.
pub fn await_quiet(is_idle: impl Fn() -> bool) -> Outcome<f64> {
    let watch = Stopwatch::start();
    let (mut quiet, mut since) = (0, 0.0);
    while quiet < QUIET_WINDOWS {
        let before = (cpu_ticks()?, moved_bytes(&fs::read_to_string("/proc/self/io").unwrap_or_default()));
        // Reading /proc is itself counted, so the second look comes before anything is printed or read again.
        clock::rest(QUIET_MS);
        let moved = moved_bytes(&fs::read_to_string("/proc/self/io").unwrap_or_default()) - before.1;
        if is_idle() && cpu_ticks()? - before.0 <= 1 && moved < 16 << 10 {
            quiet += 1;
            continue;
        }
        (quiet, since) = (0, watch.seconds());
        if since > QUIET_S_MAX {
            return Err("background work does not come to rest".into());
        }
    }
    Ok(since)
}

/// Bytes that the files below `dir` take on the disk.
pub fn disk_bytes(dir: &Path) -> Outcome<u64> {
    disk_bytes_of(dir, &|_| true)
}

/// Bytes that those files below `dir` take on the disk whose names `is_meant`.
pub fn disk_bytes_of(dir: &Path, is_meant: &dyn Fn(&str) -> bool) -> Outcome<u64> {
    let mut bytes = 0;
    each_file(dir, &mut |path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_meant(name) {
            // A file may go while its store tidies up.
            bytes += fs::metadata(path).map_or(0, |meta| meta.blocks() * 512);
        }
        Ok(())
    })?;
    Ok(bytes)
}

fn each_file(dir: &Path, act: &mut dyn FnMut(&Path) -> Outcome<()>) -> Outcome<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { each_file(&path, act)? } else { act(&path)? }
    }
    Ok(())
}

/// Makes the files below `dir` durable.
pub fn sync(dir: &Path) -> Outcome<()> {
    each_file(dir, &mut |path| Ok(File::open(path)?.sync_all()?))
}

/// How cold a cold read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coldness {
    /// The whole page cache was dropped.
    Dropped,
    /// The page cache was asked to let go of the store's files.
    Advised,
}

/// Makes the next reads of the files below `dir` come from the disk, as well as this process may.
pub fn cool(dir: &Path) -> Outcome<Coldness> {
    // Only clean pages go. The store's own are enough: what else is dirty is somebody else's, and may be much.
    sync(dir)?;
    if fs::write("/proc/sys/vm/drop_caches", "3").is_ok() {
        return Ok(Coldness::Dropped);
    }
    each_file(dir, &mut |path| {
        Ok(rustix::fs::fadvise(File::open(path)?, 0, None, rustix::fs::Advice::DontNeed)?)
    })?;
    Ok(Coldness::Advised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_by_name() {
        let text = "Name:\tVmHWM: 7 kB\nVmPeak:\t  10 kB\nVmHWM:\t  123456 kB\nVmRSS:\t 99 kB\nThreads:\t3\n";
        let cases =
            [("VmHWM", Some(123_456 << 10)), ("VmRSS", Some(99 << 10)), ("VmSwap", None), ("Threads", None)];
        for (name, want) in cases {
            assert_eq!(status_bytes(text, name), want, "{name}");
        }
    }

    #[test]
    fn ticks_come_after_a_name_of_any_kind() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 250 31 0 0 20 0 1";
        for name in ["benches", "a b", "a) S 1 (b"] {
            assert_eq!(stat_ticks(&format!("42 ({name}) {rest}")), Some(281), "{name}");
        }
        assert_eq!(ticks_at("42 (benches) S 1 2 3 4 5 6 7 8 9 10 250 31 7 8 20", 13), Some(15));
        assert_eq!(stat_ticks("42 (benches) S 1"), None);
        assert_eq!(stat_ticks(""), None);
    }

    #[test]
    fn moved_bytes_are_both_ways() {
        assert_eq!(moved_bytes("rchar: 100\nwchar: 23\nsyscr: 9\n"), 123);
        assert_eq!(moved_bytes(""), 0);
    }

    #[test]
    fn files_are_found_in_folders_and_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/a.one"), vec![7; 10_000]).unwrap();
        fs::write(dir.path().join("b.two"), vec![7; 50_000]).unwrap();
        let all = disk_bytes(dir.path()).unwrap();
        let one = disk_bytes_of(dir.path(), &|name| name.ends_with(".one")).unwrap();
        let two = disk_bytes_of(dir.path(), &|name| name.ends_with(".two")).unwrap();
        assert_eq!(all, one + two);
        assert!(one >= 10_000 && two >= 50_000, "{one} {two}");
    }

    #[test]
    fn several_processes_are_added_up() {
        let me = std::process::id();
        let (once, twice) = (memory_of(&[me]).unwrap(), memory_of(&[me, me]).unwrap());
        assert!(once.own > 0 && once.all >= once.own / 2);
        assert!(twice.own > once.own && twice.all > once.all, "{once:?} {twice:?}");
        assert!(cpu_seconds_of(&[me, me]).unwrap() >= cpu_seconds().unwrap());
        assert!(cpu_seconds_of(&[u32::MAX]).is_err() && memory_of(&[u32::MAX]).is_err());
    }

    #[test]
    fn this_process_can_be_read() {
        assert!(peak_memory().unwrap() >= memory().unwrap() / 2);
        assert!(cpu_seconds().unwrap() >= 0.0);
        assert!(open_files().unwrap() >= 3);
    }
}
