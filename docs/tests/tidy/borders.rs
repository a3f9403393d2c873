//! Foreign words stay at the border: which files may say them.

use super::paths::spoken;
use super::scan::{Source, reads};
use super::tree::at;
use std::collections::BTreeSet;

/// What is kept in.
enum Words {
    /// Crates or parts of crates, as the beginning of a path.
    Paths(&'static [&'static [&'static str]]),
    /// Identifiers and keywords.
    Names(&'static [&'static str]),
    /// A method or function that is called.
    Call(&'static str),
}

/// One row of the table.
struct Border {
    words: Words,
    /// Where the row holds: beginnings of paths; nothing means everywhere.
    within: &'static [&'static str],
    /// Beginnings of paths that may say it all the same.
    only: &'static [&'static str],
    /// Test code may say it.
    is_open_to_tests: bool,
}

const CIPHERS: &[&str] = &["engine/src/sealed/cipher/", "engine/src/sealed/derive.rs"];
const LIBRARIES: &[&str] = &["engine/src/", "raft/src/", "proto/src/", "node/src/", "client/src/"];
const RAFT: &[&str] = &[
    "raft/src/type_config.rs",
    "raft/src/log/store.rs",
    "raft/src/machine/adapter.rs",
    "raft/src/machine/snapshot.rs",
    "raft/src/group/settings.rs",
    "raft/src/group/handle.rs",
    "raft/src/group/dying.rs",
    "raft/src/group/hears.rs",
    "raft/src/group/takeover.rs",
    "raft/src/net/outbound.rs",
    "raft/src/net/inbound.rs",
    "raft/src/node_time.rs",
    "raft/tests/conformance.rs",
    "raft/tests/machine/consensus.rs",
];

const BORDERS: [Border; 14] = [
    Border {
        words: Words::Paths(&[&["sled"]]),
        within: &[],
        only: &["engine/src/catalog/sled.rs", "benches/"],
        is_open_to_tests: false,
    },
    Border {
        words: Words::Paths(&[&["aes_gcm"], &["aws_lc_rs"], &["hkdf"], &["hmac"]]),
        within: &[],
        only: CIPHERS,
        is_open_to_tests: false,
    },
    // A client names a write by what the key of its caller hashes to. It never sees the engine, so it cannot ask there.
    Border {
        words: Words::Paths(&[&["sha2"]]),
        within: &[],
        only: &[
            "engine/src/sealed/cipher/",
            "engine/src/sealed/derive.rs",
            "docs/tests/",
            "client/src/request_id.rs",
        ],
        is_open_to_tests: false,
    },
    Border { words: Words::Paths(&[&["openraft"]]), within: &[], only: RAFT, is_open_to_tests: false },
    // The demo shows the cluster as an application sees it. Nothing else of the server calls another one.
    Border {
        words: Words::Paths(&[&["dewpond"]]),
        within: &["node/src/"],
        only: &["node/src/cmd/demo/"],
        is_open_to_tests: false,
    },
    Border {
        words: Words::Paths(&[&["argon2"], &["bcrypt"]]),
        within: &[],
        only: &["node/src/keys/kms/file.rs"],
        is_open_to_tests: false,
    },
    Border {
        words: Words::Paths(&[&["object_store"]]),
        within: &[],
        only: &["node/src/archive/site/"],
        is_open_to_tests: false,
    },
    Border {
        words: Words::Paths(&[&["std", "fs"]]),
        within: &["engine/src/", "raft/src/"],
        only: &["engine/src/disk/real.rs", "engine/src/disk/lock.rs", "engine/src/disk/anew.rs"],
        is_open_to_tests: false,
    },
    Border {
        words: Words::Names(&["SystemTime", "Instant"]),
        within: LIBRARIES,
        // The runtimes of the simulator hand on the instants of another, and tell a clock of their own.
        only: &["node/src/clock.rs", "client/src/", "raft/src/pause.rs", "raft/src/node_time.rs"],
        is_open_to_tests: true,
    },
    Border {
        words: Words::Paths(&[&["getrandom"], &["rand"]]),
        within: LIBRARIES,
        only: &["node/src/entropy.rs", "client/src/"],
        is_open_to_tests: true,
    },
    Border {
        words: Words::Paths(&[&["tokio", "spawn"], &["tokio", "task", "spawn"]]),
        within: &["raft/src/", "node/src/"],
        only: &["node/src/work/"],
        is_open_to_tests: true,
    },
    Border {
        words: Words::Names(&["unsafe"]),
        within: &[],
        only: &["engine/src/sealed/secret.rs"],
        is_open_to_tests: false,
    },
    Border {
        words: Words::Names(&["SecretKey"]),
        within: LIBRARIES,
        only: &["engine/src/sealed/", "node/src/keys/"],
        is_open_to_tests: true,
    },
    Border {
        words: Words::Call("expose"),
        within: &[],
        only: &["engine/src/sealed/"],
        is_open_to_tests: false,
    },
];

/// Foreign words in files that may not say them, and roots of crates that do not refuse unsafe code.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut complaints = vec![];
    for source in sources {
        for border in BORDERS.iter().filter(|border| border.holds_in(&source.path)) {
            let only = border.only.join(", ");
            let what =
                |word: &str| format!("`{word}` may only be said in {only}: ask that room for what you need");
            complaints
                .extend(border.said(source).iter().map(|(line, word)| at(&source.path, *line, what(word))));
        }
        if is_root(source) && !refuses_unsafe(source) {
            let what = "the root of a crate says `#![forbid(unsafe_code)]`; that of `engine` may say `deny`";
            complaints.push(at(&source.path, 1, what));
        }
    }
    complaints
}

impl Border {
    fn holds_in(&self, path: &str) -> bool {
        let is_in = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
        (self.within.is_empty() || is_in(self.within)) && !is_in(self.only)
    }

    /// Where `source` says the words, by line.
    fn said(&self, source: &Source) -> BTreeSet<(usize, String)> {
        let is_closed = |is_test: bool| !(is_test && self.is_open_to_tests);
        let tokens = source.tokens.iter().enumerate().filter(|(index, _)| is_closed(source.is_test[*index]));
        match &self.words {
            Words::Paths(paths) => {
                // Where a module of that name is declared, the name means the module.
                let is_module =
                    |word: &str| (0..source.tokens.len()).any(|at| reads(&source.tokens, at, &["mod", word]));
                let found = spoken(source).into_iter().filter(|path| is_closed(path.is_test));
                let found = found.filter(|path| paths.iter().any(|refused| path.begins(refused)));
                let found = found.filter(|path| path.is_global || !is_module(&path.words[0]));
                found.map(|path| (path.line, path.text())).collect()
            }
            Words::Names(names) => {
                let found = tokens.filter(|(_, token)| names.iter().any(|name| token.is_word(name)));
                found.map(|(_, token)| (token.line, token.text.clone())).collect()
            }
            Words::Call(name) => {
                let found = tokens.filter(|(index, _)| reads(&source.tokens, *index, &[name, "("]));
                found.map(|(_, token)| (token.line, format!("{name}()"))).collect()
            }
        }
    }
}

fn is_root(source: &Source) -> bool {
    let parts: Vec<&str> = source.path.split('/').collect();
    matches!(parts[..], [_, "src", "lib.rs" | "main.rs"] | [_, "src", "bin", _])
}

fn refuses_unsafe(source: &Source) -> bool {
    let says = |how| {
        let attribute = ["#", "!", "[", how, "(", "unsafe_code", ")", "]"];
        (0..source.tokens.len()).any(|at| reads(&source.tokens, at, &attribute))
    };
    says("forbid") || source.path.starts_with("engine/") && says("deny")
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    /// A line that says each word of the border.
    fn lines(border: &Border) -> Vec<String> {
        match &border.words {
            Words::Paths(paths) => {
                let both = |path: &&[&str]| {
                    let path = path.join("::");
                    [
                        format!("use {path}::X;"),
                        format!("fn f() {{ {path}::x(); }}"),
                        format!("use {path} as y;"),
                    ]
                };
                paths.iter().flat_map(both).collect()
            }
            Words::Names(names) => names.iter().map(|name| format!("fn f() {{ {name} {{ x }} }}")).collect(),
            Words::Call(name) => vec![format!("fn f() {{ key.{name}(); }}")],
        }
    }

    fn place(folder: &str) -> String {
        if folder.ends_with(".rs") { folder.to_owned() } else { format!("{folder}x.rs") }
    }

    fn with(path: &str, text: &str) -> Vec<String> {
        check(&[Source::parse(path, text)])
    }

    #[test]
    fn every_border_holds_and_lets_its_own_files_pass() {
        for border in &BORDERS {
            let everywhere: &[&str] = &["engine/src/", "engine/tests/", "node/src/"];
            let within = if border.within.is_empty() { everywhere } else { border.within };
            for line in lines(border) {
                for folder in within.iter().filter(|folder| !border.only.contains(folder)) {
                    let path = format!("{folder}x.rs");
                    assert_complains(&with(&path, &format!("\n{line}")), &[&format!("{path}:2: `")]);
                    let test = format!("#[cfg(test)] mod tests {{ {line} }}");
                    assert_eq!(with(&path, &test).is_empty(), border.is_open_to_tests, "{path}: {test}");
                }
                for folder in border.only {
                    assert_complains(&with(&place(folder), &line), &[]);
                }
            }
        }
    }

    #[test]
    fn words_that_only_look_foreign_pass() {
        let text = "// unsafe, sled::Db\nmod sled;\npub use sled::SledCatalog;\nfn f() { hmac(\"std::fs\", derive::hmac(x)) }";
        assert_complains(&with("engine/src/catalog/x.rs", text), &[]);
        assert_complains(&with("engine/src/x.rs", "mod sled; use ::sled::Db;"), &["`sled::Db`"]);
        assert_complains(&with("engine/src/x.rs", "use std::*;"), &["`std::*`"]);
        assert_complains(&with("engine/examples/x.rs", "use engine::sealed::SecretKey; use std::fs;"), &[]);
    }

    #[test]
    fn every_root_refuses_unsafe_code() {
        for path in ["a/src/lib.rs", "a/src/main.rs", "a/src/bin/b.rs"] {
            assert_complains(&with(path, "// #![forbid(unsafe_code)]"), &["#![forbid(unsafe_code)]"]);
            assert_complains(&with(path, "#![deny(unsafe_code)]"), &["#![forbid(unsafe_code)]"]);
            assert_complains(&with(path, "//! Doc.\n#![forbid(unsafe_code)]"), &[]);
        }
        assert_complains(&with("engine/src/lib.rs", "#![deny(unsafe_code)]"), &[]);
        assert_complains(&with("a/src/b/lib.rs", ""), &[]);
    }
}
