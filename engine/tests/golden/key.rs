//! Format: key. A list of version keys, ascending.

use super::world::{T1, join, split};
use super::{assert_same, damaged_item, fixture, refusal, unplaced};
use engine::ids::{CollectionId, TenantId};
use engine::{Nature, Stamp, key};

type Parts = (TenantId, CollectionId, &'static [u8], Stamp);

fn parts() -> Vec<Parts> {
    let own = |user: &'static [u8], stamp| (T1, CollectionId(9), user, stamp);
    vec![
        (TenantId(0), CollectionId(0), b"", Stamp::MAX),
        (TenantId(0), CollectionId(0), b"", Stamp::ZERO),
        own(b"", Stamp::new(1, 2)),
        own(b"\0", Stamp::new(1, 2)),
        own(b"\0\0", Stamp::new(1, 2)),
        own(b"\0\x01", Stamp::new(1, 2)),
        own(b"\0\xff", Stamp::new(1, 2)),
        own(b"a", Stamp::new(1_700_000_000_000, 3)),
        own(b"a", Stamp::new(1_700_000_000_000, 2)),
        own(b"a\0", Stamp::new(1, 2)),
        own(b"a\0b", Stamp::new(1, 2)),
        own(b"ab", Stamp::new(1, 2)),
        own(&[b'k'; 300], Stamp::new(1, 2)),
        own(b"\xff\xff", Stamp::new(1, 2)),
        (T1, CollectionId(10), b"", Stamp::new(1, 2)),
        (TenantId(u64::MAX), CollectionId(u32::MAX), b"\xff", Stamp::new(1, 2)),
    ]
}

#[test]
fn version_1() {
    let versions = parts().into_iter().map(|(t, c, user, stamp)| key::version(&key::row(t, c, user), stamp));
    let made = join(versions);
    let stored = fixture("key", &made);

    let items = split(&stored);
    assert_eq!(items.len(), parts().len());
    for (item, (tenant, collection, user, stamp)) in items.iter().zip(parts()) {
        assert_eq!(key::check_version(item), Ok(()));
        let (row, at) = key::split(item);
        assert_eq!(at, stamp);
        assert_eq!(key::tenant_of(item), tenant);
        assert_eq!(key::decode_row(row), Ok((tenant, collection, user.to_vec())));
    }
    assert!(items.is_sorted_by(|a, b| a < b), "bytes sort as their parts do");
    let published =
        b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\x09a\0\xffb\0\x01\xff\xff\xff\xff\xff\xfe\xff\xfd";
    assert_eq!(items[10], published);
    assert_same("key", &stored, &made);

    // The escape of "a\0b".
    let items = damaged_item("key", &stored, 10, |item| item[14] = 3);
    assert_eq!(refusal(key::check_version(&items[10]).unwrap_err()), unplaced(Nature::Malformed));
    assert_eq!(refusal(key::decode_row(key::split(&items[10]).0).unwrap_err()), unplaced(Nature::Malformed));
}
