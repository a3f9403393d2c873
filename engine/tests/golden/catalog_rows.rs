//! Format: catalog_rows. A list: five row keys, then the values of the last three of them, two of which are a chain.

use super::world::{CLUSTER, NODE, Same, join, sealer, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::Nature;
use engine::catalog::rows::{IDENTITY, RowKey};
use engine::catalog::sealer::{open_row, seal_row, tag_of};
use engine::ids::TabletId;

fn keys() -> [RowKey; 5] {
    let edit = |tablet, sequence| RowKey::ManifestEdit { tablet: TabletId(tablet), sequence };
    [
        edit(u64::MAX, 0),
        RowKey::NodeLocal { name: u32::MAX },
        edit(1, 1),
        edit(1, 2),
        RowKey::NodeLocal { name: IDENTITY },
    ]
}

/// What the values hold: two pieces that stand for edits, and the identity of a node.
fn plains() -> [Vec<u8>; 3] {
    [b"first".to_vec(), b"second".to_vec(), [&CLUSTER.0[..], &NODE.0.to_be_bytes()].concat()]
}

/// Each value's key, sequence, and the seal of the value before it.
fn places(first: &[u8]) -> [(Vec<u8>, u64, [u8; 16]); 3] {
    let [_, _, one, two, identity] = keys().map(|key| key.encode());
    [(one, 1, [0; 16]), (two, 2, tag_of(first)), (identity, 0, [0; 16])]
}

fn made() -> Vec<u8> {
    let sealer = sealer(Same(0x55));
    let [first, second, identity] = plains();
    let seal = |(key, sequence, before): &(Vec<u8>, u64, [u8; 16]), plain: &[u8]| {
        seal_row(&sealer, NODE, key, *sequence, before, plain).unwrap()
    };
    let first = seal(&places(&[])[0], &first);
    let [_, after_first, own] = places(&first);
    let values = [seal(&after_first, &second), seal(&own, &identity)];
    join(keys().map(|key| key.encode()).into_iter().chain([first]).chain(values))
}

#[test]
fn version_1() {
    let stored = fixture("catalog_rows", &made());

    let items = split(&stored);
    let (rows, values) = items.split_at(5);
    for (item, key) in rows.iter().zip(keys()) {
        assert_eq!(RowKey::decode(item), Ok(key));
        let is_edit = matches!(key, RowKey::ManifestEdit { .. });
        assert_eq!(item.starts_with(&RowKey::manifest_edits()), is_edit);
    }
    assert_eq!(rows[3], b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02");
    assert_eq!(rows[4], b"\x02\0\0\0\x01");
    let sealer = sealer(Same(0));
    assert_eq!(values.len(), 3);
    for ((value, (key, sequence, before)), plain) in values.iter().zip(places(&values[0])).zip(plains()) {
        assert_eq!(*open_row(&sealer, NODE, &key, sequence, &before, value).unwrap(), *plain);
    }
    assert_same("catalog_rows", &stored, &made());

    // The kind of a row.
    let items = damaged_item("catalog_rows", &stored, 2, |item| item[0] = 3);
    assert_eq!(refusal(RowKey::decode(&items[2]).unwrap_err()), unplaced(Nature::Malformed));
    // A value that follows no other does not open as the one that follows the first.
    let (key, sequence, _) = &places(&[])[1];
    let unchained = open_row(&sealer, NODE, key, *sequence, &[0; 16], &values[1]).unwrap_err();
    assert_eq!(refusal(unchained), unplaced(Nature::Tampered));
}
