//! Which node to ask, and the connections to all of them.

pub(crate) mod cache;
pub(crate) mod pool;

/// An address as it is kept: without scheme and trailing slash.
#[must_use]
pub(crate) fn plain(address: &str) -> &str {
    address.strip_prefix("https://").unwrap_or(address).trim_end_matches('/')
}
