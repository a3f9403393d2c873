//! What a restore cannot be faster than on this machine: the files of the archive are read and hashed, their rows opened and merged, and written
//! to a file that is synced; by one thread, and without a store behind it.

use crate::Outcome;
use crate::clock::Stopwatch;
use crate::process;
use engine::Stamp;
use engine::disk::RealDisk;
use engine::ids::{CollectionId, Owner, TenantId};
use engine::loose::{Loose, LooseFile, LooseRange};
use engine::sealed::derive::Sha256;
use node::restore::rebirth::Opened;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of one page.
const PAGE_ROWS: usize = 4_096;
/// Bytes of one page, and of what is read at once.
const PAGE_BYTES: usize = 4 << 20;

/// Numbers of collections that a tenant here may have.
const COLLECTIONS: std::ops::RangeInclusive<u32> = 1..=4;

/// What was moved, and how long that took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// Rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Seconds.
    pub seconds: f64,
}

/// The table files below a folder.
fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let (mut all, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => all.push(path),
            }
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// Reads, opens and writes what lies in the snapshots of an archive, whose folder this is.
///
/// # Errors
/// A file, or what is in it.
pub fn measure(opened: &Opened, folder: &Path, to: &Path) -> Outcome<Moved> {
    let paths = files(&folder.join(node::archive::naming::root(opened.cluster)).join("data"))?;
    process::cool(folder)?;
    let watch = Stopwatch::start();
    let mut buffer = vec![0; PAGE_BYTES];
    for path in &paths {
        let (mut file, mut hash) = (File::open(path)?, Sha256::new());
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
        }
        std::hint::black_box(hash.finish());
    }
    let loose = |path: PathBuf| LooseFile { path, after: Stamp::ZERO, upto: Stamp::MAX };
    let files: Vec<LooseFile> = paths.into_iter().map(loose).collect();
    let loose = Loose::open(Arc::new(RealDisk), opened.sealer(), &files)?;
    let tenants: BTreeSet<TenantId> =
        loose.owners().into_iter().filter_map(|(owner, _)| tenant(owner)).collect();
    let mut out = BufWriter::with_capacity(PAGE_BYTES, File::create(to)?);
    let mut moved = Moved::default();
    for tenant in tenants {
        for collection in COLLECTIONS.map(CollectionId) {
            let asked = LooseRange { tenant, collection, start: None, end: None };
            copy(&loose, &asked, opened.at, (&mut out, &mut moved))?;
        }
    }
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    moved.seconds = watch.seconds();
    Ok(moved)
}

fn copy(
    loose: &Loose,
    asked: &LooseRange,
    at: Stamp,
    (out, moved): (&mut BufWriter<File>, &mut Moved),
) -> Outcome<()> {
    let mut walk = loose.walk(asked, at)?;
    loop {
        let page = walk.page(PAGE_ROWS, PAGE_BYTES)?;
        for entry in &page.entries {
            out.write_all(&entry.key)?;
            out.write_all(&entry.found.value)?;
            moved.rows += 1;
            moved.bytes += (entry.key.len() + entry.found.value.len()) as u64;
        }
        if page.is_last {
            return Ok(());
        }
    }
}

fn tenant(owner: Owner) -> Option<TenantId> {
    match owner {
        Owner::Tenant(tenant) => Some(tenant),
        _ => None,
    }
}
