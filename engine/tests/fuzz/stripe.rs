//! Format: stripe. A stripe end or a solo stripe that decodes encodes to the same bytes, and its block walks.

use super::data_block;
use engine::sealed::SecretBytes;
use engine::table::stripe::{StripeEnd, decode_solo, encode_solo};
use engine::table::tombstones;
use engine::{Damage, Nature};
use std::sync::Arc;

pub fn run(bytes: &[u8]) {
    match StripeEnd::decode(bytes) {
        Ok(end) => {
            assert_eq!(end.encode(), bytes);
            assert!(end.deletes <= end.entries);
            assert_eq!((end.entries > 0, end.entries > 0), (end.index.is_some(), end.filter.is_some()));
            assert_eq!(end.tombstones > 0, end.tombstones_at.is_some());
        }
        Err(damage) => is_refusal(&damage),
    }
    match decode_solo(SecretBytes::from(bytes.to_vec())) {
        Ok(solo) => {
            assert!(solo.deletes <= solo.entries);
            let start = 20 + tombstones::encode(&solo.tombstones).len();
            assert_eq!(encode_solo(solo.entries, solo.deletes, &solo.tombstones, &bytes[start..]), bytes);
            data_block::walk(&Arc::new(solo.block), &bytes[start..]);
        }
        Err(damage) => is_refusal(&damage),
    }
}

fn is_refusal(damage: &Damage) {
    assert_eq!((damage.nature, damage.place.as_str(), damage.block), (Nature::Malformed, "", None));
}
