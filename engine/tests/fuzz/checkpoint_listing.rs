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
    assert!(bytes.starts_with(&clear_part(&clear)), "what is read is not what is written");
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

/// The clear part, written as `docs/formats/checkpoint_listing.md` has it.
fn clear_part(clear: &UnverifiedListing) -> Vec<u8> {
    let mut out = b"DPCL\0\x01\0\0".to_vec();
    let count = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    out.extend_from_slice(&clear.cluster.0);
    for number in [clear.tablet.0, clear.index.0, clear.stamp.0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&count(clear.files.len()));
    for file in &clear.files {
        out.extend_from_slice(&file.id.0);
        out.extend_from_slice(&file.bytes.to_be_bytes());
        out.extend_from_slice(&file.content);
        out.extend_from_slice(&file.crc32.to_be_bytes());
        out.extend_from_slice(&count(file.stripes.len()));
        for stripe in &file.stripes {
            out.extend_from_slice(&[stripe.owner.kind(), 0, 0, 0]);
            out.extend_from_slice(&stripe.epoch.0.to_be_bytes());
            for number in [stripe.owner.id(), stripe.bytes, stripe.entries] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
    }
    out
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
