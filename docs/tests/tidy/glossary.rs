//! One word, one meaning: what `docs/glossary.md` says not to say stays out of public names, where the pair is checked.

use super::public::{names, segments};
use super::scan::Source;
use super::tree::at;

/// The page.
pub const PAGE: &str = "docs/glossary.md";
const HEAD: [&str; 4] = ["say", "means", "do not say", "checked"];

/// A row whose fourth column says yes.
struct Pair {
    say: String,
    /// Each a sequence of words.
    refused: Vec<Vec<String>>,
}

/// Public names that say what the glossary refuses, and rows of the glossary that cannot be read.
pub fn check(page: Option<&str>, sources: &[Source]) -> Vec<String> {
    let Some(page) = page else {
        let what = "the glossary is missing: write a table `| say | means | do not say | checked |`";
        return vec![at(PAGE, 1, what)];
    };
    let (pairs, mut complaints) = pairs(page);
    if pairs.is_empty() {
        complaints.push(at(
            PAGE,
            1,
            "no row is checked: mark the pairs whose words are nowhere said with `yes`",
        ));
    }
    for source in sources {
        for name in names(source) {
            let words = segments(&name.text);
            for pair in &pairs {
                let is_said = |refused: &&Vec<String>| {
                    words.windows(refused.len()).any(|window| window == refused.as_slice())
                };
                for refused in pair.refused.iter().filter(is_said) {
                    let (what, text, refused) = (&name.what, &name.text, refused.join(" "));
                    let what = format!("{what} `{text}` says `{refused}`: the glossary says `{}`", pair.say);
                    complaints.push(at(&source.path, name.line, what));
                }
            }
        }
    }
    complaints
}

fn cells(line: &str) -> Option<Vec<String>> {
    let row = line.trim().strip_prefix('|')?;
    let row = row.strip_suffix('|').unwrap_or(row).replace("\\|", "/");
    Some(row.split('|').map(|cell| cell.trim().to_owned()).collect())
}

fn pairs(page: &str) -> (Vec<Pair>, Vec<String>) {
    let (mut pairs, mut complaints) = (vec![], vec![]);
    let mut is_inside = false;
    for (index, line) in page.lines().enumerate() {
        let Some(cells) = cells(line) else {
            is_inside = false;
            continue;
        };
        let is_head = cells.iter().map(|cell| cell.to_lowercase()).eq(HEAD);
        let is_rule = cells.iter().all(|cell| cell.chars().all(|c| "-: ".contains(c)));
        if is_head || is_rule || !is_inside {
            is_inside |= is_head;
            continue;
        }
        let [say, _, refused, checked] = cells.as_slice() else {
            complaints.push(at(PAGE, index + 1, format!("a row has four cells, this one {}", cells.len())));
            continue;
        };
        let refused = terms(refused);
        match checked.as_str() {
            "" => {}
            "yes" if refused.is_empty() => {
                complaints.push(at(PAGE, index + 1, "checked, but nothing is refused"))
            }
            "yes" => pairs.push(Pair { say: say.clone(), refused }),
            other => {
                complaints.push(at(PAGE, index + 1, format!("checked is `yes` or empty, not `{other}`")))
            }
        }
    }
    (pairs, complaints)
}

/// The terms of a cell: between commas, without what stands in parentheses, each as its words.
fn terms(cell: &str) -> Vec<Vec<String>> {
    let mut depth = 0;
    let is_outside = |c: &char| {
        depth += i32::from(*c == '(');
        let is = depth == 0;
        depth -= i32::from(*c == ')');
        is && !"`\"*".contains(*c)
    };
    let plain: String = cell.chars().filter(is_outside).collect();
    let words = |term: &str| term.split([' ', '-', '_']).flat_map(segments).collect::<Vec<_>>();
    plain.split([',', ';']).map(words).filter(|words| !words.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::assert_complains;
    use super::*;

    const SAMPLE: &str = "\
# Glossary

| say | means | do not say | checked |
|---|---|:-:|---|
| tenant | one customer's data | org, `namespace` (of ours, or not) | yes |
| key epoch | which data key \\| when | key version | yes |
| levels | a picture | version (for this) | |

| word | not in the table | x | yes |
|---|---|---|---|
| a | b | tenant | yes |
";

    fn with(page: &str, text: &str) -> Vec<String> {
        check(Some(page), &[Source::parse("a/src/b.rs", text)])
    }

    #[test]
    fn a_refused_word_is_found_in_every_spelling() {
        let bad = "pub struct OrgId {\n pub namespace: u8 }\npub const KEY_VERSION_MAX: u8 = 1;\npub fn of_org() {}";
        let wanted =
            ["b.rs:1: struct `OrgId` says `org`", "b.rs:2: field", "b.rs:3: const", "b.rs:4: fn `of_org`"];
        assert_complains(&with(SAMPLE, bad), &wanted);
    }

    #[test]
    fn other_words_and_unchecked_pairs_pass() {
        let good = "pub struct Organ; pub fn version() {} pub fn key() {} pub fn tenant() {} fn org() {} pub fn of_ours() {}";
        assert_complains(&with(SAMPLE, good), &[]);
    }

    #[test]
    fn a_glossary_that_checks_nothing_is_refused() {
        assert_complains(&check(None, &[]), &["docs/glossary.md:1: the glossary is missing"]);
        assert_complains(&with("# Glossary\n", ""), &["no row is checked"]);
        let head = "| Say | Means | Do not say | Checked |\n|---|---|---|---|\n| tenant | m | org | yes |\n";
        for (row, wanted) in [
            ("| a | b | c | maybe |", "md:4: checked is `yes` or empty"),
            ("| a | b | (c) | yes |", "md:4: checked, but nothing is refused"),
            ("| a | b | c |", "md:4: a row has four cells, this one 3"),
        ] {
            assert_complains(&with(&format!("{head}{row}\n"), ""), &[wanted]);
        }
    }
}
