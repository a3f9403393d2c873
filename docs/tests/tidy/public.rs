//! The names a file says outside of itself: items and fields with `pub`, and what a public trait asks for.

use super::scan::{Kind, Source, Token, reads, skip_group, skip_outer};

/// One name.
#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    /// The keyword of the item, or `field`.
    pub what: String,
    /// The name itself.
    pub text: String,
    /// Its line.
    pub line: usize,
}

/// All names said with `pub`, or with `pub(..)`, outside of test code.
pub fn names(source: &Source) -> Vec<Name> {
    let tokens = &source.tokens;
    let mut found = vec![];
    for start in (0..tokens.len()).filter(|start| !source.is_test[*start] && reads(tokens, *start, &["pub"]))
    {
        let index = skip_outer(tokens, start);
        if reads(tokens, index, &["use"]) {
            found.extend(new_names(tokens, index));
        } else if let Some((name, end)) = item(tokens, index) {
            if name.what == "trait" {
                found.extend(asked(tokens, end));
            }
            found.push(name);
        }
    }
    found
}

/// The words of an identifier, whether it is written `like_this`, `LikeThis` or `LIKE_THIS`; in lower case.
pub fn segments(identifier: &str) -> Vec<String> {
    let chars: Vec<char> = identifier.chars().collect();
    let mut words = vec![String::new()];
    for (index, c) in chars.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| chars[before]);
        let is_rise = c.is_uppercase() && before.is_some_and(|before| !before.is_uppercase());
        let is_last_capital =
            c.is_uppercase() && chars.get(index + 1).is_some_and(|after| after.is_lowercase());
        if *c == '_' || is_rise || is_last_capital {
            words.push(String::new());
        }
        if *c != '_' {
            words.last_mut().expect("there is always a word").extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The item or field that begins at `index`, and the token after its name.
fn item(tokens: &[Token], index: usize) -> Option<(Name, usize)> {
    let mut at = index;
    let is_word = |at: usize| tokens.get(at).is_some_and(|token| token.kind == Kind::Word);
    while let Some(token) = tokens.get(at) {
        let next = tokens.get(at + 1);
        match token.text.as_str() {
            "const" | "static" | "unsafe" | "async" | "extern" | "auto" if leads_on(next) => at += 1,
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" | "mod"
                if is_word(at + 1) =>
            {
                let at_name = if reads(tokens, at + 1, &["mut"]) { at + 2 } else { at + 1 };
                let name = tokens.get(at_name)?;
                let (what, text) = (token.text.clone(), name.text.clone());
                return Some((Name { what, text, line: name.line }, at_name + 1));
            }
            text if token.kind == Kind::Word && next.is_some_and(|next| next.is_mark(":")) => {
                let name = Name { what: "field".to_owned(), text: text.to_owned(), line: token.line };
                return Some((name, at + 1));
            }
            _ if token.kind == Kind::Literal => at += 1, // the C of `extern "C"`
            _ => return None,
        }
    }
    None
}

/// True if a qualifier, and not a name, stands before this token.
fn leads_on(next: Option<&Token>) -> bool {
    let words = ["fn", "unsafe", "async", "extern", "trait"];
    next.is_some_and(|next| next.kind == Kind::Literal || words.contains(&next.text.as_str()))
}

/// What a trait asks for; its name ends before `index`.
fn asked(tokens: &[Token], index: usize) -> Vec<Name> {
    let Some(open) = (index..tokens.len()).find(|at| reads(tokens, *at, &["{"])) else { return vec![] };
    let end = skip_group(tokens, open);
    let mut found = vec![];
    let mut at = open + 1;
    while at < end {
        if let Some((name, after)) = item(tokens, at).filter(|(name, _)| name.what != "field") {
            found.push(name);
            at = after;
        } else {
            let is_group =
                tokens[at].kind == Kind::Mark && ["(", "[", "{"].contains(&tokens[at].text.as_str());
            at = if is_group { skip_group(tokens, at) } else { at + 1 };
        }
    }
    found
}

/// Names given with `as` in a `pub use`.
fn new_names(tokens: &[Token], start: usize) -> Vec<Name> {
    let end = (start..tokens.len()).find(|at| reads(tokens, *at, &[";"])).unwrap_or(tokens.len());
    let given = tokens[start..end].windows(2).filter(|pair| pair[0].is_word("as"));
    given
        .map(|pair| Name { what: "use".to_owned(), text: pair[1].text.clone(), line: pair[1].line })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let names = names(&Source::parse("a.rs", text));
        names.iter().map(|name| format!("{} {}", name.what, name.text)).collect()
    }

    #[test]
    fn every_public_name_is_found() {
        let text = "pub const fn a() {} pub(crate) struct B { pub c: u8, d: u8, #[x] pub(super) e: T }\n\
                    pub struct F(pub u8, pub g::H); pub enum I { J } pub const K: u8 = 1; pub static mut L: u8 = 1;\n\
                    pub mod m { pub unsafe extern \"C\" fn n() {} } pub type O = u8; pub use p::{Q as R, S};\n\
                    fn t() {} struct U; #[cfg(test)] mod tests { pub fn v() {} }";
        let wanted = [
            "fn a", "struct B", "field c", "field e", "struct F", "enum I", "const K", "static L", "mod m",
            "fn n", "type O", "use R",
        ];
        assert_eq!(said(text), wanted);
    }

    #[test]
    fn a_public_trait_says_what_it_asks_for() {
        let text = "pub trait A: B { type C; const D: u8; fn e(&self, f: G) { let h = i; fn j() {} } async fn k(); }\n\
                    trait L { fn m(); }";
        assert_eq!(said(text), ["type C", "const D", "fn e", "fn k", "trait A"]);
    }

    #[test]
    fn identifiers_fall_into_words() {
        for (identifier, words) in [
            ("key_version", "key version"),
            ("KeyVersion", "key version"),
            ("KEY_VERSION_MAX", "key version max"),
            ("SSTable", "ss table"),
            ("lz4Block2", "lz4 block2"),
            ("_x", "x"),
            ("", ""),
        ] {
            assert_eq!(segments(identifier).join(" "), words);
        }
    }
}
