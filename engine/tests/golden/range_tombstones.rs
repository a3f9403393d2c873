//! Format: range_tombstones. A list: several of them, with every kind of bound, and none.

use super::world::{C, T1, T3, join, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::ids::{CollectionId, TenantId};
use engine::key::{KeyRange, after_row, row};
use engine::range_tombstone::{RangeTombstone, Tombstones};
use engine::table::tombstones::{bytes_of, decode, encode};
use engine::{Nature, Stamp};
use std::sync::Arc;

fn all() -> Vec<RangeTombstone> {
    let one = |start: Vec<u8>, end: Vec<u8>, stamp| RangeTombstone { start, end, stamp };
    let whole = |range: KeyRange, stamp| one(range.start, range.end.unwrap(), stamp);
    vec![
        one(
            row(TenantId(7), CollectionId(1), b"x"),
            row(TenantId(7), CollectionId(1), b"y"),
            Stamp::new(1, 3),
        ),
        whole(KeyRange::tenant(T1), Stamp::MAX),
        one(row(T1, C, b""), row(T1, C, b"a\0b"), Stamp::new(9, 1)),
        one(row(T1, C, b""), row(T1, C, b"a\0b"), Stamp::new(8, 0)),
        one(row(T1, C, b"m"), after_row(&row(T1, C, &[b'm'; 300])), Stamp::new(7, 0)),
        whole(KeyRange::prefix(T1, C, b"p\xff"), Stamp::ZERO),
        one(row(T3, CollectionId(u32::MAX), b"a"), row(T3, CollectionId(u32::MAX), b"b"), Stamp::new(1, 0)),
    ]
}

#[test]
fn version_1() {
    let made = join([encode(&all()), encode(&[])]);
    let stored = fixture("range_tombstones", &made);

    let items = split(&stored);
    assert_eq!(decode(&items[0]), Ok(all()));
    assert_eq!(decode(&items[1]), Ok(Vec::new()));
    assert_eq!(items[0].len(), 4 + all().iter().map(bytes_of).sum::<usize>());
    let index = Tombstones::new(decode(&items[0]).unwrap().into_iter().map(Arc::new));
    let covering = |user: &[u8], at| index.covering(&row(T1, C, user), at);
    assert_eq!(covering(b"a", Stamp::new(9, 0)), Some(Stamp::new(8, 0)));
    assert_eq!(covering(b"a\0b", Stamp::new(9, 1)), None);
    assert_eq!(covering(b"anything", Stamp::MAX), Some(Stamp::MAX));
    assert_same("range_tombstones", &stored, &made);

    // The user key of the first end, 15 bytes behind the count, a length, 15 bytes of start and a length: now no range is left.
    let items = damaged_item("range_tombstones", &stored, 0, |item| item[4 + 2 + 15 + 2 + 12] = b'x');
    assert_eq!(refusal(decode(&items[0]).unwrap_err()), unplaced(Nature::Malformed));
}
