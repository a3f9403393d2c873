//! Format: catalog_rows. A key that decodes is the one its row has, keys sort as rows do, and a changed value does not open.

use super::world::{NODE, Same, sealer, split};
use engine::Nature;
use engine::catalog::rows::{IDENTITY, RowKey};
use engine::catalog::sealer::{open_row, tag_of};
use engine::ids::TabletId;
use engine::sealed::Sealer;
use std::sync::{Arc, LazyLock};

static OPENER: LazyLock<Arc<Sealer>> = LazyLock::new(|| sealer(Same(0)));
/// The values of the fixture: two of a chain, then the identity.
static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| split(&super::fixture("catalog_rows")).split_off(5));

pub fn run(bytes: &[u8]) {
    match RowKey::decode(bytes) {
        Ok(row) => {
            assert_eq!(row.encode(), bytes);
            let is_edit = matches!(row, RowKey::ManifestEdit { .. });
            assert_eq!(bytes.starts_with(&RowKey::manifest_edits()), is_edit);
        }
        Err(damage) => assert_eq!(damage.nature, Nature::Malformed),
    }
    let cut = bytes.len() / 2;
    for (a, b) in [(row(&bytes[..cut]), row(&bytes[cut..])), (row(bytes), row(&bytes[..cut]))] {
        assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        assert_eq!(RowKey::decode(&a.encode()), Ok(a));
    }
    let edit = |sequence| RowKey::ManifestEdit { tablet: TabletId(1), sequence };
    let (first, identity) = (tag_of(&VALUES[0]), RowKey::NodeLocal { name: IDENTITY });
    for (at, row, sequence, before) in
        [(0, edit(1), 1, [0; 16]), (1, edit(2), 2, first), (2, identity, 0, [0; 16])]
    {
        let opened = open_row(&OPENER, NODE, &row.encode(), sequence, &before, bytes);
        assert_eq!(opened.is_ok(), bytes == VALUES[at], "a value opens in its place and nowhere else");
    }
}

/// A row out of any bytes.
fn row(bytes: &[u8]) -> RowKey {
    let number = |skip: usize| {
        bytes.iter().skip(skip).take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
    };
    match bytes.first() {
        Some(first) if first % 2 == 1 => {
            RowKey::ManifestEdit { tablet: TabletId(number(1)), sequence: number(9) }
        }
        _ => RowKey::NodeLocal { name: (number(1) >> 32) as u32 },
    }
}
