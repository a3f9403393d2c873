//! The paths a source speaks of, `std::fs::read` as well as `use std::{fs, io::{self, Read}}`, each in full.

use super::scan::{Kind, Source, Token, reads};

/// One path.
pub struct Spoken {
    /// Its words, in order; `*` for a glob.
    pub words: Vec<String>,
    /// The line of its last word.
    pub line: usize,
    /// It stands in test code.
    pub is_test: bool,
    /// It begins with `::`, so that its first word is a crate whatever the modules are called.
    pub is_global: bool,
}

impl Spoken {
    /// True if it begins with these words, or hides them behind a glob or another name of their first word.
    pub fn begins(&self, words: &[&str]) -> bool {
        let is_hiding = self.words[0] == words[0] && (self.words.len() == 1 || self.words[1] == "*");
        is_hiding
            || (self.words.len() >= words.len()
                && self.words.iter().zip(words).all(|(have, want)| have == want))
    }

    /// As it is written.
    pub fn text(&self) -> String {
        self.words.join("::")
    }
}

/// Every path of two words or more, and every path of a `use` or an `extern crate`.
pub fn spoken(source: &Source) -> Vec<Spoken> {
    let mut reader = Reader { source, at: 0, found: vec![] };
    while reader.at < source.tokens.len() {
        reader.step();
    }
    reader.found
}

struct Reader<'a> {
    source: &'a Source,
    at: usize,
    found: Vec<Spoken>,
}

impl Reader<'_> {
    fn token(&self) -> Option<&Token> {
        self.source.tokens.get(self.at)
    }

    fn is_at(&self, texts: &[&str]) -> bool {
        reads(&self.source.tokens, self.at, texts)
    }

    fn found(&mut self, words: Vec<String>, last: usize, is_global: bool) {
        let (line, is_test) = (self.source.tokens[last].line, self.source.is_test[last]);
        self.found.push(Spoken { words, line, is_test, is_global });
    }

    fn step(&mut self) {
        let is_bound = |at: usize| self.source.tokens.get(at).is_some_and(|token| token.is_mark("<"));
        if self.is_at(&["extern", "crate"]) {
            self.at += 2;
            self.tree(&[], true);
        } else if self.is_at(&["use"]) && !is_bound(self.at + 1) {
            self.at += 1;
            let is_global = self.is_at(&["::"]);
            self.tree(&[], is_global);
        } else if self.token().is_some_and(|token| token.kind == Kind::Word) {
            self.chain();
        } else {
            self.at += 1;
        }
    }

    /// A path inside other code, up to its last plain word.
    fn chain(&mut self) {
        let is_global = self.at > 0
            && self.source.tokens[self.at - 1].is_mark("::")
            && !(self.at > 1 && (self.source.tokens[self.at - 2].is_mark(">")));
        let mut words = vec![self.source.tokens[self.at].text.clone()];
        let is_word = |at: usize| self.source.tokens.get(at).is_some_and(|token| token.kind == Kind::Word);
        let mut last = self.at;
        while reads(&self.source.tokens, last + 1, &["::"]) && is_word(last + 2) {
            last += 2;
            words.push(self.source.tokens[last].text.clone());
        }
        if words.len() > 1 {
            self.found(words, last, is_global);
        }
        self.at = last + 1;
    }

    /// A tree of a `use`, below `prefix`.
    fn tree(&mut self, prefix: &[String], is_global: bool) {
        let mut words = prefix.to_vec();
        loop {
            let here = self.at;
            let Some(token) = self.token().cloned() else { return };
            self.at += 1;
            match token.kind {
                Kind::Word if token.text == "as" => {
                    self.at += 1;
                    return;
                }
                Kind::Word => {
                    if token.text != "self" || words.is_empty() {
                        words.push(token.text);
                    }
                    if !self.is_at(&["::"]) {
                        self.found(words.clone(), here, is_global);
                    }
                }
                Kind::Mark if token.text == "::" => {}
                Kind::Mark if token.text == "*" => {
                    words.push(token.text.clone());
                    self.found(words, here, is_global);
                    return;
                }
                Kind::Mark if token.text == "{" => {
                    self.group(&words, is_global);
                    return;
                }
                _ => {
                    self.at = here; // `;` of the whole, or `,` or `}` of the group around
                    return;
                }
            }
        }
    }

    fn group(&mut self, prefix: &[String], is_global: bool) {
        while let Some(token) = self.token() {
            if token.is_mark("}") {
                self.at += 1;
                return;
            }
            let before = self.at;
            if token.is_mark(",") {
                self.at += 1;
            } else {
                self.tree(prefix, is_global);
            }
            if self.at == before {
                return; // no `use` looks like this
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        spoken(&Source::parse("a.rs", text)).iter().map(Spoken::text).collect()
    }

    #[test]
    fn trees_are_spelled_out() {
        let text =
            "use std::{fs as f, io::{self, Read}, net::*}; pub use ::sled; extern crate rand; use a as b;";
        let wanted = ["std::fs", "std::io", "std::io::Read", "std::net::*", "sled", "rand", "a"];
        assert_eq!(texts(text), wanted);
    }

    #[test]
    fn paths_in_code_are_found_and_plain_words_are_not() {
        let text = "fn f(sled: u8) -> x::Y { let v = Vec::<u8>::new(); <T as a::B>::c(); ::d::e!(); sled }";
        assert_eq!(texts(text), ["x::Y", "a::B", "d::e"]);
        assert!(spoken(&Source::parse("a.rs", text)).last().is_some_and(|path| path.is_global));
    }

    #[test]
    fn a_hidden_crate_is_still_begun() {
        for (text, is_begun) in [
            ("use std::fs;", true),
            ("fn f() { std::fs::read(x) }", true),
            ("use std::*;", true),
            ("use std as s;", true),
            ("use std::fmt;", false),
            ("use crate::fs;", false),
        ] {
            let found = spoken(&Source::parse("a.rs", text));
            assert_eq!(found.iter().any(|path| path.begins(&["std", "fs"])), is_begun, "{text}");
        }
    }

    #[test]
    fn unfinished_code_ends_the_scan() {
        for text in
            ["use", "use a::{", "use a::{b", "use a::{=", "a::", "extern crate", "use {{", "use a::{b,,"]
        {
            texts(text);
        }
    }
}
