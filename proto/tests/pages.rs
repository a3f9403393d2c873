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

/// Everything in the schema that has a name says what it is.
#[test]
fn every_message_method_and_field_says_what_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/dewpond/v1");
    let (mut silent, mut named) = (Vec::new(), 0);
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let is_named =
                ["message ", "enum ", "service ", "rpc "].iter().any(|word| pair[1].starts_with(word))
                    || (pair[1].contains(" = ") && pair[1].ends_with(';') && !pair[1].starts_with("syntax"));
            named += usize::from(is_named);
            if is_named && !pair[0].starts_with("//") {
                silent.push(pair[1].to_owned());
            }
        }
    }
    assert!(named > 250, "{named}");
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn a_runbook_that_is_named_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks");
    for entry in proto::errors::TABLE {
        let page = entry.runbook.map(|name| folder.join(format!("{name}.md")));
        assert!(page.is_none_or(|page| page.is_file()), "{}", entry.label());
    }
}
