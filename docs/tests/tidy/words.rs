//! What is left lying about: marks of unfinished work, code in comments, characters that not every keyboard has, and
//! decisions without date or status.

use super::scan::{Kind, Source, Token, reads};
use super::tree::{Tree, at};

/// Everything lying about in sources and pages.
pub fn check(tree: &Tree, sources: &[Source]) -> Vec<String> {
    let mut complaints: Vec<String> = sources.iter().flat_map(rust).collect();
    let is_page = |path: &str| {
        [".toml", ".md", ".sh"].iter().any(|end| path.ends_with(end))
            || [".ci/run", "justfile"].contains(&path)
    };
    for (path, text) in tree.texts().filter(|(path, _)| is_page(path)) {
        complaints.extend(page(path, &text));
    }
    complaints.extend(tree.texts().flat_map(|(path, text)| decision(path, &text)));
    complaints
}

fn not_ascii(text: &str) -> Option<String> {
    let c = text.chars().find(|c| !c.is_ascii())?;
    Some(format!("`{}` is not ASCII: write it in ASCII", c.escape_unicode()))
}

fn rust(source: &Source) -> Vec<String> {
    let mut complaints = vec![];
    for (index, token) in source.tokens.iter().enumerate() {
        let is_free = source.is_test[index] && token.kind == Kind::Literal;
        let foreign = not_ascii(&token.text).filter(|_| !is_free);
        let left = ["dbg", "todo"].into_iter().find(|name| is_macro(&source.tokens, index, name));
        let left = left.map(|name| format!("`{name}!` is left over: take it out"));
        complaints
            .extend([foreign, left].into_iter().flatten().map(|what| at(&source.path, token.line, what)));
    }
    for comment in &source.comments {
        let lines = comment.text.lines().enumerate();
        let told = lines.flat_map(|(index, line)| {
            unfinished(line).into_iter().chain(not_ascii(line)).map(move |what| (comment.line + index, what))
        });
        complaints.extend(told.map(|(line, what)| at(&source.path, line, what)));
        if is_module(&comment.text) {
            complaints.push(at(
                &source.path,
                comment.line,
                "a module in a comment: take it out, history has it",
            ));
        }
    }
    complaints
}

/// True if the macro `name` is called here, and nothing is compared with `!=`.
fn is_macro(tokens: &[Token], index: usize, name: &str) -> bool {
    reads(tokens, index, &[name, "!"]) && !reads(tokens, index + 2, &["="])
}

fn is_module(comment: &str) -> bool {
    let text = comment.trim_start_matches(['/', '!', '*', ' ']).trim_end_matches(['/', '*', ' ']);
    let text = text.strip_prefix("pub ").or(text.strip_prefix("pub(crate) ")).unwrap_or(text);
    let name = text.strip_prefix("mod ").and_then(|rest| rest.split(';').next().filter(|name| *name != rest));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c == '_' || c.is_alphanumeric()))
}

/// Marks of unfinished work in a line of a comment or a page.
fn unfinished(line: &str) -> Vec<String> {
    let mut found = vec![];
    if line.contains("FIXME") {
        found.push("fix it, or open an issue and name it: `TODO(#12)`".to_owned());
    }
    for (at, mark) in line.match_indices("TODO") {
        let reference = line[at + mark.len()..].strip_prefix('(').and_then(|rest| rest.split_once(')'));
        if reference.is_none_or(|(reference, _)| reference.trim().is_empty()) {
            found.push("a TODO names its issue: `TODO(#12)`".to_owned());
        }
    }
    found
}

fn page(path: &str, text: &str) -> Vec<String> {
    let mut complaints = vec![];
    for (index, line) in text.lines().enumerate() {
        let prose = if path.ends_with(".md") { without_code(line) } else { line.to_owned() };
        let left = ["dbg!(", "todo!("].into_iter().filter(|left| prose.contains(left));
        let left = left.map(|left| format!("`{left}` is left over: take it out"));
        let told = left.chain(unfinished(&prose)).chain(not_ascii(line));
        complaints.extend(told.map(|what| at(path, index + 1, what)));
    }
    complaints
}

/// A line of Markdown without what stands between backticks: a page may speak of a word without saying it.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// What is wrong with a file among the decisions.
fn decision(path: &str, text: &str) -> Vec<String> {
    let Some(name) = path.strip_prefix("docs/decisions/") else { return vec![] };
    let mut complaints = vec![];
    if !is_dated(name) {
        complaints.push(at(path, 1, "name it YYYY-MM-DD-some-words.md"));
    }
    let is_status = |line: &str| {
        let status = line.strip_prefix("Status: ").and_then(|rest| rest.split([' ', '.', ',']).next());
        status.is_some_and(|status| ["accepted", "superseded", "rejected"].contains(&status))
    };
    if !text.lines().any(is_status) {
        complaints.push(at(path, 1, "add a line `Status: accepted`, `superseded` or `rejected`"));
    }
    complaints
}

fn is_dated(name: &str) -> bool {
    let Some(name) = name.strip_suffix(".md") else { return false };
    let parts: Vec<&str> = name.split('-').collect();
    let [year, month, day, words @ ..] = parts.as_slice() else { return false };
    let is_number = |text: &str, digits: usize, max: u32| {
        text.len() == digits && text.parse().is_ok_and(|number: u32| (1..=max).contains(&number))
    };
    let is_word =
        |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_date = is_number(year, 4, 9999) && is_number(month, 2, 12) && is_number(day, 2, 31);
    is_date && !words.is_empty() && words.iter().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    fn with(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[(path, text)]);
        check(&tree, &tree.sources())
    }

    #[test]
    fn what_lies_about_in_code_is_found() {
        for (line, wanted) in [
            ("fn f() { dbg!(x); }", "`dbg!` is left over"),
            ("fn f() { todo!() }", "`todo!` is left over"),
            ("// FIXME later", "fix it"),
            ("// TODO later", "names its issue"),
            ("/* TODO() */", "names its issue"),
            ("// mod old;", "a module in a comment"),
            ("// pub mod old; // gone", "a module in a comment"),
            ("/// 5 \u{b5}s", "not ASCII"),
            ("fn f() { \"\u{e9}\" }", "`\\u{e9}` is not ASCII"),
        ] {
            let complaints = with("a/src/b.rs", &format!("\n{line}"));
            assert_complains(&complaints, &[wanted]);
            assert!(complaints[0].starts_with("a/src/b.rs:2: "), "{complaints:?}");
        }
    }

    #[test]
    fn what_only_looks_like_it_passes() {
        for line in [
            "// TODO(#12): later",
            "// a mod old; in a sentence",
            "fn f() { \"dbg!(x) FIXME TODO // mod a;\"; dbg != x; }",
            "#[cfg(test)] mod tests { fn f() { \"\u{e9}\"; '\u{e9}' } }",
        ] {
            assert_complains(&with("a/src/b.rs", line), &[]);
        }
        assert_complains(&with("a/tests/b.rs", "fn f() { \"\u{e9}\" } // \u{e9}"), &["not ASCII"]);
    }

    #[test]
    fn what_lies_about_in_pages_is_found() {
        for path in ["a.md", "a/b.toml", "x.sh", ".ci/run", "justfile"] {
            assert_complains(&with(path, "a\n# TODO: b"), &[&format!("{path}:2: a TODO names")]);
            assert_complains(&with(path, "# FIXME"), &["fix it"]);
            assert_complains(&with(path, "dbg!(x) todo!(y)"), &["`dbg!(`", "`todo!(`"]);
            assert_complains(&with(path, "\u{2014}"), &["`\\u{2014}` is not ASCII"]);
            assert_complains(&with(path, "# TODO(#3): b"), &[]);
        }
        assert_complains(&with("a.md", "say no `dbg!(x)`, no `FIXME`"), &[]);
        assert_complains(&with("LICENSE", "\u{2014} FIXME"), &[]);
    }

    #[test]
    fn decisions_have_a_date_and_a_status() {
        let good = "# One\n\nStatus: superseded by another.\n";
        assert_complains(&with("docs/decisions/2025-01-31-one-thing.md", good), &[]);
        for name in [
            "one.md",
            "2025-13-01-one.md",
            "2025-1-01-one.md",
            "2025-01-01.md",
            "2025-01-01-One.md",
            "2025-01-01-a.txt",
        ] {
            assert_complains(&with(&format!("docs/decisions/{name}"), good), &["name it YYYY-MM-DD"]);
        }
        for text in ["# One\n", "Status: maybe\n", "Status:accepted\n"] {
            assert_complains(
                &with("docs/decisions/2025-01-31-one.md", text),
                &["add a line `Status: accepted`"],
            );
        }
    }
}
