//! Holds the house in order. Each check is a function from plain values to complaints; here it meets the real tree, and
//! beside its code it meets a sample that it must object to.
//!
//! `DEWPOND_BLESS_PAGES=1 cargo test -p docs --test tidy` puts today's hashes into the pages of the formats, and new
//! fixtures into their list. Read each page against the change first.

mod tidy {
    pub mod arrows;
    pub mod borders;
    pub mod elsewhere;
    pub mod fixtures;
    pub mod formats;
    pub mod glossary;
    pub mod lengths;
    pub mod names;
    pub mod numbers;
    pub mod paths;
    pub mod public;
    pub mod pure;
    pub mod readme;
    pub mod scan;
    pub mod tree;
    pub mod words;
}

use std::fs;
use std::sync::LazyLock;
use tidy::scan::Source;
use tidy::tree::{Tree, assert_tidy, is_blessing, root};
use tidy::{
    arrows, borders, elsewhere, fixtures, formats, glossary, lengths, names, numbers, pure, readme, words,
};

static TREE: LazyLock<Tree> = LazyLock::new(|| Tree::load(&root()));
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| TREE.sources());

fn text(path: &str) -> String {
    TREE.text(path).unwrap_or_else(|| panic!("{path}:1: the file is missing: write it"))
}

#[test]
fn files_and_functions_are_short() {
    assert_tidy(&lengths::check(&SOURCES, &text(lengths::SINS)));
}

#[test]
fn names_say_what_a_thing_is() {
    assert_tidy(&names::check(&SOURCES));
}

#[test]
fn one_word_has_one_meaning() {
    assert_tidy(&glossary::check(TREE.text(glossary::PAGE).as_deref(), &SOURCES));
}

#[test]
fn pure_files_are_pure() {
    assert_tidy(&pure::check(&SOURCES));
}

#[test]
fn packages_lean_the_right_way() {
    assert_tidy(&arrows::check(&arrows::metadata(&root())));
}

#[test]
fn foreign_words_stay_at_the_border() {
    assert_tidy(&borders::check(&SOURCES));
}

#[test]
fn formats_are_whole_and_pages_follow_the_code() {
    let mut tree = Tree::load(&root());
    if is_blessing() {
        for (path, new) in formats::blessed(&tree) {
            fs::write(root().join(&path), &new).expect("write a page");
            println!("blessed {path}: only its hashes");
            tree.0.insert(path, new.into_bytes());
        }
    }
    assert_tidy(&formats::check(&tree, &tree.sources()));
}

#[test]
fn fixtures_never_change() {
    let mut tree = Tree::load(&root());
    let mut complaints = vec![];
    for package in fixtures::packages(&tree) {
        if is_blessing()
            && let Some(new) = fixtures::blessed(&tree, &package)
        {
            let path = fixtures::list_of(&package);
            fs::write(root().join(&path), &new).expect("write the list of fixtures");
            println!("blessed {path}: only new lines");
            tree.0.insert(path, new.into_bytes());
        }
        complaints.extend(fixtures::check(&tree, &package));
    }
    assert_tidy(&complaints);
}

#[test]
fn stored_numbers_are_given_once() {
    assert_tidy(&numbers::check(&SOURCES, &text("docs/formats/README.md")));
}

#[test]
fn nothing_lies_about() {
    assert_tidy(&words::check(&TREE, &SOURCES));
}

#[test]
fn the_project_speaks_of_itself() {
    assert_tidy(&elsewhere::check(&TREE));
}

#[test]
fn the_readme_keeps_its_word() {
    assert_tidy(&readme::check(&text("README.md"), &text(".ci/run")));
}
