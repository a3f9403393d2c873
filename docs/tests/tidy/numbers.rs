//! Numbers that are stored: each is given once, said aloud, and listed for ever in `docs/formats/README.md`.

use super::scan::{Kind, Source, Token, reads, skip_group, skip_outer};
use super::tree::at;
use std::collections::BTreeMap;

const LIST: &str = "docs/formats/README.md";
const MAGICS: &str = "engine/src/magic.rs";
const ROWS: &str = "engine/src/catalog/rows.rs";
/// Enumerations whose numbers are stored, and the section of the list that names them, if it does.
const ENUMS: [(&str, &str, Option<&str>); 4] = [
    ("engine/src/sealed/envelope.rs", "EnvelopeKind", Some("Envelope kinds")),
    ("engine/src/sealed/block_file.rs", "BlockType", None),
    ("engine/src/sealed/block_file.rs", "FileKind", None),
    ("engine/src/ids.rs", "Purpose", None),
];

/// A number or a magic under a name.
#[derive(Debug)]
struct Given {
    name: String,
    number: String,
    line: usize,
}

/// Numbers given twice, not given aloud, or not listed.
pub fn check(sources: &[Source], list: &str) -> Vec<String> {
    let mut complaints = vec![];
    let mut given = |path: &str, what: &str, section: Option<&str>, read: &dyn Fn(&Source) -> Vec<Given>| {
        let found = sources.iter().find(|source| source.path == path).map(read).unwrap_or_default();
        if found.is_empty() {
            complaints.push(at(
                path,
                1,
                format!("no {what} was found here: say in this check where they went"),
            ));
        }
        complaints.extend(unsaid(path, what, &found));
        let Some(section) = section else { return };
        let listed = rows(list, section);
        for Given { name, number, line } in found.iter().filter(|given| !listed.contains(&given.number)) {
            let what = format!(
                "{what} {name} = {number} has no row under `## {section}` of {LIST}: add it, for ever"
            );
            complaints.push(at(path, *line, what));
        }
        let numbers: Vec<&String> = found.iter().map(|given| &given.number).collect();
        for number in listed.iter().filter(|number| !numbers.contains(number)) {
            let what = format!(
                "{what} {number} of `## {section}` stands no more in {path}: a retired number stays listed there"
            );
            complaints.push(at(LIST, 1, what));
        }
    };
    given(MAGICS, "magic", Some("Magics"), &magics);
    given(ROWS, "row kind", Some("Catalog row kinds"), &|source| constants(source, "u8"));
    given(ROWS, "row name", None, &|source| constants(source, "u32"));
    for (path, name, section) in ENUMS {
        given(path, name, section, &|source| variants(source, name));
    }
    complaints
}

/// Complaints about numbers that are no numbers, or not alone.
fn unsaid(path: &str, what: &str, found: &[Given]) -> Vec<String> {
    let mut complaints = vec![];
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for Given { name, number, line } in found {
        if number.is_empty() {
            complaints.push(at(
                path,
                *line,
                format!("{what} {name} has no number of its own: write it, it is stored"),
            ));
        } else if let Some(other) = first.insert(number, name) {
            complaints.push(at(
                path,
                *line,
                format!("{what} {name} = {number} is taken by {other}: give it a new one"),
            ));
        }
    }
    complaints
}

/// The first cells of the table rows below a heading, without backticks; neither head nor rule.
fn rows(list: &str, section: &str) -> Vec<String> {
    let lines = list.lines().skip_while(|line| line.strip_prefix("## ") != Some(section)).skip(1);
    let lines = lines.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with('|'));
    let first =
        |line: &str| line.trim_matches('|').split('|').next().map(|cell| cell.trim().replace('`', ""));
    lines.skip(2).filter_map(first).collect()
}

/// The value of a number, in digits; nothing if it is no plain number.
fn value(token: &Token) -> String {
    let digits = token.text.replace('_', "");
    let digits = digits.trim_end_matches("u8").trim_end_matches("u16").trim_end_matches("u32");
    let value = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Constants `NAME: [u8; 4] = *b"....";`.
fn magics(source: &Source) -> Vec<Given> {
    let is_magic = |token: &Token| token.kind == Kind::Literal && token.text.starts_with("b\"");
    let found =
        source.tokens.iter().enumerate().filter(|(index, token)| is_magic(token) && !source.is_test[*index]);
    let given = |(index, token): (usize, &Token)| {
        let start = source.tokens[..index].iter().rposition(|token| token.is_word("const"));
        let name = start.map_or("?", |start| &source.tokens[start + 1].text);
        let magic = token.text.trim_start_matches('b').trim_matches('"');
        let number = if magic.len() == 4 && !magic.contains('\\') { magic } else { "" };
        Given { name: name.to_owned(), number: number.to_owned(), line: token.line }
    };
    found.map(given).collect()
}

/// Constants of one type.
fn constants(source: &Source, kind: &str) -> Vec<Given> {
    let starts =
        (0..source.tokens.len()).filter(|at| reads(&source.tokens, *at, &["const"]) && !source.is_test[*at]);
    let starts =
        starts.filter(|at| reads(&source.tokens, at + 2, &[":", kind, "="]) && at + 5 < source.tokens.len());
    let given = |at: usize| {
        let (name, number) = (&source.tokens[at + 1], &source.tokens[at + 5]);
        Given { name: name.text.clone(), number: value(number), line: name.line }
    };
    starts.map(given).collect()
}

/// Variants of an enumeration.
fn variants(source: &Source, name: &str) -> Vec<Given> {
    let tokens = &source.tokens;
    let Some(start) = (0..tokens.len()).find(|at| reads(tokens, *at, &["enum", name, "{"])) else {
        return vec![];
    };
    let end = skip_group(tokens, start + 2) - 1;
    let mut found = vec![];
    let mut index = start + 3;
    while index < end {
        index = skip_outer(tokens, index);
        let Some(variant) = tokens[..end].get(index) else { break };
        let number = if reads(tokens, index + 1, &["="]) { value(&tokens[index + 2]) } else { String::new() };
        found.push(Given { name: variant.text.clone(), number, line: variant.line });
        while index < end && !tokens[index].is_mark(",") {
            let is_open =
                tokens[index].kind == Kind::Mark && ["(", "{", "["].contains(&tokens[index].text.as_str());
            index = if is_open { skip_group(tokens, index) } else { index + 1 };
        }
        index += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    const PAGE: &str = "\
## Magics

| magic | of |
|---|---|
| `AAA1` | a |
| `AAA2` | b |

## Envelope kinds

| kind | holds |
|---|---|
| 1 | a |
| 16 | b |

## Catalog row kinds

| kind | row |
|---|---|
| 1 | a |
| 2 | b |
";

    fn with(changed: &str, text: &str, list: &str) -> Vec<String> {
        let good = [
            (
                MAGICS,
                "pub const A: [u8; 4] = *b\"AAA1\";\npub const B: [u8; 4] = *b\"AAA2\";\npub const V: u16 = 1;",
            ),
            (ROWS, "const A: u8 = 1;\nconst B: u8 = 2;\npub const N: u32 = 1;"),
            ("engine/src/sealed/envelope.rs", "enum EnvelopeKind { A = 1, #[x] B = 0x10 }"),
            ("engine/src/sealed/block_file.rs", "enum BlockType { A = 1 } enum FileKind { A = 1, B = 2, }"),
            ("engine/src/ids.rs", "enum Owner { C } enum Purpose { A = 0, B = 1_0u8 }"),
        ];
        let text = |path: &str, old| if path == changed { text } else { old };
        check(&good.map(|(path, old)| Source::parse(path, text(path, old))), list)
    }

    #[test]
    fn numbers_given_once_and_listed_pass() {
        assert_complains(&with("", "", PAGE), &[]);
    }

    #[test]
    fn a_number_given_twice_is_told() {
        let twice = "pub const A: [u8; 4] = *b\"AAA1\";\npub const C: [u8; 4] = *b\"AAA2\";\npub const B: [u8; 4] = *b\"AAA1\";";
        assert_complains(&with(MAGICS, twice, PAGE), &["magic.rs:3: magic B = AAA1 is taken by A"]);
        let rows = "const A: u8 = 1;\nconst B: u8 = 2; const C: u8 = 2; const N: u32 = 1; const M: u32 = 1;";
        assert_complains(&with(ROWS, rows, PAGE), &["rows.rs:2: row kind C = 2 is taken by B", "row name M"]);
        let kinds = "enum EnvelopeKind { A = 1, B = 16, C = 0x10 }";
        assert_complains(
            &with("engine/src/sealed/envelope.rs", kinds, PAGE),
            &["EnvelopeKind C = 16 is taken by B"],
        );
        let both = "enum BlockType { A = 1, B = 1 } enum FileKind { A = 1, B(u8) = 1 }";
        let wanted = ["BlockType B = 1 is taken", "FileKind B has no number"];
        assert_complains(&with("engine/src/sealed/block_file.rs", both, PAGE), &wanted);
        let purposes = "enum Purpose { A = 0,\nB, C = X }";
        let wanted = ["ids.rs:2: Purpose B has no number", "Purpose C has no number"];
        assert_complains(&with("engine/src/ids.rs", purposes, PAGE), &wanted);
    }

    #[test]
    fn a_number_that_is_not_listed_or_no_longer_there_is_told() {
        let more = "enum EnvelopeKind { A = 1, B = 16, C = 17 }";
        let wanted = ["EnvelopeKind C = 17 has no row under `## Envelope kinds`"];
        assert_complains(&with("engine/src/sealed/envelope.rs", more, PAGE), &wanted);
        let fewer = "enum EnvelopeKind { A = 1 }";
        assert_complains(
            &with("engine/src/sealed/envelope.rs", fewer, PAGE),
            &["EnvelopeKind 16 of `## Envelope kinds` stands no more"],
        );
        assert_complains(&with("engine/src/ids.rs", "enum Other {}", PAGE), &["no Purpose was found here"]);
        let long = "pub const A: [u8; 4] = *b\"AAA1\"; pub const B: [u8; 4] = *b\"AAA2\"; pub const C: [u8; 5] = *b\"AAA22\";";
        let wanted = ["magic C has no number", "magic C =  has no row"];
        assert_complains(&with(MAGICS, long, PAGE), &wanted);
        assert_eq!(with("", "", "").len(), 6);
    }
}
