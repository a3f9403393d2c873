//! Pure: the order of all data, as bytes that sort.
//! Format: key, `docs/formats/key.md`.
//!
//! A *row key* is `tenant u64 | collection u32 | user key, escaped | 00 01`; a *version key* is a row key
//! followed by the bitwise complement of the stamp, so that plain byte order is: tenant, collection,
//! user key, newest version first. A zero byte of the user key is written `00 ff`, which keeps
//! `"a" < "a\0" < "ab"` true of the encoded bytes whatever follows.

use crate::error::{Damage, Error, Nature};
use crate::ids::{CollectionId, TenantId};
use crate::limits;
use crate::redact::redacted_debug;
use crate::stamp::Stamp;

const PREFIX: usize = 12;
const STAMP: usize = 8;
const END: [u8; 2] = [0, 1];

/// Appends the row key of (`tenant`, `collection`, `user_key`) to `out`.
pub fn append_row(out: &mut Vec<u8>, tenant: TenantId, collection: CollectionId, user_key: &[u8]) {
    out.extend_from_slice(&tenant.0.to_be_bytes());
    out.extend_from_slice(&collection.0.to_be_bytes());
    append_escaped(out, user_key);
    out.extend_from_slice(&END);
}

/// The row key of (`tenant`, `collection`, `user_key`).
#[must_use]
pub fn row(tenant: TenantId, collection: CollectionId, user_key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX + user_key.len() + 2 + STAMP);
    append_row(&mut out, tenant, collection, user_key);
    out
}

/// The least row key of (`tenant`, `collection`) whose user key starts with `user_prefix`, as a lower bound.
#[must_use]
pub fn prefix_start(tenant: TenantId, collection: CollectionId, user_prefix: &[u8]) -> Vec<u8> {
    let mut out = row(tenant, collection, user_prefix);
    out.truncate(out.len() - END.len());
    out
}

/// The least byte string above everything that starts with `prefix`; `None` if there is none.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut out = prefix[..=last].to_vec();
    out[last] += 1;
    Some(out)
}

/// The bound right after `row`: above every version key of it, below every greater row key.
#[must_use]
pub fn after_row(row: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.len() + STAMP + 1);
    out.extend_from_slice(row);
    // A version key has eight bytes here; nine of the greatest are above them all.
    out.extend_from_slice(&[0xff; STAMP + 1]);
    out
}

/// The least row key of `tenant`, as a bound.
#[must_use]
pub fn tenant_start(tenant: TenantId) -> Vec<u8> {
    tenant.0.to_be_bytes().to_vec()
}

fn append_escaped(out: &mut Vec<u8>, user_key: &[u8]) {
    let mut rest = user_key;
    while let Some(zero) = rest.iter().position(|b| *b == 0) {
        out.extend_from_slice(&rest[..=zero]);
        out.push(0xff);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends the eight bytes by which a version key ends: newer sorts first.
pub fn append_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    out.extend_from_slice(&(!stamp.0).to_be_bytes());
}

/// The version key of `row` at `stamp`.
#[must_use]
pub fn version(row: &[u8], stamp: Stamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.len() + STAMP);
    out.extend_from_slice(row);
    append_stamp(&mut out, stamp);
    out
}

/// Row key and stamp of a version key that [`check_version`] has passed or this process has made.
/// Anything shorter than a stamp is all row, at stamp zero.
#[must_use]
pub fn split(version: &[u8]) -> (&[u8], Stamp) {
    match version.split_last_chunk::<STAMP>() {
        Some((row, stamp)) => (row, Stamp(!u64::from_be_bytes(*stamp))),
        None => (version, Stamp::ZERO),
    }
}

/// The tenant of a row key, version key or bound of at least eight bytes; shorter ones are padded with zeros.
#[must_use]
pub fn tenant_of(key: &[u8]) -> TenantId {
    let mut bytes = [0; 8];
    let n = key.len().min(8);
    bytes[..n].copy_from_slice(&key[..n]);
    TenantId(u64::from_be_bytes(bytes))
}

/// Tenant, collection and user key of a row key.
///
/// # Errors
/// `Damaged` if `row` is no row key: too short or long, unknown escape, end missing or early.
pub fn decode_row(row: &[u8]) -> Result<(TenantId, CollectionId, Vec<u8>), Damage> {
    let bad = |detail| Damage::of(Nature::Malformed, detail);
    let (head, body) = row.split_at_checked(PREFIX).ok_or_else(|| bad("row key shorter than its prefix"))?;
    let collection = CollectionId(u32::from_be_bytes([head[8], head[9], head[10], head[11]]));
    let body = body.strip_suffix(&END).ok_or_else(|| bad("row key without its end"))?;
    let mut user = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        user.push(*byte);
        if *byte == 0 && bytes.next() != Some(&0xff) {
            return Err(bad("unknown escape in a row key"));
        }
    }
    if user.len() > limits::KEY_BYTES_MAX {
        return Err(bad("user key over the limit"));
    }
    Ok((tenant_of(head), collection, user))
}

/// Checks that `version` is a version key, as bytes read from disk must be.
///
/// # Errors
/// `Damaged` as [`decode_row`].
pub fn check_version(version: &[u8]) -> Result<(), Damage> {
    let bad = |detail| Damage::of(Nature::Malformed, detail);
    let (row, _) =
        version.split_last_chunk::<STAMP>().ok_or_else(|| bad("version key shorter than a stamp"))?;
    let body = row.get(PREFIX..).ok_or_else(|| bad("row key shorter than its prefix"))?;
    let body = body.strip_suffix(&END).ok_or_else(|| bad("row key without its end"))?;
    let mut escapes = 0;
    let mut rest = body;
    while let Some(zero) = rest.iter().position(|b| *b == 0) {
        if rest.get(zero + 1) != Some(&0xff) {
            return Err(bad("unknown escape in a row key"));
        }
        escapes += 1;
        rest = &rest[zero + 2..];
    }
    if body.len() - escapes > limits::KEY_BYTES_MAX {
        return Err(bad("user key over the limit"));
    }
    Ok(())
}

/// Checks that `bound` may divide tablets: it does not lie inside the versions of a row.
///
/// # Errors
/// `Invalid`.
pub fn check_bound(bound: &[u8]) -> Result<(), Error> {
    let mut rest = bound.get(PREFIX..).unwrap_or_default();
    while let Some(zero) = rest.iter().position(|b| *b == 0) {
        let after = rest.get(zero + 2..).unwrap_or_default();
        if rest.get(zero + 1) == Some(&END[1]) {
            return match after.is_empty() || *after == [0xff; STAMP + 1] {
                true => Ok(()),
                false => Err(Error::Invalid("a bound between tablets lies inside a row; take the row's key")),
            };
        }
        rest = after;
    }
    Ok(())
}

/// A half-open range of row keys. `end` `None` is the end of all keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct KeyRange {
    /// First row key inside.
    pub start: Vec<u8>,
    /// First row key outside.
    pub end: Option<Vec<u8>>,
}

redacted_debug!(KeyRange, ; start, end);

impl KeyRange {
    /// Every key there can be.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// All keys of one tenant.
    #[must_use]
    pub fn tenant(tenant: TenantId) -> Self {
        let start = tenant_start(tenant);
        let end = after_prefix(&start);
        Self { start, end }
    }

    /// All keys of one collection whose user key starts with `user_prefix`.
    #[must_use]
    pub fn prefix(tenant: TenantId, collection: CollectionId, user_prefix: &[u8]) -> Self {
        let start = prefix_start(tenant, collection, user_prefix);
        let end = after_prefix(&start);
        Self { start, end }
    }

    /// Whether `row` lies inside.
    #[must_use]
    pub fn contains(&self, row: &[u8]) -> bool {
        row >= self.start.as_slice() && self.end.as_ref().is_none_or(|end| row < end.as_slice())
    }

    /// Whether any row key can lie in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let before = |a: &Self, b: &Self| a.end.as_ref().is_some_and(|end| *end <= b.start);
        !before(self, other) && !before(other, self) && !self.is_empty() && !other.is_empty()
    }

    /// The keys in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let start = self.start.clone().max(other.start.clone());
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        Self { start, end }
    }

    /// Whether no key can lie inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: TenantId = TenantId(0x0102_0304_0506_0708);
    const C: CollectionId = CollectionId(9);

    #[test]
    fn one_key_in_bytes() {
        let got = version(&row(T, C, b"a\0b"), Stamp::new(1, 2));
        let want = [
            1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, b'a', 0, 0xff, b'b', 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xfe, 0xff, 0xfd,
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn refuses_what_is_no_key() {
        let good = row(T, C, b"a\0b");
        assert!(decode_row(&good[..11]).is_err());
        assert!(decode_row(&good[..good.len() - 1]).is_err());
        let mut escape = good.clone();
        escape[14] = 3;
        assert!(decode_row(&escape).is_err());
        assert!(check_version(&version(&escape, Stamp::ZERO)).is_err());
        let long = row(T, C, &vec![7; limits::KEY_BYTES_MAX + 1]);
        assert!(decode_row(&long).is_err());
        assert!(check_version(&version(&long, Stamp::ZERO)).is_err());
        assert!(check_version(&[0; 7]).is_err());
    }

    #[test]
    fn ranges_meet_and_miss() {
        let whole = KeyRange::all();
        let tenant = KeyRange::tenant(T);
        let last = KeyRange::tenant(TenantId(u64::MAX));
        assert!(whole.overlaps(&tenant) && !tenant.overlaps(&last));
        assert_eq!(last.end, None);
        assert!(tenant.contains(&row(T, C, b"")) && !last.contains(&row(T, C, b"")));
        let prefix = KeyRange::prefix(T, C, b"ab");
        assert!(prefix.contains(&row(T, C, b"ab")) && prefix.contains(&row(T, C, b"ab\xff\xff")));
        assert!(!prefix.contains(&row(T, C, b"aa\xff")) && !prefix.contains(&row(T, C, b"ac")));
        assert_eq!(whole.intersect(&tenant), tenant);
        assert!(tenant.intersect(&last).is_empty());
    }

    proptest! {
        #[test]
        fn bytes_sort_as_the_parts_do(
            a in (any::<u64>(), any::<u32>(), proptest::collection::vec(0u8..4, 0..6), any::<u64>()),
            b in (any::<u64>(), any::<u32>(), proptest::collection::vec(0u8..4, 0..6), any::<u64>()),
            same in any::<bool>(),
        ) {
            let b = if same { (a.0, a.1, b.2, b.3) } else { b };
            let bytes = |k: &(u64, u32, Vec<u8>, u64)| version(&row(TenantId(k.0), CollectionId(k.1), &k.2), Stamp(k.3));
            let parts = |k: &(u64, u32, Vec<u8>, u64)| (k.0, k.1, k.2.clone(), std::cmp::Reverse(k.3));
            prop_assert_eq!(bytes(&a).cmp(&bytes(&b)), parts(&a).cmp(&parts(&b)));
        }

        #[test]
        fn keys_come_back(tenant: u64, collection: u32, user in proptest::collection::vec(any::<u8>(), 0..40), stamp: u64) {
            let encoded = version(&row(TenantId(tenant), CollectionId(collection), &user), Stamp(stamp));
            prop_assert!(check_version(&encoded).is_ok());
            let (row, at) = split(&encoded);
            prop_assert_eq!(at, Stamp(stamp));
            prop_assert_eq!(decode_row(row).ok(), Some((TenantId(tenant), CollectionId(collection), user)));
        }
    }
}
