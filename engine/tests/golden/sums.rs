//! That no fixture changes, none is missing and none is left over.

use super::world::{self, FORMATS};
use engine::sealed::derive::Sha256;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn digest(bytes: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(bytes);
    digest.finish().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every file below `dir` with its digest, named from `dir` on.
fn walk(dir: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{name}/"), found);
        } else {
            found.insert(name, digest(&fs::read(entry.path()).unwrap()));
        }
    }
}

#[test]
fn fixtures_are_those_of_the_list_to_the_byte() {
    if super::may_write() {
        return;
    }
    let root = world::folder().parent().unwrap().to_owned();
    let list = fs::read_to_string(root.join("SHA256SUMS")).unwrap();
    let lines: Vec<(&str, &str)> = list.lines().map(|line| line.split_once("  ").unwrap()).collect();
    assert!(lines.is_sorted_by(|a, b| a.1 < b.1), "sorted by name");
    let want: BTreeMap<String, String> =
        lines.into_iter().map(|(sum, name)| (name.to_owned(), sum.to_owned())).collect();
    let mut found = BTreeMap::new();
    walk(&root, "", &mut found);
    found.remove("SHA256SUMS");
    assert_eq!(found, want);
    for format in FORMATS {
        for name in [format!("v1/{format}.bin"), format!("v1/{format}.damaged.bin")] {
            assert!(want.contains_key(&name), "{name}");
        }
    }
}
