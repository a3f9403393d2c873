//! Bytes that were written once: every fixture stands with its SHA-256 in a list, and neither ever changes.

use super::formats::sha256;
use super::tree::{Tree, at};
use std::collections::{BTreeMap, BTreeSet};

const FOLDER: &str = "tests/fixtures/";
const LIST: &str = "SHA256SUMS";

/// The packages that have fixtures; `engine` always does.
pub fn packages(tree: &Tree) -> BTreeSet<String> {
    let package = |path: &String| {
        let (package, rest) = path.split_once('/')?;
        rest.starts_with(FOLDER).then(|| package.to_owned())
    };
    tree.0.keys().filter_map(package).chain(["engine".to_owned()]).collect()
}

/// The path of a package's list.
pub fn list_of(package: &str) -> String {
    format!("{package}/{FOLDER}{LIST}")
}

/// Where the list of a package and its folder disagree.
pub fn check(tree: &Tree, package: &str) -> Vec<String> {
    let list = list_of(package);
    let Some(text) = tree.text(&list) else {
        return vec![at(
            &list,
            1,
            "the list of fixtures is missing: run this test with DEWPOND_BLESS_PAGES=1",
        )];
    };
    let files = files(tree, package);
    let mut complaints = vec![];
    if files.is_empty() {
        complaints.push(at(&list, 1, "there is no fixture: nothing was checked"));
    }
    let mut listed = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let mut complain = |what: String| complaints.push(at(&list, index + 1, what));
        let Some((hash, path)) = line.split_once("  ").filter(|(hash, _)| hash.len() == 64) else {
            complain(format!("write `SHA-256  path`, not `{line}`"));
            continue;
        };
        if !listed.insert(path) {
            complain(format!("{path} stands here twice: keep the older line"));
        }
        match files.get(path) {
            None => complain(format!("{path} is gone: put it back, its bytes are for ever")),
            Some(now) if *now != hash => {
                complain(format!(
                    "{path} has changed: put its old bytes back; a new version gets a new file"
                ));
            }
            Some(_) => {}
        }
    }
    let new = files.iter().filter(|(path, _)| !listed.contains(path.as_str()));
    complaints.extend(new.map(|(path, hash)| at(&list, 1, format!("{path} is new: add `{hash}  {path}`"))));
    complaints
}

/// The list with a line more for every new file, if there are any. No line changes.
pub fn blessed(tree: &Tree, package: &str) -> Option<String> {
    let text = tree.text(&list_of(package)).unwrap_or_default();
    let listed: BTreeSet<&str> = text.lines().filter_map(|line| Some(line.split_once("  ")?.1)).collect();
    let files = files(tree, package);
    let new = files.iter().filter(|(path, _)| !listed.contains(path.as_str()));
    let new: String = new.map(|(path, hash)| format!("{hash}  {path}\n")).collect();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    (!new.is_empty()).then(|| format!("{text}{end}{new}"))
}

/// Every fixture of a package, by its path below the folder, with its hash.
fn files(tree: &Tree, package: &str) -> BTreeMap<String, String> {
    let folder = format!("{package}/{FOLDER}");
    let below = tree.0.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(&folder)?, bytes)));
    below.filter(|(path, _)| *path != LIST).map(|(path, bytes)| (path.to_owned(), sha256(bytes))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    const A: &str = "engine/tests/fixtures/v1/a.bin";

    fn with(list: &str, files: &[(&str, &str)]) -> Vec<String> {
        let list = ("engine/tests/fixtures/SHA256SUMS", list);
        check(&Tree::of(&[files, &[list]].concat()), "engine")
    }

    fn line(bytes: &str, path: &str) -> String {
        format!("{}  {path}\n", sha256(bytes.as_bytes()))
    }

    #[test]
    fn list_and_folder_agree_or_it_is_told() {
        let list = line("x", "v1/a.bin");
        assert_complains(&with(&list, &[(A, "x")]), &[]);
        assert_complains(&with(&list, &[(A, "y")]), &["SHA256SUMS:1: v1/a.bin has changed"]);
        assert_complains(
            &with(&list, &[("engine/tests/fixtures/v1/b.bin", "x")]),
            &["a.bin is gone", "b.bin is new"],
        );
        assert_complains(&with(&list, &[]), &["there is no fixture", "a.bin is gone"]);
        assert_complains(&with("", &[(A, "x")]), &["v1/a.bin is new: add `2d711642"]);
        assert_complains(
            &with(&[&*list, &list].concat(), &[(A, "x")]),
            &["SHA256SUMS:2: v1/a.bin stands here twice"],
        );
        assert_complains(
            &with(&[&*list, "x\n"].concat(), &[(A, "x")]),
            &["SHA256SUMS:2: write `SHA-256  path`"],
        );
        assert_complains(&check(&Tree::of(&[(A, "x")]), "engine"), &["the list of fixtures is missing"]);
    }

    #[test]
    fn blessing_adds_lines_and_changes_none() {
        let list = "engine/tests/fixtures/SHA256SUMS";
        let of = |files: &[(&str, &str)]| blessed(&Tree::of(files), "engine");
        assert_eq!(of(&[(A, "x")]), Some(line("x", "v1/a.bin")));
        let old = line("x", "v1/a.bin");
        assert_eq!(of(&[(A, "changed"), (list, &old)]), None);
        let b = ("engine/tests/fixtures/v2/b.bin", "z");
        assert_eq!(
            of(&[(A, "changed"), b, (list, old.trim_end())]),
            Some([old, line("z", "v2/b.bin")].concat())
        );
    }

    #[test]
    fn every_package_with_fixtures_is_found() {
        let tree = Tree::of(&[("raft/tests/fixtures/v1/a.bin", ""), ("node/tests/a.rs", "")]);
        assert_eq!(packages(&tree).iter().collect::<Vec<_>>(), ["engine", "raft"]);
    }
}
