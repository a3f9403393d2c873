//! Format: checkpoint_listing. The clear part of any bytes is read or refused; a changed listing never verifies.

use super::world::{Same, sealer};
use engine::checkpoint::listing::UnverifiedListing;
use engine::sealed::Sealer;
use engine::{Error, limits};
use std::sync::{Arc, LazyLock};

static CLEAN: LazyLock<Vec<u8>> = LazyLock::new(|| super::fixture("checkpoint_listing"));
static SEALER: LazyLock<Arc<Sealer>> = LazyLock::new(|| sealer(Same(0)));

pub fn run(bytes: &[u8]) {
    judge(bytes);
    judge(&repaired(bytes));
}

fn judge(bytes: &[u8]) {
    let clear = match UnverifiedListing::decode(bytes) {
        Ok(clear) => clear,
        Err(error) => {
            assert!(bytes != *CLEAN, "{error}");
            return is_refusal(&error);
        }
    };
    assert!(clear.files.len() <= limits::TABLES_MAX);
    assert!(clear.files.is_sorted_by(|a, b| a.id < b.id));
    assert!(clear.files.iter().all(|file| file.stripes.len() <= limits::FILE_STRIPES_MAX as usize));
    match clear.clone().verify(&SEALER) {
        Ok(listing) => {
            assert!(bytes == *CLEAN, "a changed listing verifies");
            assert_eq!(listing.files, clear.files);
            assert_eq!(
                (listing.levels.applied.index, listing.levels.applied.stamp),
                (clear.index, clear.stamp)
            );
        }
        Err(error) => {
            assert!(bytes != *CLEAN, "{error}");
            is_refusal(&error);
        }
    }
}

fn is_refusal(error: &Error) {
    match error {
        Error::Damaged(damage) => assert_eq!(damage.block, None),
        Error::Unsupported { .. } | Error::KeyMissing { .. } | Error::WrongKey { .. } => {}
        other => panic!("{other}"),
    }
}

/// The same with its checksum made right.
pub fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if let Some((body, crc)) = out.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(body).to_be_bytes();
    }
    out
}
