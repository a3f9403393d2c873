//! The reference page of the configuration is generated from the table of settings, and never differs from it.

use node::config::page;
use std::fs;
use std::path::PathBuf;

#[test]

fn the_page_says_what_the_table_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = page::page();
    if std::env::vars().any(|(name, _)| name == "DEWPOND_WRITE_DOCS") {
        fs::write(&path, &page).expect("write the page");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md differs from the table: run this test with DEWPOND_WRITE_DOCS=1"
    );
}
