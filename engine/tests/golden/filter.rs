//! Format: filter. A list: a filter of one row, one of no row, and one of fifty.

use super::world::{C, T1, join, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::Nature;
use engine::ids::{CollectionId, TenantId};
use engine::key::row;
use engine::sealed::SecretBytes;
use engine::table::filter::{Filter, FilterBuilder};

fn rows() -> [Vec<Vec<u8>>; 3] {
    let many = (0..50).map(|n| row(T1, C, format!("user {n}").as_bytes())).collect();
    [vec![row(TenantId(7), CollectionId(1), b"a")], Vec::new(), many]
}

fn made(rows: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = FilterBuilder::default();
    for row in rows {
        // Two versions of a row count as one.
        builder.add(row);
        builder.add(row);
    }
    builder.finish()
}

fn open(bytes: &[u8]) -> Result<Filter, engine::Damage> {
    Filter::new(SecretBytes::from(bytes.to_vec()))
}

#[test]
fn version_1() {
    let made = join(rows().iter().map(|rows| made(rows)));
    let stored = fixture("filter", &made);

    let items = split(&stored);
    let absent = |n: u32| row(T1, C, format!("nobody {n}").as_bytes());
    for (item, rows) in items.iter().zip(rows()) {
        assert_eq!(item[..8], [7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(item.len() - 8, (rows.len() * 10).div_ceil(8));
        let filter = open(item).unwrap();
        assert!(rows.iter().all(|row| filter.may_hold(row)));
    }
    assert_eq!(items[0][8..], [0xa9, 0x54], "the published example");
    let [one, none, many] = [0, 1, 2].map(|n: usize| open(&items[n]).unwrap());
    // Which rows a filter answers wrongly for is as fixed as its bytes.
    let wrong = |filter: &Filter| (0..1_000).filter(|n| filter.may_hold(&absent(*n))).collect::<Vec<u32>>();
    assert_eq!((wrong(&one).len(), wrong(&none).len(), wrong(&many).len()), (12, 1_000, 9));
    assert_same("filter", &stored, &made);

    // A byte that is reserved.
    let items = damaged_item("filter", &stored, 2, |item| item[7] = 1);
    assert_eq!(refusal(open(&items[2]).err().unwrap()), unplaced(Nature::Malformed));
}
