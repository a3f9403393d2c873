//! Format: checkpoint_stream. A changed stream is never taken, and nothing of it stays.

use super::checkpoint_listing::repaired as repaired_listing;
use super::world::{Same, open_pool, sealer};
use engine::catalog::MemoryCatalog;
use engine::disk::SimDisk;
use engine::ids::TabletId;
use engine::tablet::pool::Pool;
use engine::{Error, Kind};
use std::sync::{Arc, LazyLock, Mutex};

const TABLET: TabletId = TabletId(4);

static CLEAN: LazyLock<Vec<u8>> = LazyLock::new(|| super::fixture("checkpoint_stream"));
/// One pool for all cases: none of them leaves anything in it.
static POOL: LazyLock<Mutex<(SimDisk, Arc<Pool>)>> = LazyLock::new(|| {
    let disk = SimDisk::new(1);
    let pool = open_pool(&disk, &MemoryCatalog::new(), sealer(Same(0)));
    Mutex::new((disk, pool))
});

pub fn run(bytes: &[u8]) {
    judge(bytes);
    let repaired = repaired(bytes);
    if repaired != bytes {
        judge(&repaired);
    }
}

fn judge(bytes: &[u8]) {
    let held = POOL.lock().unwrap();
    let (disk, pool) = &*held;
    let mut source = bytes;
    match pool.import_from_stream(&mut source, TABLET) {
        // What stands behind the end mark is not read, and is no part of the stream.
        Ok(imported) => {
            assert!(bytes[..bytes.len() - source.len()] == CLEAN[..], "a changed stream is taken");
            assert_eq!((imported.skipped_files, imported.tablet.damaged()), (0, Vec::new()));
            drop(imported);
            pool.drop_tablet(TABLET).unwrap();
        }
        Err(error) => {
            assert!(!bytes.starts_with(&CLEAN), "{error}");
            is_refusal(&error);
        }
    }
    assert!(
        matches!(pool.tablet(TABLET), Err(Error::NoSuchTablet(_))),
        "something of a refused stream stays"
    );
    pool.settle();
    let left = disk.files().into_keys().filter(|path| path.starts_with("/pool/tables")).count();
    assert_eq!(left, 0, "files of a refused stream stay");
}

fn is_refusal(error: &Error) {
    match error {
        Error::Damaged(damage) => assert_eq!(damage.block, None, "{damage}"),
        Error::TooLarge { what, .. } => assert_eq!(*what, "listing bytes"),
        other => assert!([Kind::Stop, Kind::Key].contains(&other.kind()), "{other}"),
    }
}

/// The same with the checksum of its listing made right, if that is found.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let Some(head) = bytes.first_chunk::<12>() else { return bytes.to_vec() };
    let length = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
    let Some((listing, files)) = bytes[12..].split_at_checked(length) else { return bytes.to_vec() };
    [&head[..], &repaired_listing(listing), files].concat()
}
