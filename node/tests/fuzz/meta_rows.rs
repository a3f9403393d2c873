//! Format: meta_rows.

use super::rig::samples::{generation_rows, whole};
use super::{feed, fixtures};
use engine::wire::Reader;
use node::meta::rows::{ALL, MetaRow};
use node::meta::view::MetaView;

pub fn run() {
    let mut clean = fixtures("meta_rows");
    clean.extend(generation_rows().iter().map(whole));
    feed(&clean, |bytes| {
        let mut reader = Reader::new(bytes);
        let Ok(row) = MetaRow::read(&mut reader) else { return };
        let read = bytes.len() - reader.left();
        assert_eq!(whole(&row), bytes[..read], "one form each");
        assert!(ALL.contains(&row.collection()));
        let _ = MetaView::of([row], 1);
    });
}
