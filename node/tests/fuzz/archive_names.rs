//! Format: archive_names.

use super::{feed, fixtures};
use node::archive::naming::{NAME_BYTES_MAX, Name};

pub fn run() {
    feed(&fixtures("archive_names"), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Some(name) = Name::parse(text) else { return };
        assert_eq!(name.to_string(), text, "one printed form each");
        assert!(text.len() <= NAME_BYTES_MAX);
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_./".contains(&c);
        assert!(text.bytes().all(is_plain) && !text.contains("..") && !text.starts_with('/'));
    });
}
