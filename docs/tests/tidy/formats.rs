//! A format has one page, one row in the list of formats, a fixture, a damaged fixture and a fuzz target; and its page
//! carries the hash of its code, so that neither changes without the other.

use super::scan::{Source, Token, reads};
use super::tree::{Tree, at};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

const LIST: &str = "docs/formats/README.md";
const MARK: &str = "//! Format:";
const CODE: &str = "<!-- code:";

/// A file that says which format it reads and writes.
struct Claim {
    name: String,
    code: String,
    line: usize,
}

/// The SHA-256 of `bytes`, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first 16 digits of the hash of a file's code: without comments, empty lines, indents, and its tests at the end.
pub fn code_hash(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests");
    let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
    let code: Vec<&str> =
        lines[..end].iter().copied().filter(|line| !line.is_empty() && !line.starts_with("//")).collect();
    sha256(code.join("\n").as_bytes())[..16].to_owned()
}

/// Everything a format lacks.
pub fn check(tree: &Tree, sources: &[Source]) -> Vec<String> {
    let (claims, mut complaints) = claims(sources);
    if claims.is_empty() {
        complaints.push(at(LIST, 1, "no file below src says `//! Format: ...`: nothing was checked"));
    }
    let mut seen = BTreeSet::new();
    for claim in &claims {
        let parts = Parts::of(claim);
        if seen.insert(&claim.name) {
            complaints.extend(parts.missing(tree, claim));
            complaints.extend(parts.not_fuzzed(sources, &claim.name));
        }
        complaints.extend(parts.not_listed(tree, claim));
        if let Some(text) = tree.text(&parts.page) {
            complaints.extend(page_complaint(tree, claim, &parts.page, &text));
        }
    }
    complaints.extend(orphans(tree, &claims));
    complaints
}

/// Where the parts of a format stand.
struct Parts {
    page: String,
    fixture: String,
    damaged: String,
    fuzz: String,
    fuzz_main: String,
}

impl Parts {
    fn of(claim: &Claim) -> Self {
        let name = &claim.name;
        let tests = format!("{}/tests", claim.code.split('/').next().unwrap_or_default());
        Self {
            page: page_of(name),
            fixture: format!("{tests}/fixtures/v1/{name}.bin"),
            damaged: format!("{tests}/fixtures/v1/{name}.damaged.bin"),
            fuzz: format!("{tests}/fuzz/{name}.rs"),
            fuzz_main: format!("{tests}/fuzz/main.rs"),
        }
    }

    fn missing(&self, tree: &Tree, claim: &Claim) -> Vec<String> {
        let parts = [
            (&self.page, "page"),
            (&self.fixture, "golden fixture"),
            (&self.damaged, "damaged fixture"),
            (&self.fuzz, "fuzz target"),
        ];
        let missing = parts.into_iter().filter(|(path, _)| !tree.0.contains_key(*path));
        let what = |(path, part)| format!("format {} has no {part}: write {path}", claim.name);
        missing.map(|missing| at(&claim.code, claim.line, what(missing))).collect()
    }

    fn not_fuzzed(&self, sources: &[Source], name: &str) -> Option<String> {
        let main = sources.iter().find(|source| source.path == self.fuzz_main);
        let is_module = |tokens: &[Token]| (0..tokens.len()).any(|at| reads(tokens, at, &["mod", name, ";"]));
        let what = || format!("format {name} is not fuzzed: declare `mod {name};`");
        (!main.is_some_and(|main| is_module(&main.tokens))).then(|| at(&self.fuzz_main, 1, what()))
    }

    /// What the row of the list does not name, of what it must.
    fn not_listed(&self, tree: &Tree, claim: &Claim) -> Vec<String> {
        let list = tree.text(LIST).unwrap_or_default();
        let is_row = |line: &&str| {
            let cell = line.strip_prefix('|').map(|row| row.trim_start().trim_start_matches(['`', '[']));
            let rest = cell.and_then(|cell| cell.strip_prefix(claim.name.as_str()));
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric()))
        };
        let row = list.lines().find(is_row).unwrap_or_default();
        let is_named = |said: &str| row.contains(&format!("`{said}`")) || row.contains(&format!("({said})"));
        let page = format!("{}.md", claim.name);
        let wanted = [&page, &claim.code, &self.fixture, &self.damaged, &self.fuzz];
        let missing = wanted.into_iter().filter(|said| !is_named(said));
        let what = |said| format!("the row of format {} does not name `{said}`: write it there", claim.name);
        missing.map(|said| at(LIST, 1, what(said))).collect()
    }
}

/// The pages with the hashes of today: those that change, each with its new text.
pub fn blessed(tree: &Tree) -> Vec<(String, String)> {
    let mut changed = vec![];
    for (path, text) in pages(tree) {
        let new = text.split('\n').map(|line| with_hash(tree, line).unwrap_or(line.to_owned()));
        let new = new.collect::<Vec<_>>().join("\n");
        if new != text {
            changed.push((path.to_owned(), new));
        }
    }
    changed
}

fn page_of(name: &str) -> String {
    format!("docs/formats/{name}.md")
}

fn pages(tree: &Tree) -> impl Iterator<Item = (&str, String)> {
    tree.texts()
        .filter(|(path, _)| path.starts_with("docs/formats/") && path.ends_with(".md") && *path != LIST)
}

fn claims(sources: &[Source]) -> (Vec<Claim>, Vec<String>) {
    let (mut claims, mut complaints) = (vec![], vec![]);
    for source in sources.iter().filter(|source| source.is_below("src")) {
        for comment in source.comments.iter().filter(|comment| comment.text.starts_with(MARK)) {
            let rest = comment.text[MARK.len()..].trim().trim_end_matches('.');
            match rest.split_once(", ") {
                Some((name, page)) if page == format!("`{}`", page_of(name)) => {
                    claims.push(Claim {
                        name: name.to_owned(),
                        code: source.path.clone(),
                        line: comment.line,
                    });
                }
                _ => complaints.push(at(
                    &source.path,
                    comment.line,
                    "write //! Format: NAME, `docs/formats/NAME.md`. with the same name twice",
                )),
            }
        }
    }
    (claims, complaints)
}

/// Path and hash of a line that ties a page to its code.
fn code_line(line: &str) -> Option<(&str, &str)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["<!--", "code:", path, "hash:", hash, "-->"] => Some((path, hash)),
        _ => None,
    }
}

/// A line that ties a page to its code, with the hash of today.
fn with_hash(tree: &Tree, line: &str) -> Option<String> {
    let (code, hash) = code_line(line)?;
    let (before, after) = line.rsplit_once(hash)?;
    Some([before, &code_hash(&tree.text(code)?), after].concat())
}

fn page_complaint(tree: &Tree, claim: &Claim, page: &str, text: &str) -> Option<String> {
    let Claim { name, code, .. } = claim;
    let now = code_hash(&tree.text(code)?);
    let lines = text.lines().enumerate();
    let mut hashes = lines.filter_map(|(index, line)| Some((index + 1, code_line(line)?)));
    match hashes.find(|(_, (path, _))| path == code) {
        None => Some(at(
            page,
            1,
            format!("open it with `{CODE} {code} hash: {now} -->`: {code} claims format {name}"),
        )),
        Some((line, (_, hash))) if hash != now => {
            let what = format!(
                "{code} has changed: read the page against the change, then put this hash: {now}, not {hash}"
            );
            Some(at(page, line, what))
        }
        Some(_) => None,
    }
}

/// Pages, and lines of pages, that belong to no code.
fn orphans(tree: &Tree, claims: &[Claim]) -> Vec<String> {
    let mut complaints = vec![];
    for (path, text) in pages(tree) {
        let mut count = 0;
        for (index, line) in text.lines().enumerate().filter(|(_, line)| line.contains(CODE)) {
            count += 1;
            let claimed =
                |code: &str| claims.iter().any(|claim| claim.code == code && page_of(&claim.name) == path);
            if !code_line(line).is_some_and(|(code, _)| claimed(code)) {
                let what = format!(
                    "write `{CODE} PATH hash: HEX -->`, PATH of a file that claims this page: `{line}`"
                );
                complaints.push(at(path, index + 1, what));
            }
        }
        if count == 0 {
            complaints.push(at(
                path,
                1,
                format!("which code is this? open it with `{CODE} PATH hash: HEX -->`"),
            ));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;
    use std::collections::BTreeMap;

    const CODE_TEXT: &str = "//! Pure: a.\n//! Format: key, `docs/formats/key.md`.\nfn a() {}\n";

    fn files() -> BTreeMap<&'static str, String> {
        let row = "| [key](key.md) | `e/src/key.rs` | `e/tests/fixtures/v1/key.bin` | `e/tests/fixtures/v1/key.damaged.bin` \
                   | `e/tests/fuzz/key.rs` |";
        let hash = code_hash(CODE_TEXT);
        [
            ("e/src/key.rs", CODE_TEXT.to_owned()),
            (LIST, format!("# Formats\n\n| key_index | `key_index.md` |\n{row}\n")),
            ("docs/formats/key.md", format!("<!-- code: e/src/key.rs  hash: {hash} -->\n\n# key\n")),
            ("e/tests/fixtures/v1/key.bin", "x".to_owned()),
            ("e/tests/fixtures/v1/key.damaged.bin", "y".to_owned()),
            ("e/tests/fuzz/key.rs", "fn fuzz() {}".to_owned()),
            ("e/tests/fuzz/main.rs", "mod key;".to_owned()),
        ]
        .into()
    }

    fn tree(files: &BTreeMap<&str, String>) -> Tree {
        Tree::of(&files.iter().map(|(path, text)| (*path, text.as_str())).collect::<Vec<_>>())
    }

    fn with(path: &'static str, text: Option<&str>) -> Vec<String> {
        let mut files = files();
        match text {
            Some(text) => files.insert(path, text.to_owned()),
            None => files.remove(path),
        };
        let tree = tree(&files);
        check(&tree, &tree.sources())
    }

    #[test]
    fn a_whole_format_passes_and_each_missing_part_is_told() {
        assert_complains(&with("x.md", Some("")), &[]);
        assert_complains(&with("docs/formats/key.md", None), &["has no page: write docs/formats/key.md"]);
        assert_complains(&with("e/tests/fixtures/v1/key.bin", None), &["no golden fixture"]);
        assert_complains(&with("e/tests/fixtures/v1/key.damaged.bin", None), &["no damaged fixture"]);
        assert_complains(&with("e/tests/fuzz/key.rs", None), &["no fuzz target"]);
        assert_complains(&with("e/tests/fuzz/main.rs", Some("// mod key;")), &["declare `mod key;`"]);
        assert_complains(&with(LIST, None), &["does not name `key.md`"; 5].map(|_| "the row of format key"));
        let row = files()[LIST].replace("`e/src/key.rs`", "`e/src/keys.rs`");
        assert_complains(&with(LIST, Some(&row)), &["does not name `e/src/key.rs`"]);
        let nothing = with("e/src/key.rs", Some("//! Pure: a.\n"));
        assert_complains(&nothing, &["nothing was checked", "PATH of a file that claims this page"]);
    }

    #[test]
    fn a_claim_that_cannot_be_read_is_told() {
        for claim in ["key", "key, `docs/formats/keys.md`", "key, docs/formats/key.md"] {
            let text = format!("{CODE_TEXT}//! Format: {claim}.\n");
            let complaints = with("e/src/key.rs", Some(&text));
            assert!(complaints[0].contains("e/src/key.rs:4: write //! Format: NAME"), "{complaints:?}");
        }
    }

    #[test]
    fn a_page_is_tied_to_its_code() {
        let changed = CODE_TEXT.replace("a()", "b()");
        let now = code_hash(&changed);
        let wanted = format!(
            "docs/formats/key.md:1: e/src/key.rs has changed: read the page against the change, then put this hash: {now}"
        );
        assert_complains(&with("e/src/key.rs", Some(&changed)), &[&wanted]);
        assert_complains(
            &with("docs/formats/key.md", Some("# key\n")),
            &["open it with", "which code is this?"],
        );
        let lost = "<!-- code: e/src/gone.rs hash: 1 -->\n";
        let page = [&files()["docs/formats/key.md"], lost].concat();
        assert_complains(&with("docs/formats/key.md", Some(&page)), &["key.md:4: write `<!-- code: PATH"]);
        assert_complains(&with("docs/formats/old.md", Some("# old\n")), &["old.md:1: which code is this?"]);
    }

    #[test]
    fn comments_space_and_tests_do_not_count() {
        let bare = code_hash("fn a() {\nb\n}");
        assert_eq!(
            code_hash("//! x\n\nfn a() {\n    // y\n    b\n}\n\n#[cfg(test)]\nmod tests {\n z }"),
            bare
        );
        assert_ne!(code_hash("fn a() {\nc\n}"), bare);
        assert_ne!(code_hash("fn a() {\nb\n}\n#[cfg(test)]\nuse z;"), bare);
        assert_eq!(code_hash(""), "e3b0c44298fc1c14");
    }

    #[test]
    fn blessing_changes_hashes_and_nothing_else() {
        let mut files = files();
        assert_eq!(blessed(&tree(&files)), []);
        let old = files["docs/formats/key.md"].clone();
        files.insert("e/src/key.rs", CODE_TEXT.replace("a()", "b()"));
        let (before, after) = (code_hash(CODE_TEXT), code_hash(&files["e/src/key.rs"]));
        let page = old.replace(&before, &after);
        assert_eq!(blessed(&tree(&files)), [("docs/formats/key.md".to_owned(), page.clone())]);
        files.insert("docs/formats/key.md", page);
        assert_complains(&check(&tree(&files), &tree(&files).sources()), &[]);
    }
}
