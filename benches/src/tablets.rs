//! A node with many small tablets: what they cost when nobody uses them.

use crate::clock::{self, Stopwatch, System};
use crate::engine::stores::{Home, open_pool};
use crate::engine::workload;
use crate::{Outcome, process, spawn};
use ::engine::Stamp;
use ::engine::clock::Clock;
use ::engine::ids::{CollectionId, LogIndex, TabletId};
use ::engine::key::KeyRange;
use ::engine::tablet::batch::Batch;
use ::engine::tablet::pool::{NewTablet, Pool};
use serde_json::{Value, json};
use std::path::Path;

/// The hidden command that a child is started with.
pub const CHILD: &str = "tablets-child";

/// Entries of a tablet.
const ENTRIES: u64 = 100;
/// Milliseconds for which idle tablets are watched.
const IDLE_MS: u64 = 5_000;
/// Seconds after which flushes that do not come are a failure.
const FLUSH_S_MAX: f64 = 600.0;

/// The lines of the table: what, decimals, which child tells it and under which name, and its unit in those of the figure.
const LINES: [(&str, usize, &str, &str, f64); 13] = [
    ("create, in one commit: seconds", 3, "create", "create_s", 1.0),
    ("write and flush all: seconds", 2, "create", "flush_s", 1.0),
    ("write and flush all: CPU seconds", 2, "create", "flush_cpu_s", 1.0),
    ("memory after, MiB", 1, "create", "memory_bytes", 1_048_576.0),
    ("peak memory, MiB", 1, "create", "peak_bytes", 1_048_576.0),
    ("open files after", 0, "create", "open_files", 1.0),
    ("disk, MiB", 1, "create", "disk_bytes", 1_048_576.0),
    ("open again: seconds", 3, "open", "open_s", 1.0),
    ("memory when opened, MiB", 1, "open", "memory_bytes", 1_048_576.0),
    ("open files when opened", 0, "open", "open_files", 1.0),
    ("idle: milliseconds of CPU a second", 2, "open", "idle_cpu_ms_per_s", 1.0),
    ("read one entry of each: seconds", 3, "open", "read_s", 1.0),
    ("memory after that, MiB", 1, "open", "read_memory_bytes", 1_048_576.0),
];

/// Measures, and prints.
pub fn run(arguments: &[String]) -> Outcome<()> {
    let count: u64 = match arguments {
        [] => 1_000,
        [option, count] if option == "--count" => count.replace('_', "").parse()?,
        _ => return Err("tablets takes --count N".into()),
    };
    if !(1..=16_000).contains(&count) {
        return Err("from 1 to 16000 tablets".into());
    }
    let dir = tempfile::tempdir()?;
    let mut all = json!({ "tablets": count, "entries": ENTRIES });
    for what in ["create", "open"] {
        let place = dir.path().join("pool").to_string_lossy().into_owned();
        all[what] = spawn::run(&[CHILD.to_owned(), what.to_owned(), place, count.to_string()])?;
    }
    println!("{count} tablets with {ENTRIES} entries each\n");
    for (title, decimals, what, name, unit) in LINES {
        let figure = all[what][name].as_f64().ok_or_else(|| format!("{what} did not tell {name}"))?;
        println!("{title:<40}{:>11.decimals$}", figure / unit);
    }
    println!("{all}");
    Ok(())
}

/// Does one half of it, and prints a line of figures.
pub fn child(arguments: &[String]) -> Outcome<()> {
    let [what, dir, count] = arguments else { return Err("a child needs its three arguments".into()) };
    let (dir, count) = (Path::new(dir), count.parse()?);
    let figures = if what == "create" { create(dir, count)? } else { open(dir, count)? };
    println!("{figures}");
    Ok(())
}

/// Each tablet holds a collection of its own.
fn collection_of(number: u64) -> Outcome<CollectionId> {
    Ok(CollectionId(u32::try_from(number)?))
}

fn create(dir: &Path, count: u64) -> Outcome<Value> {
    std::fs::create_dir_all(dir)?;
    let pool = open_pool(dir)?;
    let wanted: Vec<NewTablet> = (1..=count)
        .map(|number| {
            let range = KeyRange::prefix(Home::TENANT, collection_of(number)?, b"");
            Ok(NewTablet::empty(TabletId(number), range))
        })
        .collect::<Outcome<_>>()?;
    let watch = Stopwatch::start();
    pool.create(&wanted)?;
    let create_s = watch.seconds();
    let (watch, cpu) = (Stopwatch::start(), process::cpu_seconds()?);
    write_all(&pool, count)?;
    while pool.tablets().iter().any(|tablet| tablet.durable().index < LogIndex(1)) {
        if watch.seconds() > FLUSH_S_MAX {
            return Err("some tablets are not flushed".into());
        }
        clock::rest(10);
    }
    let (flush_s, flush_cpu_s) = (watch.seconds(), process::cpu_seconds()? - cpu);
    process::await_quiet(|| pool.stats().files_to_remove == 0)?;
    Ok(json!({
        "create_s": create_s,
        "flush_s": flush_s,
        "flush_cpu_s": flush_cpu_s,
        "memory_bytes": process::memory()?,
        "peak_bytes": process::peak_memory()?,
        "open_files": process::open_files()?,
        "disk_bytes": process::disk_bytes(dir)?,
    }))
}

fn write_all(pool: &Pool, count: u64) -> Outcome<()> {
    for number in 1..=count {
        let tablet = pool.tablet(TabletId(number))?;
        let mut batch = Batch::new(LogIndex(1));
        let mut stamp = Stamp::new(System.now_ms(), 0);
        for entry in number * ENTRIES..(number + 1) * ENTRIES {
            stamp = stamp.next();
            let (key, value) = (workload::key(entry), workload::value(entry, 0));
            batch.put(Home::TENANT, collection_of(number)?, &key, &value, stamp, 0)?;
        }
        tablet.apply(&batch)?;
        tablet.freeze();
    }
    Ok(())
}

fn open(dir: &Path, count: u64) -> Outcome<Value> {
    let watch = Stopwatch::start();
    let pool = open_pool(dir)?;
    read(&pool, 1)?;
    let open_s = watch.seconds();
    process::await_quiet(|| pool.stats().files_to_remove == 0)?;
    let (memory, files) = (process::memory()?, process::open_files()?);
    let cpu = process::cpu_seconds()?;
    let watch = Stopwatch::start();
    clock::rest(IDLE_MS);
    let idle_cpu_ms_per_s = (process::cpu_seconds()? - cpu) * 1e3 / watch.seconds();
    let watch = Stopwatch::start();
    for number in 1..=count {
        read(&pool, number)?;
    }
    let read_s = watch.seconds();
    Ok(json!({
        "open_s": open_s,
        "memory_bytes": memory,
        "open_files": files,
        "idle_cpu_ms_per_s": idle_cpu_ms_per_s,
        "read_s": read_s,
        "read_memory_bytes": process::memory()?,
    }))
}

/// Reads one entry of a tablet.
fn read(pool: &Pool, number: u64) -> Outcome<()> {
    let entry = number * ENTRIES + number % ENTRIES;
    let view = pool.tablet(TabletId(number))?.view(System.now_ms())?;
    let found = view.get(Home::TENANT, collection_of(number)?, &workload::key(entry))?;
    let is_right = found.is_some_and(|found| workload::head_of(&found.value) == workload::head(entry, 0));
    if is_right { Ok(()) } else { Err(format!("tablet {number} has lost an entry").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_tablets_are_made_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = json!({});
        all["create"] = create(dir.path(), 5).unwrap();
        let pool = open_pool(dir.path()).unwrap();
        (1..=5).for_each(|number| read(&pool, number).unwrap());
        assert!(read(&pool, 6).is_err());
        for (_, _, what, name, _) in LINES.into_iter().filter(|line| line.2 == "create") {
            assert!(all[what][name].is_number(), "{name}");
        }
    }
}
