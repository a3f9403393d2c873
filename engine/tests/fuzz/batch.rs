//! Format: batch. What decodes is what the builder could have made: within the limits, each deletion inside one collection.

use engine::key::{after_prefix, check_version, decode_row, prefix_start, split};
use engine::tablet::batch::{Batch, Op};
use engine::{Error, Nature, Stamp, limits};

pub fn run(bytes: &[u8]) {
    match Batch::decode(bytes) {
        Ok(batch) => {
            assert_eq!(batch.encode(), bytes);
            check(&batch);
            assert_eq!(rebuilt(&batch), batch);
        }
        Err(Error::Damaged(damage)) => assert_eq!((damage.nature, damage.block), (Nature::Malformed, None)),
        Err(Error::Unsupported { .. }) => assert_ne!(bytes[..2], [0, 1]),
        Err(error) => panic!("{error}"),
    }
}

fn check(batch: &Batch) {
    assert!(batch.note().is_none_or(|note| note.len() <= limits::NOTE_BYTES_MAX));
    assert!(batch.len() <= limits::BATCH_OPERATIONS_MAX && batch.ops().count() == batch.len());
    assert!(batch.check().is_ok());
    let (mut least, mut greatest) = (Stamp::MAX, Stamp::ZERO);
    for op in batch.ops() {
        let stamp = match op {
            Op::Put { version, value, .. } => {
                assert_eq!(check_version(version), Ok(()));
                assert!(value.len() <= limits::VALUE_BYTES_MAX);
                split(version).1
            }
            Op::Delete { version } => {
                assert_eq!(check_version(version), Ok(()));
                split(version).1
            }
            Op::DeleteRange { start, end, stamp } => {
                let (tenant, collection, _) = decode_row(start).unwrap();
                let above = after_prefix(&prefix_start(tenant, collection, b""));
                let is_inside = above.is_some_and(|above| end <= &above[..]);
                assert!(start < end && is_inside, "a deletion reaches out of its collection");
                stamp
            }
        };
        (least, greatest) = (least.min(stamp), greatest.max(stamp));
    }
    assert_eq!((batch.least_stamp(), batch.greatest_stamp()), (least, greatest));
}

/// The same batch from the builder.
fn rebuilt(batch: &Batch) -> Batch {
    let mut built = Batch::new(batch.index());
    batch.note().map_or(Ok(()), |note| built.set_note(note)).unwrap();
    for op in batch.ops() {
        match op {
            Op::Put { version, value, expires_ms } => {
                let (row, stamp) = split(version);
                let (tenant, collection, user) = decode_row(row).unwrap();
                built.put(tenant, collection, &user, value, stamp, expires_ms).unwrap();
            }
            Op::Delete { version } => {
                let (row, stamp) = split(version);
                let (tenant, collection, user) = decode_row(row).unwrap();
                built.delete(tenant, collection, &user, stamp).unwrap();
            }
            Op::DeleteRange { start, end, stamp } => {
                let (tenant, collection, user) = decode_row(start).unwrap();
                let last = decode_row(end).map(|(_, _, last)| last).ok();
                built.delete_range(tenant, collection, &user, last.as_deref(), stamp).unwrap();
            }
        }
    }
    built
}
