//! A pure file decides and does nothing else: no clock, disk, network, thread, lock, queue or chance, so that its tests are
//! tables of values.

use super::paths::spoken;
use super::scan::{Kind, Source};
use super::tree::at;
use std::collections::BTreeSet;

/// Words that no pure file says outside of its tests.
const WORDS: [&str; 20] = [
    "async",
    "await",
    "tokio",
    "tracing",
    "Instant",
    "SystemTime",
    "rand",
    "getrandom",
    "Entropy",
    "Mutex",
    "RwLock",
    "Condvar",
    "parking_lot",
    "mpsc",
    "sync_channel",
    "crossbeam_channel",
    "atomic",
    "HashMap",
    "HashSet",
    "hash_map",
];
/// Parts of the standard library that no pure file enters.
const PATHS: [[&str; 2]; 3] = [["std", "fs"], ["std", "net"], ["std", "thread"]];
/// Files that hold decisions and nothing else.
const MUST_BE_PURE: [&str; 3] = ["rules", "limits", "plan"];

/// What pure files say that they must not, and files that must be pure and do not say so.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut complaints = vec![];
    for source in sources {
        if source.is_pure() {
            let what = |word: &str| {
                format!("a pure file says `{word}`: move it into a shell, or take the mark away")
            };
            complaints.extend(impure(source).iter().map(|(line, word)| at(&source.path, *line, what(word))));
            continue;
        }
        if source.is_below("src") && MUST_BE_PURE.contains(&source.stem()) {
            complaints.push(at(
                &source.path,
                1,
                "a file of this name holds decisions: open it with `//! Pure: ...`",
            ));
        }
        let late = source.comments.iter().find(|comment| comment.text.starts_with("//! Pure"));
        complaints.extend(
            late.map(|mark| at(&source.path, mark.line, "the mark is `//! Pure: ...` in the first line")),
        );
    }
    complaints
}

fn impure(source: &Source) -> BTreeSet<(usize, String)> {
    let is_refused = |word: &str| WORDS.contains(&word) || is_atomic(word);
    let tokens = source.tokens.iter().zip(&source.is_test);
    let words =
        tokens.filter(|(token, is_test)| !**is_test && token.kind == Kind::Word && is_refused(&token.text));
    let mut found: BTreeSet<(usize, String)> =
        words.map(|(token, _)| (token.line, token.text.clone())).collect();
    for path in spoken(source).iter().filter(|path| !path.is_test) {
        if let Some(refused) = PATHS.iter().find(|refused| path.begins(&refused[..])) {
            found.insert((path.line, refused.join("::")));
        }
    }
    found
}

fn is_atomic(word: &str) -> bool {
    word.strip_prefix("Atomic").is_some_and(|rest| rest.starts_with(|c: char| c.is_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    fn with(path: &str, text: &str) -> Vec<String> {
        check(&[Source::parse(path, text)])
    }

    #[test]
    fn every_impure_thing_is_found() {
        let lines = WORDS.iter().map(|word| format!("fn f() {{ a.{word}(); }}")).chain(
            [
                "use std::fs;",
                "use std::{net::TcpStream};",
                "fn f() { std::thread::spawn(g); }",
                "use std::*;",
                "x: AtomicU64",
            ]
            .map(str::to_owned),
        );
        for line in lines {
            assert_complains(
                &with("a/src/b.rs", &format!("//! Pure: a rule.\n{line}")),
                &["a/src/b.rs:2: a pure file says"],
            );
            assert_complains(&with("a/src/b.rs", &format!("//! A shell.\n{line}")), &[]);
        }
    }

    #[test]
    fn tests_comments_strings_and_plain_words_pass() {
        let text = "//! Pure: a rule without a Mutex.\nuse std::fmt;\nfn f() { g(\"HashMap\", Atomic, std::mem::take(h)) }\n\
                    #[cfg(test)]\nmod tests { use std::{fs, sync::Mutex}; }";
        assert_complains(&with("a/src/b.rs", text), &[]);
    }

    #[test]
    fn rules_carry_the_mark_in_their_first_line() {
        for name in ["rules", "limits", "plan"] {
            let path = format!("a/src/b/{name}.rs");
            assert_complains(&with(&path, "//! Rules.\n"), &["open it with `//! Pure: ...`"]);
            assert_complains(&with(&path, "//! Pure: rules.\n"), &[]);
            assert_complains(&with(&format!("a/tests/{name}.rs"), "//! Tests.\n"), &[]);
        }
        assert_complains(&with("a/src/b.rs", "//! Format.\n//! Pure: late.\n"), &["b.rs:2: the mark"]);
    }
}
