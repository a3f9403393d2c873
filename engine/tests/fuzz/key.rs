//! Format: key. Both decoders agree, what they take they give back, and bytes sort as their parts do.

use engine::ids::{CollectionId, TenantId};
use engine::key::{self, KeyRange};
use engine::{Nature, Stamp, limits};
use std::cmp::Reverse;

type Parts<'a> = (TenantId, CollectionId, &'a [u8], Stamp);

pub fn run(bytes: &[u8]) {
    decode(bytes);
    prefixes(bytes);
    let cut = bytes.first().map_or(0, |first| usize::from(*first) % bytes.len());
    let (a, b) = bytes.split_at(cut);
    for (a, b) in [(a, b), (a, bytes), (b, a)] {
        compare(&parts(a), &parts(b));
        bounds(a, b);
    }
}

fn decode(bytes: &[u8]) {
    let (row, stamp) = key::split(bytes);
    let checked = key::check_version(bytes);
    let decoded = key::decode_row(row);
    if bytes.len() >= 8 {
        assert_eq!(checked.is_ok(), decoded.is_ok(), "{checked:?} {decoded:?}");
        assert_eq!(key::version(row, stamp), bytes);
    } else {
        assert!(checked.is_err() && (row, stamp) == (bytes, Stamp::ZERO));
    }
    for damage in [checked.err(), decoded.as_ref().err().cloned()].into_iter().flatten() {
        assert_eq!((damage.nature, damage.place.as_str(), damage.block), (Nature::Malformed, "", None));
    }
    if let Ok((tenant, collection, user)) = decoded {
        assert!(user.len() <= limits::KEY_BYTES_MAX);
        assert_eq!(key::row(tenant, collection, &user), row);
        assert_eq!(key::tenant_of(row), tenant);
        assert!(KeyRange::tenant(tenant).contains(row));
        assert!(KeyRange::prefix(tenant, collection, &user).contains(row));
        assert!(row.len() + 8 <= limits::VERSION_KEY_BYTES_MAX);
    }
}

fn prefixes(bytes: &[u8]) {
    match key::after_prefix(bytes) {
        Some(after) => {
            assert!(after > [bytes, &[0xff; 9]].concat() && after.len() <= bytes.len());
            // The greatest byte string below it that is as long has the prefix.
            let (last, front) = after.split_last().unwrap();
            assert!(bytes.starts_with(&[front, &[last - 1]].concat()));
        }
        None => assert!(bytes.iter().all(|byte| *byte == 0xff)),
    }
}

/// Parts of a key with so few tenants, collections and stamps that they often meet.
fn parts(bytes: &[u8]) -> Parts<'_> {
    let user = &bytes[..bytes.len().min(limits::KEY_BYTES_MAX)];
    let few = |at: usize| u64::from(bytes.get(at).copied().unwrap_or(0) % 2);
    (TenantId(few(1)), CollectionId(few(2) as u32), user, Stamp(few(3)))
}

fn compare(a: &Parts<'_>, b: &Parts<'_>) {
    let encode = |(tenant, collection, user, stamp): &Parts<'_>| {
        key::version(&key::row(*tenant, *collection, user), *stamp)
    };
    let order = |parts: &Parts<'_>| (parts.0, parts.1, parts.2.to_vec(), Reverse(parts.3));
    let (key_a, key_b) = (encode(a), encode(b));
    assert_eq!(key_a.cmp(&key_b), order(a).cmp(&order(b)));
    assert!(key_a.len() <= limits::VERSION_KEY_BYTES_MAX);
    assert_eq!(key::check_version(&key_a), Ok(()));
    let (row_a, row_b) = (key::split(&key_a).0, key::split(&key_b).0);
    let after = key::after_row(row_a);
    assert!(
        after > key_a && after > key::version(row_a, Stamp::ZERO) && after.len() <= limits::BOUND_BYTES_MAX
    );
    assert_eq!(after.as_slice() <= row_b, row_a < row_b);
    let prefix = KeyRange::prefix(a.0, a.1, a.2);
    assert_eq!(prefix.contains(row_b), (a.0, a.1) == (b.0, b.1) && b.2.starts_with(a.2));
}

fn bounds(a: &[u8], b: &[u8]) {
    let ranges = [
        KeyRange { start: a.to_vec(), end: Some(b.to_vec()) },
        KeyRange { start: b.to_vec(), end: None },
        KeyRange { start: Vec::new(), end: Some(a.to_vec()) },
    ];
    for one in &ranges {
        for other in &ranges {
            let both = one.intersect(other);
            for row in [a, b, &[]] {
                assert_eq!(both.contains(row), one.contains(row) && other.contains(row));
                assert!(!both.contains(row) || (one.overlaps(other) && !both.is_empty()));
            }
        }
    }
}
