//! Format: join_token.

use super::{feed, fixtures};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use node::boot::token::{JoinToken, PREFIX};
use node::limits;

pub fn run() {
    feed(&fixtures("join_token"), |bytes| {
        let whole = |text: &str| {
            let Ok(token) = JoinToken::parse(text) else { return };
            assert_eq!(token.text(), text.trim());
            assert!((1..=limits::TOKEN_ADDRESSES_MAX).contains(&token.addresses.len()));
        };
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        whole(text);
        // Behind a checksum that agrees there is more to refuse.
        let inner = text.strip_prefix(PREFIX).and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        if let Some((body, _)) = inner.as_deref().and_then(|bytes| bytes.split_last_chunk::<4>()) {
            let bytes = [body, &crc32fast::hash(body).to_be_bytes()].concat();
            whole(&format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)));
        }
    });
}
