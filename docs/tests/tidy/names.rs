//! Names that are doors to a grab-bag: such a file or type has no idea of its own, so everything ends up in it.

use super::public::{names, segments};
use super::scan::{Source, reads};
use super::tree::at;
use std::collections::BTreeSet;

const ROOMS: [&str; 13] = [
    "utils",
    "util",
    "common",
    "helpers",
    "misc",
    "shared",
    "base",
    "core",
    "manager",
    "mgr",
    "handler",
    "processor",
    "wrapper",
];
const TYPE_ENDS: [&str; 4] = ["info", "data", "impl", "manager"];
const TYPES: [&str; 5] = ["struct", "enum", "union", "trait", "type"];

/// Refused names of folders, files, modules and public types.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut complaints = BTreeSet::new();
    for source in sources {
        let place = source.path.strip_suffix(".rs").unwrap_or(&source.path);
        for part in place.split('/').filter(|part| is_refused_room(part)) {
            let what = format!("`{part}` says nothing: name it for the noun it is about");
            complaints.insert(at(&source.path, 1, what));
        }
        for (index, pair) in source.tokens.windows(2).enumerate() {
            if reads(&source.tokens, index, &["mod"]) && is_refused_room(&pair[1].text) {
                let what =
                    format!("module `{}` says nothing: name it for the noun it is about", pair[1].text);
                complaints.insert(at(&source.path, pair[1].line, what));
            }
        }
        for name in names(source).iter().filter(|name| TYPES.contains(&name.what.as_str())) {
            let words = segments(&name.text);
            if let Some(end) = words.last().filter(|end| TYPE_ENDS.contains(&end.as_str())) {
                let what = format!("{} `{}` ends in `{end}`: say what it is", name.what, name.text);
                complaints.insert(at(&source.path, name.line, what));
            }
        }
    }
    complaints.into_iter().collect()
}

/// True for `utils` as for `disk_utils`: the last word decides.
fn is_refused_room(name: &str) -> bool {
    name.split(['_', '-']).next_back().is_some_and(|word| ROOMS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    fn with(path: &str, text: &str) -> Vec<String> {
        check(&[Source::parse(path, text)])
    }

    #[test]
    fn a_door_to_a_grab_bag_is_refused() {
        for room in ROOMS {
            assert_complains(&with(&format!("a/src/{room}.rs"), ""), &["says nothing"]);
            assert_complains(&with(&format!("a/src/disk_{room}/mod.rs"), ""), &["says nothing"]);
            assert_complains(&with("a/src/b.rs", &format!("\nmod {room} {{}}")), &["a/src/b.rs:2: module"]);
        }
        for end in ["Info", "Data", "Impl", "Manager"] {
            assert_complains(&with("a/src/b.rs", &format!("pub struct Key{end};")), &["ends in"]);
            assert_complains(&with("a/src/b.rs", &format!("pub trait {end} {{}}")), &["ends in"]);
        }
    }

    #[test]
    fn nouns_variants_and_private_types_pass() {
        assert_complains(
            &with("a/src/shared_log.rs", "pub enum Purpose { Data, Info } struct OldData;"),
            &[],
        );
        assert_complains(&with("a/src/based.rs", "mod scores; pub fn data() {} pub struct Metadata;"), &[]);
    }
}
