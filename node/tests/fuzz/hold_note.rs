//! Format: hold_note.

use super::{feed, fixtures};
use node::delayed::note::HoldNote;
use node::limits;

pub fn run() {
    feed(&fixtures("hold_note"), |bytes| {
        let Ok(note) = HoldNote::decode(bytes) else { return };
        assert_eq!(note.encode(), bytes);
        assert!(note.by.len() <= limits::HOLDER_BYTES_MAX && note.reason.len() <= limits::REASON_BYTES_MAX);
    });
}
