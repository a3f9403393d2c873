//! Format: batch. A list: a batch with every operation and a note, an empty one, and one whose note is empty.

use super::world::{C, T1, T2, join, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::ids::{CollectionId, LogIndex};
use engine::key::{after_prefix, prefix_start, row, version};
use engine::tablet::batch::{Batch, Op};
use engine::{Nature, Stamp};

const AT_MS: u64 = 1_700_000_000_000;

fn at(counter: u16) -> Stamp {
    Stamp::new(AT_MS, counter)
}

fn made() -> [Batch; 3] {
    let mut full = Batch::new(LogIndex(0x0506));
    full.set_note(b"term 3").unwrap();
    full.put(T1, C, b"a\0b", b"value", at(1), 0).unwrap();
    full.put(T1, C, b"", b"", at(2), 0).unwrap();
    full.put(T2, CollectionId(0), b"soon gone", &[0xee; 300], at(3), AT_MS + 60_000).unwrap();
    full.delete(T1, C, b"gone", at(4)).unwrap();
    full.delete_range(T1, C, b"x", Some(b"y\0"), at(5)).unwrap();
    full.delete_range(T2, C, b"", None, at(6)).unwrap();
    full.delete(T2, C, b"not after the one before", at(0)).unwrap();
    let mut noted = Batch::new(LogIndex(u64::MAX));
    noted.set_note(b"").unwrap();
    [full, Batch::new(LogIndex(1)), noted]
}

#[test]
fn version_1() {
    let made = join(made().map(|batch| batch.encode()));
    let stored = fixture("batch", &made);

    let items = split(&stored);
    let [full, empty, noted] = [0, 1, 2].map(|n: usize| Batch::decode(&items[n]).unwrap());
    assert_eq!((full.index(), full.note()), (LogIndex(0x0506), Some(&b"term 3"[..])));
    assert_eq!((full.len(), full.least_stamp(), full.greatest_stamp()), (7, at(0), at(6)));
    let (v1, v2) = (version(&row(T1, C, b"a\0b"), at(1)), version(&row(T1, C, b""), at(2)));
    let v3 = version(&row(T2, CollectionId(0), b"soon gone"), at(3));
    let (v4, v5) =
        (version(&row(T1, C, b"gone"), at(4)), version(&row(T2, C, b"not after the one before"), at(0)));
    let (start, end) = (row(T1, C, b"x"), row(T1, C, b"y\0"));
    let (first, last) = (row(T2, C, b""), after_prefix(&prefix_start(T2, C, b"")).unwrap());
    let want = [
        Op::Put { version: &v1, value: b"value", expires_ms: 0 },
        Op::Put { version: &v2, value: b"", expires_ms: 0 },
        Op::Put { version: &v3, value: &[0xee; 300], expires_ms: AT_MS + 60_000 },
        Op::Delete { version: &v4 },
        Op::DeleteRange { start: &start, end: &end, stamp: at(5) },
        Op::DeleteRange { start: &first, end: &last, stamp: at(6) },
        Op::Delete { version: &v5 },
    ];
    assert_eq!(full.ops().collect::<Vec<_>>(), want);
    assert_eq!((empty.index(), empty.note(), empty.len()), (LogIndex(1), None, 0));
    assert_eq!((noted.index(), noted.note(), noted.len()), (LogIndex(u64::MAX), Some(&[][..]), 0));
    assert_same("batch", &stored, &made);

    // The least significant byte of the count, behind version, flags, index, and a note of six bytes.
    let items = damaged_item("batch", &stored, 0, |item| item[25] += 1);
    assert_eq!(refusal(Batch::decode(&items[0]).unwrap_err()), unplaced(Nature::Malformed));
}
