//! What is made from the code is as the code says. `DEWPOND_WRITE_DOCS=1` writes it anew.

use std::path::Path;

#[test]
fn the_page_of_errors_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let page = proto::errors::page();
    if std::env::vars().any(|(name, _)| name == "DEWPOND_WRITE_DOCS") {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page, "run this with DEWPOND_WRITE_DOCS=1");
}
