//! The files of the repository as plain values, and what every check does with its complaints.

use super::scan::{Source, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Every file below the root, by its path with `/`, without `target` and `.git`.
pub struct Tree(pub BTreeMap<String, Vec<u8>>);

/// The folder that holds the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package stands in the workspace").to_path_buf()
}

/// A variable of the surroundings. The only place that looks at them.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo says by a variable which cargo runs; the other one is a wish to bless"
)]
pub fn setting(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// True if the hashes of pages and the list of fixtures are to be brought up to date.
pub fn is_blessing() -> bool {
    setting("DEWPOND_BLESS_PAGES").is_some_and(|value| value == "1")
}

/// A complaint about a line.
pub fn at(path: &str, line: usize, what: impl std::fmt::Display) -> String {
    format!("{path}:{line}: {what}")
}

/// Fails with all `complaints`, if there are any.
#[track_caller]
pub fn assert_tidy(complaints: &[String]) {
    let list: String = complaints.iter().map(|complaint| format!("\n  {complaint}")).collect();
    assert!(complaints.is_empty(), "{} to put in order:{list}\n", complaints.len());
}

/// Fails unless exactly the `wanted` pieces are complained about, one each and in this order.
#[track_caller]
pub fn assert_complains(complaints: &[String], wanted: &[&str]) {
    let is_each = complaints.len() == wanted.len()
        && complaints.iter().zip(wanted).all(|(complaint, piece)| complaint.contains(piece));
    assert!(is_each, "wanted {wanted:#?}, got {complaints:#?}");
}

impl Tree {
    /// Reads all files below `root`. Links are not followed; a file that vanishes meanwhile is not there.
    pub fn load(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("list a folder of the workspace") {
                let entry = entry.expect("read an entry of a folder");
                let path = entry.path();
                let relative = path.strip_prefix(root).expect("the entry stands below the root");
                let name = relative.to_str().expect("a path is text").replace('\\', "/");
                let kind = entry.file_type().expect("tell a file from a folder");
                if kind.is_dir() && name != "target" && name != ".git" {
                    folders.push(path);
                } else if kind.is_file()
                    && let Ok(bytes) = fs::read(&path)
                {
                    files.insert(name, bytes);
                }
            }
        }
        Self(files)
    }

    /// A tree of a few texts, for samples.
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
    }

    /// The text of one file, if it is there and is text. Bytes that are not UTF-8 become U+FFFD, which is not ASCII.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.0.get(path).filter(|bytes| !bytes.contains(&0))?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Every file that is text.
    pub fn texts(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.keys().filter_map(|path| Some((path.as_str(), self.text(path)?)))
    }

    /// Every Rust file, with test code marked: in a `tests` folder, in a `#[cfg(test)] mod`, in the file of such a module.
    pub fn sources(&self) -> Vec<Source> {
        let rust = self.texts().filter(|(path, _)| path.ends_with(".rs"));
        let mut sources: Vec<Source> = rust.map(|(path, text)| Source::parse(path, &text)).collect();
        let modules: BTreeSet<String> = sources.iter().flat_map(test_modules).collect();
        for source in &mut sources {
            let is_in = |module: &String| {
                let rest = source.path.strip_prefix(module.as_str());
                rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            if source.is_below("tests") || modules.iter().any(is_in) {
                source.is_test.fill(true);
            }
        }
        sources
    }
}

/// Paths, without `.rs`, of the modules that `source` declares with `#[cfg(test)] mod name;`.
fn test_modules(source: &Source) -> Vec<String> {
    let is_declaration = |(index, pair): &(usize, &[Token])| {
        source.is_test[*index]
            && pair[0].is_word("mod")
            && source.tokens.get(index + 2).is_some_and(|t| t.is_mark(";"))
    };
    let pairs = source.tokens.windows(2).enumerate().filter(is_declaration);
    pairs.map(|(_, pair)| format!("{}/{}", source.module_folder(), pair[1].text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_tree_has_its_known_files() {
        let tree = Tree::load(&root());
        for path in
            ["Cargo.toml", ".ci/run", "engine/src/lib.rs", "docs/tests/tidy.rs", "docs/tests/tidy/tree.rs"]
        {
            assert!(tree.text(path).is_some(), "{path} was not read");
        }
        assert!(!tree.0.keys().any(|path| path.starts_with("target/") || path.starts_with(".git/")));
    }

    #[test]
    fn test_code_is_marked_wherever_it_stands() {
        let tree = Tree::of(&[
            ("a/src/lib.rs", "#[cfg(test)]\nmod suite;\nmod real;\nmod door;"),
            ("a/src/suite.rs", "fn x() {}"),
            ("a/src/suite/more.rs", "fn x() {}"),
            ("a/src/real.rs", "#[cfg(test)] mod tests;"),
            ("a/src/real/tests.rs", "fn x() {}"),
            ("a/src/door.rs", "fn x() {}"),
            ("a/tests/b.rs", "fn x() {}"),
        ]);
        let marked = tree.sources().into_iter().filter(|source| source.is_test.iter().all(|is| *is));
        let paths: Vec<String> = marked.map(|source| source.path).collect();
        let wanted =
            ["a/src/real/tests.rs", "a/src/real.rs", "a/src/suite/more.rs", "a/src/suite.rs", "a/tests/b.rs"];
        assert_eq!(paths.iter().collect::<BTreeSet<_>>(), wanted.map(str::to_owned).iter().collect());
    }

    #[test]
    #[should_panic(expected = "1 to put in order")]
    fn a_complaint_fails_the_test() {
        assert_tidy(&[at("a.rs", 3, "is wrong")]);
    }
}
